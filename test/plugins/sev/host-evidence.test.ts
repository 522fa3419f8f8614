// What a host says of a guest, as `inspect` shows it: known among other files, shown with what it is worth, whatever is
// wrong with it.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes, randomInt } from 'node:crypto'
import test from 'ava'
import { AttestError } from '#core/errors.ts'
import { readMistaken, recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { encodeAebEvidence } from '#plugins/sev/aeb/evidence.ts'
import { REPORT } from '#plugins/sev/aeb/report.ts'
import { EC_SIGNATURE_SIZE } from '#plugins/sev/chain/algorithms.ts'
import { sevVerifier } from '#plugins/sev/verifier.ts'
import { minted } from './minted.ts'

const { certificates } = await minted()
const { cek, unsignedCek, pek, oca } = certificates
const verifiers = [sevVerifier(STRICT_TRUST)]

const report = REPORT.encode({
    mnonce: Buffer.alloc(16, 1),
    launchDigest: Buffer.alloc(32, 2),
    policy: 7,
    sigUsage: 0x1002,
    sigAlgo: 2,
    signature: Buffer.alloc(EC_SIGNATURE_SIZE),
})
const parts = { report, cek, pek, oca }
const json = encodeAebEvidence(parts, 'json')
const packed = encodeAebEvidence(parts, 'packed')

const show = (bytes: Buffer): Readonly<Record<string, string>> =>
    Object.fromEntries(readMistaken(bytes, verifiers)?.fields.map(({ name, value }) => [name.trim(), value]) ?? [])
const means = (bytes: Buffer, key: string) =>
    readMistaken(bytes, verifiers)?.fields.find(({ name }) => name === key)?.means ?? ''

const WORTH = { binding: 'none', freshness: 'host-chosen', trust: 'informational' }

for (const { name, bytes, wants } of [
    { name: 'JSON', bytes: json, wants: { form: 'json' } },
    { name: 'packed', bytes: packed, wants: { form: 'packed' } },
    { name: 'with its processor', bytes: Buffer.concat([packed, Buffer.of(2)]), wants: { deviceType: 'Milan' } },
    { name: 'a report alone', bytes: report, wants: {} },
])
    test(`shown: ${name}`, (t) => {
        const fields = {
            launchDigest: '02'.repeat(32),
            mnonce: '01'.repeat(16),
            policy: '0x7',
            es: 'yes',
            noSend: 'no',
        }
        t.like(show(bytes), { ...WORTH, ...fields, ...wants })
        t.is(readMistaken(bytes, verifiers)?.tee, 'sev')
        t.throws(() => recognise(bytes, verifiers), { code: 'ERR_EVIDENCE_UNKNOWN' }, 'nothing else takes it')
    })

test('a broker takes none of it', (t) => {
    for (const verifier of verifiers) t.is(verifier.fromKbs(JSON.parse(json.toString())), null)
})

test('a chip’s key, with AMD’s signature, without it, and none', (t) => {
    t.regex(means(json, 'CEK'), /says signed by ASK/)
    t.regex(means(encodeAebEvidence({ ...parts, cek: unsignedCek }, 'json'), 'CEK'), /without a signature/)
    t.regex(show(encodeAebEvidence({ ...parts, oca: pek }, 'packed'))['OCA'] ?? '', /expected a certificate of OCA/)
})

for (const { name, bytes } of [
    { name: 'nothing', bytes: Buffer.alloc(0) },
    { name: '208 other bytes', bytes: Buffer.alloc(208, 7) },
    { name: '6460 other bytes', bytes: Buffer.alloc(6460, 7) },
    { name: 'other JSON', bytes: Buffer.from('{"report":[],"cek":[]}') },
])
    test(`not taken for it: ${name}`, (t) => t.is(readMistaken(bytes, verifiers), null))

test('10000 random ones', (t) => {
    let shown = 0
    for (let i = 0; i < 10_000; i++) {
        const bytes = Buffer.from([json, packed, report, randomBytes(randomInt(300))][i % 4] ?? '')
        for (let flips = randomInt(1, 4); flips > 0; flips--)
            if (bytes.length > 0) bytes[randomInt(bytes.length)] = randomInt(256)
        try {
            if (readMistaken(bytes, verifiers) !== null) shown++
        } catch (error) {
            if (!(error instanceof AttestError)) return t.fail(`${bytes.toString('hex')}: ${error}`)
        }
    }
    t.true(shown > 1000, `${shown} were shown`)
})
