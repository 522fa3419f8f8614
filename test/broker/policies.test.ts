// Policy files: what is refused, with its line; and that the engine is asked about no less than the rules mention.
// SPDX-License-Identifier: Apache-2.0

import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import test from 'ava'
import { mentioned } from '#broker/decision/mentions.ts'
import { compilePolicies } from '#broker/decision/policies.ts'
import { cedarSchema, entities, GUEST, RELEASE, resourceUid } from '#broker/decision/schema.ts'
import { Checks } from '#core/checks.ts'
import { snp } from '#plugins/snp/index.ts'
import { report, table, trustIn } from '#test/plugins/snp/minted.ts'
import { TECHNOLOGIES, theVendor } from './rig.ts'

const compile = (...texts: string[]) =>
    compilePolicies(
        texts.map((text, i) => ({ name: `file${i}`, text })),
        TECHNOLOGIES,
    )

for (const { name, texts, message } of [
    { name: 'no Cedar', texts: ['allow all'], message: /^file0:1: / },
    {
        name: 'an error on the third line',
        texts: ['// é\n\npermit (principal, action, resource) when { };'],
        message: /^file0:3: .*empty/,
    },
    {
        name: 'a permit without a name',
        texts: ['permit (principal, action, resource);'],
        message: /^file0:1: a permit needs a name/,
    },
    {
        name: 'a name that stands twice',
        texts: ['@id("a") permit (principal, action, resource);', '\n@id("a") forbid (principal, action, resource);'],
        message: /^file1:2: @id\("a"\) stands in file0:1 too/,
    },
    { name: 'a name that is none', texts: ['@id("a b") permit (principal, action, resource);'], message: /is no name/ },
    {
        name: 'an empty name',
        texts: ['@id permit (principal, action, resource);'],
        message: /a permit needs a name|is no name/,
    },
    {
        name: 'a switch that nobody knows',
        texts: ['@id("a")\n@insecureEverything\npermit (principal, action, resource);'],
        message: /^file0:1: @insecureEverything means nothing here/,
    },
    {
        name: 'a misspelt annotation',
        texts: ['@id("a") @maxRelease("3") permit (principal, action, resource);'],
        message: /@maxRelease means nothing here/,
    },
    {
        name: 'a switch with a value',
        texts: ['@id("a") @insecureDebug("false") permit (principal, action, resource);'],
        message: /takes no value/,
    },
    {
        name: 'a switch on a forbid',
        texts: ['@insecureDebug forbid (principal, action, resource);'],
        message: /a forbid takes neither/,
    },
    {
        name: 'a bound that is no number',
        texts: ['@id("a") @maxReleases("many") permit (principal, action, resource);'],
        message: /takes a number/,
    },
    {
        name: 'a bound of none',
        texts: ['@id("a") @maxReleases("0") permit (principal, action, resource);'],
        message: /takes a number/,
    },
    {
        name: 'a bound without a value',
        texts: ['@id("a") @maxReleases permit (principal, action, resource);'],
        message: /takes a number/,
    },
    {
        name: 'an attribute that does not exist',
        texts: ['@id("a") permit (principal, action, resource) when { principal.tea == "snp" };'],
        message: /^file0:1: .*`tea`/,
    },
    {
        name: 'an optional attribute without its test',
        texts: ['@id("a") permit (principal, action, resource)\nwhen { principal.snp.vmpl == 0 };'],
        message: /^file0:2: unable to guarantee safety/,
    },
    {
        name: 'a number compared with a text',
        texts: [
            '@id("a") permit (principal, action, resource) when { principal has snp && principal.snp.vmpl == "0" };',
        ],
        message: /^file0:1: /,
    },
    {
        name: 'an action that does not exist',
        texts: ['@id("a") permit (principal, action == Action::"read", resource);'],
        message: /read/,
    },
    {
        name: 'a rule that can never apply',
        texts: ['@id("a") permit (principal, action, resource) when { false };'],
        message: /^file0:1: /,
    },
    {
        name: 'a template',
        texts: ['@id("a") permit (principal == ?principal, action, resource);'],
        message: /template/,
    },
    {
        name: 'a text that looks like another',
        texts: ['@id("a") permit (principal, action, resource) when { resource.tag == "\u202eabc" };'],
        message: /^file0/,
    },
])
    test(`refused: ${name}`, (t) => void t.throws(() => compile(...texts), { code: 'ERR_BROKER_POLICY', message }))

test('rules carry their name, place, switches and bound', (t) => {
    const text =
        '// two\n@id("a")\n@insecureDebug @insecureMigration\n@maxReleases("3")\npermit (principal, action, resource);\nforbid (principal, action, resource) when { resource.tag == "x" };\n'
    const policies = compile(text)
    t.deepEqual(
        policies.rules.map(({ switches, ...rule }) => ({ ...rule, switches: [...switches] })),
        [
            {
                id: 'a',
                file: 'file0',
                line: 2,
                effect: 'permit',
                maxReleases: 3,
                switches: ['insecureDebug', 'insecureMigration'],
            },
            { id: 'file0#1', file: 'file0', line: 6, effect: 'forbid', maxReleases: null, switches: [] },
        ],
    )
    policies.close()
})

test('closed policies permit nothing', async (t) => {
    const policies = compile('@id("a") permit (principal, action, resource);')
    const authentic = await guest()
    const target = { path: 'a/b/c', kind: 'opaque' }
    t.is(policies.evaluate(authentic, [], target).permits.length, 1)
    policies.close()
    t.is(policies.evaluate(authentic, [], target).permits.length, 0)
})

for (const id of ['__proto__', 'constructor', 'toString', '0'])
    test(`a rule is in force, whatever its name: ${id}`, async (t) => {
        const policies = compile(
            '@id("a") permit (principal, action, resource);',
            `@id("${id}") forbid (principal, action, resource);`,
        )
        const { permits, forbids } = policies.evaluate(await guest(), [], { path: 'a/b/c', kind: 'opaque' })
        t.deepEqual(permits, [])
        t.deepEqual(
            forbids.map((rule) => rule.id),
            [id],
        )
        policies.close()
    })

async function guest() {
    const vendor = await theVendor()
    const verifier = await snp.verifier(trustIn(vendor))
    const evidence = { tee: 'snp', report: report(vendor), certificates: table(vendor) }
    return verifier.authenticate(evidence, vendor.now, new Checks(verifier.checkNames.authentic))
}

// Expressions that reach claims in every way that the language has; each is asked with everything and with what is left.
const EXPRESSIONS = [
    'principal.tee == "snp"',
    'principal has snp',
    'principal has guestId && principal.guestId like "33*"',
    'principal has snp && principal.snp.vmpl == 0',
    'principal has snp.policy.debugAllowed && !principal.snp.policy.debugAllowed',
    'principal has snp && principal["snp"]["measurement"] == resource.tag',
    'principal has snp && principal.snp.reportedTcb == principal.snp.currentTcb',
    'principal has snp && principal.snp.reportedTcb has snp && principal.snp.reportedTcb.snp >= 1',
    'principal has snp && (if principal.snp.vmpl == 0 then principal.snp.policy.smtAllowed else principal.snp.emulated)',
    'principal has snp && (if principal.snp.vmpl == 0 then principal else principal).tee == "snp"',
    'principal has snp && { a: principal.snp.policy }.a.abiMajor == 0',
    'principal has snp && ["Genoa", "Milan"].contains(principal.snp.productLine)',
    'principal has snp && !(principal.snp has vlekProvider)',
    'principal has snp && principal.snp.platform.eccEnabled && principal.snp.guestSvn + 1 < 100',
    'principal is Guest && principal == principal',
]

test('the engine decides the same with the claims that are mentioned as with all', async (t) => {
    const authentic = await guest()
    const target = { path: `web/disk/${'22'.repeat(48)}`, kind: 'opaque' }
    for (const expression of EXPRESSIONS) {
        const text = `permit (principal, action, resource) when { ${expression} };`
        const parsed = cedar.policyToJson(text)
        if (parsed.type === 'failure') return t.fail(expression)
        const decisions = [{ technologies: TECHNOLOGIES, guestId: true }, mentioned(TECHNOLOGIES, [parsed.json])].map(
            (reach) => {
                const answer = cedar.isAuthorized({
                    principal: GUEST,
                    action: RELEASE,
                    resource: resourceUid(target),
                    context: {},
                    schema: cedarSchema(reach.technologies),
                    validateRequest: true,
                    policies: { staticPolicies: text },
                    entities: entities(authentic, ['web'], target, reach),
                })
                return answer.type === 'success'
                    ? [answer.response.decision, answer.response.diagnostics.errors.length]
                    : answer.errors.map(({ message }) => message)
            },
        )
        t.deepEqual(decisions[0], decisions[1], expression)
        t.is(decisions[0]?.[1], 0, `${expression}: ${decisions[0]}`)
    }
})

test('what no rule mentions is left out', (t) => {
    const parsed = cedar.policyToJson(
        'permit (principal, action, resource) when { principal has snp && principal.snp.policy.debugAllowed && principal.snp.launchTcb == principal.snp.launchTcb };',
    )
    if (parsed.type === 'failure') return t.fail()
    const { technologies, guestId } = mentioned(TECHNOLOGIES, [parsed.json])
    const [left] = technologies
    t.false(guestId)
    t.deepEqual(Object.keys(left?.claims ?? {}), ['policy', 'launchTcb'])
    t.deepEqual(Object.keys(left?.claims['policy']?.type ?? {}), ['debugAllowed'])
    t.true(Object.keys(left?.claims['launchTcb']?.type ?? {}).length > 3)
})
