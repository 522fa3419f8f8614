// Is it acceptable? An authentic report against a policy, as a list of named checks; and what a broker's floor says.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import type { Claims } from '#evidence/verdict.ts'
import type { Authentic, FloorFinding, Policy } from '#evidence/verifier.ts'
import { type SNP_ERRORS, snpError } from './errors.ts'
import { type SnpPolicy, snpPolicy } from './policy.ts'
import { formatTcb, type ProductLineName, partBelow, type Tcb } from './tcb.ts'
import type { switches } from './vocabulary.ts'

type Outcome = { readonly detail: string }

interface Row {
    readonly name: string
    /** The claim that it judges. */
    readonly claim: string
    /** Null: the policy does not name it. */
    check(policy: SnpPolicy, claims: Claims): Outcome | null
}

const CHECKS: readonly Row[] = [
    {
        name: 'measurement',
        claim: 'measurement',
        check: (p, c) => oneOf(p.measurements, c['measurement'], 'ERR_SNP_POLICY_MEASUREMENT', 'measurement'),
    },
    {
        name: 'debug',
        claim: 'policy.debugAllowed',
        check: (p, c) => forbidden(p.debug, bit(c, 'debugAllowed'), 'ERR_SNP_POLICY_DEBUG', 'debugging'),
    },
    {
        name: 'migration',
        claim: 'policy.migrationAllowed',
        check: (p, c) => forbidden(p.migration, bit(c, 'migrationAllowed'), 'ERR_SNP_POLICY_MIGRATION', 'migration'),
    },
    { name: 'vmpl', claim: 'vmpl', check: checkVmpl },
    {
        name: 'product-lines',
        claim: 'productLine',
        check: (p, c) => oneOf(p.productLines, c['productLine'], 'ERR_SNP_POLICY_PRODUCT_LINE', 'product line'),
    },
    { name: 'minimum-tcb', claim: 'reportedTcb', check: checkMinimumTcb },
    {
        name: 'signing-keys',
        claim: 'signingKey',
        check: (p, c) => oneOf(p.signingKeys, c['signingKey'], 'ERR_SNP_POLICY_SIGNING_KEY', 'signing key'),
    },
    { name: 'vlek-providers', claim: 'vlekProvider', check: checkProvider },
    { name: 'required-platform', claim: 'platform', check: checkPlatform },
    {
        name: 'host-data',
        claim: 'hostData',
        check: (p, c) => oneOf(p.hostData, c['hostData'], 'ERR_SNP_POLICY_HOST_DATA', 'host data'),
    },
    {
        name: 'id-keys',
        claim: 'idKeyDigest',
        check: (p, c) => oneOf(p.idKeyDigests, c['idKeyDigest'], 'ERR_SNP_POLICY_ID_KEY', 'identity key'),
    },
    {
        name: 'author-keys',
        claim: 'authorKeyDigest',
        check: (p, c) => oneOf(p.authorKeyDigests, c['authorKeyDigest'], 'ERR_SNP_POLICY_ID_KEY', 'author key'),
    },
    { name: 'chip-ids', claim: 'chipId', check: checkChip },
]

/** The checks in their order. */
export const APPRAISAL_CHECKS: readonly string[] = CHECKS.map(({ name }) => name)

/** The claim that each check judges. */
export const APPRAISED_CLAIMS: Readonly<Record<string, string>> = Object.fromEntries(
    CHECKS.map(({ name, claim }) => [name, claim]),
)

/** @throws AttestError ERR_SNP_POLICY_* of the first check that fails */
export function appraise({ claims }: Authentic, policy: Policy, checks: Checks): void {
    const mine = snpPolicy(policy)
    for (const { name, check } of CHECKS)
        checks.runIfNamed(name, 'the policy does not name it', () => check(mine, claims))
}

/** What the floor of a broker has against this evidence under this policy (none: no reference set matched). */
export function floor({ claims }: Authentic, policy: Policy | null): FloorFinding[] {
    const line = claims['productLine'] as ProductLineName
    const p = policy && snpPolicy(policy)
    const isVlek = claims['signingKey'] === 'VLEK'
    const findings: (FloorFinding & { readonly switch: keyof typeof switches; readonly found: boolean })[] = [
        {
            switch: 'insecureDebug',
            found: bit(claims, 'debugAllowed'),
            detail: 'the guest may be debugged by its host',
        },
        { switch: 'insecureMigration', found: bit(claims, 'migrationAllowed'), detail: 'the guest may be migrated' },
        { switch: 'insecureVmpl', found: claims['vmpl'] !== 0, detail: `the report speaks for VMPL ${claims['vmpl']}` },
        { switch: 'insecureAnyProductLine', found: !p?.productLines, detail: 'no product lines are named' },
        {
            switch: 'insecureNoMinimumTcb',
            found: !p?.minimumTcb?.[line],
            detail: `no minimum TCB is named for ${line}`,
        },
        {
            switch: 'insecureAnyVlekProvider',
            found: isVlek && !p?.vlekProviders,
            detail: 'no VLEK providers are named',
        },
    ]
    return findings.filter(({ found }) => found).map(({ switch: name, detail }) => ({ switch: name, detail }))
}

type Code = keyof typeof SNP_ERRORS

const bit = (claims: Claims, name: string): boolean => (claims['policy'] as Claims)[name] === true

function oneOf(accepted: readonly string[] | undefined, got: unknown, code: Code, title: string): Outcome | null {
    if (!accepted) return null
    if (accepted.some((value) => value === got)) return { detail: String(got) }
    throw snpError(
        code,
        `${title}: expected ${accepted.length > 1 ? 'one of ' : ''}${accepted.join(', ')}, got ${String(got)}`,
    )
}

function forbidden(allowed: boolean, is: boolean, code: Code, title: string): Outcome {
    if (!is) return { detail: `${title} is off` }
    if (allowed) return { detail: `${title} is ON, and the policy allows it` }
    throw snpError(code, `${title} is on, the policy does not allow it`)
}

function checkVmpl({ maxVmpl }: SnpPolicy, { vmpl }: Claims): Outcome {
    if (typeof vmpl === 'number' && vmpl <= maxVmpl) return { detail: `VMPL ${vmpl}` }
    throw snpError('ERR_SNP_POLICY_VMPL', `VMPL: expected at most ${maxVmpl}, got ${String(vmpl)}`)
}

function checkMinimumTcb({ minimumTcb }: SnpPolicy, claims: Claims): Outcome | null {
    if (!minimumTcb) return null
    const line = claims['productLine'] as ProductLineName
    const minimum = minimumTcb[line] as Tcb | undefined
    const reported = claims['reportedTcb'] as Tcb
    if (!minimum) throw snpError('ERR_SNP_POLICY_TCB', `the policy names no minimum TCB for ${line}`)
    const low = partBelow(reported, minimum)
    if (!low) return { detail: formatTcb(reported) }
    throw snpError(
        'ERR_SNP_POLICY_TCB',
        `TCB ${low}: expected at least ${minimum[low]}, got ${reported[low] ?? 'none'}`,
    )
}

function checkProvider({ vlekProviders }: SnpPolicy, claims: Claims): Outcome | null {
    if (claims['signingKey'] !== 'VLEK') return vlekProviders ? { detail: 'signed by a VCEK' } : null
    const provider = String(claims['vlekProvider']).replace(/^CN=/, '')
    const accepted = vlekProviders?.map((name) => name.replace(/^CN=/, ''))
    return oneOf(accepted, provider, 'ERR_SNP_POLICY_VLEK_PROVIDER', 'VLEK provider')
}

function checkPlatform({ requiredPlatform }: SnpPolicy, claims: Claims): Outcome | null {
    if (!requiredPlatform) return null
    const platform = claims['platform'] as Claims
    const missing = requiredPlatform.filter((name) => platform[name] !== true)
    if (missing.length === 0) return { detail: requiredPlatform.join(', ') }
    throw snpError('ERR_SNP_POLICY_PLATFORM', `the platform has not: ${missing.join(', ')}`)
}

// On Turin and later eight bytes name the chip, and zeros follow.
function checkChip({ chipIds }: SnpPolicy, claims: Claims): Outcome | null {
    return oneOf(
        chipIds?.map((id) => id.padEnd(128, '0')),
        claims['chipId'],
        'ERR_SNP_POLICY_CHIP_ID',
        'chip id',
    )
}
