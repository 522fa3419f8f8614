// What is known of a platform, put together: its certificate, its quoting enclave, what Intel says of it and what was
// revoked.
// SPDX-License-Identifier: Apache-2.0

import type { KeyObject } from 'node:crypto'
import { isEmulated, type PckChain } from './chain.ts'
import type { Verified } from './collateral/collateral.ts'
import type { Revocation } from './collateral/revocation.ts'
import type { QeIdentity, TcbInfo } from './collateral/schema.ts'
import type { Platform } from './platform.ts'
import type { QeReport } from './quote.ts'
import type { Evaluation } from './tcb.ts'

/** A quoting enclave whose chain and report have been verified: that does not change, so it is worth keeping. */
export interface VerifiedQe {
    readonly chain: PckChain
    readonly qe: QeReport
    /** The attestation key. */
    readonly key: KeyObject
    /** The identities that it has been found to have. */
    readonly identified: WeakSet<QeIdentity>
    /** What came of the last TCB that was evaluated for it. */
    evaluated?: { readonly of: readonly unknown[]; readonly evaluation: Evaluation }
}

/** What Intel says of a platform, verified; null for what was not given. */
export interface Collateral {
    readonly tcbInfo: Verified<TcbInfo> | null
    readonly qeIdentity: Verified<QeIdentity> | null
}

const NOTHING_SAID: Evaluation = {
    tcbStatus: null,
    platformStatus: null,
    moduleStatus: null,
    qeStatus: null,
    tcbDate: null,
    advisoryIds: [],
    relaunchAdvised: false,
}

/** A platform as `Platform` describes it. */
export function describePlatform(
    { chain, qe }: VerifiedQe,
    evaluation: Evaluation | null,
    { tcbInfo, qeIdentity }: Collateral,
    { root, pck }: Revocation,
    at: Date,
): Platform {
    const { certificate, sgxSvns, emulated, ...named } = chain.pck
    const statements = [tcbInfo, qeIdentity].flatMap((statement) => statement ?? [])
    const fresh = [
        ...statements.map(({ name, body }) => ({ what: `${body.id} of ${name}`, at: body.nextUpdate })),
        ...[root, pck].flatMap((list) => (list ? { what: `the list ${list.name}`, at: list.nextUpdate } : [])),
    ].toSorted((a, b) => a.at.getTime() - b.at.getTime())
    const ends = [
        certificate,
        chain.ca,
        chain.ca.root,
        ...statements.flatMap(({ signer }) => [signer, signer.root]),
    ].map(({ notAfter }) => notAfter.getTime())
    const [first] = fresh
    const info = tcbInfo?.body.tcbEvaluationDataNumber ?? null
    const identity = qeIdentity?.body.tcbEvaluationDataNumber ?? null
    const { tcbStatus, platformStatus, moduleStatus, qeStatus, tcbDate, advisoryIds, relaunchAdvised } =
        evaluation ?? NOTHING_SAID
    return {
        ...named,
        tcbStatus,
        platformStatus,
        moduleStatus,
        qeStatus,
        tcbDate,
        advisoryIds,
        relaunchAdvised,
        tcbEvaluationDataNumber: info === null || identity === null ? null : Math.min(info, identity),
        tcbInfoEvaluationDataNumber: info,
        qeIdentityEvaluationDataNumber: identity,
        earliestExpiry: new Date(Math.min(...ends, ...fresh.map(({ at }) => at.getTime()))),
        collateralIssued: oldest(statements.map(({ body }) => body.issueDate)),
        collateralExpired: first && first.at < at ? first : null,
        qeIsvSvn: qe.isvSvn,
        pckCrlNumber: pck?.number ?? null,
        rootCrlNumber: root?.number ?? null,
        emulated: isEmulated(chain) || statements.some(({ signer }) => signer.emulated || signer.root.emulated),
    }
}

const oldest = (dates: readonly Date[]): Date | null =>
    dates.length === 0 ? null : new Date(Math.min(...dates.map((date) => date.getTime())))
