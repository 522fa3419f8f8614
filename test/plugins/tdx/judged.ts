// What the check of authenticity and that of the status say of a quote, as one answer.
// SPDX-License-Identifier: Apache-2.0

import { Checks } from '#core/checks.ts'
import { AttestError } from '#core/errors.ts'
import type { Policy, Trust } from '#evidence/verifier.ts'
import type { TdxAuthentic } from '#plugins/tdx/platform.ts'
import { STATUS_CHECKS, type StatusPolicy, statusJudge } from '#plugins/tdx/status.ts'
import { AUTHENTIC_CHECKS, authenticator } from '#plugins/tdx/verify.ts'

export interface Judged {
    /** Null: accepted. */
    readonly code: string | null
    readonly message: string
    /** The check that failed. */
    readonly check: string | null
    /** Null where the quote is not authentic. */
    readonly authentic: TdxAuthentic | null
    readonly checks: Checks
}

export type Judge = (raw: Buffer, at: Date, policy?: StatusPolicy) => Judged

/** A verifier under one trust, which keeps what it has verified. */
export function judgeOf(trust: Trust): Judge {
    const authenticate = authenticator(trust)
    const judgeStatus = statusJudge(trust)
    return (raw, at, policy) => {
        const checks = new Checks([...AUTHENTIC_CHECKS, ...STATUS_CHECKS])
        let authentic: TdxAuthentic | null = null
        try {
            authentic = authenticate({ tee: 'tdx', report: raw }, at, checks)
            judgeStatus(authentic, (policy ?? null) as Policy | null, at, checks)
            return { code: null, message: '', check: null, authentic, checks }
        } catch (error) {
            if (!(error instanceof AttestError)) throw error
            const check = checks.list.find(({ result }) => result === 'fail')?.name ?? null
            return { code: error.code, message: error.message, check, authentic, checks }
        }
    }
}
