// The state of a broker: what its audit log adds up to. Nothing else decides what is current, so that no row of the
// database can be put back, edited or exchanged by itself.
// SPDX-License-Identifier: Apache-2.0

import type { CredentialAction } from '#kbs/credential.ts'
import { LUKS_KEY } from '#kbs/messages.ts'
import type { Draft, RecordKind } from './audit/record.ts'
import { brokerError } from './errors.ts'
import { type VmEntry, vmEffects } from './launch-state.ts'
import type { StoredRecord } from './store/store.ts'

/** What a resource is for: anything, or a disk. */
export const RESOURCE_KINDS = ['opaque', LUKS_KEY] as const

export type ResourceKind = (typeof RESOURCE_KINDS)[number]

/** The current version of a resource. */
export interface ResourceEntry {
    readonly path: string
    readonly version: number
    readonly kind: ResourceKind
    /** How often this version may be released; null: as often as the policy permits. */
    readonly maxReleases: number | null
    /** Of the sealed row. */
    readonly digest: string
    readonly time: string
    /** How often it was. */
    readonly releases: number
    readonly lastRelease: string | null
}

/** A policy or a reference set, as an administrator wrote it. */
export interface TextEntry {
    readonly name: string
    readonly text: string
    readonly time: string
    readonly seq: number
}

/** A credential for enrolling disks, as far as it is known: of its secret the hash. */
export interface CredentialEntry {
    readonly name: string
    /** Hex. */
    readonly hash: string
    readonly allowPaths: readonly string[]
    readonly may: readonly CredentialAction[]
    /** ISO 8601. */
    readonly expires: string
    readonly maxUses: number
    readonly uses: number
    readonly time: string
}

export interface State {
    /** What each key of the broker is known by. */
    readonly keys: ReadonlyMap<string, string>
    readonly resources: ReadonlyMap<string, ResourceEntry>
    /** The last version that each path ever had: none is used twice. */
    readonly versions: ReadonlyMap<string, number>
    readonly policies: ReadonlyMap<string, TextEntry>
    readonly references: ReadonlyMap<string, TextEntry>
    readonly credentials: ReadonlyMap<string, CredentialEntry>
    /** Guests that are proved before they run, by their UUID. */
    readonly vms: ReadonlyMap<string, VmEntry>
    /** Releases of a path by a rule. */
    ruleReleases(rule: string, path: string): number
    apply(record: StoredRecord): void
}

/** What the record of a release says, as far as it counts. */
export interface ReleaseCount {
    readonly rule: string
    readonly version: number
    /** The record of the release that this one repeats, in the same session: it counts once. */
    readonly repeats: number | null
}

export function emptyState(): State {
    const keys = new Map<string, string>()
    const resources = new Map<string, ResourceEntry>()
    const versions = new Map<string, number>()
    const policies = new Map<string, TextEntry>()
    const references = new Map<string, TextEntry>()
    const credentials = new Map<string, CredentialEntry>()
    const vms = new Map<string, VmEntry>()
    const ruleReleases = new Map<string, number>()

    const use = (credential: string | undefined) => {
        const entry = credential === undefined ? undefined : credentials.get(credential)
        if (entry) credentials.set(entry.name, { ...entry, uses: entry.uses + 1 })
    }

    // biome-ignore lint/suspicious/noExplicitAny: each kind has data of its own, which this program has written
    const effects: Record<RecordKind, ((record: StoredRecord, data: any) => void) | null> = {
        key: ({ subject }, { id }) => keys.set(subject, id),
        put: ({ subject: path, time }, { version, kind, maxReleases, digest, credential }) => {
            versions.set(path, version)
            use(credential)
            resources.set(path, { path, version, kind, maxReleases, digest, time, releases: 0, lastRelease: null })
        },
        retire: (_record, { credential }) => use(credential),
        'credential-put': ({ subject: name, time }, { hash, allowPaths, may, expires, maxUses }) =>
            credentials.set(name, { name, hash, allowPaths, may, expires, maxUses, uses: 0, time }),
        'credential-rm': ({ subject }) => credentials.delete(subject),
        rm: ({ subject }) => resources.delete(subject),
        'policy-put': (record, { text }) => policies.set(record.subject, textEntry(record, text)),
        'policy-rm': ({ subject }) => policies.delete(subject),
        'reference-put': (record, { text }) => references.set(record.subject, textEntry(record, text)),
        'reference-rm': ({ subject }) => references.delete(subject),
        release: ({ subject: path, time }, { rule, version, repeats }: ReleaseCount) => {
            if (repeats !== null) return
            const entry = resources.get(path)
            if (entry?.version === version)
                resources.set(path, { ...entry, releases: entry.releases + 1, lastRelease: time })
            const key = ruleKey(rule, path)
            ruleReleases.set(key, (ruleReleases.get(key) ?? 0) + 1)
        },
        denial: null,
        denials: null,
        noise: null,
        ...vmEffects(vms),
    }

    return {
        keys,
        resources,
        versions,
        policies,
        references,
        credentials,
        vms,
        ruleReleases: (rule, path) => ruleReleases.get(ruleKey(rule, path)) ?? 0,
        apply(record) {
            if (!Object.hasOwn(effects, record.kind))
                throw brokerError('ERR_BROKER_STORE', `record ${record.seq} is of the unknown kind ${record.kind}`, {
                    hint: 'the audit log was written by a later version of this program',
                })
            effects[record.kind as RecordKind]?.(record, JSON.parse(record.data))
        },
    }
}

/** Releases among drafts that are not durable yet, which count already. */
export function pendingReleases(pending: Iterable<Draft>, path: string, counts: (release: ReleaseCount) => boolean) {
    let n = 0
    for (const { kind, subject, data } of pending)
        if (kind === 'release' && subject === path) {
            const release = data as unknown as ReleaseCount
            if (release.repeats === null && counts(release)) n++
        }
    return n
}

const textEntry = ({ subject: name, time, seq }: StoredRecord, text: string): TextEntry => ({ name, text, time, seq })

// A rule's name holds no line break.
const ruleKey = (rule: string, path: string): string => `${rule}\n${path}`
