// The folder of collateral that a broker keeps fresh: what it asks for, what it keeps when a service fails, and what it says.
// SPDX-License-Identifier: Apache-2.0

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openKeeper } from '#broker/collateral.ts'
import { COLLATERAL_CONFIG, type CollateralSettings } from '#broker/config.ts'
import { loadConfig } from '#core/config.ts'
import { stringifyJson } from '#core/json.ts'
import { type Logger, silent } from '#core/log.ts'
import { tdx } from '#plugins/tdx/index.ts'
import { temporaryFolder } from '#test/folder.ts'
import { infoOf, named, vendor } from '#test/plugins/tdx/minted.ts'
import { type Answers, answersOf, FMSPC, failing, PATHS, pccs, saying } from '#test/plugins/tdx/pccs.ts'

const intel = await vendor()
const DAY_MS = 24 * 60 * 60 * 1000
const DEFAULTS = loadConfig('/nowhere', [COLLATERAL_CONFIG]).get(COLLATERAL_CONFIG)
const PLATFORM = `tdx/${FMSPC}`

async function keeper(
    t: ExecutionContext,
    answers: Answers,
    changed: Partial<CollateralSettings> = {},
    { folder = join(temporaryFolder(t), 'collateral'), now = () => new Date() } = {},
) {
    const service = await pccs(t, answers, true)
    const log: string[] = []
    const write = (level: string) => (message: string, fields?: object) =>
        void log.push(`${level} ${message} ${stringifyJson(fields ?? {})}`)
    const logger: Logger = { ...silent, info: write('info'), warn: write('warn'), error: write('error') }
    let told = 0
    const opened = await openKeeper({
        settings: { ...DEFAULTS, service: service.url, platforms: [PLATFORM], ...changed },
        plugins: [tdx],
        folder,
        roots: [named('root', intel.certificates.root)],
        log: logger,
        clock: { now, ticks: () => performance.now() },
        changed: async () => void told++,
        insecureHttp: true,
    })
    t.teardown(() => opened?.close())
    return { opened, folder, log, told: () => told, service }
}

test('without a service nothing is asked', async (t) => {
    const { opened, service } = await keeper(t, {}, { service: '' })
    t.is(opened, null)
    t.deepEqual(service.asked, [])
})

test('it begins by itself, and verifiers hear of what is new alone', async (t) => {
    const { opened, folder, told, log } = await keeper(t, answersOf(intel))
    t.true(await opened?.refresh())
    t.is(readdirSync(folder).length, 7)
    t.is(told(), 1)
    t.true(await opened?.refresh())
    t.is(told(), 1)
    t.false(
        log.some((line) => line.startsWith('error')),
        log.join('\n'),
    )
})

test('what is in the folder is renewed, though nobody configured its platform', async (t) => {
    const { opened, folder } = await keeper(t, answersOf(intel))
    await opened?.refresh()
    const { opened: other, service } = await keeper(t, answersOf(intel), { platforms: [] }, { folder })
    t.true(await other?.refresh())
    t.true(service.asked.some((path) => path.startsWith(`${PATHS.tcb}?fmspc=${FMSPC.toUpperCase()}`)))
})

for (const { name, answers, want } of [
    { name: 'fails', answers: { [PATHS.tcb]: failing(500) }, want: /status 500/ },
    {
        name: 'lies',
        answers: { [PATHS.tcb]: saying('{}', 'TCB-Info-Issuer-Chain', [intel.certificates.root]) },
        want: /expected tcbInfo/,
    },
    {
        name: 'breaks off',
        answers: { [PATHS.identity]: (request) => request.socket.destroy() },
        want: /ERR_|other side|socket|reset/i,
    },
] satisfies { name: string; answers: Answers; want: RegExp }[])
    test(`where a service ${name} the last good files stay, and the log says so`, async (t) => {
        const { opened, folder } = await keeper(t, answersOf(intel))
        await opened?.refresh()
        const files = () => readdirSync(folder).map((file) => readFileSync(join(folder, file)).toString('hex'))
        const before = files()
        const bad = await keeper(t, { ...answersOf(intel), ...answers }, {}, { folder })
        t.false(await bad.opened?.refresh())
        t.deepEqual(files(), before)
        t.is(bad.told(), 0)
        const errors = bad.log.filter((line) =>
            line.startsWith('error collateral could not be fetched; what is there stays'),
        )
        t.true(errors.length > 0)
        t.regex(errors[0] ?? '', want)
    })

test('what expires soon is told', async (t) => {
    const soon = infoOf(intel, {}, { times: { nextUpdate: new Date(intel.now.getTime() + 2 * DAY_MS) } })
    const { tcbSigning, root } = intel.certificates
    const { opened, log } = await keeper(t, {
        ...answersOf(intel),
        [PATHS.tcb]: saying(soon.bytes, 'TCB-Info-Issuer-Chain', [tcbSigning, root]),
    })
    await opened?.refresh()
    t.true(
        log.some((line) => line.startsWith('warn collateral expires soon') && line.includes(FMSPC)),
        log.join('\n'),
    )
})

test('a folder that cannot be read is told, and nothing is thrown', async (t) => {
    const folder = join(temporaryFolder(t), 'file')
    writeFileSync(folder, '')
    const { opened, log } = await keeper(t, answersOf(intel), {}, { folder })
    t.false(await opened?.refresh())
    t.true(log.some((line) => line.startsWith('error the folder of collateral cannot be used')))
})

for (const text of ['tdx', `snp/${FMSPC}`, 'tdx/xyz', ''])
    test(`no platform: ${JSON.stringify(text)}`, async (t) => {
        await t.throwsAsync(keeper(t, {}, { platforms: [text] }))
    })

const MANUAL = readFileSync(new URL('../../docs/broker.md', import.meta.url), 'utf8')
const documented = Object.fromEntries(
    [
        ...(MANUAL.split('\n## Collateral for TDX\n')[1]?.split('\n## ')[0] ?? '').matchAll(
            /^\| `(\w+)` +\| (.*?) +\|/gm,
        ),
    ].map(([, name = '', value = '']) => [name, value]),
)

test('docs/broker.md says the settings and their defaults', (t) => {
    const shown = (value: unknown) => (Array.isArray(value) ? JSON.stringify(value) : String(value))
    t.deepEqual(
        documented,
        Object.fromEntries(
            Object.entries(COLLATERAL_CONFIG.settings).map(([name, { fallback }]) => [
                name,
                { service: '(none)', ca: '(system\u2019s)' }[name]?.replace('\u2019', "'") ?? shown(fallback),
            ]),
        ),
    )
})
