// What an administrator can do. Every change is checked as a whole, recorded, and then in force; one after the other.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { wipe } from '#core/bytes.ts'
import { kbsError } from '#kbs/errors.ts'
import { formatResourcePath, keyFault, LUKS_KEY, LUKS_KEY_SIZE, parseResourcePath } from '#kbs/messages.ts'
import type { RecordKind } from './audit/record.ts'
import type { Broker } from './broker.ts'
import type { Policies, PolicyFile } from './decision/policies.ts'
import { checkName, readReference } from './decision/references.ts'
import { brokerError } from './errors.ts'
import type { ResourceEntry, ResourceKind } from './state.ts'
import { digestResource, sealResource } from './store/seal.ts'
import type { Change } from './store/store.ts'

export interface PutOptions {
    readonly maxReleases: number | null
    /** Also where that shuts the disks which a key of this path has opened. */
    readonly replace: boolean
    /** What is current has to be this version; 0: nothing is. It takes the place of `replace`. */
    readonly ifVersion?: number
    readonly by?: Use
}

/** Of a credential, and the request that it came in, as the audit log has them. */
export interface UsedCredential {
    readonly credential: string
    readonly peer: string
    readonly correlation: string
}

/** A use that is under way. */
export interface Use {
    readonly used: UsedCredential
    /** Throws where it may not be; called when its turn has come, so that many at once do not use it too often. */
    check(): void
}

/**
 * Stores a new version of a resource; the bytes are wiped.
 * @throws AttestError ERR_KBS_URI, ERR_BROKER_REQUEST, ERR_BROKER_EXISTS, ERR_BROKER_STORE
 */
export async function putBytes(
    broker: Broker,
    path: string,
    kind: ResourceKind,
    bytes: Buffer,
    options: PutOptions,
): Promise<ResourceEntry> {
    try {
        if (kind === LUKS_KEY) requireRandom(bytes)
        return await put(broker, path, kind, bytes, options)
    } finally {
        wipe(bytes)
    }
}

function requireRandom(bytes: Buffer): void {
    const fault = keyFault(bytes)
    if (fault === null) return
    throw brokerError('ERR_BROKER_REQUEST', `a ${LUKS_KEY}: ${fault}`, {
        hint: `head -c ${LUKS_KEY_SIZE} /dev/urandom > FILE`,
    })
}

/** Makes a key that nobody has seen. @throws AttestError ERR_KBS_URI, ERR_BROKER_EXISTS, ERR_BROKER_STORE */
export const putRandom = (broker: Broker, path: string, options: PutOptions): Promise<ResourceEntry> =>
    put(broker, path, LUKS_KEY, randomBytes(LUKS_KEY_SIZE), options)

async function put(
    broker: Broker,
    text: string,
    kind: ResourceKind,
    bytes: Buffer,
    { maxReleases, replace, ifVersion, by }: PutOptions,
): Promise<ResourceEntry> {
    const { data } = broker
    const path = formatResourcePath(parseResourcePath(text))
    try {
        return await broker.change(async () => {
            by?.check()
            const current = data.state.resources.get(path)
            if (ifVersion !== undefined) requireCurrent(path, current, ifVersion)
            else if (current?.kind === LUKS_KEY && !replace)
                throw brokerError(
                    'ERR_BROKER_EXISTS',
                    `${path} is a disk key, version ${current.version}: every disk that it opens would be shut for good`,
                    { hint: '--replace, if that is meant; each disk has to be bound again then' },
                )
            const version = (data.state.versions.get(path) ?? 0) + 1
            const row = sealResource(data.masterKey, { path, kind, version }, bytes)
            const what = { version, kind, maxReleases, digest: digestResource(row), ...by?.used }
            await record(broker, 'put', path, what, { put: row })
            return data.state.resources.get(path) as ResourceEntry
        })
    } finally {
        wipe(bytes)
    }
}

function requireCurrent(path: string, current: ResourceEntry | undefined, wanted: number): void {
    if ((current?.version ?? 0) === wanted) return
    if (wanted === 0)
        throw kbsError('ERR_KBS_EXISTS', `${path} is there already, version ${current?.version}: it is not replaced`)
    throw kbsError(
        'ERR_KBS_CHANGED',
        `version ${wanted} of ${path} is not the current one, that is ${current?.version ?? 'none'}`,
    )
}

/** Erases the versions of a resource before the current one. @throws AttestError ERR_BROKER_NOT_FOUND */
export const retireVersions = (broker: Broker, path: string, by?: Use): Promise<ResourceEntry> =>
    broker.change(async () => {
        by?.check()
        const entry = broker.data.state.resources.get(path)
        demand(entry, 'resource', path)
        const { version } = entry
        await record(broker, 'retire', path, { before: version, ...by?.used }, { eraseBefore: version, of: path })
        return entry
    })

/** Erases every version of a resource; what is recorded of it stays. @throws AttestError ERR_BROKER_NOT_FOUND */
export const removeResource = (broker: Broker, path: string): Promise<void> =>
    broker.change(async () => {
        demand(broker.data.state.resources.has(path), 'resource', path)
        await record(broker, 'rm', path, {}, { erase: path })
    })

/** Stores a policy file, if it is valid together with the others. @throws AttestError ERR_BROKER_POLICY */
export const putPolicy = (broker: Broker, name: string, text: string): Promise<Policies> =>
    broker.change(() => changePolicies(broker, name, text))

/** @throws AttestError ERR_BROKER_NOT_FOUND, ERR_BROKER_POLICY */
export const removePolicy = (broker: Broker, name: string): Promise<Policies> =>
    broker.change(() => {
        demand(broker.data.state.policies.has(name), 'policy', name)
        return changePolicies(broker, name, null)
    })

/** What the policies would be with this file, in force or not. @throws AttestError ERR_BROKER_POLICY */
export function checkPolicy(broker: Broker, name: string, text: string | null): Policies {
    const others = [...broker.data.state.policies.values()].filter((file) => file.name !== name)
    const files: PolicyFile[] = text === null ? others : [...others, { name: checkName(name, 'policy'), text }]
    return broker.rules.compile(files)
}

async function changePolicies(broker: Broker, name: string, text: string | null): Promise<Policies> {
    const compiled = checkPolicy(broker, name, text)
    try {
        if (text === null) await record(broker, 'policy-rm', name, {})
        else await record(broker, 'policy-put', name, { text })
    } finally {
        // A record can stand although its caller was told that it could not be written: what it says is in force.
        if ((broker.data.state.policies.get(name)?.text ?? null) === text) broker.rules.use(compiled)
        else compiled.close()
    }
    return compiled
}

/** Stores a reference set under the name that stands in it. @throws AttestError ERR_BROKER_REFERENCE, ERR_CONFIG */
export async function putReference(broker: Broker, text: string): Promise<string> {
    const { name } = readReference(text, 'reference set', broker.verifiers.current)
    await broker.change(async () => {
        try {
            await record(broker, 'reference-put', name, { text })
        } finally {
            broker.rules.reload()
        }
    })
    return name
}

/** @throws AttestError ERR_BROKER_NOT_FOUND */
export const removeReference = (broker: Broker, name: string): Promise<void> =>
    broker.change(async () => {
        demand(broker.data.state.references.has(name), 'reference set', name)
        try {
            await record(broker, 'reference-rm', name, {})
        } finally {
            broker.rules.reload()
        }
    })

/** @throws AttestError ERR_BROKER_NOT_FOUND */
export function demand<T>(found: T, what: string, name: string): asserts found {
    if (!found) throw brokerError('ERR_BROKER_NOT_FOUND', `there is no ${what} ${name}`)
}

export async function record(
    { data, clock, log }: Broker,
    kind: RecordKind,
    subject: string,
    what: Readonly<Record<string, unknown>>,
    change?: Change | readonly Change[],
): Promise<void> {
    const { seq } = await data.ledger.append({ kind, subject, data: what, at: clock.now() }, change)
    log.info('administration', { kind, subject, audit: seq })
}
