// The attestation evidence broker: its frames as containerd's ttrpc wrote them, its evidence in each form, what a guest
// makes of a host that refuses or talks nonsense, and what a host makes of such a guest.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes, randomInt } from 'node:crypto'
import { duplexPair } from 'node:stream'
import test from 'ava'
import { AttestError } from '#core/errors.ts'
import {
    encodeFrame,
    REQUEST,
    RESPONSE,
    readFrames,
    refused,
    serveTtrpc,
    type TtrpcAnswer,
    ttrpcClient,
} from '#core/ttrpc.ts'
import {
    AEB_SERVICES,
    type AebHost,
    answerAeb,
    EVIDENCE_REQUEST,
    EVIDENCE_RESPONSE,
    METHODS,
    retrieveEvidence,
    SIZE_RESPONSE,
} from '#plugins/sev/aeb/client.ts'
import { encodeAebEvidence, FORMS, isAebEvidence, parseAebEvidence } from '#plugins/sev/aeb/evidence.ts'
import { vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { MANIFEST, valuesOf } from './manifest.ts'

const PARTS = { report: randomBytes(208), cek: randomBytes(2084), pek: randomBytes(2084), oca: randomBytes(2084) }
const JSON_TEXT = encodeAebEvidence(PARTS, 'json')
const PACKED = encodeAebEvidence(PARTS, 'packed')
const QUICK = { timeoutMs: 5000 }

const FRAMES = MANIFEST.filter(({ command }) => command.startsWith('aebgo client→server')).map(
    ({ command, output, line }) => ({
        frame: Buffer.from(valuesOf(output)('frame'), 'hex'),
        isRequest: command.endsWith('C>S'),
        line,
    }),
)

async function only(bytes: Buffer) {
    const [near, far] = duplexPair()
    near.end(bytes)
    const frames = []
    for await (const frame of readFrames(far)) frames.push(frame)
    return frames[0] ?? { stream: 0, type: 0, payload: Buffer.alloc(0) }
}

needs(vectors('sev/manifest.tsv'))('frames of containerd’s ttrpc, byte for byte', async (t) => {
    t.is(FRAMES.length, 10)
    for (const { frame, isRequest, line } of FRAMES) {
        const { stream, type, payload } = await only(frame)
        t.is(type, isRequest ? 1 : 2)
        const again = isRequest ? REQUEST.encode(REQUEST.parse(payload)) : RESPONSE.encode(RESPONSE.parse(payload))
        t.deepEqual(encodeFrame({ stream, type, payload: again }), frame, `line ${line}`)
    }
})

needs(vectors('sev/manifest.tsv'))('what they say, and what we answer to it', async (t) => {
    const payloads = (wanted: boolean) =>
        Promise.all(
            FRAMES.filter(({ isRequest }) => isRequest === wanted).map(
                async ({ frame }) => (await only(frame)).payload,
            ),
        )
    const [sizing, , asking, , nope] = (await payloads(true)).map((payload) => REQUEST.parse(payload))
    const [sized, bad, answered, , noMethod] = (await payloads(false)).map((payload) => RESPONSE.parse(payload))
    if (!sizing || !asking || !nope || !sized || !answered) return t.fail('rows are missing')
    t.like(sizing, { service: 'aeb.AEB', method: METHODS.size })
    t.is(SIZE_RESPONSE.parse(sized.payload).evidenceSize, PACKED.length)
    t.deepEqual(bad?.status, { code: 2, message: 'bad handle' })
    t.deepEqual(EVIDENCE_REQUEST.parse(asking.payload), { guestHandle: 7, evidenceSize: PACKED.length })
    const { evidence } = EVIDENCE_RESPONSE.parse(answered.payload)
    t.is(Buffer.from(evidence).toString(), '{"report":"test","n":6460}')
    t.deepEqual(await answerAeb(nope, HOST), noMethod)
})

/** Its evidence is short: much can be asked of it. */
const SMALL: AebHost = { has: async (handle) => handle === 7, evidence: async () => Buffer.alloc(20, 1) }

const HOST: AebHost = { has: async (handle) => handle === 7, evidence: async () => JSON_TEXT }

test('evidence in each form', (t) => {
    for (const form of FORMS) {
        const bytes = encodeAebEvidence(PARTS, form)
        t.true(isAebEvidence(bytes))
        t.deepEqual(parseAebEvidence(bytes), { ...PARTS, form, deviceType: null })
    }
    t.is(PACKED.length, 6460)
    t.false(isAebEvidence(PARTS.report))
    t.false(isAebEvidence(Buffer.alloc(208, '{')))
    const typed = { ...JSON.parse(JSON_TEXT.toString()), device_type: 2 }
    t.is(parseAebEvidence(Buffer.from(JSON.stringify(typed))).deviceType, 'Milan')
    t.is(parseAebEvidence(Buffer.concat([PACKED, Buffer.of(1)])).deviceType, 'Naples')
})

const changed = (change: object): Buffer =>
    Buffer.from(JSON.stringify({ ...JSON.parse(JSON_TEXT.toString()), ...change }))

for (const { name, bytes, says } of [
    { name: 'nothing', bytes: Buffer.alloc(0), says: /not JSON/ },
    { name: 'half of it', bytes: JSON_TEXT.subarray(0, 9000), says: /not JSON/ },
    { name: 'packed, a byte short', bytes: PACKED.subarray(1), says: /AEB evidence: / },
    { name: 'a processor that nobody knows', bytes: Buffer.concat([PACKED, Buffer.of(3)]), says: /device type 3/ },
    { name: 'the same in JSON', bytes: changed({ device_type: 3 }), says: /device_type/ },
    { name: 'a short report', bytes: changed({ report: [1, 2] }), says: /report/ },
    { name: 'text for bytes', bytes: changed({ pek: 'abc' }), says: /pek/ },
    { name: 'no byte', bytes: changed({ report: Array(208).fill(256) }), says: /report\.0/ },
    { name: 'half a byte', bytes: changed({ report: Array(208).fill(0.5) }), says: /report\.0/ },
    { name: 'no OCA', bytes: changed({ oca: undefined }), says: /oca/ },
    { name: 'something else', bytes: changed({ nonce: 1 }), says: /nonce/ },
    { name: 'a list', bytes: Buffer.from('[]'), says: /AEB evidence/ },
    { name: 'too much', bytes: Buffer.alloc(70_000, ' '), says: /70000 bytes/ },
])
    test(`evidence that is none: ${name}`, (t) => {
        t.throws(() => parseAebEvidence(bytes), { code: 'ERR_SEV_EVIDENCE', message: says })
    })

/** A client, and whoever answers it. */
function peers(t: { teardown(end: () => unknown): void }, answer: Parameters<typeof serveTtrpc>[1]) {
    const [near, far] = duplexPair()
    void serveTtrpc(far, answer, QUICK).catch(() => undefined)
    const client = ttrpcClient(near, QUICK)
    t.teardown(() => client.close())
    return client
}

test('a guest asks, its host answers, by either name of the service', async (t) => {
    const asked: string[] = []
    for (const names of [AEB_SERVICES, AEB_SERVICES.slice(1)]) {
        const client = peers(t, (request) => {
            asked.push(request.service)
            return (names as readonly string[]).includes(request.service)
                ? answerAeb(request, HOST)
                : Promise.resolve(refused(12, 'service'))
        })
        t.deepEqual(await retrieveEvidence(client, 7), JSON_TEXT)
    }
    t.deepEqual(asked, ['aeb.AEB', 'aeb.AEB', 'aeb.AEB', 'aeb.AEBService', 'aeb.AEBService'])
})

const ok = (payload: Uint8Array): TtrpcAnswer => ({ status: null, payload })
const size = (errorCode: number) => ok(SIZE_RESPONSE.encode({ errorCode, evidenceSize: 6460 }))
const evidence = (errorCode: number, length: number) =>
    ok(EVIDENCE_RESPONSE.encode({ errorCode, evidenceSize: 6460, evidence: Buffer.alloc(length) }))

for (const { name, first = size(0), second = evidence(0, 1), code, says } of [
    { name: 'no AEB', first: refused(12, 'service'), code: 'ERR_SEV_AEB_REFUSED', says: /is no AEB/ },
    { name: 'an error', first: refused(2, 'bad handle'), code: 'ERR_SEV_AEB_REFUSED', says: /bad handle \(status 2\)/ },
    {
        name: 'an error of 30000 characters',
        first: refused(2, 'bad '.repeat(7500)),
        code: 'ERR_SEV_AEB_REFUSED',
        says: /^the host answers: (bad ){50}… \(30000 characters\) \(status 2\)$/,
    },
    { name: 'a code of an error', first: size(5), code: 'ERR_SEV_AEB_REFUSED', says: /the error 5/ },
    { name: 'an error at last', second: refused(13, 'psp'), code: 'ERR_SEV_AEB_REFUSED', says: /psp/ },
    { name: 'a code at last', second: evidence(1, 5), code: 'ERR_SEV_AEB_REFUSED', says: /the error 1/ },
    { name: 'nothing', second: evidence(0, 0), code: 'ERR_SEV_EVIDENCE', says: /empty/ },
    { name: 'too much', second: evidence(0, 70_000), code: 'ERR_SEV_EVIDENCE', says: /70000 bytes, at most/ },
    { name: 'nonsense', first: ok(Buffer.from('zz')), code: 'ERR_ENCODING', says: /size response/ },
])
    test(`a host that answers with ${name}`, async (t) => {
        const client = peers(t, async ({ method }) => (method === METHODS.size ? first : second))
        await t.throwsAsync(retrieveEvidence(client, 7), { code, message: says })
    })

for (const { name, request, code } of [
    { name: 'another service', request: { service: 'aeb', method: METHODS.size }, code: 12 },
    { name: 'another method', request: { service: 'aeb.AEB', method: 'toString' }, code: 12 },
    { name: 'nonsense', request: { payload: Buffer.from('08', 'hex') }, code: 3 },
    { name: 'a guest that is not there', request: { payload: Buffer.from('0808', 'hex') }, code: 5 },
    { name: 'room for less', request: { method: METHODS.evidence, payload: Buffer.from('08071001', 'hex') }, code: 3 },
])
    test(`a guest that asks for ${name}`, async (t) => {
        const asked = { service: 'aeb.AEB', method: METHODS.size, payload: Buffer.alloc(0), ...request }
        t.is((await answerAeb(asked, HOST)).status?.code, code)
    })

/** Some bytes of it changed; now and then cut off, or nothing like it. */
function spoilt(good: Uint8Array, i: number): Buffer {
    const bytes = i % 10 === 0 ? randomBytes(randomInt(80)) : Buffer.from(good)
    for (let flips = randomInt(4); flips > 0; flips--)
        if (bytes.length > 0) bytes[randomInt(bytes.length)] = randomInt(256)
    return i % 7 === 0 ? bytes.subarray(0, randomInt(bytes.length + 1)) : bytes
}

const failed = (error: unknown): string => {
    if (error instanceof AttestError) return error.code
    throw error
}

test('10000 random frames, to a host', async (t) => {
    const frames = Object.values(METHODS).map((method) => {
        const payload = EVIDENCE_REQUEST.encode({ guestHandle: 7, evidenceSize: PACKED.length })
        const request = REQUEST.encode({ service: 'aeb.AEB', method, payload, timeoutNano: 0n })
        return encodeFrame({ stream: 1, type: 1, payload: request })
    })
    const ended = new Map<string, number>()
    for (let i = 0; i < 10_000; i++) {
        const [near, far] = duplexPair()
        near.resume().end(spoilt(frames[i % 2] ?? JSON_TEXT, i))
        const how = await serveTtrpc(far, (request) => answerAeb(request, SMALL), QUICK).then(() => 'end', failed)
        ended.set(how, (ended.get(how) ?? 0) + 1)
    }
    t.true((ended.get('end') ?? 0) > 1000)
    t.true((ended.get('ERR_TTRPC') ?? 0) > 1000)
})

test('10000 random frames, to a guest', async (t) => {
    const evidence = await SMALL.evidence(7)
    const sizes = { errorCode: 0, evidenceSize: PACKED.length }
    const whole = [SIZE_RESPONSE.encode(sizes), EVIDENCE_RESPONSE.encode({ ...sizes, evidence })].map((payload, at) =>
        encodeFrame({ stream: 1 + 2 * at, type: 2, payload: RESPONSE.encode({ status: null, payload }) }),
    )
    const ended = new Map<string, number>()
    for (let i = 0; i < 10_000; i++) {
        const [near, far] = duplexPair()
        far.resume().end(spoilt(Buffer.concat(whole), i))
        const client = ttrpcClient(near, QUICK)
        const how = await retrieveEvidence(client, 7).then(() => 'end', failed)
        client.close()
        ended.set(how, (ended.get(how) ?? 0) + 1)
    }
    t.true((ended.get('end') ?? 0) > 1000)
    t.true((ended.get('ERR_TTRPC') ?? 0) > 1000)
})

test('10000 random pieces of evidence', (t) => {
    let refusals = 0
    for (let i = 0; i < 10_000; i++) {
        const bytes = Buffer.from([JSON_TEXT, PACKED, randomBytes(randomInt(300))][i % 3] ?? '')
        for (let flips = randomInt(1, 4); flips > 0; flips--)
            if (bytes.length > 0) bytes[randomInt(bytes.length)] = randomInt(256)
        try {
            parseAebEvidence(i % 7 === 0 ? bytes.subarray(0, randomInt(bytes.length + 1)) : bytes)
        } catch (error) {
            if (!(error instanceof AttestError)) return t.fail(`${bytes.toString('hex')}: ${error}`)
            refusals++
        }
    }
    t.true(refusals > 5000, `${refusals} were refused`)
})
