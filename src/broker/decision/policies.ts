// The rules of an operator: Cedar policies (https://docs.cedarpolicy.com), validated against the schema when they are
// stored and evaluated with the request validated. What is special here is in annotations:
//   @id("name")            names a rule; every permit has one, and each name stands once
//   @insecureXyz           a permit lets this finding of the floor through
//   @maxReleases("3")      a permit releases each path so often
//   @description("text")   for people
// SPDX-License-Identifier: Apache-2.0

import { hash, randomUUID } from 'node:crypto'
import type { EntityJson } from '@cedar-policy/cedar-wasm/nodejs'
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { Authentic } from '#evidence/verifier.ts'
import { brokerError } from '../errors.ts'
import { COMMON_SWITCHES } from './floor.ts'
import { mentioned } from './mentions.ts'
import { NAME } from './references.ts'
import { cedarSchema, entities, GUEST, RELEASE, resourceUid, type Target, type Technology } from './schema.ts'

/** One policy file. */
export interface PolicyFile {
    readonly name: string
    readonly text: string
}

/** One permit or forbid. */
export interface Rule {
    readonly id: string
    /** The policy file that it stands in, and its first line there. */
    readonly file: string
    readonly line: number
    readonly effect: 'permit' | 'forbid'
    /** The findings of the floor that it lets through. */
    readonly switches: ReadonlySet<string>
    readonly maxReleases: number | null
}

/** What the rules say of one request. */
export interface Evaluation {
    readonly permits: readonly Rule[]
    readonly forbids: readonly Rule[]
    /** Any error denies, whatever the rest says: Cedar itself would skip a forbid that fails. */
    readonly errors: readonly string[]
}

export interface Policies {
    readonly rules: readonly Rule[]
    evaluate(authentic: Authentic, references: readonly string[], target: Target): Evaluation
    /** Gives the engine's memory back; nothing is permitted afterwards. */
    close(): void
}

/** Every switch that an annotation may name, and what it lets through. */
export const switchesOf = (technologies: readonly Technology[]): Readonly<Record<string, string>> =>
    Object.assign({}, COMMON_SWITCHES, ...technologies.map(({ switches }) => switches))

/** Of the answers that are kept, in characters: a guest may choose what an error says. */
const MAX_KEPT = 1 << 20

/** What an answer takes beside its texts: its digest and its place. */
const ENTRY = 256

/** Annotations that are no switch. */
const ANNOTATIONS = ['id', 'maxReleases', 'description']

/**
 * Parses and validates policy files together.
 * @throws AttestError ERR_BROKER_POLICY with file and line
 */
export function compilePolicies(files: readonly PolicyFile[], technologies: readonly Technology[]): Policies {
    const schema = cedarSchema(technologies)
    const switches = switchesOf(technologies)
    const rules = new Map<string, Rule>()
    const texts = new Map<string, string>()
    const parsed: cedar.PolicyJson[] = []
    for (const file of files) {
        validate(file, schema)
        for (const { rule, text, json } of readRules(file, switches)) {
            const twin = rules.get(rule.id)
            if (twin) throw refuse(file, rule.line, `@id("${rule.id}") stands in ${twin.file}:${twin.line} too`)
            rules.set(rule.id, rule)
            texts.set(rule.id, text)
            parsed.push(json)
        }
    }
    // Whatever a rule is called, `__proto__` too, it becomes a member of its own.
    const staticPolicies = Object.fromEntries(texts)
    demandAll(rules, staticPolicies)
    // The engine keeps parsed sets by name for as long as the process lives.
    const name = randomUUID()
    const reach = mentioned(technologies, parsed)
    const kept = new Map<string, Evaluation>()
    let keptSize = 0
    const forget = () => {
        kept.clear()
        keptSize = 0
    }
    demand(cedar.preparseSchema(name, cedarSchema(reach.technologies)))
    demand(cedar.preparsePolicySet(name, { staticPolicies }))
    return {
        rules: [...rules.values()],
        evaluate(authentic, references, target) {
            const question = entities(authentic, references, target, reach)
            const key = hash('sha256', JSON.stringify(question), 'base64')
            const known = kept.get(key)
            if (known) return known
            const answer = evaluate(name, rules, question, target)
            const size = ENTRY + answer.errors.reduce((sum, { length }) => sum + length, 0)
            if (keptSize + size > MAX_KEPT) forget()
            if (size <= MAX_KEPT) {
                kept.set(key, answer)
                keptSize += size
            }
            return answer
        },
        close() {
            forget()
            demand(cedar.preparsePolicySet(name, { staticPolicies: '' }))
        },
    }
}

// The answer follows from the rules and the two entities alone.
function evaluate(name: string, rules: ReadonlyMap<string, Rule>, question: EntityJson[], target: Target): Evaluation {
    const answer = cedar.statefulIsAuthorized({
        principal: GUEST,
        action: RELEASE,
        resource: resourceUid(target),
        context: {},
        preparsedSchemaName: name,
        validateRequest: true,
        preparsedPolicySetId: name,
        entities: question,
    })
    if (answer.type === 'failure')
        return { permits: [], forbids: [], errors: answer.errors.map(({ message }) => message) }
    const { decision, diagnostics } = answer.response
    // The engine names them in no order.
    const determining = diagnostics.reason.toSorted((a, b) => (a < b ? -1 : 1)).flatMap((id) => rules.get(id) ?? [])
    return {
        permits: decision === 'allow' ? determining : [],
        forbids: decision === 'deny' ? determining : [],
        errors: diagnostics.errors.map(({ policyId, error }) => `${policyId}: ${error.message}`),
    }
}

/** What stands where stored policies are not valid any more: it permits nothing, and says why. */
export const brokenPolicies = (why: string): Policies => ({
    rules: [],
    evaluate: () => ({ permits: [], forbids: [], errors: [why] }),
    close() {},
})

function validate(file: PolicyFile, schema: string): void {
    const answer = cedar.validate({ schema, policies: { staticPolicies: file.text } })
    // A warning is a rule that can never apply, or a text that looks like another one: nobody means either.
    const errors =
        answer.type === 'failure'
            ? answer.errors
            : [...answer.validationErrors, ...answer.validationWarnings]
                  .map(({ error }) => error)
                  .concat(answer.otherWarnings)
    const [first] = errors
    if (!first) return
    const texts = errors.map((error) => `${lineOf(file, error)}: ${plainText(error.message)}`)
    throw brokerError('ERR_BROKER_POLICY', texts.join('; '), { hint: first.help ?? undefined })
}

function* readRules(file: PolicyFile, switches: Readonly<Record<string, string>>) {
    const parts = cedar.policySetTextToParts(file.text)
    if (parts.type === 'failure') throw refuse(file, 1, parts.errors[0]?.message ?? 'not a policy set')
    if (parts.policies.length === 0)
        throw brokerError('ERR_BROKER_POLICY', `${file.name}: there is no rule in it`, {
            hint: '`broker policy rm` takes rules out of force',
        })
    let unnamed = 0
    for (const text of parts.policies) {
        const line = lineAt(file.text, Math.max(0, file.text.indexOf(text)))
        const parsed = cedar.policyToJson(text)
        if (parsed.type === 'failure') throw refuse(file, line, parsed.errors[0]?.message ?? 'not a policy')
        const json = parsed.json
        const { effect, annotations = {} } = json
        const known = (name: string) => ANNOTATIONS.includes(name) || Object.hasOwn(switches, name)
        const unknown = Object.keys(annotations).find((name) => !known(name))
        if (unknown !== undefined)
            throw refuse(file, line, `@${unknown} means nothing here`, [...ANNOTATIONS, ...Object.keys(switches)])
        const id = annotations['id'] ?? (effect === 'forbid' ? `${file.name}#${++unnamed}` : undefined)
        if (id === undefined) throw refuse(file, line, 'a permit needs a name: @id("…")')
        if (annotations['id'] !== undefined && !NAME.test(id)) throw refuse(file, line, `@id("${id}") is no name`)
        const named = Object.keys(annotations).filter((name) => Object.hasOwn(switches, name))
        const valued = named.find((name) => annotations[name])
        // @insecureDebug("false") would be on.
        if (valued !== undefined) throw refuse(file, line, `@${valued} takes no value: it stands there or it does not`)
        if (effect === 'forbid' && (named.length > 0 || 'maxReleases' in annotations))
            throw refuse(file, line, 'a forbid takes neither a switch nor maxReleases')
        const maxReleases = readCount(file, line, annotations['maxReleases'])
        const rule: Rule = { id, file: file.name, line, effect, switches: new Set(named), maxReleases }
        yield { rule, text, json }
    }
}

function readCount(file: PolicyFile, line: number, text: string | undefined): number | null {
    if (text === undefined) return null
    if (!/^[1-9]\d{0,8}$/.test(text ?? '')) throw refuse(file, line, '@maxReleases("…") takes a number from 1 on')
    return Number(text)
}

function refuse(file: PolicyFile, line: number, text: string, known?: readonly string[]) {
    return brokerError('ERR_BROKER_POLICY', `${file.name}:${line}: ${text}`, {
        hint: known && `known are ${known.map((name) => `@${name}`).join(', ')}`,
    })
}

function lineOf({ name, text }: PolicyFile, error: cedar.DetailedError): string {
    const start = error.sourceLocations?.[0]?.start
    // The engine counts bytes.
    return start === undefined ? name : `${name}:${lineAt(Buffer.from(text).subarray(0, start).toString(), start)}`
}

const lineAt = (text: string, end: number): number => text.slice(0, end).split('\n').length

// It names rules by their number, which nobody has written.
const plainText = (message: string): string => message.replace(/^for policy `policy\d+`, /, '')

// A rule that is shown as in force is one that the engine has: asked about nobody, it names each with what remains of it.
function demandAll(rules: ReadonlyMap<string, Rule>, staticPolicies: Readonly<Record<string, string>>): void {
    const answer = cedar.isAuthorizedPartial({
        principal: null,
        action: RELEASE,
        resource: null,
        context: {},
        policies: { staticPolicies },
        entities: [],
    })
    if (answer.type === 'failure') throw new TypeError(answer.errors.map(({ message }) => message).join('; '))
    const held = new Set(Object.keys(answer.response.residuals))
    const lost = [...rules.keys()].filter((id) => !held.has(id))
    if (lost.length > 0) throw new TypeError(`the engine has no rule ${lost.join(', ')}`)
}

function demand(answer: cedar.CheckParseAnswer): void {
    if (answer.type === 'failure') throw new TypeError(answer.errors.map(({ message }) => message).join('; '))
}
