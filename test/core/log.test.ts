// The logs of both sides: no key material, one line a message whatever comes from outside, and never an exception.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { closeSync, constants, existsSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { secret } from '#core/bytes.ts'
import {
    kernelSink,
    type Level,
    type LogFields,
    type Logger,
    lineLogger,
    SECRET_NAMES,
    silent,
    stderrIsKernelLog,
} from '#core/log.ts'
import { pinoLogger } from '#core/log-pino.ts'
import { temporaryFolder } from '#test/folder.ts'
import { run } from '../cli/run.ts'
import { type Need, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'

interface Written {
    readonly log: Logger
    readonly lines: () => string[]
}

/** Each logger, and the lines that it has written. */
const LOGGERS = {
    line(_t, verbose = true) {
        const lines: string[] = []
        return { log: lineLogger('test', [(_level, line) => void lines.push(line)], verbose), lines: () => lines }
    },
    pino(t, verbose = true) {
        const path = join(temporaryFolder(t), 'log')
        const fd = openSync(path, 'w')
        t.teardown(() => closeSync(fd))
        const log = pinoLogger({ name: 'test', verbose, fd })
        return { log, lines: () => readFileSync(path, 'utf8').split('\n').slice(0, -1) }
    },
} satisfies Record<string, (t: ExecutionContext, verbose?: boolean) => Written>

const KEY = 'correct horse battery staple'
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const privateJwk = privateKey.export({ format: 'jwk' })

const SECRETS: readonly { readonly name: string; readonly fields: () => LogFields }[] = [
    ...SECRET_NAMES.map((name) => ({ name: `a member named ${name}`, fields: () => ({ [name]: KEY }) })),
    { name: 'a header in capitals', fields: () => ({ Authorization: KEY, 'Set-Cookie': KEY }) },
    { name: 'one that stands deep', fields: () => ({ a: [{ b: { passphrase: KEY } }] }) },
    { name: 'an object under such a name', fields: () => ({ token: { inner: [KEY] } }) },
    { name: 'a secret under any name', fields: () => ({ it: secret(Buffer.from(KEY)) }) },
    { name: 'bytes', fields: () => ({ it: Buffer.from(KEY), list: [new Uint8Array(Buffer.from(KEY))] }) },
    { name: 'bytes seen as other numbers', fields: () => ({ it: new Uint16Array(Buffer.from(KEY)) }) },
    { name: 'a view and its memory', fields: () => viewsOf(Buffer.from(KEY)) },
    { name: 'a key object', fields: () => ({ it: privateKey }) },
]

const viewsOf = ({ buffer }: Buffer) => ({ view: new DataView(buffer), memory: buffer })

/** Ways in which the key could stand in a line. */
const LEAKS = [
    KEY,
    'correct',
    privateJwk.d ?? KEY,
    Buffer.from(KEY).toString('hex'),
    Buffer.from(KEY).toString('base64'),
]
const NUMBERS = /99\D{1,8}111\D{1,8}114/ // "cor", byte by byte

for (const [kind, open] of Object.entries(LOGGERS)) {
    for (const { name, fields } of SECRETS)
        test(`${kind}: no key material: ${name}`, (t) => {
            const { log, lines } = open(t)
            log.error('released', fields())
            const [line = ''] = lines()
            t.is(lines().length, 1)
            for (const leak of LEAKS) t.false(line.includes(leak), line)
            t.notRegex(line, NUMBERS)
        })

    test(`${kind}: what is no secret stays`, (t) => {
        const { log, lines } = open(t)
        log.warn('denied', {
            path: 'default/luks/a',
            count: 3,
            wide: 2n ** 63n,
            error: new Error('broken'),
            certs: Buffer.alloc(7),
            nested: { ok: true },
        })
        const [line = ''] = lines()
        for (const part of ['denied', 'default/luks/a', '3', '9223372036854775808', 'broken', '<7 bytes>', 'true'])
            t.true(line.includes(part), line)
    })

    test(`${kind}: a quiet one says what matters`, (t) => {
        const { log, lines } = open(t, false)
        for (const level of ['debug', 'info', 'warn', 'error'] as const) log[level](`at ${level}`)
        const said = lines().map((line) => /at (\w+)/.exec(line)?.[1])
        t.deepEqual(said, kind === 'line' ? ['warn', 'error'] : ['info', 'warn', 'error'])
    })

    for (const { name, text } of [
        { name: 'a line break', text: 'x\nline: all is well\r\n' },
        { name: 'a carriage return', text: 'x\rtest: all is well' },
        { name: 'an escape sequence', text: 'x\u001b[2K\u001b[1Gtest: all is well' },
        { name: 'its eight-bit form', text: 'x\u009b2Ktest' },
        { name: 'a line separator', text: 'x\u2028test\u2029test\u0085test' },
        { name: 'the other direction of writing', text: 'x\u202egnihton\u202c' },
        { name: 'what has no width', text: 'x\u200b\u{e0041}\ufeffy' },
        { name: 'a quote and a bracket', text: '"}\n{"level":"info","msg":"all is well"}' },
        { name: 'what looks like a format', text: '%s %d %j %o %% %c' },
    ])
        test(`${kind}: one line, whatever comes from outside: ${name}`, (t) => {
            const { log, lines } = open(t)
            log.error(text, { broker: text, error: new Error(text), deep: [{ text }], [`name${text.slice(0, 2)}`]: 1 })
            t.is(lines().length, 1)
            t.notRegex(lines()[0] ?? '', /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
            if (kind === 'pino') t.like(JSON.parse(lines()[0] ?? ''), { level: 'error', msg: text, broker: text })
            else t.true(lines()[0]?.startsWith('test: '))
        })

    test(`${kind}: nothing that is logged stops the program, or makes a second line`, (t) => {
        const { log, lines } = open(t)
        const anything = fc.anything({ withBigInt: true, withDate: true, withMap: true, withTypedArray: true })
        const fields = fc.dictionary(fc.string({ unit: 'binary' }), anything, { maxKeys: 4 })
        let said = 0
        fc.assert(
            fc.property(fc.string({ unit: 'binary' }), fields, (message, given) => {
                log.error(message, given)
                said++
            }),
        )
        log.error('', { it: undefined, them: [undefined, () => 1, Symbol('x'), 5n] })
        t.is(lines().length, said + 1)
    })
}

test('line: program, message and fields, in this order', (t) => {
    const { log, lines } = LOGGERS.line(t)
    log.warn('the broker is busy', { broker: 'https://kbs.example', tries: [1, { key: 'x' }] })
    t.deepEqual(lines(), ['test: the broker is busy broker=https://kbs.example tries=[1,{"key":"[redacted]"}]'])
})

test('line: every sink hears it, with its level', (t) => {
    const heard: [Level, string][] = []
    const sink = (level: Level, line: string) => void heard.push([level, line])
    lineLogger('test', [sink, sink]).warn('x')
    t.deepEqual(heard, [
        ['warn', 'test: x'],
        ['warn', 'test: x'],
    ])
})

test('pino: the members of a line', (t) => {
    const { log, lines } = LOGGERS.pino(t)
    log.info('released', { path: 'a/b/c' })
    const line = JSON.parse(lines()[0] ?? '{}') as Record<string, string>
    t.deepEqual(Object.keys(line), ['level', 'time', 'name', 'path', 'msg'])
    t.like(line, { level: 'info', name: 'test', path: 'a/b/c', msg: 'released' })
    const { time = '' } = line
    t.is(new Date(time).toISOString(), time)
})

test('silent: nothing', (t) => {
    for (const level of ['debug', 'info', 'warn', 'error'] as const) t.is(silent[level]('x', { key: KEY }), undefined)
})

test('standard error: a reader that has gone stops nothing', async (t) => {
    const program = `
        import { lineLogger, stderrSink } from '#core/log.ts'
        import { closeSync } from 'node:fs'
        const log = lineLogger('test', [stderrSink])
        log.error('heard')
        closeSync(2)
        log.error('not heard')
        process.stdout.write('went on')`
    const ran = await run(process.execPath, ['--input-type=module', '-e', program])
    t.deepEqual([ran.code, ran.stdout, ran.stderr], [0, 'went on', 'test: heard\n'])
})

const KERNEL_LOG: Need = { what: '/dev/kmsg', met: readsKernelLog() }

needs(ROOT, KERNEL_LOG)('the kernel’s log: a line at its level, a long one cut rather than lost', (t) => {
    const mark = randomBytes(8).toString('hex')
    const log = lineLogger(`guest-attest-${mark}`, [kernelSink])
    log.warn('short')
    log.error(`long ${'ü'.repeat(2000)}`)
    const records = kernelLog().filter((record) => record.includes(mark))
    t.is(records.length, 2)
    t.regex(records[0] ?? '', new RegExp(`^(?:\\d+),.*;guest-attest-${mark}: short\\n`))
    t.deepEqual(
        records.map((record) => Number(record.split(',')[0]) & 7),
        [4, 3],
    )
    t.true((records[1] ?? '').includes(': long '))
})

function readsKernelLog(): boolean {
    try {
        return kernelLog().length > 0
    } catch {
        return false
    }
}

/** Every record of the kernel's log: one for each read(2). */
function kernelLog(): string[] {
    const fd = openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK)
    const records: string[] = []
    const buffer = Buffer.alloc(8192)
    try {
        for (;;) records.push(buffer.toString('utf8', 0, readSync(fd, buffer)))
    } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        if (code !== 'EAGAIN' && code !== 'EPIPE') throw error
        return records
    } finally {
        closeSync(fd)
    }
}

test('standard error is the kernel’s log, or it is not', (t) => {
    const opened = (path: string) => {
        const fd = openSync(path, 'r')
        t.teardown(() => closeSync(fd))
        return fd
    }
    t.false(stderrIsKernelLog(opened('/dev/null')))
    t.false(stderrIsKernelLog(opened('/etc/passwd')))
    t.false(stderrIsKernelLog(4711))
    if (existsSync('/dev/kmsg') && process.getuid?.() === 0) t.true(stderrIsKernelLog(opened('/dev/kmsg')))
})
