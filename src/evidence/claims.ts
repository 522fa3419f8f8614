// Claims as a table: what each is, who chose it, and what it means. The table documents, and types the policy engine's
// schema.
// SPDX-License-Identifier: Apache-2.0

/** Who chose a value: the hardware measured it, the host set it at launch, the guest put it in, or the verifier found it. */
export type Provenance = 'hardware' | 'host' | 'guest' | 'verifier'

export interface ClaimRow {
    readonly type: 'string' | 'strings' | 'long' | 'bool' | ClaimTable
    /** Absent in evidence that lacks it. */
    readonly optional?: true
    readonly from: Provenance
    readonly means: string
}

export interface ClaimTable {
    readonly [name: string]: ClaimRow
}

/** What the rules of a broker may say of a technology's guests. */
export interface Vocabulary {
    readonly claims: ClaimTable
    /** The named switches of the floor, and what each lets through. */
    readonly switches: Readonly<Record<`insecure${string}`, string>>
}
