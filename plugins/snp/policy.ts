// The appraisal policy of SNP as TOML: read as the members' schemas say, strict where it is silent, and written.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { AttestError } from '#core/errors.ts'
import { issues } from '#core/schema.ts'
import type { Claims, ClaimValue } from '#evidence/verdict.ts'
import type { Authentic, Policy } from '#evidence/verifier.ts'
import { snpError } from './errors.ts'
import { MEMBERS, type Member } from './members.ts'
import { TEE } from './tee.ts'

type Members = typeof MEMBERS
type MemberName = keyof Members

/** Each member with its name, in the order of their checks. */
export const MEMBER_ROWS = Object.entries(MEMBERS) as readonly (readonly [MemberName, Member])[]

/** Absent lists are not checked, and that is printed; debug, migration and the VMPL are always checked. */
export const SNP_POLICY = z.strictObject({
    tee: z.optional(z.literal(TEE)),
    ...(Object.fromEntries(MEMBER_ROWS.map(([name, { schema }]) => [name, schema])) as {
        [Name in MemberName]: Members[Name]['schema']
    }),
})

export type SnpPolicy = z.infer<typeof SNP_POLICY>

/** @throws AttestError ERR_SNP_POLICY_FILE, naming the member */
export function readPolicy(members: Readonly<Record<string, unknown>>, title: string): Policy {
    const result = SNP_POLICY.safeParse(members)
    if (result.success) return result.data as unknown as Policy
    throw snpError('ERR_SNP_POLICY_FILE', `${title}: ${issues(result.error)}`, {
        hint: '`guest-attest policy init --from REPORT` writes a policy with every member explained',
    })
}

/** The plugin's own view of a policy that `readPolicy` made. */
export const snpPolicy = (policy: Policy): SnpPolicy => policy as unknown as SnpPolicy

/** What a dotted path names. */
export const claimAt = (claims: Claims, path: string): ClaimValue | undefined =>
    path
        .split('.')
        .reduce<ClaimValue | undefined>(
            (value, name) => (value as Readonly<Record<string, ClaimValue>> | undefined)?.[name],
            claims,
        )

/** The strictest policy that this evidence passes, as commented TOML. */
export function writePolicy({ claims }: Authentic): string {
    const rows = MEMBER_ROWS.map(([name, row]) => ({
        name,
        row,
        value: row.strictest(claimAt(claims, row.claim), claims),
    }))
    const refused = rows.filter(({ row, value }) => value !== undefined && refuses(row, value, claims))
    // In TOML a table takes in whatever stands behind it.
    const inOrder = rows.toSorted((a, b) => Number(isTable(a.value)) - Number(isTable(b.value)))
    return `# Appraisal policy for \`guest-attest verify --policy\` and for a broker's reference sets (there under [policy]).
# A list accepts any of its entries; what is left out is not checked, and \`verify\` says so.
${refused.length > 0 ? `# NOTE: the report that this was written from is refused by it: ${refused.map(({ name }) => name).join(', ')}.\n` : ''}tee = "${TEE}"
${inOrder.map(({ name, row, value }) => `${row.says ? `\n# ${row.says}\n` : ''}${written(name, row, value, claims)}\n`).join('')}`
}

function refuses(row: Member, value: unknown, claims: Claims): boolean {
    try {
        row.judge(value as never, claimAt(claims, row.claim), claims)
        return false
    } catch (error) {
        if (error instanceof AttestError) return true
        throw error
    }
}

function written(name: string, row: Member, value: unknown, claims: Claims): string {
    if (value === undefined) return `# ${name} = ${row.example?.(claimAt(claims, row.claim), claims) ?? '[]'}`
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
