// `broker policy`: the rules, as files in Cedar's language, which are valid together or are not stored.
// SPDX-License-Identifier: Apache-2.0

import type { PolicyFile, Rule } from '#broker/decision/policies.ts'
import { AttestError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { PLUGINS } from '#plugins.ts'
import { type CommandRow, command as define, JSON_OPTION } from '../command.ts'
import { columns, note, print, printBytes, printJson } from '../term.ts'
import { admin, DATA_OPTION, naming } from './admin.ts'

type ListedRule = Omit<Rule, 'switches'> & { readonly switches: readonly string[] }

const FILE = 'Cedar policies; - is standard input'
const JSON_OPTIONS = { ...DATA_OPTION, ...JSON_OPTION } as const

const put = define({
    positionals: { name: 'a name for these rules', file: FILE },
    options: JSON_OPTIONS,
    examples: [['web web.cedar', 'in force at once, instead of what had the name']],
    async run(args) {
        const name = String(args['name'])
        const text = readInput(String(args['file'])).toString()
        const path = `/v1/policies/${encodeURIComponent(name)}`
        const put = admin(args.data).json<ListedRule[]>({ method: 'PUT', path, body: text })
        const rules = await naming(String(args['file']), name, put)
        if (args.json) printJson(rules)
        else note(`${name} is in force: ${describe(rules)}`)
        return 0
    },
})

const check = define({
    positionals: { file: FILE },
    options: { ...JSON_OPTIONS, name: { type: 'string', default: 'check', describe: 'as if it had this name' } },
    examples: [['web.cedar', 'would it be valid together with the rules that are in force?']],
    async run(args) {
        const text = readInput(String(args['file'])).toString()
        const path = `/v1/policies/${encodeURIComponent(args.name)}/check`
        const checked = admin(args.data)
            .json<ListedRule[]>({ method: 'POST', path, body: text })
            .catch((error: unknown) => checkAlone(error, { name: args.name, text }))
        const rules = await naming(String(args['file']), args.name, checked)
        if (args.json) printJson(rules)
        else note(`valid: ${describe(rules)}`)
        return 0
    },
})

// Without a broker there are no other rules to be valid with: syntax and schema alone.
async function checkAlone(error: unknown, file: PolicyFile): Promise<ListedRule[]> {
    if (!(error instanceof AttestError) || error.code !== 'ERR_BROKER_STOPPED') throw error
    note('no broker answers: checked alone, not together with the rules that are in force')
    const { compilePolicies } = await import('#broker/decision/policies.ts')
    const { technologiesOf } = await import('#broker/decision/schema.ts')
    const compiled = compilePolicies([file], await technologiesOf(PLUGINS))
    compiled.close()
    return compiled.rules.map((rule) => ({ ...rule, switches: [...rule.switches] }))
}

const list = define({
    options: JSON_OPTIONS,
    examples: [['', 'every rule, where it stands, and what of the floor it lets through']],
    async run({ data, json }) {
        const files = await admin(data).json<{ name: string; time: string; rules: ListedRule[] }[]>({
            method: 'GET',
            path: '/v1/policies',
        })
        if (json) printJson(files)
        else if (files.length === 0) print('there is no policy: nothing is released')
        else
            for (const line of columns([
                ['RULE', 'AT', 'EFFECT', 'RELEASES', 'LETS THROUGH'],
                ...files.flatMap(({ rules }) =>
                    rules.map(({ id, file, line, effect, maxReleases, switches }) => [
                        id,
                        `${file}:${line}`,
                        effect,
                        maxReleases === null ? 'any number' : `${maxReleases} a path`,
                        switches.join(' '),
                    ]),
                ),
            ]))
                print(line)
        return 0
    },
})

const show = define({
    positionals: { name: 'the name it was put under' },
    options: DATA_OPTION,
    examples: [['web', 'the file as it was put']],
    async run(args) {
        const path = `/v1/policies/${encodeURIComponent(String(args['name']))}`
        printBytes(await admin(args.data).text({ method: 'GET', path }))
        return 0
    },
})

const rm = define({
    positionals: { name: 'the name it was put under' },
    options: DATA_OPTION,
    examples: [['web', 'its rules permit and forbid nothing any more']],
    async run(args) {
        const name = String(args['name'])
        await admin(args.data).text({ method: 'DELETE', path: `/v1/policies/${encodeURIComponent(name)}` })
        note(`${name} is out of force`)
        return 0
    },
})

const schema = define({
    options: DATA_OPTION,
    examples: [['', 'what rules can ask: every attribute, its type, and who chose its value']],
    async run() {
        const { cedarSchema, technologiesOf } = await import('#broker/decision/schema.ts')
        printBytes(cedarSchema(await technologiesOf(PLUGINS)))
        return 0
    },
})

export const group: readonly CommandRow[] = [
    { signature: 'put <name> <file>', describe: 'take rules into force', load: async () => ({ command: put }) },
    { signature: 'check <file>', describe: 'would these rules be valid', load: async () => ({ command: check }) },
    { signature: 'list', describe: 'the rules that are in force', load: async () => ({ command: list }) },
    { signature: 'show <name>', describe: 'a file of rules', load: async () => ({ command: show }) },
    { signature: 'rm <name>', describe: 'take rules out of force', load: async () => ({ command: rm }) },
    { signature: 'schema', describe: 'what rules can ask', load: async () => ({ command: schema }) },
]

const describe = (rules: readonly ListedRule[]): string => {
    const permits = rules.filter(({ effect }) => effect === 'permit').length
    return `${permits} permit, ${rules.length - permits} forbid`
}
