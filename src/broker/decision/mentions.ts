// Which claims do the rules look at? A guest has some hundred; to hand all of them to the engine costs ten times the
// decision. So the engine is given what is left when everything no rule mentions is taken out; then guests that differ
// in nothing that matters are one question, and the answer can be kept.
// SPDX-License-Identifier: Apache-2.0

import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { ClaimRow, ClaimTable } from '#evidence/claims.ts'
import type { Reach, Technology } from './schema.ts'

/** What is mentioned below one name. */
interface Mention {
    /** As a value: then everything in it counts. Otherwise its presence, and what is mentioned below it. */
    whole: boolean
    readonly below: Map<string, Mention>
}

/** What of a guest these rules can reach. */
export function mentioned(technologies: readonly Technology[], rules: readonly PolicyJson[]): Reach {
    const root: Mention = { whole: false, below: new Map() }
    for (const { conditions } of rules) for (const { body } of conditions) walk(body, root)
    if (root.whole) return { technologies, guestId: true }
    const reached = technologies
        .filter(({ id }) => root.below.has(id))
        .map((technology) => ({ ...technology, claims: prune(technology.claims, root.below.get(technology.id)) }))
    return { technologies: reached, guestId: root.below.has('guestId') }
}

function prune(table: ClaimTable, mention: Mention | undefined): ClaimTable {
    if (mention?.whole) return table
    const rows = Object.entries(table).flatMap(([name, row]): [string, ClaimRow][] => {
        const below = mention?.below.get(name)
        if (!below) return []
        return [[name, typeof row.type === 'string' ? row : { ...row, type: prune(row.type, below) }]]
    })
    return Object.fromEntries(rows)
}

// The expression as Cedar's JSON: one member, the operator, with its operands.
function walk(expression: unknown, root: Mention): void {
    if (typeof expression !== 'object' || expression === null) return
    const access = accessOf(expression)
    if (access) {
        const path = pathOf(access.left)
        // Members of something that is no plain path, as of a conditional: who knows what it leads to.
        if (path === null) root.whole = true
        else if (path.variable === 'principal') mention(root, [...path.names, ...access.names], access.whole)
        return
    }
    // What is left of `principal` is the guest itself, as in `principal is Guest`: no claim.
    for (const operand of Object.values(expression)) walk(operand, root)
}

function mention(root: Mention, names: readonly string[], whole: boolean): void {
    let at = root
    for (const name of names) {
        const next = at.below.get(name) ?? { whole: false, below: new Map() }
        at.below.set(name, next)
        at = next
    }
    at.whole ||= whole
}

interface Access {
    readonly left: unknown
    readonly names: readonly string[]
    readonly whole: boolean
}

function accessOf(expression: object): Access | null {
    if ('.' in expression) {
        const { left, attr } = expression['.'] as { left: unknown; attr: string }
        return { left, names: [attr], whole: true }
    }
    if ('has' in expression) {
        const { left, attr } = expression.has as { left: unknown; attr: string | string[] }
        return { left, names: [attr].flat(), whole: false }
    }
    return null
}

function pathOf(expression: unknown): { variable: string; names: string[] } | null {
    if (typeof expression !== 'object' || expression === null) return null
    if ('Var' in expression) return { variable: String(expression.Var), names: [] }
    if (!('.' in expression)) return null
    const { left, attr } = expression['.'] as { left: unknown; attr: string }
    const path = pathOf(left)
    return path && { variable: path.variable, names: [...path.names, attr] }
}
