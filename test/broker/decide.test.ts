// Decisions over really signed reports: reference sets, the floor, rules and counts.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { type Counts, type Decision, decide } from '#broker/decision/decide.ts'
import { publicReason } from '#broker/decision/denial.ts'
import { brokenPolicies, compilePolicies } from '#broker/decision/policies.ts'
import { readReference, storedReference } from '#broker/decision/references.ts'
import { Checks } from '#core/checks.ts'
import type { Authentic, Verifier } from '#evidence/verifier.ts'
import { snp } from '#plugins/snp/index.ts'
import type { Report } from '#plugins/snp/report.ts'
import { report, table, trustIn } from '#test/plugins/snp/minted.ts'
import { REFERENCE, TECHNOLOGIES, theVendor } from './rig.ts'

const vendor = await theVendor()
const verifier = await snp.verifier(trustIn(vendor))
const verifiers = new Map([['snp', verifier]])
const now = new Date()

/** A guest as if the vendor's own root vouched for it. */
function guest(changed: Partial<Report> = {}, also: Partial<Authentic> = {}): Authentic {
    const evidence = { tee: 'snp', report: report(vendor, changed), certificates: table(vendor) }
    const checks = new Checks(verifier.checkNames.authentic)
    return { ...verifier.authenticate(evidence, vendor.now, checks), customRoot: false, ...also }
}

const DEBUG = 0xb0000n
const web = REFERENCE
const policy = (text: string) => `@id("r") ${text} permit (principal, action, resource);`

interface Case {
    readonly name: string
    readonly guest?: Authentic
    readonly references?: readonly string[]
    readonly policies?: readonly string[]
    readonly counts?: Counts | null
    readonly at?: Date
    /** The rule that releases, or the code of the denial. */
    readonly want: string
    readonly reason?: RegExp
}

const ask = ({
    guest: authentic = guest(),
    references = [web],
    policies = [policy('')],
    counts = null,
    at = now,
}: Case): Decision => {
    const compiled = compilePolicies(
        policies.map((text, i) => ({ name: `p${i}`, text })),
        TECHNOLOGIES,
    )
    const sets = references.map((text) => readReference(text, 'set', verifiers))
    const target = { path: 'web/disk/root', kind: 'luks-key' }
    const decision = decide({ verifier, authentic, target, references: sets, policies: compiled, counts, now: at })
    compiled.close()
    return decision
}

const CASES: readonly Case[] = [
    { name: 'a guest that is known, a rule that permits', want: 'r' },
    { name: 'no policy', policies: [], want: 'ERR_BROKER_DENIED_POLICY', reason: /there is no policy/ },
    {
        name: 'no policy and no reference set',
        policies: [],
        references: [],
        want: 'ERR_BROKER_DENIED_REFERENCE',
        reason: /there is no reference set/,
    },
    {
        name: 'a rule for others',
        policies: ['@id("r") permit (principal, action, resource) when { resource.tag == "x" };'],
        want: 'ERR_BROKER_DENIED_POLICY',
        reason: /no rule permits it/,
    },
    {
        name: 'a rule that forbids wins',
        policies: [policy(''), '@id("no") forbid (principal, action, resource);'],
        want: 'ERR_BROKER_DENIED_POLICY',
        reason: /forbidden by no \(p1:1\)/,
    },
    {
        name: 'a forbid that fails denies',
        policies: [
            policy(''),
            'forbid (principal, action, resource) when { principal has snp && principal.snp.vmpl + 9223372036854775807 > 0 };',
        ],
        guest: guest({ vmpl: 1 }),
        want: 'ERR_BROKER_DENIED_EVALUATION',
        reason: /overflow/,
    },
    {
        name: 'another measurement',
        guest: guest({ measurement: Buffer.alloc(48, 9) }),
        want: 'ERR_BROKER_DENIED_REFERENCE',
        reason: /web lacks|lacks @insecureNoReference/,
    },
    {
        name: 'another measurement, and a rule that does not care',
        guest: guest({ measurement: Buffer.alloc(48, 9) }),
        policies: [policy('@insecureNoReference @insecureAnyProductLine @insecureNoMinimumTcb')],
        want: 'r',
    },
    {
        name: 'before the set holds',
        references: [web.replace('[policy]', 'notBefore = 2999-01-01T00:00:00Z\n[policy]')],
        want: 'ERR_BROKER_DENIED_REFERENCE',
    },
    {
        name: 'after the set held',
        references: [web.replace('[policy]', 'notAfter = 2001-01-01T00:00:00Z\n[policy]')],
        want: 'ERR_BROKER_DENIED_REFERENCE',
    },
    {
        name: 'debug',
        guest: guest({ policy: DEBUG }),
        references: [web.replace('[policy]', '[policy]\ndebug = true')],
        want: 'ERR_BROKER_DENIED_FLOOR',
        reason: /r lacks @insecureDebug/,
    },
    {
        name: 'debug with its switch',
        guest: guest({ policy: DEBUG }),
        references: [web.replace('[policy]', '[policy]\ndebug = true')],
        policies: [policy('@insecureDebug')],
        want: 'r',
    },
    {
        name: 'a custom root',
        guest: guest({}, { customRoot: true }),
        want: 'ERR_BROKER_DENIED_FLOOR',
        reason: /@insecureCustomRoot/,
    },
    {
        name: 'no revocation',
        guest: guest({}, { revocationChecked: false }),
        want: 'ERR_BROKER_DENIED_FLOOR',
        reason: /@insecureNoRevocation/,
    },
    {
        name: 'a measurement of the firmware alone',
        references: [web.replace('firmware+kernel+initrd+cmdline', 'firmware')],
        want: 'ERR_BROKER_DENIED_FLOOR',
        reason: /@insecureUnmeasuredInitrd/,
    },
    {
        name: 'no product line named',
        references: [web.replace('productLines', '# ')],
        want: 'ERR_BROKER_DENIED_FLOOR',
        reason: /@insecureAnyProductLine/,
    },
    {
        name: 'no minimum TCB named',
        references: [web.replace('minimumTcb', '# ')],
        want: 'ERR_BROKER_DENIED_FLOOR',
        reason: /@insecureNoMinimumTcb/,
    },
    {
        name: 'two rules that carry one finding each are not one that carries both',
        guest: guest({}, { customRoot: true, revocationChecked: false }),
        policies: [policy('@insecureCustomRoot'), policy('@insecureNoRevocation').replace('"r"', '"s"')],
        want: 'ERR_BROKER_DENIED_FLOOR',
        reason: /r lacks @insecureNoRevocation; s lacks @insecureCustomRoot/,
    },
    {
        name: 'one rule that carries both',
        guest: guest({}, { customRoot: true, revocationChecked: false }),
        policies: [policy('@insecureCustomRoot @insecureNoRevocation')],
        want: 'r',
    },
    {
        name: 'of two sets that match, the stricter counts',
        references: [
            web
                .replace('"web"', '"lax"')
                .replace('firmware+kernel+initrd+cmdline', 'firmware')
                .replace('minimumTcb', '# '),
            web,
        ],
        want: 'r',
    },
    { name: 'a bound that is not reached', counts: { resource: 2, maxReleases: 3, byRule: () => 0 }, want: 'r' },
    {
        name: 'a bound of the resource',
        counts: { resource: 3, maxReleases: 3, byRule: () => 0 },
        want: 'ERR_BROKER_DENIED_COUNT',
    },
    {
        name: 'a bound of the rule',
        policies: [policy('@maxReleases("2")')],
        counts: { resource: 0, maxReleases: null, byRule: () => 2 },
        want: 'ERR_BROKER_DENIED_COUNT',
    },
    {
        name: 'a rule without a bound before one with',
        policies: [policy('@maxReleases("2")'), policy('').replace('"r"', '"s"')],
        counts: { resource: 0, maxReleases: null, byRule: () => 0 },
        want: 's',
    },
    { name: 'a repetition is not counted', policies: [policy('@maxReleases("2")')], counts: null, want: 'r' },
]

for (const item of CASES)
    test(`decided: ${item.name}`, (t) => {
        const decision = ask(item)
        t.is(decision.rule?.id ?? decision.code, item.want, decision.reason)
        t.is(decision.allow, decision.rule !== null)
        if (item.reason) t.regex(decision.reason, item.reason)
    })

test('principals carry the sets that they match, and nothing that the host can put there', (t) => {
    const rule = '@id("r") permit (principal, action, resource) when { principal.references.contains("lax") };'
    t.is(ask({ name: '', want: '', policies: [rule] }).code, 'ERR_BROKER_DENIED_POLICY')
    t.true(ask({ name: '', want: '', policies: [rule], references: [web, web.replace('"web"', '"lax"')] }).allow)
})

test('policies that are not valid any more permit nothing', (t) => {
    const target = { path: 'a/b/c', kind: 'opaque' }
    const policies = brokenPolicies('main:1: attribute gone')
    const decision = decide({ verifier, authentic: guest(), target, references: [], policies, counts: null, now })
    t.is(decision.code, 'ERR_BROKER_DENIED_EVALUATION')
})

test('what does not hold any more is released by no rule', (t) => {
    const policies = compilePolicies([{ name: 'p', text: policy('') }], TECHNOLOGIES)
    const target = { path: 'a/b/c', kind: 'opaque' }
    const question = { authentic: guest(), target, references: [readReference(web, 'set', verifiers)], policies }
    const decided = (holds: boolean) =>
        decide({ ...question, verifier: { ...verifier, stillHolds: () => holds }, counts: null, now })
    t.true(decided(true).allow)
    const ended = decided(false)
    t.false(ended.allow)
    t.is(ended.code, 'ERR_BROKER_DENIED_ENDED')
    t.is(publicReason(ended, guest(), verifier), 'what this guest has proved itself with does not count any more')
})

for (const { name, allowPaths, want } of [
    { name: 'nobody said for which', allowPaths: undefined, want: 'r' },
    { name: 'for this one', allowPaths: ['web/disk/root'], want: 'r' },
    { name: 'for this one among others', allowPaths: ['x/*/*', 'web/*/root'], want: 'r' },
    { name: 'for others', allowPaths: ['x/*/*', 'web/disk/d*'], want: 'ERR_BROKER_DENIED_PATH' },
    { name: 'for one that this begins with', allowPaths: ['web/disk/roo'], want: 'ERR_BROKER_DENIED_PATH' },
    { name: 'for none', allowPaths: [], want: 'ERR_BROKER_DENIED_PATH' },
])
    test(`a guest that was registered for paths: ${name}`, (t) => {
        const whole = guest()
        const decision = ask({
            name,
            want,
            policies: [policy('')],
            guest: allowPaths ? { ...whole, allowPaths } : whole,
        })
        t.is(decision.rule?.id ?? decision.code, want, decision.reason)
        if (!decision.allow) t.notRegex(publicReason(decision, whole, verifier), /web|x\//)
    })

test('a claim that is missing denies', (t) => {
    const policies = [
        `@id("r") permit (principal, action, resource) when { principal has snp && principal.snp.vmpl == 0 };`,
    ]
    const whole = guest()
    const { vmpl: _, ...claims } = whole.claims
    t.is(ask({ name: '', want: '', policies, guest: { ...whole, claims } }).code, 'ERR_BROKER_DENIED_EVALUATION')
})

test('a stored set that cannot be read matches nothing, and says why', (t) => {
    const set = storedReference({ name: 'old', text: 'name = "old"\n' }, verifiers)
    t.true('broken' in set)
    const policies = compilePolicies([{ name: 'p', text: policy('') }], TECHNOLOGIES)
    const target = { path: 'a/b/c', kind: 'opaque' }
    const decision = decide({ verifier, authentic: guest(), target, references: [set], policies, counts: null, now })
    t.is(decision.code, 'ERR_BROKER_DENIED_REFERENCE')
    t.regex(decision.standing.mismatches[0]?.detail ?? '', /cannot be read/)
})

// What a guest is told: its own value, not what would be accepted.
for (const { name, changed, references, accepted, own } of [
    {
        name: 'a measurement',
        changed: { measurement: Buffer.alloc(48, 9) },
        references: [web],
        accepted: '22'.repeat(48),
        own: `measurement "${'09'.repeat(48)}"`,
    },
    {
        name: 'host data',
        changed: {},
        references: [web.replace('[policy]', `[policy]\nhostData = ["${'ab'.repeat(32)}"]`)],
        accepted: 'ab'.repeat(32),
        own: `hostData "${'00'.repeat(32)}"`,
    },
    {
        name: 'a TCB',
        changed: {},
        references: [web.replace('bootLoader = 0', 'bootLoader = 251')],
        accepted: '251',
        own: 'reportedTcb {',
    },
])
    test(`a denial tells the guest of ${name}`, (t) => {
        const authentic = guest(changed)
        const decision = ask({ name, want: '', guest: authentic, references })
        t.is(decision.code, 'ERR_BROKER_DENIED_REFERENCE')
        const said = publicReason(decision, authentic, verifier)
        t.true(said.includes(own), said)
        t.false(said.includes(accepted), said)
        t.true(
            decision.standing.mismatches.some(({ detail }) => detail.includes(accepted)),
            'the operator sees it',
        )
    })

test('sets without measurements, of unknown technologies, or malformed are refused', (t) => {
    const known: ReadonlyMap<string, Verifier> = verifiers
    for (const { text, code, message } of [
        { text: web.replace('measurements', '# '), code: 'ERR_BROKER_REFERENCE', message: /names no measurements/ },
        {
            text: web.replace('tee = "snp"', 'tee = "xyz"'),
            code: 'ERR_BROKER_REFERENCE',
            message: /expected one of snp, got xyz/,
        },
        { text: web.replace('coverage', 'coverrage'), code: 'ERR_BROKER_REFERENCE', message: /coverage/ },
        {
            text: web.replace('"firmware+kernel+initrd+cmdline"', '"all"'),
            code: 'ERR_BROKER_REFERENCE',
            message: /coverage/,
        },
        { text: web.replace('"web"', '"a b"'), code: 'ERR_BROKER_REFERENCE', message: /name/ },
        {
            text: web.replace('[policy]', 'notBefore = 2026-01-01T00:00:00\n[policy]'),
            code: 'ERR_BROKER_REFERENCE',
            message: /with its offset/,
        },
        {
            text: web.replace(
                '[policy]',
                'notBefore = 2026-02-01T00:00:00Z\nnotAfter = 2026-01-01T00:00:00Z\n[policy]',
            ),
            code: 'ERR_BROKER_REFERENCE',
            message: /not after/,
        },
        { text: web.replace('[policy]', '[policy]\nfoo = 1'), code: 'ERR_SNP_POLICY_FILE', message: /foo/ },
        { text: `${web}\n__proto__ = 1`, code: 'ERR_SNP_POLICY_FILE', message: /__proto__/ },
        { text: web.replace('[policy]', '[[policy]]'), code: 'ERR_SNP_POLICY_FILE', message: /array/ },
        {
            text: web.replace(/\[policy\].*/s, 'policy = 1'),
            code: 'ERR_BROKER_REFERENCE',
            message: /expected a table/,
        },
        { text: 'name = ', code: 'ERR_CONFIG', message: /set:1:/ },
    ])
        t.throws(() => readReference(text, 'set', known), { code, message }, text)
})
