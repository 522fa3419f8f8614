// A guest without network: an emulated guest gets a disk key from a real broker through the relay, over a unix socket that
// stands in for vsock; and who stands in the way gets nothing.
// SPDX-License-Identifier: Apache-2.0

import { statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { dial } from '#cli/dial.ts'
import { openSession, parseOrigin } from '#core/http.ts'
import { GUEST_NEEDS, GUEST_TIMEOUT_MS, hurriedConfig, inOneGuest } from '../cli/inside.ts'
import { type RelayProcess, relayProcess } from '../cli/relay-process.ts'
import { needs } from '../needs.ts'
import { KEY_PATH, openStage } from '../stage.ts'

const ready = GUEST_NEEDS.every(({ met }) => met)
const possible = needs(...GUEST_NEEDS)

// Everything that takes its time comes before the first declaration.
const stage = ready ? await openStage() : undefined
const folder = stage?.folder ?? '/nowhere'
const socket = join(folder, 'vsock_8443')
const url = `unix://${socket}`
const ending: (() => unknown)[] = []
const relay: RelayProcess | undefined = stage
    ? await relayProcess(
          { teardown: (end) => ending.push(end) },
          '--listen',
          `unix:${socket}`,
          '--to',
          new URL(stage.url).host,
      )
    : undefined
test.after.always(async () => {
    for (const end of ending) end()
    await stage?.close()
})

const OTHER_PIN = `sha256/${'A'.repeat(43)}=`
const anchor = { url, pins: [stage?.pin ?? OTHER_PIN], allowPaths: [KEY_PATH] }
const TRUSTED = ready ? hurriedConfig(folder, [anchor]) : ''
const WRONG_PIN = ready ? hurriedConfig(folder, [{ ...anchor, pins: [OTHER_PIN] }]) : ''
const GONE = ready ? hurriedConfig(folder, [{ ...anchor, url: `unix://${folder}/gone` }]) : ''

const get = (config: string, out: string, ...more: readonly string[]) => ({
    args: ['get-resource', `kbs:///${KEY_PATH}`, '--use', 'luks-key', '--out', join(folder, out), ...more],
    env: { GUEST_ATTEST_CONFIG: config },
})
const doctor = {
    args: ['doctor', '--json', '--url', url, '--path', KEY_PATH],
    env: { GUEST_ATTEST_CONFIG: TRUSTED },
}

const GOT = get(TRUSTED, 'key', '--url', url)
const WRONG = get(WRONG_PIN, 'wrong')
const NOBODY = get(GONE, 'gone')
const inside = inOneGuest(
    (command) => {
        if (!stage) throw new TypeError('there is no stage here')
        return stage.guest(command, { timeoutMs: GUEST_TIMEOUT_MS })
    },
    [GOT, WRONG, NOBODY, doctor],
)

possible.serial('a disk key is released through the relay', async (t) => {
    const { code, stderr } = await inside(GOT)
    t.is(code, 0, stderr)
    t.true(stderr.includes(` from ${url} in `), stderr)
    t.is(statSync(join(folder, 'key')).size, 32)
})

possible.serial('another server at the other end: nothing is sent', async (t) => {
    const { code, stderr } = await inside(WRONG)
    t.is(code, 1)
    t.regex(stderr, /is not the server that is trusted[\s\S]*ERR_HTTP_TLS/)
})

possible.serial('no relay', async (t) => {
    const { code, stderr } = await inside(NOBODY)
    t.is(code, 3)
    t.regex(stderr, /ENOENT[\s\S]*ERR_HTTP_CONNECT/)
})

possible.serial('doctor goes the whole way', async (t) => {
    const { stdout } = await inside(doctor)
    t.regex(stdout, new RegExp(`the unix socket ${RegExp.escape(socket)}`))
    t.regex(stdout, /32 bytes of default\/luks\/web, wiped/)
})

possible.serial('the pin seals and opens through it', async (t) => {
    if (!stage) return t.fail()
    const config = { GUEST_ATTEST_CONFIG: TRUSTED }
    const pin = JSON.stringify({ url, path: KEY_PATH })
    const script = `printf secret | clevis-encrypt-kbs '${pin}' | clevis-decrypt-kbs`
    const { code, stdout, stderr } = await stage.guest(['sh', '-c', script], {
        env: config,
        timeoutMs: GUEST_TIMEOUT_MS,
    })
    t.is(code, 0, stderr)
    t.is(stdout, 'secret')
})

possible.serial('5 MB in one request and 50 at once; the log has a line for each and no content', async (t) => {
    if (!stage || !relay) return t.fail()
    const before = relay.log.filter((line) => line.startsWith('{')).length
    const ask = async (body: string | Buffer) => {
        const session = openSession(parseOrigin(url), { trust: { pins: [stage.pin] }, dial })
        const signal = AbortSignal.timeout(60_000)
        const headers = { 'content-type': 'application/json' }
        try {
            return await session.request({ method: 'POST', path: '/kbs/v0/auth', headers, body, signal })
        } finally {
            session.close()
        }
    }
    const statuses = await Promise.all(Array.from({ length: 50 }, async () => (await ask('{}')).status))
    t.deepEqual(new Set(statuses), new Set([400]))
    // More than the broker takes: it says so, or breaks off, and the relay lives on.
    await ask(Buffer.alloc(5_000_000, 'x')).catch(() => undefined)
    t.is((await ask('{}')).status, 400)
    const lines = await relay.connections(before + 52)
    t.true(lines.every(({ msg }) => msg === 'connection'))
    t.false(relay.log.join().includes('/kbs/'))
})

possible.serial('stopping it ends what it carries', async (t) => {
    t.is(await relay?.end(), 0)
})
