// The unlock path in hard times: a broker that dies, a device that must not be hurried, and who could have seen the key.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { buildExecutable, linkPins } from '#packaging/executable.ts'
import { FUSE, programs } from '../machine.ts'
import { needs } from '../needs.ts'
import { KEY_PATH, openStage, type Stage } from '../stage.ts'

const all = [FUSE, programs('clevis', 'jose')]
const e2e = needs(...all).serial

const stage: Stage = all.every(({ met }) => met) ? await openStage() : (undefined as never)
test.after.always(() => stage?.close())

const config = (path = KEY_PATH): string => JSON.stringify({ url: stage.url, path })

const sealed = async (plaintext: string, path = KEY_PATH): Promise<string> => {
    const made = await stage.guest(['clevis', 'encrypt', 'kbs', config(path)], { input: plaintext })
    if (made.code !== 0) throw new Error(made.stderr)
    return made.stdout
}

e2e('a broker that is killed and comes back: the unlock waits, and ends well', async (t) => {
    const jwe = await sealed('passphrase')
    await stage.killBroker()
    const opening = stage.guest(['clevis-decrypt-kbs'], { input: jwe })
    await sleep(3000)
    await stage.startBroker()
    const opened = await opening
    t.is(opened.stdout, 'passphrase', opened.stderr)
    t.regex(opened.stderr, /ECONNREFUSED/)
})

e2e('a broker that stays away: the pin gives up at its deadline, with nothing on standard output', async (t) => {
    const jwe = await sealed('passphrase')
    const impatient = join(stage.folder, 'impatient')
    mkdirSync(join(impatient, 'trust.d'), { recursive: true })
    writeFileSync(join(impatient, 'config.toml'), '[unlock]\ndeadlineMs = 3000\n', { mode: 0o644 })
    for (const name of readdirSync(join(stage.config, 'trust.d')))
        writeFileSync(join(impatient, 'trust.d', name), readFileSync(join(stage.config, 'trust.d', name)), {
            mode: 0o644,
        })
    await stage.killBroker()
    const opened = await stage.guest(['clevis-decrypt-kbs'], { input: jwe, env: { GUEST_ATTEST_CONFIG: impatient } })
    t.is(opened.code, 1)
    t.is(opened.stdout, '')
    t.regex(opened.stderr, /ERR_UNLOCK_GAVE_UP/)
    await stage.startBroker()
})

const STARTS = 50

/** Many pins in one guest, whose driver loses its key when two requests come too close. */
async function burst(starts: number, everySeconds: number, spacingMs: number) {
    const folder = join(stage.folder, `burst-${spacingMs}`)
    mkdirSync(join(folder, 'trust.d'), { recursive: true })
    writeFileSync(join(folder, 'config.toml'), `[drivers]\nspacingMs = ${spacingMs}\n`, { mode: 0o644 })
    for (const name of readdirSync(join(stage.config, 'trust.d')))
        writeFileSync(join(folder, 'trust.d', name), readFileSync(join(stage.config, 'trust.d', name)), { mode: 0o644 })
    const faults = join(folder, 'faults.toml')
    writeFileSync(faults, '[[fault]]\nkind = "key-lost-on-burst"\nmore = 1\nwithinMs = 150\n')
    await buildExecutable('guest-attest-initrd', { out: folder, library: folder, role: 'full' })
    linkPins(folder)
    const jwe = join(folder, 'jwe')
    writeFileSync(jwe, await sealed('passphrase'))
    const pin = join(folder, 'clevis-decrypt-kbs')
    const script = `i=0; while [ $i -lt ${starts} ]; do (${pin} < ${jwe} > ${folder}/out.$i 2>&1) & i=$((i+1)); sleep ${everySeconds}; done; wait`
    const ran = await stage.guest(['sh', '-c', script], {
        emulate: ['--faults', faults],
        env: { GUEST_ATTEST_CONFIG: folder },
        timeoutMs: 170_000,
    })
    const outcomes = Array.from({ length: starts }, (_, i) => readFileSync(join(folder, `out.${i}`), 'latin1'))
    return { ran, outcomes, opened: outcomes.filter((text) => text === 'passphrase').length }
}

e2e(`${STARTS} pins in 10 s: they take turns, the driver keeps its key, every one opens`, async (t) => {
    const { ran, outcomes, opened } = await burst(STARTS, 0.2, 200)
    t.is(ran.code, 0, ran.stderr)
    t.is(
        opened,
        STARTS,
        outcomes.find((text) => text !== 'passphrase'),
    )
})

e2e('the same without turns: the driver loses its key, and the pin says what to do', async (t) => {
    const { outcomes, opened } = await burst(8, 0, 0)
    t.true(opened < 8)
    t.regex(outcomes.join('\n'), /ERR_DEVICE_KEY_LOST/)
    t.regex(outcomes.join('\n'), /restart the guest/)
})

/** Every way in which somebody may have written bytes down. */
const forms = (secret: Buffer): Buffer[] => [
    secret,
    ...(['hex', 'base64', 'base64url'] as const).map((encoding) =>
        Buffer.from(secret.toString(encoding).replace(/=+$/, '')),
    ),
]

function filesUnder(folder: string): string[] {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
}

/** What other processes can be asked for. */
function processesNow(): Buffer {
    const parts: Buffer[] = []
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
        for (const file of ['cmdline', 'environ'])
            try {
                parts.push(readFileSync(`/proc/${pid}/${file}`))
            } catch {
                // it has gone
            }
    return Buffer.concat(parts)
}

e2e('no secret byte in logs, environments, command lines or files, during a run and after', async (t) => {
    const key = Buffer.from(Array.from({ length: 32 }, (_, i) => (i * 37 + 11) & 0xff))
    const passphrase = Buffer.from('a passphrase that nobody else uses 6b1f')
    const source = join(stage.folder, 'source.key')
    writeFileSync(source, key, { mode: 0o600 })
    await stage.broker('put', 'default/luks/watched', source, '--kind', 'luks-key')
    const policy = join(stage.folder, 'watched.cedar')
    writeFileSync(
        policy,
        '@id("watched")\n@insecureCustomRoot\npermit (principal, action == Action::"release", resource)\nwhen { principal.references.contains("web") && resource.path == "default/luks/watched" };\n',
    )
    await stage.broker('policy', 'put', 'watched', policy)

    const seen: Buffer[] = []
    const watch = setInterval(() => seen.push(processesNow()), 5)
    const made = await stage.guest(['clevis', 'encrypt', 'kbs', config('default/luks/watched')], { input: passphrase })
    const opened = await stage.guest(['clevis', 'decrypt'], { input: made.stdout })
    const other = made.stdout.at(-9) === 'A' ? 'B' : 'A' // within the tag
    const altered = await stage.guest(['clevis', 'decrypt'], {
        input: made.stdout.slice(0, -9) + other + made.stdout.slice(-8),
    })
    clearInterval(watch)
    t.is(opened.stdout, passphrase.toString(), opened.stderr)
    t.not(altered.code, 0)
    t.true(seen.length > 20)

    const audit = await stage.broker('audit', '--json')
    const places: [string, Buffer][] = [
        ['environments and command lines', Buffer.concat(seen)],
        ["the broker's log", Buffer.from(stage.brokerLog())],
        ['the audit log', Buffer.from(audit.stdout + audit.stderr)],
        ['what the programs said', Buffer.from(made.stderr + opened.stderr + altered.stdout + altered.stderr)],
        ...filesUnder(stage.folder)
            .filter((path) => path !== source && statSync(path).size < 64 * 1024 * 1024)
            .map((path): [string, Buffer] => [path, readFileSync(path)]),
    ]
    for (const [where, bytes] of places)
        for (const [what, secret] of [
            ['the key', key],
            ['the passphrase', passphrase],
        ] as const)
            for (const form of forms(secret)) t.false(bytes.includes(form), `${what} stands in ${where}`)
})
