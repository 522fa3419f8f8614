// `broker explain`: one decision, step by step. Unlike the answer to a guest it names what would be accepted.
// SPDX-License-Identifier: Apache-2.0

import type { Explanation } from '#broker/decision/explain.ts'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { MAX_EVIDENCE_BYTES } from '#evidence/recognise.ts'
import { formatResourcePath, parseResourcePath } from '#kbs/messages.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { columns, print, printJson, styled } from '../term.ts'
import { showWeaknesses } from '../weaknesses.ts'
import { admin, DATA_OPTION, urlPath } from './admin.ts'

export const command = define({
    positionals: {
        file: 'the evidence: binary, hex, base64 or JSON; - is standard input',
        path: 'REPOSITORY/TYPE/TAG',
    },
    options: { ...DATA_OPTION, ...JSON_OPTION },
    examples: [['evidence.json default/luks/web-1', 'authentic? known? what has the floor against it? which rule?']],
    details: 'Exit status: 0 it would be released, 1 it would not. Nothing is released, counted or recorded.',
    async run(args) {
        const path = formatResourcePath(parseResourcePath(String(args['path'])))
        const body = readInput(String(args['file']), MAX_EVIDENCE_BYTES)
        if (body.length === 0) throw coreError('ERR_USAGE', `${args['file']}: an empty file, evidence was expected`)
        const explained = await admin(args.data).json<Explanation & { form: string }>({
            method: 'POST',
            path: `/v1/explain/${urlPath(path)}`,
            body,
        })
        if (args.json) printJson(explained)
        else show(explained)
        return explained.releases ? 0 : 1
    },
})

function show({
    form,
    evidence,
    freshness,
    resource,
    references,
    floor,
    rules,
    ...verdict
}: Explanation & { form: string }): void {
    step('evidence', form)
    table([
        ...evidence.checks.map(({ name, result, detail }) => [MARKS[result], name, detail]),
        ['-', 'freshness', freshness],
    ])
    showWeaknesses(evidence.weaknesses)

    step('reference sets', references.length === 0 ? 'there are none, or they were not reached' : '')
    for (const { name, matches, check, detail, checks } of references) {
        table([[matches ? 'yes' : 'NO', name, matches ? 'matches' : `${check}: ${detail}`]])
        if (matches) table(checks.map((c) => ['', `  ${c.name}`, c.detail]))
    }

    step('floor', floor.length === 0 ? 'has nothing against it' : 'a rule must say that it lets these through')
    table(floor.map((finding) => ['!', finding.switch, `${finding.detail} (${finding.means})`]))

    step('rules', rules.total === 0 ? 'there are none: nothing is released' : `${rules.total}, of which these apply`)
    table([
        ...rules.errors.map((error) => ['NO', 'error', error]),
        ...rules.forbids.map(({ id, at }) => ['NO', id, `forbids (${at})`]),
        ...rules.permits.map(({ id, at, lacks, maxReleases, released }) => [
            lacks.length === 0 ? 'yes' : 'NO',
            id,
            `permits (${at})${lacks.length > 0 ? `, but lacks ${lacks.map((name) => `@${name}`).join(' ')}` : ''}${
                maxReleases === null ? '' : `; ${released} of ${maxReleases} releases`
            }`,
        ]),
    ])

    step(
        'resource',
        resource
            ? `version ${resource.version}, ${resource.kind}, released ${counted(resource)}`
            : 'there is none of that name',
    )
    print()
    print(
        `${verdict.path}: `,
        verdict.releases ? styled('green', 'WOULD BE RELEASED') : styled('red', 'WOULD NOT BE RELEASED'),
    )
    print(`  ${verdict.reason}${verdict.code ? ` (${verdict.code})` : ''}`)
}

const counted = ({ releases, maxReleases }: { releases: number; maxReleases: number | null }): string =>
    maxReleases === null ? `${releases} times` : `${releases} of ${maxReleases} times`

const step = (name: string, text: string): void => print(styled('bold', name), text ? `: ${text}` : '')

function table(rows: readonly (readonly string[])[]): void {
    for (const line of columns(rows, '  ')) print(line)
}

const MARKS = { pass: 'yes', fail: 'NO', skipped: '-' } as const
