// The vocabulary of the policies: a Cedar schema made from the claims of each technology, with who chose each value; and
// a guest and a resource as Cedar's entities. Words of 64 bits and digests are lower-case hex, other numbers Long.
// SPDX-License-Identifier: Apache-2.0

import type { CedarValueJson, EntityJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { ClaimRow, ClaimTable, Provenance, Vocabulary } from '#evidence/claims.ts'
import type { Claims } from '#evidence/verdict.ts'
import type { Authentic } from '#evidence/verifier.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { brokerError } from '../errors.ts'

/** What of a technology the policies know. */
export type Technology = Pick<Plugin, 'id' | 'title'> & Vocabulary

export const technologiesOf = async (plugins: readonly Plugin[]): Promise<readonly Technology[]> =>
    Promise.all(plugins.map(async (plugin) => ({ id: plugin.id, title: plugin.title, ...(await plugin.vocabulary()) })))

/** What of a guest is looked at. */
export interface Reach {
    readonly technologies: readonly Technology[]
    readonly guestId: boolean
}

/** What a request is for. */
export interface Target {
    /** `repository/type/tag`. */
    readonly path: string
    readonly kind: string
}

const BY: Readonly<Record<Provenance, string>> = {
    hardware: 'the hardware',
    host: 'the HOST',
    guest: 'the guest',
    verifier: 'this broker',
}

const TYPES = { string: 'String', strings: 'Set<String>', long: 'Long', bool: 'Bool' } as const

/** The schema as Cedar's text; the comments say who chose a value and what it means. */
export const cedarSchema = (
    technologies: readonly Technology[],
): string => `// Who asks: a guest that has proved itself.
entity Guest {
    // The technology: ${technologies.map(({ id }) => id).join(', ')}.
    tee: String,
    // The names of the reference sets that it matches.
    references: Set<String>,
    // Names this launch of this guest, where the technology has such a name.
    guestId?: String,
${technologies.map(({ id, title, claims }) => `    // ${title}. In brackets: who chose the value.\n    ${id}?: ${recordType(claims, 1)},\n`).join('')}};

// What is asked for: kbs:///repository/type/tag.
entity Resource {
    path: String,
    repository: String,
    type: String,
    tag: String,
    // opaque, or luks-key.
    kind: String,
};

action release appliesTo { principal: Guest, resource: Resource };
`

function recordType(table: ClaimTable, depth: number): string {
    const indent = '    '.repeat(depth + 1)
    const rows = Object.entries(table).map(
        ([name, row]) =>
            `${indent}// [${BY[row.from]}] ${row.means}\n${indent}${name}${row.optional ? '?' : ''}: ${typeOf(row, depth)},\n`,
    )
    return `{\n${rows.join('')}${'    '.repeat(depth)}}`
}

const typeOf = ({ type }: ClaimRow, depth: number): string =>
    typeof type === 'string' ? TYPES[type] : recordType(type, depth + 1)

export const GUEST = { type: 'Guest', id: 'guest' } as const
export const RELEASE = { type: 'Action', id: 'release' } as const
export const resourceUid = ({ path }: Target) => ({ type: 'Resource', id: path })

/**
 * Guest and resource, as the schema has them.
 * @throws AttestError ERR_BROKER_DENIED_EVALUATION where a claim is missing that the schema promises
 */
export function entities(
    authentic: Authentic,
    references: readonly string[],
    target: Target,
    reach: Reach,
): EntityJson[] {
    const { tee, guestId } = authentic
    const table = reach.technologies.find(({ id }) => id === tee)?.claims
    const [repository = '', type = '', tag = ''] = target.path.split('/')
    return [
        {
            uid: GUEST,
            attrs: {
                tee,
                references: [...references],
                ...(reach.guestId && guestId !== null ? { guestId } : {}),
                ...(table ? { [tee]: record(table, authentic.claims, tee) } : {}),
            },
            parents: [],
        },
        {
            uid: resourceUid(target),
            attrs: { path: target.path, repository, type, tag, kind: target.kind },
            parents: [],
        },
    ]
}

function record(table: ClaimTable, claims: Claims, title: string): Record<string, CedarValueJson> {
    const out: Record<string, CedarValueJson> = {}
    for (const [name, { type, optional }] of Object.entries(table)) {
        const value = claims[name]
        if (value === undefined || value === null) {
            if (optional) continue
            throw brokerError('ERR_BROKER_DENIED_EVALUATION', `the evidence has no claim ${title}.${name}`)
        }
        out[name] =
            typeof type === 'string' ? (value as CedarValueJson) : record(type, value as Claims, `${title}.${name}`)
    }
    return out
}
