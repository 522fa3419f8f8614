// Reference sets: which guests an operator knows, as TOML files. A set names a technology, what its measurement covers,
// when it holds, and under `[policy]` the appraisal policy of the technology's plugin.
// SPDX-License-Identifier: Apache-2.0

import { TomlDate } from 'smol-toml'
import * as z from 'zod/mini'
import { type Check, Checks } from '#core/checks.ts'
import { parseTomlText } from '#core/config.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { issues } from '#core/schema.ts'
import type { Authentic, Coverage, Policy, Verifier } from '#evidence/verifier.ts'
import { SEGMENT } from '#kbs/messages.ts'
import { brokerError } from '../errors.ts'

/** What a measurement covers, from the least on. */
export const COVERAGES: Readonly<Record<Coverage, string>> = {
    firmware: 'the firmware alone: the host chooses kernel, initrd and command line',
    'firmware+kernel+initrd+cmdline': 'everything until the root file system is opened',
}

const RANKS = Object.keys(COVERAGES)

export interface ReferenceSet {
    readonly name: string
    readonly tee: string
    readonly coverage: Coverage
    readonly notBefore: Date | null
    readonly notAfter: Date | null
    readonly policy: Policy
    /** Lower-case hex. */
    readonly measurements: readonly string[]
}

/** A set that was stored and that this program cannot read any more: nothing matches it. */
export interface BrokenReference {
    readonly name: string
    readonly broken: string
}

/** Why a guest does not match a set. */
export interface Mismatch {
    readonly reference: string
    /** The check that failed, under the name that the plugin gives it; or `validity`, `technology`, `set`. */
    readonly check: string
    readonly code: string | null
    /** Expected and got: for operators alone. */
    readonly detail: string
}

/** How evidence stands against one set; the checks are those of the plugin. */
export interface Comparison {
    readonly reference: ReferenceSet | BrokenReference
    readonly mismatch: Mismatch | null
    readonly checks: readonly Check[]
}

export const NAME = new RegExp(`^${SEGMENT}$`)

/** @throws AttestError ERR_BROKER_NAME */
export function checkName(name: string, what: string): string {
    if (NAME.test(name)) return name
    throw brokerError('ERR_BROKER_NAME', `${JSON.stringify(name)} is no name of a ${what}`, {
        hint: 'letters, digits, `_`, `-` and dots, up to 128 of them, not beginning with a dot',
    })
}

const moment = z.pipe(
    z.custom<TomlDate>(
        (value) => value instanceof TomlDate && value.isDateTime() && !value.isLocal(),
        'expected a date and time with its offset, as 2026-11-20T12:00:00Z',
    ),
    z.transform((value: TomlDate) => new Date(value.getTime())),
)

const SET = z.strictObject({
    name: z.string().check(z.regex(NAME)),
    tee: z.string(),
    coverage: z.enum(Object.keys(COVERAGES) as [Coverage, ...Coverage[]]),
    notBefore: z.optional(moment),
    notAfter: z.optional(moment),
    // As it is: the plugin judges every member, and a record of this library would leave out one named `__proto__`.
    policy: z.custom<Record<string, unknown>>(
        (value) => typeof value === 'object' && value !== null,
        'expected a table',
    ),
})

/** @throws AttestError ERR_CONFIG, ERR_BROKER_REFERENCE, and what the plugin says of its policy */
export function readReference(
    text: string,
    title: string,
    verifiers: ReadonlyMap<string, Pick<Verifier, 'readPolicy' | 'measurementsOf' | 'covers'>>,
): ReferenceSet {
    const refuse = (what: string, hint?: string) => brokerError('ERR_BROKER_REFERENCE', `${title}: ${what}`, { hint })
    const parsed = SET.safeParse(parseTomlText(text, title))
    if (!parsed.success) throw refuse(issues(parsed.error))
    const { name, tee, coverage, notBefore = null, notAfter = null } = parsed.data
    const verifier = verifiers.get(tee)
    if (!verifier) throw refuse(`tee: expected one of ${[...verifiers.keys()].join(', ')}, got ${tee}`)
    if (notBefore && notAfter && notAfter <= notBefore) throw refuse('notAfter is not after notBefore')
    const policy = verifier.readPolicy(parsed.data.policy, `${title}: [policy]`)
    const measurements = verifier.measurementsOf(policy)
    if (!measurements || measurements.length === 0)
        throw refuse('[policy] names no measurements', 'a set that any guest matches would vouch for all of them')
    const most = verifier.covers?.(policy)
    if (most !== undefined && RANKS.indexOf(coverage) > RANKS.indexOf(most))
        throw refuse(
            `coverage: ${coverage} is more than what [policy] names, which is ${most}`,
            'a set covers what its policy has a value for: `reference add --from-evidence` writes them all',
        )
    return { name, tee, coverage, notBefore, notAfter, policy, measurements }
}

/** How the evidence stands against a set, at a time. */
export function compare(
    verifier: Verifier,
    authentic: Authentic,
    reference: ReferenceSet | BrokenReference,
    now: Date,
): Comparison {
    const { status = [], appraisal } = verifier.checkNames
    const checks = new Checks([...status, ...appraisal])
    const differs = (check: string, code: string | null, detail: string): Comparison => ({
        reference,
        mismatch: { reference: reference.name, check, code, detail },
        checks: checks.all(),
    })
    if ('broken' in reference) return differs('set', null, `the set cannot be read: ${reference.broken}`)
    const { tee, notBefore, notAfter, policy, measurements } = reference
    if (tee !== authentic.tee) return differs('technology', null, `expected ${tee}, got ${authentic.tee}`)
    if (notBefore && now < notBefore) return differs('validity', null, `it holds from ${notBefore.toISOString()} on`)
    if (notAfter && now > notAfter) return differs('validity', null, `it held until ${notAfter.toISOString()}`)
    // Most sets know other guests: that is seen without a whole appraisal of each.
    if (!measurements.includes(authentic.measurement))
        return differs('measurement', null, `expected ${measurements.join(' or ')}, got ${authentic.measurement}`)
    try {
        verifier.judgeStatus?.(authentic, policy, now, checks)
        verifier.appraise(authentic, policy, checks)
        return { reference, mismatch: null, checks: checks.all() }
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        const failed = checks.list.find(({ result }) => result === 'fail')
        return differs(failed?.name ?? 'policy', error.code, messageOf(error))
    }
}

/** A stored set as it is in force, readable or not. */
export function storedReference(
    { name, text }: { readonly name: string; readonly text: string },
    verifiers: Parameters<typeof readReference>[2],
): ReferenceSet | BrokenReference {
    try {
        return readReference(text, name, verifiers)
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return { name, broken: messageOf(error) }
    }
}

/** A set as TOML that accepts the guests of a policy, which its plugin has written; `says` is what a reader should know. */
export function writeReference(
    name: string,
    coverage: Coverage,
    { tee }: Pick<Authentic, 'tee'>,
    policy: string,
    says: readonly string[] = [],
): string {
    // Its tables become tables below [policy].
    const nested = policy.replaceAll(/^\[(?=[A-Za-z])/gm, '[policy.')
    const comment = says.map((line) => `# ${line.replaceAll(/\p{Cc}/gu, ' ')}\n`).join('')
    return `# Guests that a broker knows. What the measurement covers is your word: the evidence cannot tell.
${comment}name = ${JSON.stringify(name)}
tee = ${JSON.stringify(tee)}

# ${Object.entries(COVERAGES)
        .map(([value, means]) => `${value}: ${means}`)
        .join('\n# ')}
coverage = ${JSON.stringify(coverage)}

# When the set holds; without them always.
# notBefore = 2026-01-01T00:00:00Z
# notAfter = 2027-01-01T00:00:00Z

[policy]
${nested}`
}
