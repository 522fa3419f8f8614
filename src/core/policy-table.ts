// An appraisal policy as a table: one row a member, with what it may be, how it is judged, and what is written of it.
// The schema, the checks and the commented TOML of a technology's policy are made of its table.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import type { Checks } from './checks.ts'
import { AttestError } from './errors.ts'
import { issues } from './schema.ts'

/** A value that evidence claims: text and numbers, words of 64 bits as lower-case hex. */
export type ClaimValue = string | number | boolean | null | Claims | readonly ClaimValue[]
export interface Claims {
    readonly [name: string]: ClaimValue
}

export type Outcome = { readonly detail: string }

/** One member of a policy: what it may be, how it is judged, what is written of it. */
export interface PolicyRow<S extends z.ZodMiniType> {
    readonly schema: S
    /** The check that judges it. */
    readonly check: string
    /** The claim that it is about, as a dotted path. */
    readonly claim: string
    /**
     * Absent: the check is none of appraisal, and asks for the member itself.
     * @throws AttestError where the claim is not what the policy wants; absent members are not judged
     */
    judge?(wanted: NonNullable<z.output<S>>, claim: ClaimValue | undefined, claims: Claims): Outcome
    /** What the written policy says above it, in one line; absent where it belongs to the row before. */
    readonly says?: string
    /** What is written; undefined leaves the example, as a comment. */
    strictest(claim: ClaimValue | undefined, claims: Claims): z.input<S>
    example?(claim: ClaimValue | undefined, claims: Claims): string
}

/** A row as everybody sees it who walks through the table. */
export type Member = PolicyRow<z.ZodMiniType>

type Members = Readonly<Record<string, Member>>

/** A policy as its table reads it. */
export type PolicyOf<M extends Members> = { readonly [Name in keyof M]: z.output<M[Name]['schema']> }

/** What a table of members makes of a policy file, of evidence's claims, and of both. */
export interface PolicyTable<M extends Members> {
    readonly rows: readonly (readonly [keyof M & string, Member])[]
    readonly schema: { readonly shape: Readonly<Record<string, unknown>> }
    /** The checks of appraisal in their order. */
    readonly checks: readonly string[]
    /** The claim that each of them judges. */
    readonly appraisedClaims: Readonly<Record<string, string>>
    /** @throws what `malformed` makes, naming the member */
    read(members: Readonly<Record<string, unknown>>, title: string): PolicyOf<M>
    /** @throws AttestError of the first check that fails; members that are absent are skipped by name */
    appraise(policy: PolicyOf<M>, claims: Claims, checks: Checks): void
    /** The strictest policy that these claims pass, as commented TOML. */
    write(claims: Claims): string
}

export const member = <S extends z.ZodMiniType>(row: PolicyRow<S>): PolicyRow<S> => row

/** Bytes in hex of either case, as lower case. */
export const lowerHex = (bytes: number) =>
    z.pipe(
        z.string().check(z.regex(new RegExp(`^[0-9a-fA-F]{${2 * bytes}}$`), `${bytes} bytes in hex`)),
        z.transform((text: string) => text.toLowerCase()),
    )

/** Any of some; empty would be none, and is refused. */
export const listOf = <T extends z.ZodMiniType>(item: T) => z.optional(z.array(item).check(z.minLength(1)))

export const switchedOff = z._default(z.boolean(), false)

/** As versions and security version numbers are. */
export const byte = z.int().check(z.gte(0), z.lte(255))

/** Makes the error of a claim that is not what the policy wants. */
type Refuse = (text: string) => AttestError

export function oneOf(refuse: Refuse, title: string) {
    return (accepted: readonly string[], claim: ClaimValue | undefined): Outcome => {
        if (accepted.some((value) => value === claim)) return { detail: String(claim) }
        throw refuse(
            `${title}: expected ${accepted.length > 1 ? 'one of ' : ''}${accepted.join(', ')}, got ${String(claim)}`,
        )
    }
}

export function allowed(refuse: Refuse, title: string) {
    return (permitted: boolean, claim: ClaimValue | undefined): Outcome => {
        if (claim === false) return { detail: `${title} is off` }
        if (permitted) return { detail: `${title} is ON, and the policy allows it` }
        throw refuse(`${title} is on, the policy does not allow it`)
    }
}

/** The claim as the only entry of a list. */
export const itself = (claim: ClaimValue | undefined): string[] | undefined =>
    claim === undefined ? undefined : [String(claim)]

export const itselfIfSet = (claim: ClaimValue | undefined): string[] | undefined =>
    isZeroHex(claim) ? undefined : itself(claim)

export const isZeroHex = (hex: ClaimValue | undefined): boolean => /^0*$/.test(String(hex))

/** What a dotted path names. */
export const claimAt = (claims: Claims, path: string): ClaimValue | undefined =>
    path
        .split('.')
        .reduce<ClaimValue | undefined>(
            (value, name) => (value as Readonly<Record<string, ClaimValue>> | undefined)?.[name],
            claims,
        )

/** The policy of a technology from its members; `malformed` makes the error of a file that does not fit them. */
export function policyTable<const M extends Members>(
    tee: string,
    members: M,
    malformed: (text: string, hint: string) => AttestError,
): PolicyTable<M> {
    const rows = Object.entries(members) as readonly (readonly [keyof M & string, Member])[]
    const judged = rows.filter(([, { judge }]) => judge)
    const schema = z.strictObject({
        tee: z.optional(z.literal(tee)),
        ...Object.fromEntries(rows.map(([name, row]) => [name, row.schema])),
    })
    return {
        rows,
        schema,
        checks: judged.map(([, { check }]) => check),
        appraisedClaims: Object.fromEntries(judged.map(([, { check, claim }]) => [check, claim])),
        read(input, title) {
            const result = schema.safeParse(input)
            if (result.success) return result.data as unknown as PolicyOf<M>
            throw malformed(
                `${title}: ${issues(result.error)}`,
                '`guest-attest policy init --from REPORT` writes a policy with every member explained',
            )
        },
        appraise(policy, claims, checks) {
            for (const [name, { check, claim, judge }] of judged)
                checks.runIfNamed(check, 'the policy does not name it', () => {
                    const wanted = policy[name]
                    return wanted === undefined || wanted === null || !judge
                        ? null
                        : judge(wanted, claimAt(claims, claim), claims)
                })
        },
        write: (claims) => write(tee, rows, claims),
    }
}

function write(tee: string, members: readonly (readonly [string, Member])[], claims: Claims): string {
    const rows = members.map(([name, row]) => ({ name, row, value: row.strictest(claimAt(claims, row.claim), claims) }))
    // What nobody claimed is refused by nobody: a set may be made of a log, without a report.
    const refused = rows.filter(
        ({ row, value }) =>
            value !== undefined && claimAt(claims, row.claim) !== undefined && refuses(row, value, claims),
    )
    // In TOML a table takes in whatever stands behind it.
    const inOrder = rows.toSorted((a, b) => Number(isTable(a.value)) - Number(isTable(b.value)))
    return `# Appraisal policy for \`guest-attest verify --policy\` and for a broker's reference sets (there under [policy]).
# A list accepts any of its entries; what is left out is not checked, and \`verify\` says so.
${refused.length > 0 ? `# NOTE: the report that this was written from is refused by it: ${refused.map(({ name }) => name).join(', ')}.\n` : ''}tee = "${tee}"
${inOrder.map(({ name, row, value }) => `${row.says ? `\n${comment(row.says)}\n` : ''}${written(name, row, value, claims)}\n`).join('')}`
}

// As lines of a comment.
function comment(text: string): string {
    const lines: string[] = []
    for (const word of text.split(' ')) {
        const last = lines.at(-1)
        if (last !== undefined && last.length + word.length < MAX_COLUMNS) lines[lines.length - 1] = `${last} ${word}`
        else lines.push(`# ${word}`)
    }
    return lines.join('\n')
}

const MAX_COLUMNS = 120

function refuses(row: Member, value: unknown, claims: Claims): boolean {
    try {
        row.judge?.(value as never, claimAt(claims, row.claim), claims)
        return false
    } catch (error) {
        if (error instanceof AttestError) return true
        throw error
    }
}

function written(name: string, row: Member, value: unknown, claims: Claims): string {
    if (value === undefined) return `# ${name} = ${row.example?.(claimAt(claims, row.claim), claims) ?? '["..."]'}`
    if (!isTable(value)) return `${name} = ${toml(value)}`
    return Object.entries(value)
        .flatMap(([key, inner]) => [`[${name}.${key}]`, ...Object.entries(inner).map(([k, v]) => `${k} = ${toml(v)}`)])
        .join('\n')
}

const isTable = (value: unknown): value is Readonly<Record<string, Readonly<Record<string, unknown>>>> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)

// What JSON writes of a text, a number, a boolean is TOML.
const toml = (value: unknown): string =>
    Array.isArray(value) ? `[${value.map((item) => JSON.stringify(item)).join(', ')}]` : JSON.stringify(value)
