// Single bits of real reports and certificates: whatever the verdict rests on, one flipped bit is refused with a code;
// what it does not rest on changes nothing. And whatever the bytes, nothing crashes.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { AttestError } from '#core/errors.ts'
import { judge } from '#evidence/judge.ts'
import { recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { CERT_GUIDS, encodeCertTable } from '#plugins/snp/cert-table.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'

const FLIPS = 300
const AT = new Date('2026-06-01T00:00:00Z')
const FOLDER = join(VECTORS, 'snp-tdx')

const SETS = [
    {
        line: 'Milan',
        report: 'derived/az-snp-live.report.bin',
        vek: 'derived/az-snp-live.vcek.der',
        ask: 'snp-roots/go-sev-guest--ask_ark_milan.pem',
    },
    {
        line: 'Genoa',
        report: 'snp/attestation-rs--live-report-v5-genoa.bin',
        vek: 'snp/attestation-rs--live-vcek-genoa.der',
        ask: 'snp-roots/go-sev-guest--ask_ark_genoa.pem',
    },
    {
        line: 'Turin',
        report: 'snp/TEE-Attestation-Verification--turin_attestation_report.bin',
        vek: 'snp/TEE-Attestation-Verification--turin_vcek.pem',
        ask: 'snp-roots/go-sev-guest--ask_ark_turin_vcek.pem',
    },
] as const

const read = (path: string): Buffer => readFileSync(join(FOLDER, path))

const der = (bytes: Buffer): Buffer[] =>
    [...bytes.toString('latin1').matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END/g)].map((m) =>
        Buffer.from(m[1] ?? '', 'base64'),
    )

function judgeWith(report: Buffer, vek: Buffer, table?: Buffer) {
    const verifier = snpVerifier({
        ...STRICT_TRUST,
        certificates: [{ name: 'vek', bytes: vek }],
        withoutRevocation: true,
    })
    return judge(verifier, { tee: 'snp', report, ...(table ? { certificates: table } : {}) }, {}, AT)
}

function flipped(bytes: Buffer, bit: number): Buffer {
    const out = Buffer.from(bytes)
    out[bit >> 3] = (out[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    return out
}

// The regions of a report, so that each gets its share: a random bit alone would hardly ever hit R or S.
const REGIONS = [
    { name: 'the signed part', from: 0, to: 0x2a0, share: 140 },
    { name: 'R', from: 0x2a0, to: 0x2e8, share: 50 },
    { name: 'S', from: 0x2e8, to: 0x330, share: 50 },
    { name: 'the zeros behind', from: 0x330, to: 0x4a0, share: 60 },
] as const

const pathsOf = ({ report, vek, ask }: (typeof SETS)[number]) => [report, vek, ask].map((path) => `snp-tdx/${path}`)

for (const set of SETS) {
    const { line, report, vek, ask } = set
    const vectorTest = needs(vectors(...pathsOf(set)))
    vectorTest(`${FLIPS} flipped bits of a real report of ${line} are all refused`, (t) => {
        const raw = read(report)
        t.is(judgeWith(raw, read(vek)).verdict, 'authentic')
        for (const { name, from, to, share } of REGIONS)
            for (let i = 0; i < share; i++) {
                const bit = from * 8 + (randomBytes(4).readUInt32LE() % ((to - from) * 8))
                const judgement = judgeWith(flipped(raw, bit), read(vek))
                t.is(judgement.verdict, 'rejected', `bit ${bit} in ${name}`)
                t.regex(judgement.code ?? '', /^ERR_/)
            }
    })

    vectorTest(`${FLIPS} flipped bits of a real VEK of ${line} are all refused`, (t) => {
        const bytes = read(vek)
        const certificate = der(bytes)[0] ?? bytes
        t.is(judgeWith(read(report), certificate).verdict, 'authentic')
        for (let i = 0; i < FLIPS; i++) {
            const bit = randomBytes(4).readUInt32LE() % (certificate.length * 8)
            const judgement = judgeWith(read(report), flipped(certificate, bit))
            t.not(judgement.verdict, 'authentic', `bit ${bit} of ${certificate.length * 8}`)
            t.regex(judgement.code ?? '', /^ERR_/, `bit ${bit}`)
        }
    })

    vectorTest(`flipped bits of what the verdict on ${line} does not use change nothing`, (t) => {
        const certificate = der(read(vek))[0] ?? read(vek)
        const [askDer = Buffer.alloc(0), arkDer = Buffer.alloc(0)] = der(read(ask))
        for (let i = 0; i < 60; i++) {
            const data = i % 2 === 0 ? askDer : arkDer
            const bad = flipped(data, randomBytes(4).readUInt32LE() % (data.length * 8))
            // The host's ASK and ARK: the built-in keys decide, whatever stands there.
            const table = encodeCertTable([
                { guid: CERT_GUIDS.VCEK, data: certificate },
                { guid: CERT_GUIDS.ASK, data: i % 2 === 0 ? bad : askDer },
                { guid: CERT_GUIDS.ARK, data: i % 2 === 0 ? arkDer : bad },
            ])
            const verifier = snpVerifier({ ...STRICT_TRUST, withoutRevocation: true })
            t.is(
                judge(verifier, { tee: 'snp', report: read(report), certificates: table }, {}, AT).verdict,
                'authentic',
            )
        }
    })
}

type Outcome = 'authentic' | 'refused' | { readonly crash: unknown }

/** Whatever is thrown must say what is wrong; anything else is a crash. */
function outcomeOf(bytes: Buffer): Outcome {
    const verifier = snpVerifier({ ...STRICT_TRUST, withoutRevocation: true })
    try {
        const { evidence } = recognise(bytes, [verifier])
        verifier.describe(evidence)
        return judge(verifier, evidence, {}, AT).verdict === 'authentic' ? 'authentic' : 'refused'
    } catch (error) {
        return error instanceof AttestError ? 'refused' : { crash: error }
    }
}

test('10 000 random inputs: nothing crashes, nothing is authentic', (t) => {
    const noise = fc.uint8Array({ maxLength: 3000 }).map((b) => Buffer.from(b))
    const text = fc.string({ maxLength: 2000, unit: 'binary' }).map((s) => Buffer.from(s))
    const json = fc.json({ maxDepth: 6 }).map((s) => Buffer.from(s))
    // Bytes that begin as a report does come further.
    const almost = fc
        .tuple(fc.constantFrom(2, 3, 5, 6, 9), fc.uint8Array({ minLength: 1100, maxLength: 3000 }))
        .map(([version, rest]) => {
            const out = Buffer.from(rest)
            out.writeUInt32LE(version, 0)
            out.writeUInt32LE(1, 0x34)
            return out
        })
    const mostlyZero = fc
        .tuple(almost, fc.nat(1183))
        .map(([b, keep]) => Buffer.from(b).fill(0, 0x38, Math.max(0x38, Math.min(b.length, keep))))
    fc.assert(
        fc.property(fc.oneof(noise, text, json, almost, mostlyZero), (bytes) => outcomeOf(bytes) === 'refused'),
        { numRuns: 10_000 },
    )
    t.pass()
})

needs(vectors(...SETS.flatMap(pathsOf)))('10 000 mutated and cut real inputs: nothing crashes', (t) => {
    const sources = [
        ...SETS.map(({ report, vek }) =>
            Buffer.concat([
                read(report),
                encodeCertTable([{ guid: CERT_GUIDS.VCEK, data: der(read(vek))[0] ?? read(vek) }]),
            ]),
        ),
        read('snp/trustee--e2e-evidence.json'),
    ]
    for (let i = 0; i < 10_000; i++) {
        const source = sources[i % sources.length] as Buffer
        const bytes = Buffer.from(source.subarray(0, 1 + (randomBytes(4).readUInt32LE() % source.length)))
        for (let n = randomBytes(1).readUInt8() % 8; n >= 0; n--)
            bytes[randomBytes(4).readUInt32LE() % bytes.length] = randomBytes(1).readUInt8()
        const outcome = outcomeOf(bytes)
        if (typeof outcome !== 'string') throw outcome.crash
    }
    t.pass()
})
