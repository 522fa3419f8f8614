// From evidence to a verdict: first authentic, then what the caller expects.
// SPDX-License-Identifier: Apache-2.0

import { equalBytes, toHex } from '#core/bytes.ts'
import { Checks } from '#core/checks.ts'
import { AttestError } from '#core/errors.ts'
import { REPORT_DATA_SIZE } from '#core/sizes.ts'
import type { Evidence } from '#drivers/driver.ts'
import { authenticate } from './authenticate.ts'
import { evidenceError } from './errors.ts'
import type { Judgement } from './verdict.ts'
import type { Authentic, Policy, Verifier } from './verifier.ts'

/** What the caller names. With nothing named, authentic evidence stays unappraised. */
export interface Expectations {
    /** The field as it must be: 64 bytes. */
    readonly reportData?: Buffer
    /** A challenge that the report data must carry: 64 bytes, padded. */
    readonly nonce?: Buffer
    readonly policy?: Policy
}

/** Shortest challenge that cannot be guessed or met twice. */
const MIN_NONCE = 16

/** 1 to 64 bytes, padded with zeros behind: the form in which every technology carries them. @throws AttestError */
export function padReportData(bytes: Uint8Array): Buffer {
    if (bytes.length === 0 || bytes.length > REPORT_DATA_SIZE)
        throw evidenceError(
            'ERR_EVIDENCE_BINDING',
            `report data must have 1 to ${REPORT_DATA_SIZE} bytes, got ${bytes.length}`,
        )
    const out = Buffer.alloc(REPORT_DATA_SIZE)
    out.set(bytes)
    return out
}

/** A challenge in the form of report data. @throws AttestError ERR_EVIDENCE_BINDING where it is too short to be fresh */
export function padNonce(bytes: Uint8Array): Buffer {
    if (bytes.length < MIN_NONCE)
        throw evidenceError(
            'ERR_EVIDENCE_BINDING',
            `a nonce must have ${MIN_NONCE} to ${REPORT_DATA_SIZE} bytes, got ${bytes.length}`,
        )
    return padReportData(bytes)
}

export function judge(verifier: Verifier, evidence: Evidence, expected: Expectations, at: Date): Judgement {
    const appraises = expected.policy !== undefined
    const checks = new Checks([
        ...verifier.checkNames.authentic,
        ...(verifier.checkNames.status ?? []),
        ...(expected.reportData ? ['report-data'] : []),
        ...(expected.nonce || (appraises && !expected.reportData) ? ['nonce'] : []),
        ...(appraises ? verifier.checkNames.appraisal : []),
    ])
    let authentic: Authentic | undefined
    try {
        authentic = authenticate(verifier, evidence, at, checks)
        verifier.judgeStatus?.(authentic, expected.policy ?? null, at, checks)
        appraise(verifier, authentic, expected, checks)
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return {
            verdict: error.exit === 3 ? 'undecided' : 'rejected',
            tee: verifier.tee,
            code: error.code,
            checks: checks.all(),
            claims: authentic?.claims ?? null,
            weaknesses: authentic?.weaknesses ?? [],
        }
    }
    const named = appraises || expected.reportData !== undefined || expected.nonce !== undefined
    return {
        verdict: named ? 'accepted' : 'authentic',
        tee: verifier.tee,
        checks: checks.all(),
        claims: authentic.claims,
        weaknesses: authentic.weaknesses,
    }
}

function appraise(verifier: Verifier, authentic: Authentic, expected: Expectations, checks: Checks): void {
    const { reportData, nonce, policy } = expected
    if (reportData) checks.run('report-data', () => compare(authentic, reportData, 'ERR_EVIDENCE_REPORT_DATA'))
    if (nonce) checks.run('nonce', () => compare(authentic, nonce, 'ERR_EVIDENCE_NONCE'))
    else if (policy && !reportData) checks.skip('nonce', 'no challenge was named: this may be a replay')
    if (policy) verifier.appraise(authentic, policy, checks)
}

function compare({ reportData }: Authentic, want: Buffer, code: 'ERR_EVIDENCE_REPORT_DATA' | 'ERR_EVIDENCE_NONCE') {
    if (equalBytes(reportData, want)) return { detail: toHex(want) }
    throw evidenceError(code, `report data: expected ${toHex(want)}, got ${toHex(reportData)}`)
}
