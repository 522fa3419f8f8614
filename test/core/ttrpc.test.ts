// ttrpc on both sides of a stream: calls, and a peer that hangs, breaks off, announces too much, or answers something else.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes, randomInt } from 'node:crypto'
import { Duplex, duplexPair } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { AttestError } from '#core/errors.ts'
import {
    CODES,
    encodeFrame,
    FRAME_TYPES,
    type Frame,
    REQUEST,
    RESPONSE,
    readFrames,
    refused,
    serveTtrpc,
    type TtrpcRequest,
    ttrpcClient,
} from '#core/ttrpc.ts'

const QUICK = { timeoutMs: 5000 }
const CALL: TtrpcRequest = { service: 's', method: 'm', payload: Buffer.from('payload') }

const echo = async ({ method, payload }: TtrpcRequest) =>
    method === 'm' ? { status: null, payload } : refused(CODES.unimplemented, `method ${method}`)

async function* from(...chunks: readonly Uint8Array[]): AsyncGenerator<Buffer> {
    for (const chunk of chunks) yield Buffer.from(chunk)
}

const frame = (stream: number, type: number, payload: Uint8Array): Buffer => encodeFrame({ stream, type, payload })

const answer = (stream: number, text: string): Buffer =>
    frame(stream, FRAME_TYPES.response, RESPONSE.encode({ status: null, payload: Buffer.from(text) }))

test('calls, one after the other, on one connection', async (t) => {
    const [near, far] = duplexPair()
    const serving = serveTtrpc(far, echo, QUICK)
    const client = ttrpcClient(near, QUICK)
    for (const payload of [CALL.payload, Buffer.alloc(0), randomBytes(300_000)])
        t.deepEqual(await client.call({ ...CALL, payload }), { status: null, payload: Buffer.from(payload) })
    t.deepEqual(await client.call({ ...CALL, method: 'n' }), {
        status: { code: 12, message: 'method n' },
        payload: Buffer.alloc(0),
    })
    near.end()
    await serving
    client.close()
})

test('frames, however they are cut', async (t) => {
    const whole = Buffer.concat([answer(1, 'one'), frame(3, 1, Buffer.alloc(0)), answer(5, 'x'.repeat(70_000))])
    for (const size of [1, 3, 10, 64, 65_536, whole.length]) {
        const chunks = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) =>
            whole.subarray(i * size, (i + 1) * size),
        )
        const got: Frame[] = []
        for await (const one of readFrames(from(...chunks))) got.push(one)
        t.deepEqual(
            Buffer.concat(got.map(({ stream, type, payload }) => frame(stream, type, payload))),
            whole,
            `${size}`,
        )
        t.deepEqual(
            got.map(({ stream }) => stream),
            [1, 3, 5],
        )
    }
})

for (const { name, bytes, says } of [
    { name: 'half a head', bytes: '0000000000', says: /broke off after 5 of 10/ },
    { name: 'a head alone', bytes: '00000005000000010200', says: /broke off after 0 of 5/ },
    { name: 'more than is accepted', bytes: '00000041000000010200', says: /announces 65 bytes, at most 64/ },
    { name: 'four gigabytes', bytes: 'ffffffff000000010200', says: /announces 4294967295/ },
])
    test(`frames: ${name}`, async (t) => {
        const reading = async () => {
            for await (const one of readFrames(from(Buffer.from(bytes, 'hex')), 64)) t.fail(JSON.stringify(one))
        }
        await t.throwsAsync(reading, { code: 'ERR_TTRPC', message: says })
    })

for (const { name, bytes, code, says } of [
    { name: 'an end', bytes: Buffer.alloc(0), code: 'ERR_TTRPC', says: /ended without an answer/ },
    { name: 'an end within', bytes: answer(1, 'a').subarray(0, -1), code: 'ERR_TTRPC', says: /broke off/ },
    { name: 'to another call', bytes: answer(3, 'a'), code: 'ERR_TTRPC', says: /to the call 3, expected one to 1/ },
    { name: 'a request', bytes: frame(1, 1, Buffer.alloc(0)), code: 'ERR_TTRPC', says: /type 1, expected a response/ },
    { name: 'no protobuf', bytes: frame(1, 2, Buffer.from('08', 'hex')), code: 'ERR_ENCODING', says: /response: malf/ },
    { name: 'too much', bytes: answer(1, 'x'.repeat(2000)), code: 'ERR_TTRPC', says: /at most 1024/ },
])
    test(`an answer that is none: ${name}`, async (t) => {
        const [near, far] = duplexPair()
        far.end(bytes)
        const client = ttrpcClient(near, { ...QUICK, maxPayload: 1024 })
        await t.throwsAsync(client.call(CALL), { code, message: says })
        t.true(near.destroyed)
    })

test('status 0 is no error', async (t) => {
    const [near, far] = duplexPair()
    far.end(frame(1, 2, RESPONSE.encode({ status: { code: 0, message: 'OK' }, payload: Buffer.from('a') })))
    t.is((await ttrpcClient(near, QUICK).call(CALL)).status, null)
})

test('a server that hangs, and a caller that gives up', async (t) => {
    const [near] = duplexPair()
    await t.throwsAsync(ttrpcClient(near, { timeoutMs: 50 }).call(CALL), {
        code: 'ERR_INTERRUPTED',
        message: 's/m: gave up after 0.05 s',
    })
    const [other] = duplexPair()
    const reason = new Error('enough')
    await t.throwsAsync(ttrpcClient(other, QUICK).call(CALL, AbortSignal.abort(reason)), { is: reason })
    t.true(other.destroyed)
})

test('the time that is left to a call is told', async (t) => {
    const [near, far] = duplexPair()
    const call = ttrpcClient(near, QUICK).call(CALL)
    const { value } = await readFrames(far).next()
    t.is(REQUEST.parse(value.payload).timeoutNano, 5_000_000_000n)
    far.end(answer(1, 'a'))
    await call
})

test('a stream that fails: told once, by the call', async (t) => {
    const failing = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done(new Error('EPIPE of sorts')) })
    await t.throwsAsync(ttrpcClient(failing, QUICK).call(CALL), { message: 'EPIPE of sorts' })
})

test('a server that hangs up after a call, and a stream that is over', async (t) => {
    const [near, far] = duplexPair({ allowHalfOpen: false })
    far.end(answer(1, 'a'))
    const client = ttrpcClient(near, QUICK)
    t.is(String((await client.call(CALL)).payload), 'a')
    await t.throwsAsync(client.call(CALL), { code: 'ERR_TTRPC' })
    await t.throwsAsync(client.call(CALL), { code: 'ERR_TTRPC', message: 'ttrpc: the other side has hung up' })
    const [gone] = duplexPair()
    gone.destroy()
    await t.throwsAsync(ttrpcClient(gone, QUICK).call(CALL), { code: 'ERR_TTRPC' })
    await t.throwsAsync(serveTtrpc(gone, echo, QUICK), { code: 'ERR_TTRPC' })
})

for (const { name, bytes, code, status } of [
    { name: 'an even number', bytes: frame(2, 1, REQUEST.encode({ ...CALL, timeoutNano: 0n })), status: /must be odd/ },
    { name: 'no protobuf', bytes: frame(1, 1, Buffer.from('0a', 'hex')), status: /ttrpc request: malformed/ },
    { name: 'a response', bytes: answer(1, 'a'), code: 'ERR_TTRPC' },
    { name: 'half of one', bytes: answer(1, 'a').subarray(0, 12), code: 'ERR_TTRPC' },
    { name: 'too much', bytes: frame(1, 1, Buffer.alloc(2000)), code: 'ERR_TTRPC' },
])
    test(`a request that is none: ${name}`, async (t) => {
        const [near, far] = duplexPair()
        const serving = serveTtrpc(far, echo, { ...QUICK, maxPayload: 1024 })
        near.end(bytes)
        if (code) {
            near.resume()
            await t.throwsAsync(serving, { code })
        } else {
            const { value } = await readFrames(near).next()
            t.regex(RESPONSE.parse(value.payload).status?.message ?? '', status ?? /./)
            await serving
        }
    })

test('a number that was used is not used again', async (t) => {
    const [near, far] = duplexPair()
    const serving = serveTtrpc(far, echo, QUICK)
    const request = frame(3, 1, REQUEST.encode({ ...CALL, timeoutNano: 0n }))
    near.end(Buffer.concat([request, request]))
    const codes: (number | undefined)[] = []
    for await (const { payload } of readFrames(near)) codes.push(RESPONSE.parse(payload).status?.code)
    t.deepEqual(codes, [undefined, CODES.invalidArgument])
    await serving
})

test('callers that say nothing, say it slowly, or do not listen', async (t) => {
    const short = { timeoutMs: 60 }
    const gaveUp = { code: 'ERR_INTERRUPTED', message: /no whole request in 0.06 s/ }
    const [quiet, one] = duplexPair()
    await t.throwsAsync(serveTtrpc(one, echo, short), gaveUp)
    quiet.destroy()

    const [slow, two] = duplexPair()
    const serving = serveTtrpc(two, echo, short)
    const dripping = (async () => {
        for (const byte of answer(1, 'a'.repeat(100))) {
            if (two.destroyed) break
            slow.write(Buffer.from([byte]))
            await sleep(10)
        }
    })()
    await t.throwsAsync(serving, gaveUp)
    await dripping

    const [deaf, three] = duplexPair()
    const large = frame(1, 1, REQUEST.encode({ ...CALL, payload: Buffer.alloc(500_000), timeoutNano: 0n }))
    deaf.write(large)
    await t.throwsAsync(serveTtrpc(three, echo, short), gaveUp)
})

test('what the handler throws ends the connection', async (t) => {
    const [near, far] = duplexPair()
    const serving = serveTtrpc(far, () => Promise.reject(new Error('ours')), QUICK)
    near.write(frame(1, 1, REQUEST.encode({ ...CALL, timeoutNano: 0n })))
    await t.throwsAsync(serving, { message: 'ours' })
    t.true(far.destroyed)
})

test('10000 random frames', async (t) => {
    const good = [
        frame(1, 1, REQUEST.encode({ ...CALL, timeoutNano: 7n })),
        frame(1, 2, RESPONSE.encode({ status: { code: 5, message: 'no' }, payload: Buffer.from('a') })),
    ]
    let refusals = 0
    for (let i = 0; i < 10_000; i++) {
        const bytes = i % 4 === 0 ? randomBytes(randomInt(60)) : Buffer.from(good[i % 2] ?? '')
        if (bytes.length > 0)
            for (let flips = randomInt(3); flips > 0; flips--) bytes[randomInt(bytes.length)] = randomInt(256)
        try {
            for await (const { type, payload } of readFrames(from(bytes.subarray(0, randomInt(200)))))
                (type === 1 ? REQUEST : RESPONSE).parse(payload)
        } catch (error) {
            if (!(error instanceof AttestError)) return t.fail(`${bytes.toString('hex')}: ${error}`)
            refusals++
        }
    }
    t.true(refusals > 3000, `${refusals} were refused`)
})
