// What a host says of a guest of SEV, shown to a person: a report of ATTESTATION alone, or with certificates, as an AEB
// hands it over. Nothing here is verified, and none of it proves a guest: nothing judges it but `sev report verify`.
// SPDX-License-Identifier: Apache-2.0

import { describeBits } from '#core/bits.ts'
import { toHex } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import type { FieldLine, Mistaken } from '#evidence/verifier.ts'
import { parseCertificate } from '../chain/certs.ts'
import { digestOf } from '../chain/chain.ts'
import { POLICY } from '../launch/guest-policy.ts'
import { AEB_WARNING } from './client.ts'
import { looksLikeAebEvidence, parseAebEvidence } from './evidence.ts'
import { parseReport, REPORT_SIZE } from './report.ts'

const JUDGE = '`guest-attest sev report verify` says what it is worth'

export const HOST_EVIDENCE: readonly Mistaken[] = [
    {
        what: 'evidence of an attestation evidence broker (AEB)',
        is: looksLikeAebEvidence,
        hint: `${AEB_WARNING}; ${JUDGE}`,
        describe: describeAeb,
    },
    {
        what: 'a report that a host asked for (ATTESTATION)',
        is: isReport,
        hint: `it is bound to nobody: the host chose which guest it is about, and the nonce; ${JUDGE}`,
        describe: describeReport,
    },
]

// It has no mark of its own: what the signature does not cover has one value alone.
function isReport(bytes: Buffer): boolean {
    if (bytes.length !== REPORT_SIZE) return false
    try {
        return parseReport(bytes) !== null
    } catch (error) {
        if (error instanceof AttestError) return false
        throw error
    }
}

function describeAeb(bytes: Buffer): readonly FieldLine[] {
    const { report, cek, pek, oca, form, deviceType } = parseAebEvidence(bytes)
    return [
        { name: 'form', value: form, means: 'how the host wrote it' },
        ...(deviceType === null
            ? []
            : [{ name: 'deviceType', value: deviceType, means: 'what the host calls its processor; nobody signs it' }]),
        ...describeReport(report),
        describeKey('CEK', cek, 'the key of the chip'),
        describeKey('PEK', pek, 'the key that signs reports'),
        describeKey('OCA', oca, 'the key of the owner of the platform'),
    ]
}

function describeReport(bytes: Buffer): readonly FieldLine[] {
    const { mnonce, launchDigest, policy } = parseReport(bytes)
    return [
        { name: 'binding', value: 'none', means: 'nothing of the guest’s: the host chose which guest it is about' },
        { name: 'freshness', value: 'host-chosen', means: 'the nonce is the host’s: it may be old' },
        { name: 'trust', value: 'informational', means: 'nothing is released for it' },
        { name: 'mnonce', value: toHex(mnonce), means: 'what the host asked with' },
        { name: 'launchDigest', value: toHex(launchDigest), means: 'what the guest was launched with' },
        { name: 'policy', value: `0x${policy.toString(16)}`, means: 'what its owner asked for' },
        ...describeBits(POLICY, BigInt(policy), ['apiMajor', 'apiMinor']),
    ]
}

// What is malformed may still stand beside what is not.
function describeKey(usage: 'CEK' | 'PEK' | 'OCA', bytes: Buffer, what: string): FieldLine {
    try {
        const certificate = parseCertificate(bytes, usage)
        const signed = certificate.signatures.map((signature) => signature.usage).join(' and ')
        const means = signed === '' ? `${what}, without a signature` : `${what}, as it says signed by ${signed}`
        return { name: usage, value: digestOf(certificate), means }
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return { name: usage, value: messageOf(error), means: what }
    }
}
