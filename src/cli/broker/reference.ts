// `broker reference`: the guests that are known, as sets of reference values (TOML).
// SPDX-License-Identifier: Apache-2.0

import { COVERAGES } from '#broker/decision/references.ts'
import { toBase64, toHex } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { MAX_EVIDENCE_BYTES } from '#evidence/recognise.ts'
import { type CommandRow, command as define, JSON_OPTION, many } from '../command.ts'
import { readMeasurement } from '../options/bytes.ts'
import { readEvidenceFile } from '../options/evidence-file.ts'
import { columns, note, print, printBytes, printJson } from '../term.ts'
import { admin, DATA_OPTION, naming } from './admin.ts'
import { addLaunched } from './from-launch.ts'
import { addMeasured } from './from-measure.ts'

interface ListedSet {
    readonly name: string
    readonly broken?: string
    readonly tee: string
    readonly coverage: string
    readonly notBefore: string | null
    readonly notAfter: string | null
    readonly measurements: readonly string[]
}

const add = define({
    positionals: { file: 'a reference set (TOML); - is standard input' },
    options: {
        ...DATA_OPTION,
        'from-evidence': { type: 'string', describe: 'make the set from this evidence, which must be authentic' },
        'from-eventlog': {
            type: 'string',
            describe: 'make the set from the log of a boot, each event of which is trusted then (TDX: CCEL)',
        },
        measurement: {
            type: 'string',
            describe: 'with --from-eventlog, instead of evidence: the launch measurement of its guests (hex)',
        },
        'from-measure': many('make the set from what `measure --json` predicted, again for each; - is standard input'),
        'from-launch': {
            type: 'string',
            describe: 'make the set from the digests that a guest of SEV is registered with, by its UUID',
        },
        name: { type: 'string', describe: 'with --from-…: the name of the set' },
        coverage: {
            type: 'string',
            choices: Object.keys(COVERAGES),
            describe: 'with --from-…: what the measurement covers; the evidence cannot tell',
        },
    },
    examples: [
        ['web.toml', 'the name stands in the file; a set of that name is replaced'],
        ['--from-evidence report.bin --name web --coverage firmware', 'the strictest set that knows this guest'],
        [
            '--from-eventlog ccel.bin --measurement 8f2c… --name web --coverage firmware+kernel+initrd+cmdline',
            'guests with this firmware (MRTD) that boot as the log says; each event is named in what is printed',
        ],
        [
            '--from-measure web.json --name web',
            'guests as `guest-attest measure snp … --json > web.json` predicted them',
        ],
        [
            '--from-launch 7c9e6679-7425-40de-944b-e07fc1f90ae7 --name web --coverage firmware+kernel+initrd+cmdline',
            'the guest of `guest-attest broker launch register`',
        ],
    ],
    async run(args) {
        const { json, text } = admin(args.data)
        const { fromEvidence, fromEventlog, measurement, name, coverage } = args
        const file = args['file'] === undefined ? undefined : String(args['file'])
        if (args.fromMeasure.length > 0) return addMeasured(args, text)
        if (args.fromLaunch !== undefined) {
            if ([file, fromEvidence, fromEventlog, measurement].some((value) => value !== undefined))
                throw coreError('ERR_USAGE', '--from-launch stands alone: leave out the file and the other sources')
            if (name === undefined || coverage === undefined)
                throw coreError('ERR_USAGE', '--from-launch needs --name and --coverage')
            return addLaunched(args.fromLaunch, { name, coverage }, { json, text })
        }
        if ((file === undefined) === (fromEvidence === undefined && fromEventlog === undefined))
            throw coreError('ERR_USAGE', 'name a file, or evidence with --from-evidence, or a log with --from-eventlog')
        if (file !== undefined) {
            const body = readInput(file).toString()
            if (body.trim() === '') throw coreError('ERR_USAGE', `${file}: an empty file, a reference set was expected`)
            const answer = json<{ name: string }>({ method: 'POST', path: '/v1/references', body })
            const added = await naming(file, 'reference set', answer)
            note(`${added.name} is known`)
            return 0
        }
        if (name === undefined || coverage === undefined)
            throw coreError(
                'ERR_USAGE',
                `--from-${fromEventlog === undefined ? 'evidence' : 'eventlog'} needs --name and --coverage`,
            )
        const evidence = fromEvidence === undefined ? undefined : (await readEvidenceFile(fromEvidence)).bytes
        if (fromEventlog === undefined) {
            if (measurement !== undefined)
                throw coreError('ERR_USAGE', '--measurement goes with --from-eventlog: evidence has its own')
            const query = new URLSearchParams({ name, coverage })
            const path = `/v1/references/from-evidence?${query}`
            printBytes(await text({ method: 'POST', path, ...(evidence ? { body: evidence } : {}) }))
        } else {
            if ((evidence === undefined) === (measurement === undefined))
                throw coreError('ERR_USAGE', '--from-eventlog needs --measurement or --from-evidence')
            const value = {
                name,
                coverage,
                eventLog: toBase64(await readEventLog(fromEventlog)),
                ...(evidence ? { evidence: toBase64(evidence) } : {}),
                ...(measurement === undefined ? {} : { measurement: toHex(readMeasurement(measurement)) }),
            }
            printBytes(await text({ method: 'POST', path: '/v1/references/from-eventlog', value }))
        }
        note(`${name} is known`)
        return 0
    },
})

/** A log, or the one that evidence brings. @throws AttestError ERR_USAGE for evidence that brings none */
async function readEventLog(path: string): Promise<Buffer> {
    const bytes = readInput(path, MAX_EVIDENCE_BYTES)
    if (bytes[0] !== OPENING_BRACE) return bytes
    const { evidence } = await readEvidenceFile(path)
    if (evidence.eventLog) return evidence.eventLog
    throw coreError('ERR_USAGE', `${path}: evidence without an event log`, {
        hint: '`guest-attest evidence --event-log` sends it, /sys/firmware/acpi/tables/data/CCEL has it',
    })
}

/** Logs are of bytes, or a list (dstack). */
const OPENING_BRACE = 0x7b

const list = define({
    options: { ...DATA_OPTION, ...JSON_OPTION },
    examples: [['', 'name, technology, coverage, validity, measurements']],
    async run({ data, json }) {
        const sets = await admin(data).json<ListedSet[]>({ method: 'GET', path: '/v1/references' })
        if (json) printJson(sets)
        else if (sets.length === 0) print('no guest is known')
        else
            for (const line of columns([['NAME', 'TEE', 'COVERAGE', 'HOLDS', 'MEASUREMENTS'], ...sets.map(cells)]))
                print(line)
        return 0
    },
})

const show = define({
    positionals: { name: 'the name of the set' },
    options: DATA_OPTION,
    examples: [['web', 'the file as it was added']],
    async run(args) {
        const path = `/v1/references/${encodeURIComponent(String(args['name']))}`
        printBytes(await admin(args.data).text({ method: 'GET', path }))
        return 0
    },
})

const rm = define({
    positionals: { name: 'the name of the set' },
    options: DATA_OPTION,
    examples: [['web', 'its guests are unknown from now on']],
    async run(args) {
        const name = String(args['name'])
        await admin(args.data).text({ method: 'DELETE', path: `/v1/references/${encodeURIComponent(name)}` })
        note(`${name} is forgotten`)
        return 0
    },
})

export const group: readonly CommandRow[] = [
    { signature: 'add [file]', describe: 'know guests', load: async () => ({ command: add }) },
    { signature: 'list', describe: 'the guests that are known', load: async () => ({ command: list }) },
    { signature: 'show <name>', describe: 'a reference set', load: async () => ({ command: show }) },
    { signature: 'rm <name>', describe: 'forget guests', load: async () => ({ command: rm }) },
]

function cells({ name, broken, tee, coverage, notBefore, notAfter, measurements }: ListedSet): string[] {
    if (broken !== undefined) return [name, '', 'UNREADABLE', '', broken]
    const [first = '', ...more] = measurements
    const holds = notBefore || notAfter ? `${notBefore ?? ''} to ${notAfter ?? ''}` : 'always'
    return [name, tee, coverage, holds, `${first.slice(0, 16)}…${more.length > 0 ? ` and ${more.length} more` : ''}`]
}
