// New reference sets: of the guest that evidence is from, or of the guests that a log of a boot describes.
// SPDX-License-Identifier: Apache-2.0

import { Checks } from '#core/checks.ts'
import { authenticate } from '#evidence/authenticate.ts'
import { recognise } from '#evidence/recognise.ts'
import type { Authentic, BootLog, Coverage, Verifier } from '#evidence/verifier.ts'
import type { Broker } from './broker.ts'
import { checkName, writeReference } from './decision/references.ts'
import { brokerError } from './errors.ts'

type Verifiers = Pick<Broker, 'verifiers' | 'clock'>

/** The strictest set that knows the guest which this evidence is from. @throws AttestError what `verify` would say */
export function referenceFromEvidence(broker: Verifiers, name: string, coverage: Coverage, bytes: Buffer): string {
    const { verifier, authentic } = authenticated(broker, bytes)
    return writeReference(checkName(name, 'reference set'), coverage, authentic, verifier.writePolicy(authentic))
}

/** What a boot measured by its log, and whose guests they are: those of evidence, or with this measurement (hex). */
export interface LoggedBoot {
    readonly eventLog: Buffer
    readonly evidence: Buffer | null
    readonly measurement: string | null
}

/**
 * The strictest set that knows guests which boot as this log says. The log proves nothing: each of its events is named,
 * for the person who trusts them.
 * @throws AttestError ERR_BROKER_REQUEST, and what the plugin says of its log or evidence
 */
export function referenceFromEventLog(
    broker: Verifiers,
    name: string,
    coverage: Coverage,
    { eventLog, evidence, measurement }: LoggedBoot,
): string {
    if ((evidence === null) === (measurement === null))
        throw brokerError('ERR_BROKER_REQUEST', 'an event log needs the measurement of its guests, or evidence of one')
    const guest = evidence === null ? null : authenticated(broker, evidence)
    const among = guest ? [guest.verifier] : [...broker.verifiers.current.values()]
    const { verifier, log } = readLog(among, eventLog, measurement)
    const claims = { ...guest?.authentic.claims, ...log.claims }
    const policy = verifier.writePolicy({ claims })
    return writeReference(checkName(name, 'reference set'), coverage, verifier, policy, namesOf(log))
}

function readLog(
    verifiers: readonly Verifier[],
    bytes: Buffer,
    measurement: string | null,
): { readonly verifier: Verifier; readonly log: BootLog } {
    for (const verifier of verifiers) {
        const log = verifier.readEventLog?.(bytes, measurement)
        if (log) return { verifier, log }
    }
    throw brokerError('ERR_BROKER_REQUEST', `no event log that ${verifiers.map(({ tee }) => tee).join(' or ')} has`)
}

const namesOf = ({ events }: BootLog): readonly string[] => [
    'Each event of the log that its registers were made of:',
    ...events.map(({ register, type, text, proven, digest }) =>
        proven ? `${register} ${type}: ${text}` : `${register} ${type}: ${text} (by name alone; digest ${digest})`,
    ),
]

function authenticated(
    { verifiers, clock }: Verifiers,
    bytes: Buffer,
): { readonly verifier: Verifier; readonly authentic: Authentic } {
    const { verifier, evidence } = recognise(bytes, [...verifiers.current.values()])
    const checks = new Checks([...verifier.checkNames.authentic, ...(verifier.checkNames.status ?? [])])
    const authentic = authenticate(verifier, evidence, clock.now(), checks)
    // A set of guests on such a platform has to say so itself, by hand.
    verifier.judgeStatus?.(authentic, null, clock.now(), checks)
    return { verifier, authentic }
}
