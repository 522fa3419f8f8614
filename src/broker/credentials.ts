// Credentials for enrolling disks (kbs/credential.ts): who may make or replace which disk key over the listener of the
// guests, until when and how often. Like everything else they are what the audit log adds up to; a use is a record too.
// SPDX-License-Identifier: Apache-2.0

import { equalBytes, fromHex } from '#core/bytes.ts'
import { DAY_MS } from '#core/dates.ts'
import { AttestError } from '#core/errors.ts'
import { type CredentialAction, credentialHash } from '#kbs/credential.ts'
import { kbsError } from '#kbs/errors.ts'
import { LUKS_KEY } from '#kbs/messages.ts'
import { matchesPath, PATH_PATTERN } from '#kbs/patterns.ts'
import { demand, putBytes, putRandom, record, retireVersions, type Use, type UsedCredential } from './admin.ts'
import type { Broker } from './broker.ts'
import { checkName } from './decision/references.ts'
import { brokerError } from './errors.ts'
import type { CredentialEntry, ResourceEntry } from './state.ts'

export type NewCredential = Omit<CredentialEntry, 'uses' | 'time'>

export const MAX_CREDENTIAL_DAYS = 90

/** That are known at once, expired or not. */
const MAX_CREDENTIALS = 1000

/** @throws AttestError ERR_BROKER_NAME, ERR_BROKER_REQUEST, ERR_BROKER_EXISTS, ERR_BROKER_STORE */
export const addCredential = (broker: Broker, credential: NewCredential): Promise<CredentialEntry> =>
    broker.change(async () => {
        const { credentials } = broker.data.state
        const { name, ...what } = credential
        checkName(name, 'credential')
        const refuse = (text: string) => brokerError('ERR_BROKER_REQUEST', `credential ${name}: ${text}`)
        if (credentials.has(name))
            throw brokerError('ERR_BROKER_EXISTS', `there is a credential ${name} already`, {
                hint: 'take another name, or remove it with `guest-attest broker credential rm`',
            })
        if (credentials.size >= MAX_CREDENTIALS) throw refuse(`there are ${MAX_CREDENTIALS} already: remove some`)
        const stray = what.allowPaths.find((pattern) => !PATH_PATTERN.test(pattern))
        if (stray !== undefined) throw refuse(`${JSON.stringify(stray)} is no pattern: expected REPOSITORY/TYPE/TAG`)
        const left = Date.parse(what.expires) - broker.clock.now().getTime()
        if (!(left > 0 && left <= MAX_CREDENTIAL_DAYS * DAY_MS))
            throw refuse(`it has to expire within ${MAX_CREDENTIAL_DAYS} days`)
        await record(broker, 'credential-put', name, what)
        return credentials.get(name) as CredentialEntry
    })

/** @throws AttestError ERR_BROKER_NOT_FOUND */
export const removeCredential = (broker: Broker, name: string): Promise<void> =>
    broker.change(async () => {
        demand(broker.data.state.credentials.has(name), 'credential', name)
        await record(broker, 'credential-rm', name, {})
    })

/** What is asked for under a credential whose secret has been seen. */
export interface EnrollRequest {
    readonly path: string
    readonly peer: string
    readonly correlation: string
}

/**
 * The credential with this secret. Nothing tells an unknown name from a wrong secret.
 * @throws AttestError ERR_KBS_CREDENTIAL
 */
export function authenticate({ data }: Broker, name: string, secret: Uint8Array): CredentialEntry {
    const entry = data.state.credentials.get(name)
    const known = entry ? fromHex(entry.hash, 'hash') : Buffer.alloc(32)
    if (equalBytes(credentialHash(secret), known) && entry) return entry
    throw kbsError('ERR_KBS_CREDENTIAL', 'there is no credential of this name with this secret')
}

/** A key that nobody has seen, where there is none. @throws AttestError ERR_KBS_CREDENTIAL, ERR_KBS_EXISTS */
export const enrollRandom = (broker: Broker, by: CredentialEntry, request: EnrollRequest): Promise<ResourceEntry> =>
    using(broker, by, 'create', request, (use) =>
        putRandom(broker, request.path, { maxReleases: null, replace: false, ifVersion: 0, by: use }),
    )

/**
 * These bytes, which are wiped, where version `ifVersion` is current; where nothing is, for 0.
 * @throws AttestError ERR_KBS_CREDENTIAL, ERR_KBS_EXISTS, ERR_KBS_CHANGED, ERR_BROKER_REQUEST
 */
export const enrollKey = (
    broker: Broker,
    by: CredentialEntry,
    request: EnrollRequest,
    bytes: Buffer,
    ifVersion: number,
): Promise<ResourceEntry> =>
    using(broker, by, ifVersion === 0 ? 'create' : 'rotate', request, (use) => {
        const { path } = request
        const current = broker.data.state.resources.get(path)
        if (current && current.kind !== LUKS_KEY)
            throw kbsError('ERR_KBS_RESOURCE', `${path} is no disk key: a credential does not replace it`)
        const maxReleases = current?.maxReleases ?? null
        return putBytes(broker, path, LUKS_KEY, bytes, { maxReleases, replace: false, ifVersion, by: use })
    })

/** Erases the versions before the current one. @throws AttestError ERR_KBS_CREDENTIAL, ERR_BROKER_NOT_FOUND */
export const enrollRetire = (broker: Broker, by: CredentialEntry, request: EnrollRequest): Promise<ResourceEntry> =>
    using(broker, by, 'rotate', request, (use) => {
        // What is not a disk key is not this credential's to touch.
        if (broker.data.state.resources.get(request.path)?.kind !== LUKS_KEY)
            throw kbsError('ERR_KBS_NOT_FOUND', `there is no disk key ${request.path}`)
        return retireVersions(broker, request.path, use)
    })

// What it may not is recorded as a denial, and repeats are counted.
async function using(
    broker: Broker,
    { name }: CredentialEntry,
    action: CredentialAction,
    { path, peer, correlation }: EnrollRequest,
    act: (use: Use) => Promise<ResourceEntry>,
): Promise<ResourceEntry> {
    const check = () => requireMay(broker, name, action, path)
    try {
        check()
        return await act({ used: { credential: name, peer, correlation }, check })
    } catch (error) {
        if (error instanceof AttestError && error.code !== 'ERR_BROKER_STORE')
            await recordDenial(broker, error, { credential: name, path, peer, correlation })
        throw error
    }
}

function requireMay({ data, clock }: Broker, name: string, action: CredentialAction, path: string): void {
    const refuse = (text: string) => kbsError('ERR_KBS_CREDENTIAL', `credential ${name}: ${text}`)
    const entry = data.state.credentials.get(name)
    if (!entry) throw refuse('it was removed')
    if (clock.now().getTime() >= Date.parse(entry.expires)) throw refuse(`it expired at ${entry.expires}`)
    if (entry.uses >= entry.maxUses) throw refuse(`it was used ${entry.uses} times, as often as it may be`)
    if (!entry.may.includes(action)) throw refuse(`it may not ${action}, only ${entry.may.join(', ')}`)
    if (!entry.allowPaths.some((pattern) => matchesPath(pattern, path))) throw refuse(`it is not for ${path}`)
}

async function recordDenial(
    { data, denials, metrics, log, clock }: Broker,
    { code, message: reason }: AttestError,
    { credential, path, peer, correlation }: UsedCredential & { readonly path: string },
): Promise<void> {
    metrics.count('denials', code)
    const who = { tee: 'none', guestId: `credential ${credential}`, measurement: '', session: '' }
    if (!denials.isFirst({ code, path, ...who, peer, correlation })) return
    log.warn('denied', { path, code, reason, credential, correlation })
    const what = { code, reason, credential, peer, correlation }
    await data.ledger.append({ kind: 'denial', subject: path, data: what, at: clock.now() })
}
