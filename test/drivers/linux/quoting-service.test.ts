// The quoting service, played on a unix socket: what it may answer, how it may fail, and the file that names its port.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { AttestError } from '#core/errors.ts'
import {
    encodeQuoteRequest,
    MAX_MESSAGE_SIZE,
    MESSAGE_ERRORS,
    MESSAGE_HEADER,
    readQuoteResponse,
    withLength,
} from '#drivers/linux/quoting-messages.ts'
import { quotingService } from '#drivers/linux/quoting-service.ts'
import { connectUnix } from '#drivers/linux/unix-socket.ts'
import { temporaryFolder } from '#test/folder.ts'

const REPORT = Buffer.alloc(1024, 0x42)
const QUOTE = Buffer.alloc(5000, 0x71)

interface Response {
    readonly header?: Partial<ReturnType<typeof MESSAGE_HEADER.parse>>
    readonly idSize?: number
    readonly quoteSize?: number
    readonly quote?: Buffer
}

function response({ header = {}, idSize = 0, quoteSize, quote = QUOTE }: Response = {}): Buffer {
    const sizes = Buffer.alloc(8)
    sizes.writeUInt32LE(idSize, 0)
    sizes.writeUInt32LE(quoteSize ?? quote.length, 4)
    const fields = { major: 1, minor: 0, type: 1, size: 24 + quote.length, errorCode: 0, ...header }
    return Buffer.concat([MESSAGE_HEADER.encode(fields), sizes, quote])
}

/** A service that does this with whoever calls, and its door. */
async function service(t: ExecutionContext, serve: (socket: Socket) => unknown, timeoutMs = 10_000) {
    const folder = temporaryFolder(t)
    const path = join(folder, 'qgs')
    const config = join(folder, 'tdx-attest.conf')
    writeFileSync(config, 'port=4050\n')
    const sockets: Socket[] = []
    const server = createServer((socket) => {
        sockets.push(socket)
        socket.on('error', () => undefined)
        serve(socket)
    })
    server.listen(path)
    await once(server, 'listening')
    t.teardown(() => {
        for (const socket of sockets) socket.destroy()
        server.close()
    })
    const ports: number[] = []
    const door = quotingService({
        path: config,
        timeoutMs,
        connect: (port, signal) => {
            ports.push(port)
            return connectUnix(path, signal)
        },
    })
    return { door, ports, sockets }
}

test('a quote: the port of the file, one message, one answer in pieces, and the connection is closed', async (t) => {
    const got: Buffer[] = []
    const { door, ports, sockets } = await service(t, async (socket) => {
        for await (const chunk of socket) {
            got.push(chunk)
            if (Buffer.concat(got).length < 1052) continue
            const answer = withLength(
                response({ idSize: 16, quote: Buffer.concat([Buffer.alloc(16), QUOTE]), quoteSize: 5000 }),
            )
            for (const [from, to] of [
                [0, 2],
                [2, 5],
                [5, 3000],
                [3000, answer.length],
            ] as const) {
                socket.write(answer.subarray(from, to))
                await sleep(5)
            }
            break
        }
    })
    t.deepEqual(await door.quote(REPORT), QUOTE)
    t.deepEqual(ports, [4050])
    t.deepEqual(Buffer.concat(got), encodeQuoteRequest(REPORT))
    await t.notThrowsAsync(async () => {
        while (!sockets.every((socket) => socket.destroyed)) await sleep(5)
    })
})

const answering = (bytes: Buffer) => (socket: Socket) => socket.end(bytes)

const announcing = (length: number): Buffer => {
    const bytes = Buffer.alloc(4 + 100)
    bytes.writeUInt32BE(length)
    return bytes
}

for (const { name, serve, code, says } of [
    {
        name: 'an answer that is cut off',
        serve: answering(withLength(response()).subarray(0, 2000)),
        code: 'ERR_QUOTE_MESSAGE',
        says: /broke off after 2000 bytes of its answer, 5028 were announced/,
    },
    { name: 'no answer', serve: answering(Buffer.alloc(0)), code: 'ERR_QUOTE_MESSAGE', says: /after 0 bytes/ },
    { name: 'half a length', serve: answering(Buffer.alloc(2)), code: 'ERR_QUOTE_MESSAGE', says: /after 2 bytes/ },
    {
        name: 'an answer that is announced as too large',
        serve: (socket: Socket) => socket.write(announcing(MAX_MESSAGE_SIZE + 1)),
        code: 'ERR_QUOTE_MESSAGE',
        says: /announces 131073/,
    },
    {
        name: 'an answer without end',
        serve: (socket: Socket) => socket.write(announcing(0xffff_ffff)),
        code: 'ERR_QUOTE_MESSAGE',
        says: /announces 4294967295/,
    },
    {
        name: 'an answer that is no message',
        serve: answering(announcing(15)),
        code: 'ERR_QUOTE_MESSAGE',
        says: /announces 15/,
    },
    ...Object.entries(MESSAGE_ERRORS).map(([errorCode, means]) => ({
        name: means,
        serve: answering(
            withLength(response({ header: { errorCode: Number(errorCode), size: 24 }, quote: Buffer.alloc(0) })),
        ),
        code: 'ERR_QUOTE_FAILED',
        says: new RegExp(`${means} \\(0x${Number(errorCode).toString(16)}\\)`),
    })),
    {
        name: 'an unknown error',
        serve: answering(withLength(response({ header: { errorCode: 5, size: 24 }, quote: Buffer.alloc(0) }))),
        code: 'ERR_QUOTE_FAILED',
        says: /not known \(0x5\)/,
    },
] as { name: string; serve: (socket: Socket) => unknown; code: string; says: RegExp }[])
    test(`refused: ${name}`, async (t) => {
        const { door } = await service(t, serve)
        await t.throwsAsync(door.quote(REPORT), { code, message: says })
    })

test('a service that hangs: in time, and the connection is closed', async (t) => {
    const { door, sockets } = await service(t, (socket) => socket.resume().write(announcing(5000)), 100)
    const error = await t.throwsAsync<AttestError>(door.quote(REPORT), { code: 'ERR_DEVICE_TIMEOUT' })
    t.true(error?.passes)
    while (!sockets.every((socket) => socket.readableEnded)) await sleep(5)
    t.is(sockets.length, 1)
})

test('a caller that gives up says why', async (t) => {
    const { door } = await service(t, () => undefined)
    const controller = new AbortController()
    const asked = door.quote(REPORT, controller.signal)
    setTimeout(() => controller.abort(new Error('enough')), 20)
    await t.throwsAsync(asked, { message: 'enough' })
    await t.throwsAsync(door.quote(REPORT, controller.signal), { message: 'enough' })
})

test('a connection that breaks', async (t) => {
    const path = join(temporaryFolder(t), 'conf')
    writeFileSync(path, 'port=4050')
    const connect = async () => {
        const stream = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() })
        setTimeout(() => stream.destroy(Object.assign(new Error('recv ECONNRESET'), { code: 'ECONNRESET' })), 5)
        return stream
    }
    await t.throwsAsync(quotingService({ path, connect }).quote(REPORT), {
        code: 'ERR_QUOTE_MESSAGE',
        message: /broke off after 0 bytes/,
    })
})

for (const { errno, hint } of [
    { errno: 'ENODEV', hint: /no vsock device/ },
    { errno: 'ECONNRESET', hint: /nobody listens/ },
    { errno: 'EPROTO', hint: /^$/ },
])
    test(`no way to the service: ${errno}`, async (t) => {
        const path = join(temporaryFolder(t), 'conf')
        writeFileSync(path, 'port=4050')
        const connect = () => Promise.reject(Object.assign(new Error(`connect ${errno}`), { code: errno }))
        const error = await t.throwsAsync<AttestError>(quotingService({ path, connect }).quote(REPORT), {
            code: 'ERR_QUOTE_UNAVAILABLE',
        })
        t.regex(error?.hint ?? '', hint)
    })

for (const { name, header, more = {}, says } of [
    { name: 'another version', header: { major: 2 }, says: /version is 2\.0/ },
    { name: 'another minor version', header: { minor: 2 }, says: /version is 1\.2/ },
    { name: 'the answer to another request', header: { type: 3 }, says: /type 3/ },
    { name: 'another size', header: { size: 4000 }, says: /says that it has 4000 bytes, and has 5024/ },
    { name: 'an id that is not there', header: {}, more: { idSize: 1 }, says: /an id of 1 bytes and a quote of 5000/ },
    { name: 'a quote beyond the end', header: {}, more: { quoteSize: 5001 }, says: /a quote of 5001/ },
    { name: 'sizes that add up by running over', header: {}, more: { idSize: 0xffff_ffff }, says: /4294967295/ },
] as { name: string; header: Response['header']; more?: Response; says: RegExp }[])
    test(`a message, refused: ${name}`, (t) => {
        t.throws(() => readQuoteResponse(response({ ...more, header: header ?? {} })), {
            code: 'ERR_QUOTE_MESSAGE',
            message: says,
        })
    })

test('a message that is shorter than its header, or has none of what it needs', (t) => {
    const code = 'ERR_QUOTE_MESSAGE'
    for (const size of [0, 15]) t.throws(() => readQuoteResponse(Buffer.alloc(size)), { code })
    const header = MESSAGE_HEADER.encode({ major: 1, minor: 0, type: 1, size: 16, errorCode: 0 })
    t.throws(() => readQuoteResponse(header), { code, message: /no quote/ })
})

for (const { name, text, want } of [
    { name: 'a port', text: 'port=4050', want: 4050 },
    { name: 'with blanks', text: ' port = 4050 \n', want: 4050 },
    { name: 'among comments', text: '# port=1\n#port=2\nport=4050\nport=4051\n', want: 4050 },
    { name: 'lines of Windows', text: 'port=4050\r\n', want: 4050 },
    { name: 'another setting', text: 'sport=4050', want: null },
    { name: 'no number', text: 'port=vsock', want: null },
    { name: 'a number and more', text: 'port=4050x', want: null },
    { name: 'zero', text: 'port=0', want: null },
    { name: 'any port', text: 'port=4294967295', want: null },
    { name: 'more than 32 bits', text: 'port=9999999999', want: null },
    { name: 'nothing', text: '', want: null },
])
    test(`the file of the port: ${name}`, (t) => {
        const path = join(temporaryFolder(t), 'conf')
        writeFileSync(path, text)
        t.is(quotingService({ path }).port(), want)
    })

test('no file: no port, and nobody is asked', async (t) => {
    const path = join(temporaryFolder(t), 'none')
    const door = quotingService({ path, connect: () => Promise.reject(new TypeError('asked')) })
    t.is(door.port(), null)
    await t.throwsAsync(door.quote(REPORT), { code: 'ERR_QUOTE_UNAVAILABLE' })
})
