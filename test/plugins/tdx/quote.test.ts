// Quotes as bytes: what is parsed is what was encoded, in every version and body, and every size is held to.
// SPDX-License-Identifier: Apache-2.0

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { TD_ATTRIBUTES } from '#plugins/tdx/attributes.ts'
import { INTEL_QE_VENDOR, parseQuote, QE_REPORT_SIZE, type QuoteParts, type TdBody } from '#plugins/tdx/quote.ts'
import { encodeQuote, encodeSigned } from '#plugins/tdx/quote-encode.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'

const bytes = (size: number) => fc.uint8Array({ minLength: size, maxLength: size }).map((b) => Buffer.from(b))
const upTo = (size: number) => fc.uint8Array({ maxLength: size }).map((b) => Buffer.from(b))
const word = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn })

const td10 = {
    teeTcbSvn: bytes(16),
    mrSeam: bytes(48),
    mrSignerSeam: bytes(48),
    seamAttributes: word,
    tdAttributes: word,
    xfam: word,
    mrTd: bytes(48),
    mrConfigId: bytes(48),
    mrOwner: bytes(48),
    mrOwnerConfig: bytes(48),
    rtmrs: fc.tuple(bytes(48), bytes(48), bytes(48), bytes(48)),
    reportData: bytes(64),
}
const td15 = { ...td10, teeTcbSvn2: bytes(16), mrServiceTd: bytes(48) }
const bodies: Readonly<Record<2 | 3 | 4, fc.Arbitrary<TdBody>>> = {
    2: fc.record(td10),
    3: fc.record(td15),
    4: fc.record({ ...td15, extended: bytes(237) }),
}

const kinds = fc.constantFrom([4, 2], [5, 2], [5, 3], [5, 4]) as fc.Arbitrary<readonly [4 | 5, 2 | 3 | 4]>
const anyQuote = kinds.chain(
    ([version, bodyType]): fc.Arbitrary<QuoteParts> =>
        fc.record({
            header: fc.record({
                version: fc.constant(version),
                attestationKeyType: fc.constant(2),
                teeType: fc.constant(0x81),
                qeVendorId: fc.constant(INTEL_QE_VENDOR),
                userData: bytes(20),
            }),
            bodyType: fc.constant(bodyType),
            body: bodies[bodyType],
            signature: bytes(64),
            attestationKey: bytes(64),
            qeReport: bytes(QE_REPORT_SIZE),
            qeReportSignature: bytes(64),
            authData: upTo(300),
            certification: fc.record({ type: fc.constant(5), data: upTo(500) }),
        }),
)

test('what is parsed is what was encoded', (t) => {
    fc.assert(
        fc.property(anyQuote, upTo(64), (parts, behind) => {
            const encoded = encodeQuote(parts)
            const { version, signedSize, size, ...parsed } = parseQuote(Buffer.concat([encoded, behind]))
            t.is(version, parts.header.version as 4 | 5)
            t.is(size, encoded.length)
            t.deepEqual(encoded.subarray(0, signedSize), encodeSigned(parts))
            t.deepEqual<unknown, unknown>(
                { ...parsed, header: { ...parsed.header } },
                { ...parts, header: { ...parts.header } },
            )
            t.deepEqual(encodeQuote(parsed), encoded)
        }),
    )
})

test('a quote that is cut anywhere is refused', (t) => {
    const [parts] = fc.sample(anyQuote, { numRuns: 1, seed: 7 })
    if (!parts) return t.fail()
    const encoded = encodeQuote(parts)
    for (let size = 0; size < encoded.length; size++)
        t.throws(() => parseQuote(encoded.subarray(0, size)), { code: 'ERR_TDX_QUOTE' }, `${size} bytes`)
})

test('what is refused is named', (t) => {
    const [parts] = fc.sample(
        kinds.chain(() => anyQuote),
        { numRuns: 1, seed: 1 },
    )
    if (!parts) return t.fail()
    const refused = (offset: number, value: number): string => {
        const raw = encodeQuote({ ...parts, header: { ...parts.header, version: 5 }, bodyType: 2 })
        raw.writeUInt16LE(value, offset)
        return t.throws(() => parseQuote(raw), { code: 'ERR_TDX_QUOTE' })?.message ?? ''
    }
    t.regex(refused(0, 3), /version 3 is the quote of an SGX enclave/)
    t.regex(refused(4, 0), /TEE type 0 is an SGX enclave/)
    t.regex(refused(48, 1), /body type 1 is the report of an SGX enclave/)
    t.regex(refused(48, 3), /body type 3 has 648 bytes, the quote says 584/)
    t.regex(refused(12, 0), /QE vendor: expected 939a7233/)
    for (const [type, name] of [
        [1, 'a PPID in the clear'],
        [2, 'a PPID encrypted with RSA-2048'],
        [3, 'a PPID encrypted with RSA-3072'],
        [4, 'the PCK certificate alone'],
    ] as const) {
        const raw = encodeQuote({ ...parts, certification: { ...parts.certification, type } })
        const error = t.throws(() => parseQuote(raw), { code: 'ERR_TDX_CERTIFICATION' })
        t.true(error?.message.endsWith(`got ${type} (${name})`), error?.message)
    }
})

test('attributes of TDs that were seen have a name for each bit', (t) => {
    for (const attributes of [0x10000000n, 0x40000000n, 0x8000000010000000n, 0n, 0x10000001n])
        t.is(TD_ATTRIBUTES.unknown(attributes), 0n)
    t.true(TD_ATTRIBUTES.read(0x10000001n).debug)
    t.true(TD_ATTRIBUTES.read(0x8000000010000000n).perfmon)
})

needs(vectors('snp-tdx/tdx'))('real quotes are written as they came', (t) => {
    const folder = join(VECTORS, 'snp-tdx/tdx')
    let read = 0
    for (const name of readdirSync(folder)) {
        const raw = readFileSync(join(folder, name))
        if (raw.length < 3000 || raw.readUInt32LE(4) !== 0x81 || ![4, 5].includes(raw.readUInt16LE(0))) continue
        const quote = parseQuote(raw)
        t.deepEqual(encodeQuote(quote), raw.subarray(0, quote.size), name)
        read++
    }
    t.true(read > 10)
})
