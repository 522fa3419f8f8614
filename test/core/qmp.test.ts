// QMP: the greeting, commands, what comes in between, and a monitor that hangs, breaks off, or is none.
// SPDX-License-Identifier: Apache-2.0

import { duplexPair } from 'node:stream'
import test from 'ava'
import * as z from 'zod/mini'
import { openQmp } from '#core/qmp.ts'

const QUICK = { timeoutMs: 5000 }
const GREETING = { QMP: { version: { qemu: { major: 10, minor: 0, micro: 2 } }, capabilities: ['oob'] } }
const STATUS = z.object({ status: z.string() })

type Say = (answer: unknown) => void

/** A monitor: what it says at first, and to each command. */
function monitor(
    answer: (command: { execute: string; id: number; arguments?: object }, say: Say) => void,
    first: unknown = GREETING,
) {
    const [near, far] = duplexPair()
    const say: Say = (line) => void far.write(typeof line === 'string' ? line : `${JSON.stringify(line)}\r\n`)
    say(first)
    far.setEncoding('utf8').on('data', (text: string) => {
        for (const line of text.trim().split('\n')) answer(JSON.parse(line), say)
    })
    return { near, far }
}

const negotiated =
    (answer: (command: { execute: string; id: number; arguments?: object }, say: Say) => void) =>
    (command: { execute: string; id: number; arguments?: object }, say: Say) =>
        command.execute === 'qmp_capabilities' ? say({ return: {}, id: command.id }) : answer(command, say)

test('commands, with what they take and return, and events between', async (t) => {
    const { near } = monitor(
        negotiated(({ execute, id, arguments: args }, say) => {
            say({ event: 'STOP', timestamp: { seconds: 1, microseconds: 2 } })
            say({ return: { status: `${execute} ${JSON.stringify(args)}`, more: 1 }, id })
        }),
    )
    const qmp = await openQmp(near, QUICK)
    t.deepEqual(await qmp.execute('query-status', STATUS), { status: 'query-status undefined' })
    t.deepEqual(await qmp.execute('stop', STATUS, { a: 1 }), { status: 'stop {"a":1}' })
    qmp.close()
    await t.throwsAsync(qmp.execute('stop', STATUS), { code: 'ERR_QMP' })
})

test('what QEMU refuses, it says why, and goes on', async (t) => {
    const { near } = monitor(
        negotiated(({ execute, id }, say) =>
            execute === 'query-sev'
                ? say({ id, error: { class: 'GenericError', desc: 'SEV is not enabled' } })
                : say({ return: { status: 'running' }, id }),
        ),
    )
    const qmp = await openQmp(near, QUICK)
    await t.throwsAsync(qmp.execute('query-sev', STATUS), {
        code: 'ERR_QMP_REFUSED',
        message: 'QEMU refuses query-sev: SEV is not enabled (GenericError)',
    })
    t.deepEqual(await qmp.execute('query-status', STATUS), { status: 'running' })
})

for (const { name, answer, code, says } of [
    { name: 'to another command', answer: { return: { status: 'a' }, id: 9 }, code: 'ERR_QMP', says: /command 9/ },
    {
        name: 'of another shape',
        answer: { return: { status: 1 }, id: 2 },
        code: 'ERR_QMP',
        says: /query-status: status/,
    },
    { name: 'that is neither', answer: { id: 2 }, code: 'ERR_QMP', says: /QMP|query-status/ },
    { name: 'no JSON', answer: 'hello\n', code: 'ERR_JSON', says: /QMP: not JSON/ },
    { name: 'no object', answer: '7\n', code: 'ERR_QMP', says: /QMP/ },
    { name: 'a key twice', answer: '{"return": {}, "return": {}}\n', code: 'ERR_JSON', says: /stands twice/ },
    { name: 'no end of a line', answer: 'x'.repeat(1024 * 1024 + 1), code: 'ERR_QMP', says: /a line of more than/ },
])
    test(`an answer that is none: ${name}`, async (t) => {
        const { near } = monitor(negotiated((_, say) => say(answer)))
        const qmp = await openQmp(near, QUICK)
        await t.throwsAsync(qmp.execute('query-status', STATUS), { code, message: says })
        qmp.close()
    })

test('a monitor that is none, closes, or hangs', async (t) => {
    const other = monitor(() => undefined, { hello: 1 })
    await t.throwsAsync(openQmp(other.near, QUICK), { code: 'ERR_QMP' })
    t.true(other.near.destroyed)

    const closing = monitor(() => undefined)
    closing.far.end()
    await t.throwsAsync(openQmp(closing.near, QUICK), { code: 'ERR_QMP', message: /closed the connection/ })

    const silent = monitor(() => undefined)
    await t.throwsAsync(openQmp(silent.near, { timeoutMs: 50 }), {
        code: 'ERR_INTERRUPTED',
        message: 'QMP: qmp_capabilities: gave up after 0.05 s',
    })
})
