// `verify`: is this proof authentic, and is it what was expected?
// SPDX-License-Identifier: Apache-2.0

import { parseTomlText } from '#core/config.ts'
import { AttestError, coreError, messageOf, restated } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { type Expectations, judge, padNonce, padReportData } from '#evidence/judge.ts'
import { MAX_EVIDENCE_BYTES, type Recognised, recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import type { Judgement } from '#evidence/verdict.ts'
import type { Policy, Verifier } from '#evidence/verifier.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { PLUGINS, pluginOf } from '#plugins.ts'
import { collateralFor, ON_DEMAND_OPTIONS } from './collateral/on-demand.ts'
import { type Args, command as define, JSON_OPTION, many } from './command.ts'
import { BYTES_FORMS, readBytes, readMeasurement } from './options/bytes.ts'
import { checkReadable, readTime, TIME_OPTION, TRUST_OPTIONS, verifiersFor } from './options/trust.ts'
import { columns, hint, MARKS, print, printJson, type Styled, styled } from './term.ts'
import { showWeaknesses } from './weaknesses.ts'

const OPTIONS = {
    ...TRUST_OPTIONS,
    ...ON_DEMAND_OPTIONS,
    ...TIME_OPTION,
    'report-data': { type: 'string', describe: `1 to 64 bytes that it must carry (${BYTES_FORMS})` },
    nonce: { type: 'string', describe: `the challenge that it must carry, 16 to 64 bytes (${BYTES_FORMS})` },
    measurement: many('a measurement that is accepted (hex); may be repeated'),
    policy: { type: 'string', describe: 'an appraisal policy (TOML), see `guest-attest policy init`' },
    'authentic-only': {
        type: 'boolean',
        default: false,
        describe: 'exit 0 on authentic evidence although nothing was expected of it',
    },
    ...JSON_OPTION,
} as const

export const command = define({
    positionals: { file: 'the evidence: binary, hex, base64 or JSON; - is standard input' },
    options: OPTIONS,
    examples: [
        ['report.bin --collateral certs/ --nonce hex:00…ff --measurement 6a65…', 'fresh, and that guest'],
        ['evidence.json --policy web.toml --collateral certs/', 'everything that a policy demands'],
        [
            'report.bin --certs vcek.der --offline --authentic-only',
            'real hardware, whatever guest; without a revocation list',
        ],
    ],
    details:
        'Exit status: 0 accepted (or authentic with --authentic-only), 1 rejected, 2 usage, 3 undecided or not appraised.\n' +
        'Debugging, migration and a VMPL other than 0 are refused as soon as anything is expected, unless a policy allows them.',
    async run(args) {
        // First all that was typed: a mistake in it must not pass for a rejection.
        const at = readTime(args.at)
        const wanted = readWanted(args)
        const wantsService = args.pccs !== undefined || args.from !== undefined
        const early = wantsService ? null : await verifiersFor(args)
        const bytes = readInput(String(args['file']), MAX_EVIDENCE_BYTES)
        const verifiers = early ?? (await verifiersFor({ ...args, collateral: await collateralFor(bytes, args, at) }))
        const other = args.tee === undefined ? null : await otherTechnology(bytes, args.tee)
        const { judgement, form } = judgeBytes(
            bytes,
            verifiers,
            (verifier) => expectations(wanted, verifier),
            at,
            other,
        )
        if (args.json) printJson(judgement)
        else show(judgement, form, args.authenticOnly)
        return exitOf(judgement, args.authenticOnly)
    },
})

/** The technology that evidence is of, where it is not the one that was named. */
async function otherTechnology(bytes: Buffer, tee: string): Promise<Plugin | null> {
    const others = PLUGINS.filter(({ id }) => id !== tee)
    try {
        const { verifier } = recognise(bytes, await Promise.all(others.map((plugin) => plugin.verifier(STRICT_TRUST))))
        return pluginOf(verifier.tee)
    } catch (error) {
        if (error instanceof AttestError) return null
        throw error
    }
}

type Options = Args<typeof OPTIONS>

/** Judges bytes of any form. What cannot be read as evidence is rejected like evidence that is false. */
function judgeBytes(
    bytes: Buffer,
    verifiers: readonly Verifier[],
    expected: (verifier: Verifier) => Expectations,
    at: Date,
    other: Plugin | null,
) {
    let found: Recognised
    try {
        found = recognise(bytes, verifiers)
    } catch (thrown) {
        if (!(thrown instanceof AttestError) || thrown.exit !== 1) throw thrown
        const error =
            other === null
                ? thrown
                : restated(thrown, `this is ${other.title} evidence`, '--tee names another technology')
        const hint = error.hint === undefined ? {} : { hint: error.hint }
        const check = { name: 'format', result: 'fail', detail: messageOf(error), code: error.code, ...hint } as const
        const tee = PLUGINS.find(({ errors }) => Object.hasOwn(errors, error.code))?.id ?? 'unknown'
        return {
            form: null,
            judgement: {
                verdict: 'rejected',
                tee,
                code: error.code,
                checks: [check],
                claims: null,
                weaknesses: [],
            } satisfies Judgement,
        }
    }
    checkReadable(found.verifier)
    return { form: found.form, judgement: judge(found.verifier, found.evidence, expected(found.verifier), at) }
}

/** What is expected, as far as it is the same for every technology. */
interface Wanted {
    readonly reportData?: Buffer
    readonly nonce?: Buffer
    readonly policy?: WantedPolicy
}

/** A policy's members, what to call it, and measurements that are accepted beside it. */
interface WantedPolicy {
    readonly members: Readonly<Record<string, unknown>>
    readonly title: string
    readonly measurements: readonly string[]
}

// Whatever is expected, the strict values of a policy hold with it: a measurement says nothing of a guest whose host can
// write its memory.
function readWanted({ policy, measurement: measurements, reportData, nonce }: Options): Wanted {
    const members = policy === undefined ? {} : parseTomlText(readInput(policy), policy)
    if (policy !== undefined && Object.keys(members).length === 0)
        throw coreError('ERR_USAGE', `${policy}: an empty policy would accept any guest`, {
            hint: '`guest-attest policy init` writes one',
        })
    if ('coverage' in members && 'policy' in members)
        throw coreError('ERR_USAGE', `${policy}: a reference set of a broker, an appraisal policy was expected`, {
            hint: 'its table [policy] is one: what stands in it, in a file of its own',
        })
    for (const text of measurements) readMeasurement(text)
    const isAppraised = [policy, reportData, nonce].some((value) => value !== undefined) || measurements.length > 0
    return {
        ...(reportData === undefined ? {} : { reportData: padReportData(readBytes(reportData, '--report-data')) }),
        ...(nonce === undefined ? {} : { nonce: padNonce(readBytes(nonce, '--nonce')) }),
        ...(isAppraised ? { policy: { members, title: policy ?? '--policy', measurements } } : {}),
    }
}

const expectations = ({ policy, ...data }: Wanted, verifier: Verifier): Expectations => ({
    ...data,
    ...(policy ? { policy: readPolicy(policy, verifier) } : {}),
})

function readPolicy({ members, title, measurements }: WantedPolicy, verifier: Verifier): Policy {
    const policy = verifier.readPolicy(members, title)
    if (measurements.length === 0) return policy
    if (verifier.measurementsOf(policy))
        throw coreError(
            'ERR_USAGE',
            '--measurement and the measurements of --policy were given: name them in one place',
        )
    return verifier.withMeasurements(policy, measurements, '--measurement')
}

function exitOf({ verdict }: Judgement, authenticOnly: boolean): 0 | 1 | 3 {
    if (verdict === 'accepted') return 0
    if (verdict === 'authentic') return authenticOnly ? 0 : 3
    return verdict === 'rejected' ? 1 : 3
}

function show(judgement: Judgement, form: string | null, authenticOnly: boolean): void {
    if (form) print(form)
    for (const line of columns(
        judgement.checks.map(({ name, result, detail }) => [MARKS[result], name, detail]),
        '  ',
    ))
        print(line)
    const emulated = judgement.claims?.['emulated'] === true
    if (emulated)
        print(
            styled('yellow', 'EMULATED: these keys were made by an emulator; the evidence proves nothing of hardware'),
        )
    showWeaknesses(judgement.weaknesses)
    const unchecked = judgement.checks.filter(({ result }) => result === 'skipped').map(({ name }) => name)
    if (unchecked.length > 0) print(`not checked: ${unchecked.join(', ')}`)
    print(lastLine(judgement, authenticOnly))
    for (const { hint: text } of judgement.checks) if (text) hint(text)
}

function lastLine({ verdict, code }: Judgement, authenticOnly: boolean): string | Styled {
    if (verdict === 'accepted') return styled('green', 'ACCEPTED')
    if (verdict === 'rejected') return styled('red', `REJECTED: ${code}`)
    if (verdict === 'undecided') return styled('yellow', `UNDECIDED: ${code}`)
    const text = 'AUTHENTIC, NOT APPRAISED: could be any guest, could be a replay'
    return authenticOnly ? text : styled('yellow', text)
}
