// The members of an appraisal policy of SNP, one row each: what it may be, how it is judged, and what `policy init` writes.
// The schema, the checks and the written policy are made of this table; a row without its check does not compile.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import {
    allowed,
    byte,
    type Claims,
    type ClaimValue,
    isZeroHex,
    itself,
    itselfIfSet,
    listOf,
    lowerHex,
    type Member,
    member,
    type Outcome,
    oneOf,
    switchedOff,
} from '#core/policy-table.ts'
import { type SNP_ERRORS, snpError } from './errors.ts'
import { MAX_VMPL, PLATFORM_INFO } from './report.ts'
import {
    formatTcb,
    PRODUCT_LINE_NAMES,
    PRODUCT_LINES,
    type ProductLineName,
    partBelow,
    type Tcb,
    tcbParts,
} from './tcb.ts'

const refuse = (code: keyof typeof SNP_ERRORS) => (text: string) => snpError(code, text)

// All parts of a line must be named: a part that is forgotten would be a door.
const minimumTcb = z.optional(
    z.strictObject(
        Object.fromEntries(
            PRODUCT_LINE_NAMES.map((line) => [
                line,
                z.optional(z.strictObject(Object.fromEntries(tcbParts(line).map((part) => [part, byte])))),
            ]),
        ) as Record<ProductLineName, z.ZodMiniOptional<z.ZodMiniObject<Record<string, typeof byte>>>>,
    ),
)

type PlatformBit = keyof typeof PLATFORM_INFO.table
const platformBits = Object.keys(PLATFORM_INFO.table) as PlatformBit[]

/** In the order of the checks. */
export const MEMBERS = {
    measurements: member({
        schema: listOf(lowerHex(48)),
        check: 'measurement',
        claim: 'measurement',
        judge: oneOf(refuse('ERR_SNP_POLICY_MEASUREMENT'), 'measurement'),
        says: 'Digest of what the guest was launched with: the firmware, and with kernel hashes the kernel, initrd and command line.',
        strictest: itself,
    }),
    productLines: member({
        schema: listOf(z.enum(PRODUCT_LINE_NAMES)),
        check: 'product-lines',
        claim: 'productLine',
        judge: oneOf(refuse('ERR_SNP_POLICY_PRODUCT_LINE'), 'product line'),
        says: `Lines of processors: ${PRODUCT_LINE_NAMES.join(', ')}. Milan's reports can be forged (\`inspect\` names the weaknesses).`,
        strictest: (line) => [line as ProductLineName],
    }),
    debug: member({
        schema: switchedOff,
        check: 'debug',
        claim: 'policy.debugAllowed',
        judge: allowed(refuse('ERR_SNP_POLICY_DEBUG'), 'debugging'),
        says: "May the host read and write the guest's memory? Never true for a guest that keeps secrets.",
        strictest: () => false,
    }),
    migration: member({
        schema: switchedOff,
        check: 'migration',
        claim: 'policy.migrationAllowed',
        judge: allowed(refuse('ERR_SNP_POLICY_MIGRATION'), 'migration'),
        says: 'May the guest be moved to another machine by a migration agent?',
        strictest: () => false,
    }),
    maxVmpl: member({
        schema: z._default(z.int().check(z.gte(0), z.lte(MAX_VMPL)), 0),
        check: 'vmpl',
        claim: 'vmpl',
        judge: atMostVmpl,
        says: "The least privileged level (VMPL) that a report may speak for: 0 is the guest's firmware and kernel.",
        strictest: () => 0,
    }),
    minimumTcb: member({
        schema: minimumTcb,
        check: 'minimum-tcb',
        claim: 'reportedTcb',
        judge: atLeastTcb,
        says: 'The least firmware versions, for each line that is accepted; every part counts by itself.',
        strictest: (tcb, { productLine }) => ({ [productLine as ProductLineName]: tcb as Record<string, number> }),
    }),
    signingKeys: member({
        schema: listOf(z.enum(['VCEK', 'VLEK'])),
        check: 'signing-keys',
        claim: 'signingKey',
        judge: oneOf(refuse('ERR_SNP_POLICY_SIGNING_KEY'), 'signing key'),
        says: 'Which kinds of key may sign: VCEK of a chip, VLEK of a cloud provider.',
        strictest: (kind) => [kind as 'VCEK' | 'VLEK'],
    }),
    vlekProviders: member({
        schema: listOf(z.string()),
        check: 'vlek-providers',
        claim: 'vlekProvider',
        judge: ofProvider,
        strictest: (provider, { signingKey }) => (signingKey === 'VLEK' ? [String(provider)] : undefined),
        example: () => '["cc-eu-west-1.amazonaws.com"]   # for VLEK: the providers it may be issued to',
    }),
    requiredPlatform: member({
        schema: listOf(z.enum(platformBits)),
        check: 'required-platform',
        claim: 'platform',
        judge: hasPlatform,
        says: 'Protections of the platform that must be on. aliasCheckComplete answers BadRAM.',
        strictest(platform): PlatformBit[] {
            const on = platformBits.filter((bit) => (platform as Claims)[bit] === true && bit !== 'smtEnabled')
            return on.length > 0 ? on : ['aliasCheckComplete']
        },
    }),
    hostData: member({
        schema: listOf(lowerHex(32)),
        check: 'host-data',
        claim: 'hostData',
        judge: oneOf(refuse('ERR_SNP_POLICY_HOST_DATA'), 'host data'),
        says: 'What the host put in at launch (32 bytes); a digest of initial data where the guest checks one.',
        strictest: itself,
    }),
    idKeyDigests: member({
        schema: listOf(lowerHex(48)),
        check: 'id-keys',
        claim: 'idKeyDigest',
        judge: oneOf(refuse('ERR_SNP_POLICY_ID_KEY'), 'identity key'),
        says: "Keys that signed the guest's identity block (SHA-384 of the key as AMD lays it out).",
        strictest: itselfIfSet,
    }),
    authorKeyDigests: member({
        schema: listOf(lowerHex(48)),
        check: 'author-keys',
        claim: 'authorKeyDigest',
        judge: oneOf(refuse('ERR_SNP_POLICY_ID_KEY'), 'author key'),
        strictest: itselfIfSet,
    }),
    chipIds: member({
        schema: listOf(z.union([lowerHex(64), lowerHex(8)])),
        check: 'chip-ids',
        claim: 'chipId',
        judge: ofChip,
        says: 'Only on this chip. Leave it out if the guest may start on another machine.',
        strictest: () => undefined,
        example: (id, { productLine, signingKey }) =>
            signingKey === 'VLEK' || isZeroHex(id)
                ? '[]'
                : `["${String(id).slice(0, 2 * PRODUCT_LINES[productLine as ProductLineName].chipIdSize)}"]`,
    }),
} as const satisfies Readonly<Record<string, Member>>

function atMostVmpl(most: number, vmpl: ClaimValue | undefined): Outcome {
    if (typeof vmpl === 'number' && vmpl <= most) return { detail: `VMPL ${vmpl}` }
    throw snpError('ERR_SNP_POLICY_VMPL', `VMPL: expected at most ${most}, got ${String(vmpl)}`)
}

function atLeastTcb(
    minima: Readonly<Partial<Record<ProductLineName, Tcb>>>,
    claim: ClaimValue | undefined,
    { productLine }: Claims,
): Outcome {
    const minimum = minima[productLine as ProductLineName]
    if (!minimum) throw snpError('ERR_SNP_POLICY_TCB', `the policy names no minimum TCB for ${String(productLine)}`)
    const tcb = claim as Tcb
    const low = partBelow(tcb, minimum)
    if (!low) return { detail: formatTcb(tcb) }
    throw snpError('ERR_SNP_POLICY_TCB', `TCB ${low}: expected at least ${minimum[low]}, got ${tcb[low] ?? 'none'}`)
}

function ofProvider(providers: readonly string[], claim: ClaimValue | undefined, { signingKey }: Claims): Outcome {
    if (signingKey !== 'VLEK') return { detail: 'signed by a VCEK' }
    const bare = (name: string): string => name.replace(/^CN=/, '')
    return oneOf(refuse('ERR_SNP_POLICY_VLEK_PROVIDER'), 'VLEK provider')(providers.map(bare), bare(String(claim)))
}

function hasPlatform(required: readonly string[], claim: ClaimValue | undefined): Outcome {
    const missing = required.filter((name) => (claim as Claims)[name] !== true)
    if (missing.length === 0) return { detail: required.join(', ') }
    throw snpError('ERR_SNP_POLICY_PLATFORM', `the platform has not: ${missing.join(', ')}`)
}

// On Turin and later eight bytes name the chip, and zeros follow.
function ofChip(ids: readonly string[], claim: ClaimValue | undefined): Outcome {
    return oneOf(refuse('ERR_SNP_POLICY_CHIP_ID'), 'chip id')(
        ids.map((id) => id.padEnd(128, '0')),
        claim,
    )
}
