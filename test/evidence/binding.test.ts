// The binding of a handshake into report data: the published vector, and what must change it.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { digestJson, type RuntimeData, runtimeDigest } from '#evidence/binding.ts'
import { padNonce, padReportData } from '#evidence/judge.ts'
import { VECTORS, vectors } from '../machine.ts'
import { needs } from '../needs.ts'

type Vector = Record<'primary_sha384' | 'device_sha384' | 'snp_tdx_report_data_hex', string>

const DATA: RuntimeData = {
    nonce: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=',
    teePubkey: {
        kty: 'EC',
        crv: 'P-256',
        alg: 'ECDH-ES+A256KW',
        x: 'AhfmF_C2RDkoJ4-WmZ5pojpPLBUr321s32bluAKC1O0',
        y: 'GUp968uXcS0t2jyoWqh2Wlb0X8dYWZZS8ol8ZTBuV5Q',
    },
    additionalEvidence: '',
}

const VECTOR = 'kbs/own/kbs-0.4.0-selfmade.json'

needs(vectors(VECTOR))('the published vector', (t) => {
    const vector = JSON.parse(readFileSync(join(VECTORS, VECTOR), 'utf8')) as Vector
    t.is(runtimeDigest(DATA).toString('hex'), vector.primary_sha384)
    t.is(padReportData(runtimeDigest(DATA)).toString('hex'), vector.snp_tdx_report_data_hex)
    t.is(digestJson({ nonce: DATA.nonce, 'tee-pubkey': DATA.teePubkey }).toString('hex'), vector.device_sha384)
})

test('the digest of the attestation service’s own test', (t) =>
    t.true(
        digestJson({ b: 1, a: 'test', c: { d: 'e' } })
            .toString('hex')
            .startsWith('e71ce8e70d814ba6'),
    ))

for (const { name, changed } of [
    { name: 'another nonce', changed: { nonce: `B${DATA.nonce.slice(1)}` } },
    { name: 'another key', changed: { teePubkey: { ...DATA.teePubkey, x: DATA.teePubkey.y } } },
    { name: 'evidence of a device', changed: { additionalEvidence: '{}' } },
])
    test(`${name} is another digest`, (t) =>
        t.notDeepEqual(runtimeDigest({ ...DATA, ...changed }), runtimeDigest(DATA)))

for (const { name, call } of [
    { name: 'no report data', call: () => padReportData(Buffer.alloc(0)) },
    { name: '65 bytes of report data', call: () => padReportData(Buffer.alloc(65)) },
    { name: 'a nonce of 15 bytes', call: () => padNonce(Buffer.alloc(15)) },
    { name: 'a nonce of 65 bytes', call: () => padNonce(Buffer.alloc(65)) },
])
    test(`refused: ${name}`, (t) => void t.throws(call, { code: 'ERR_EVIDENCE_BINDING' }))
