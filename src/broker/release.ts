// One request of a proven guest for a resource: decided, counted, recorded, and only then answered.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, wipe } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { encryptTo, type FlattenedJwe } from '#core/jwe.ts'
import type { Verifier } from '#evidence/verifier.ts'
import { kbsError } from '#kbs/errors.ts'
import { LUKS_KEY } from '#kbs/messages.ts'
import type { Draft } from './audit/record.ts'
import type { Broker } from './broker.ts'
import { type Counts, type Decision, decide } from './decision/decide.ts'
import { publicReason } from './decision/denial.ts'
import { brokerError } from './errors.ts'
import type { Session } from './sessions.ts'
import { pendingReleases, type ReleaseCount, type ResourceEntry } from './state.ts'
import { openRecorded } from './store/seal.ts'
import type { StoredRecord } from './store/store.ts'

/** What was asked for, and by what name the log knows the request. */
export interface ReleaseRequest {
    /** `repository/type/tag`. */
    readonly path: string
    readonly use: string | undefined
    /** The version that it has to be. */
    readonly version: number | undefined
    readonly correlation: string
    /** The address that it came from. */
    readonly peer: string
}

/** The resource, encrypted to the key of a session. */
export interface Released {
    readonly jwe: FlattenedJwe
    readonly version: number
}

/** Mismatches that a record of a denial names; the reason says how many there were. */
const MAX_MISMATCHES = 8

/**
 * The resource, encrypted to the key of the session. When this returns, its record is durable.
 * @throws AttestError ERR_KBS_NOT_FOUND, ERR_KBS_RESOURCE, ERR_KBS_VERSION_RETIRED, ERR_BROKER_DENIED_*, ERR_BROKER_STORE
 */
export async function release(broker: Broker, session: Session, request: ReleaseRequest): Promise<Released> {
    const { data, metrics, log } = broker
    const { path, correlation } = request
    let plaintext: Secret | undefined
    let decision: Decision | undefined
    try {
        for (;;) {
            const entry = findResource(broker, request)
            const given = givenKey(entry)
            // Another request of this session may be having it recorded at this moment.
            const repeats = (await session.given.get(given)) ?? null
            // What is denied is not even decrypted.
            decision = ask(broker, session, entry, repeats)
            if (!decision.rule) throw denied(broker, session, decision)
            requireVersion(entry, request)
            plaintext = await open(broker, entry)
            if (!isCurrent(broker, entry) || (repeats === null && session.given.has(given))) {
                wipe(plaintext)
                continue
            }
            // From here to the append nothing waits: no other request comes between the counts and this record.
            decision = ask(broker, session, entry, repeats)
            if (!decision.rule) throw denied(broker, session, decision)
            const count: ReleaseCount = { rule: decision.rule.id, version: entry.version, repeats }
            const what = {
                ...count,
                kind: entry.kind,
                references: decision.standing.matched,
                switches: decision.standing.findings.map((finding) => finding.switch),
            }
            const recorded = data.ledger.append(draft(broker, 'release', session, request, what))
            if (repeats === null) remember(session, given, recorded)
            const { seq } = await recorded
            metrics.count('releases')
            log.info('released', { path, rule: count.rule, correlation, audit: seq })
            return { jwe: encryptTo(session.teeKey, plaintext), version: entry.version }
        }
    } catch (error) {
        if (error instanceof AttestError && error.code !== 'ERR_BROKER_STORE')
            await recordDenial(broker, session, request, error, decision)
        throw error
    } finally {
        wipe(plaintext)
    }
}

/** How often a resource was released, with what is being written at this moment. */
export function countsOf(
    { data: { state, ledger } }: Broker,
    { path, version, releases, maxReleases }: ResourceEntry,
): Counts {
    return {
        resource: releases + pendingReleases(ledger.pending(), path, (pending) => pending.version === version),
        maxReleases,
        byRule: (rule) =>
            state.ruleReleases(rule, path) +
            pendingReleases(ledger.pending(), path, (pending) => pending.rule === rule),
    }
}

/** @throws AttestError ERR_KBS_NOT_FOUND, ERR_KBS_RESOURCE */
function findResource({ data }: Broker, { path, use }: ReleaseRequest): ResourceEntry {
    const entry = data.state.resources.get(path)
    if (!entry) throw kbsError('ERR_KBS_NOT_FOUND', `there is no resource ${path}`)
    // A pin asks for a key that nobody chose: bytes that somebody put here must not pass for one.
    if ((use === LUKS_KEY) !== (entry.kind === LUKS_KEY))
        throw kbsError(
            'ERR_KBS_RESOURCE',
            use === LUKS_KEY
                ? `${path} is no key made by this broker, and ?use=${LUKS_KEY} asks for one`
                : `${path} is given to requests with ?use=${LUKS_KEY} alone`,
        )
    return entry
}

// After the decision: whoever may not have the resource does not learn its version. A header that was put back names an
// old one, and its slots stay shut.
function requireVersion({ path, version }: ResourceEntry, { version: wanted }: ReleaseRequest): void {
    if (wanted === undefined || wanted === version) return
    throw kbsError('ERR_KBS_VERSION_RETIRED', `version ${wanted} of ${path} is not the current one, that is ${version}`)
}

/** @throws AttestError ERR_BROKER_ROW where the row is not the one that was recorded */
async function open({ data }: Broker, { path, version, digest }: ResourceEntry): Promise<Secret> {
    return openRecorded(data.masterKey, { path, version, digest }, await data.store.resource(path, version))
}

const isCurrent = ({ data }: Broker, { path, version }: ResourceEntry): boolean =>
    data.state.resources.get(path)?.version === version

function remember({ given }: Session, key: string, recorded: Promise<StoredRecord>): void {
    const seq = recorded.then((record) => record.seq)
    given.set(key, seq)
    seq.catch(() => given.delete(key))
}

const ask = (broker: Broker, session: Session, entry: ResourceEntry, repeats: number | null): Decision =>
    decide({
        verifier: verifierOf(broker, session),
        authentic: session.authentic,
        target: { path: entry.path, kind: entry.kind },
        references: broker.rules.references,
        policies: broker.rules.policies,
        counts: repeats === null ? countsOf(broker, entry) : null,
        now: broker.clock.now(),
    })

// The text is for the guest; the decision itself goes into the audit log.
function denied(broker: Broker, session: Session, decision: Decision) {
    const code = decision.code ?? 'ERR_BROKER_DENIED_POLICY'
    return brokerError(code, publicReason(decision, session.authentic, verifierOf(broker, session)))
}

async function recordDenial(
    broker: Broker,
    session: Session,
    request: ReleaseRequest,
    error: AttestError,
    decision: Decision | undefined,
): Promise<void> {
    const { code } = error
    const { path, correlation, peer } = request
    const { tee, guestId, measurement } = session.authentic
    const standing = decision?.standing
    const reason = decision && !decision.allow ? decision.reason : messageOf(error)
    broker.metrics.count('denials', code)
    const denial = { code, path, tee, guestId, measurement, session: session.name, peer, correlation }
    if (!broker.denials.isFirst(denial)) return
    broker.log.warn('denied', { path, code, reason, correlation })
    await broker.data.ledger.append(
        draft(broker, 'denial', session, request, {
            code,
            reason,
            ...(standing && {
                references: standing.matched,
                findings: standing.findings.map((finding) => finding.switch),
                mismatches: standing.mismatches
                    .slice(0, MAX_MISMATCHES)
                    .map(({ reference, check }) => ({ reference, check })),
            }),
        }),
    )
}

function draft(
    { clock }: Broker,
    kind: 'release' | 'denial',
    { name, authentic }: Session,
    { path, use, version, correlation, peer }: ReleaseRequest,
    what: Readonly<Record<string, unknown>>,
): Draft {
    const { tee, guestId, measurement } = authentic
    return {
        kind,
        subject: path,
        data: {
            ...what,
            use: use ?? null,
            ...(version === undefined ? {} : { asked: version }),
            tee,
            guestId,
            measurement,
            session: name,
            peer,
            correlation,
        },
        at: clock.now(),
    }
}

const verifierOf = ({ verifiers }: Broker, { authentic }: Session): Verifier =>
    verifiers.current.get(authentic.tee) as Verifier

const givenKey = ({ path, version }: ResourceEntry): string => `${path}@${version}`
