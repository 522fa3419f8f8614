// What other calculators answered, row by row of the vectors' manifest: `measure` gives the same digests, refuses what
// they refuse, and refuses by name what they compute although no hypervisor would start it. Run in this process, through
// the options of the command line.
// SPDX-License-Identifier: Apache-2.0

import { createHash, createHmac } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { measureOptions, readMeasureValues } from '#cli/measure/options.ts'
import { AttestError } from '#core/errors.ts'
import type { Measure, Prediction } from '#evidence/measure.ts'
import { sevEsMeasure, sevMeasure } from '#plugins/sev/measure.ts'
import { readIdBlock, verifyIdPair } from '#plugins/snp/id-block.ts'
import { snpMeasure } from '#plugins/snp/measure.ts'
import { debianFiles } from '../debian.ts'
import { VECTORS, vectors } from '../machine.ts'
import { needs } from '../needs.ts'

const folder = join(VECTORS, 'sev')
const present = vectors('sev/manifest.tsv')

interface Row {
    readonly tool: string
    readonly words: readonly string[]
    readonly command: string
    readonly digests: ReadonlyMap<string, string>
    readonly output: string
    readonly note: string
}

const rows: readonly Row[] = present.met
    ? readFileSync(join(folder, 'manifest.tsv'), 'utf8')
          .trimEnd()
          .split('\n')
          .slice(1)
          .map((line) => {
              const [tool = '', command = '', inputs = '', output = '', note = ''] = line.split('\t')
              const digests = new Map(inputs.split(';').map((pair) => pair.split('=') as [string, string]))
              return { tool, command, words: shellWords(command), digests, output, note }
          })
    : []

/** As a shell splits them: the manifest quotes with single quotes alone. */
function shellWords(command: string): string[] {
    return [...command.matchAll(/(?:'[^']*'|[^\s'])+/g)].map(([word]) => word.replaceAll("'", ''))
}

const MEASURES: Readonly<Record<string, Measure>> = { sev: sevMeasure, 'sev-es': sevEsMeasure, snp: snpMeasure }

/** What follows `measure`. */
type Asked = readonly [tee: string, ...words: string[]]

function measure([tee, ...words]: Asked): Prediction {
    const { options: table, measure: predict } = MEASURES[tee] as Measure
    const given: Record<string, unknown> = {}
    const options = measureOptions(table)
    for (const [name, { default: value }] of Object.entries(options))
        if (value !== undefined) given[camel(name)] = value
    for (let at = 0; at < words.length; at++) {
        const name = (words[at] ?? '').slice(2)
        const { type } = options[name] ?? {}
        if (!type) throw new TypeError(`measure ${tee} has no option --${name}`)
        if (type === 'boolean') given[camel(name)] = true
        else {
            const value = words[++at] ?? ''
            if (type === 'array') given[camel(name)] = value.split(',')
            else given[camel(name)] = type === 'number' ? Number(value) : value
        }
    }
    return predict(readMeasureValues(table, given))
}

const camel = (name: string): string => name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())

const digestOf = ({ measurements }: Prediction): string => Object.values(measurements)[0] ?? ''

/** The file of a row: of the vectors, or of a Debian package, if it is the same. */
function fileOf(path: string, digests: Row['digests']): string | null {
    const packaged = /^deb\/[^/]+\/(.*)$/.exec(path)?.[1]
    const places = packaged === undefined ? [join(folder, path)] : debianFiles(packaged)
    const wanted = digests.get(path.split('/').at(-1) ?? '')
    return places.find((place) => existsSync(place) && (!wanted || sha256(readFileSync(place)) === wanted)) ?? null
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** How each tool's options are called here; files stand behind those that are marked. */
type Spelling = Readonly<Record<string, string | { readonly file: string }>>

const SNP_MEASURE: Spelling = {
    ovmf: { file: 'firmware' },
    kernel: { file: 'kernel' },
    initrd: { file: 'initrd' },
    append: 'append',
    vcpus: 'vcpus',
    'vcpu-type': 'vcpu-type',
    'vcpu-family': 'cpu-family',
    'vcpu-model': 'cpu-model',
    'vcpu-stepping': 'cpu-stepping',
    'vmm-type': 'vmm',
    'guest-features': 'guest-features',
    'snp-ovmf-hash': 'firmware-hash',
}

const LIBVIRT: Spelling = {
    firmware: { file: 'firmware' },
    kernel: { file: 'kernel' },
    initrd: { file: 'initrd' },
    cmdline: 'append',
    'num-cpus': 'vcpus',
    'cpu-family': 'cpu-family',
    'cpu-model': 'cpu-model',
    'cpu-stepping': 'cpu-stepping',
}

/** The same words in our spelling, or the name of a file that is not here. */
function translate({ words, digests }: Row, spelling: Spelling): { words: string[] } | { missing: string } {
    const out: string[] = []
    for (let at = 1; at < words.length; at += 2) {
        const ours = spelling[(words[at] ?? '').slice(2)]
        const value = words[at + 1] ?? ''
        if (ours === undefined) continue
        if (typeof ours === 'string') out.push(`--${ours}`, value)
        else {
            const file = fileOf(value, digests)
            if (file === null) return { missing: value }
            out.push(`--${ours.file}`, file)
        }
    }
    return { words: out }
}

const option = ({ words }: Row, name: string): string | undefined => words[words.indexOf(name) + 1 || words.length]

/** What a row asks, and what its tool answered; null: no question of a digest. */
function questionOf(row: Row): { asked: Asked; wanted: string } | { missing: string } | null {
    if (row.tool.startsWith('sev-snp-measure-0')) {
        const mode = option(row, '--mode') ?? ''
        const translated = translate(row, SNP_MEASURE)
        if ('missing' in translated) return translated
        const tee = { sev: 'sev', seves: 'sev-es' }[mode] ?? 'snp'
        const words = mode === 'snp:ovmf-hash' ? ['--as-firmware-hash', ...translated.words] : translated.words
        const isBase64 = option(row, '--output-format') === 'base64'
        const wanted = isBase64 ? Buffer.from(row.output, 'base64').toString('hex') : row.output
        return { asked: [tee, ...words], wanted }
    }
    if (row.tool.startsWith('virt-qemu-sev-validate') && row.words.includes('--firmware')) {
        const [, digest] = /^measured_data_sha256=([0-9a-f]{64})/.exec(row.output) ?? []
        if (!digest && !row.output.startsWith('ERR')) return null
        const translated = translate(row, LIBVIRT)
        if ('missing' in translated) return translated
        const isEs = (Number(option(row, '--policy')) & 4) !== 0
        const words = isEs ? ['--profile', 'kvm-legacy', ...translated.words] : translated.words
        return { asked: [isEs ? 'sev-es' : 'sev', ...words], wanted: digest ?? row.output }
    }
    return null
}

type Check = (t: ExecutionContext) => void

/** Rows that are no command line: how each is asked, or why it is not. */
interface Special {
    readonly tool: string
    check(row: Row): Check | string
}

const SUFFIX = 'fixtures/sev-snp-measure/ovmf_AmdSev_suffix.bin'
const OVMF_X64 = 'fixtures/sev-snp-measure/ovmf_OvmfX64_suffix.bin'
const KERNEL = ['--kernel', 'inputs/kernel_empty.bin', '--initrd', 'inputs/kernel_empty.bin']
const LINE = [...KERNEL, '--append', 'console=ttyS0 loglevel=7']
const V4 = ['--vcpu-type', 'EPYC-v4']
const DEBUG_SWAP = ['--guest-features', '0x21']
const ec2 = ['--vmm', 'ec2']
const gce = ['--vmm', 'gce']
const four = ['--vcpus', '4']

/** What the cases of that tool's own tests launch; the expected digests stand in the manifest. */
const ITS_TESTS: Readonly<Record<string, Asked>> = {
    test_snp_ovmf_hash_gen_default: ['snp', '--firmware', SUFFIX, ...KERNEL, ...V4, ...DEBUG_SWAP],
    test_snp_ovmf_hash_gen_feature_snp_only: ['snp', '--firmware', SUFFIX, ...KERNEL, ...V4],
    test_snp_ovmf_hash_full_default: ['snp', '--firmware', SUFFIX, ...LINE, ...V4, ...DEBUG_SWAP],
    test_snp_ovmf_hash_full_feature_snp_only: ['snp', '--firmware', SUFFIX, ...LINE, ...V4],
    test_snp_ec2_default: ['snp', '--firmware', SUFFIX, ...KERNEL, ...V4, ...DEBUG_SWAP, ...ec2],
    test_snp_ec2_feature_snp_only: ['snp', '--firmware', SUFFIX, ...KERNEL, ...V4, ...ec2],
    test_snp_gce_default: ['snp', '--firmware', SUFFIX, ...KERNEL, ...V4, ...gce],
    test_snp_gce_with_multiple_vcpus_default: ['snp', '--firmware', SUFFIX, ...KERNEL, ...V4, ...gce, ...four],
    test_snp_default: ['snp', '--firmware', SUFFIX, ...LINE, ...V4, ...DEBUG_SWAP],
    test_snp_guest_feature_snp_only: ['snp', '--firmware', SUFFIX, ...LINE, ...V4],
    test_snp_without_kernel_default: ['snp', '--firmware', SUFFIX, ...V4, ...DEBUG_SWAP],
    test_snp_without_kernel_feature_snp_only: ['snp', '--firmware', SUFFIX, ...V4],
    test_snp_with_multiple_vcpus_default: ['snp', '--firmware', SUFFIX, ...KERNEL, ...V4, ...DEBUG_SWAP, ...four],
    test_snp_with_multiple_vcpus_feature_snp_only: ['snp', '--firmware', SUFFIX, ...KERNEL, ...V4, ...four],
    test_snp_with_ovmfx64_without_default: ['snp', '--firmware', OVMF_X64, ...V4, ...DEBUG_SWAP],
    test_snp_with_ovmfx64_without_kernel_feature_snp_only: ['snp', '--firmware', OVMF_X64, ...V4],
    test_seves: ['sev-es', '--firmware', SUFFIX, ...KERNEL, ...V4],
    test_seves_with_multiple_vcpus: ['sev-es', '--firmware', SUFFIX, ...KERNEL, ...V4, ...four],
    test_sev: ['sev', '--firmware', SUFFIX, ...LINE],
    test_sev_with_kernel_without_initrd_and_append: ['sev', '--firmware', SUFFIX, ...KERNEL],
    test_sev_with_ovmfx64_without_kernel: ['sev', '--firmware', OVMF_X64],
}

const EL9 = 'fixtures/sevctl/OVMF.amdsev.fd_trimmed_edk2-ovmf-20220126gitbb1bba3d77-4.el9'
const SEVCTL_VMSAS = ['fixtures/sevctl/vmsa0.bin', 'fixtures/sevctl/vmsa1.bin']
const SEVCTL_KERNEL = [
    ...['--kernel', 'fixtures/sevctl/measurement/vmlinuz-fake'],
    ...['--initrd', 'fixtures/sevctl/measurement/initrd-fake'],
    ...['--append', 'foo bar baz fake kernel=cmdline'],
]

/** Launch measurements, of which the digest is a part: API, build, policy, and what was launched. */
const SEVCTL: readonly { command: RegExp; version: readonly number[]; policy: number; asked: Asked }[] = [
    {
        command: /^measurement build \(same\) --firmware OVMF trimmed$/,
        version: [1, 40, 40],
        policy: 3,
        asked: ['sev', '--firmware', EL9],
    },
    {
        command: /^measurement build \(same\) --firmware --kernel/,
        version: [1, 40, 40],
        policy: 3,
        asked: ['sev', '--firmware', EL9, ...SEVCTL_KERNEL],
    },
    {
        command: /^measurement build .* --num-cpus 4 --vmsa-cpu0/,
        version: [1, 49, 6],
        policy: 5,
        asked: ['sev-es', '--firmware', EL9, '--vcpus', '4', '--vmsa', SEVCTL_VMSAS.join(',')],
    },
]

/** Relative names are those of the vectors. */
const inFolder = ([tee, ...words]: Asked): Asked => [
    tee,
    ...words.map((word) =>
        word
            .split(',')
            .map((part) => (/^(?:inputs|fixtures)\//.test(part) ? join(folder, part) : part))
            .join(','),
    ),
]

const SPECIAL: readonly Special[] = [
    {
        tool: 'sev-snp-measure-test',
        check({ command, output }) {
            const asked = ITS_TESTS[command]
            if (!asked) return `sev-snp-measure-test ${command}: no digest that is predicted`
            // Some rows hold several digests, and some break one in two.
            return (t) => t.true(output.replaceAll(' ', '').includes(digestOf(measure(inFolder(asked)))))
        },
    },
    {
        tool: 'sevctl-test',
        check({ command, output }) {
            if (command.startsWith('vmsa build')) return vmsaBuild
            const row = SEVCTL.find((known) => known.command.test(command))
            if (!row) return 'sevctl-test: no digest of a launch'
            return (t) => {
                const nonce = Buffer.from(output, 'base64').subarray(32)
                const message = Buffer.alloc(8)
                message.set([4, ...row.version])
                message.writeUInt32LE(row.policy, 4)
                const digest = Buffer.from(digestOf(measure(inFolder(row.asked))), 'hex')
                const hmac = createHmac('sha256', readFileSync(join(folder, 'fixtures/sevctl/measurement/tik1.bin')))
                const measured = hmac.update(message).update(digest).update(nonce).digest()
                t.is(Buffer.concat([measured, nonce]).toString('base64'), output)
            }
        },
    },
    {
        tool: 'snp-create-id-block',
        check: ({ output }) => {
            return (t) => {
                const [, block = '', auth = ''] = /id-block=([^,]*),id-auth=(.*)$/.exec(output) ?? []
                const pair = { block: Buffer.from(block, 'base64'), auth: Buffer.from(auth, 'base64') }
                const read = readIdBlock(pair.block)
                t.is(read.policy, 0x30000n)
                const { idKeyDigest, authorKeyDigest } = verifyIdPair(pair)
                t.is(idKeyDigest.length, 48)
                t.is(authorKeyDigest?.length, 48)
                // Signatures differ each time; the block does not.
                const idKey = 'fixtures/sev-snp-measure/id_key_test.pem'
                const words = ['--digest', read.launchDigest.toString('hex'), '--id-key', idKey, '--author-key', idKey]
                t.is(measure(inFolder(['snp', ...words])).also?.['id-block'], block)
            }
        },
    },
]

function vmsaBuild(t: ExecutionContext): void {
    const cpu = ['--cpu-family', '25', '--cpu-model', '1', '--cpu-stepping', '1', '--profile', 'kvm-legacy']
    const { files } = measure(inFolder(['sev-es', '--firmware', EL9, '--vcpus', '2', ...cpu, '--dump-vmsa', 'x']))
    t.deepEqual(
        files?.map(({ bytes }) => sha256(bytes)),
        SEVCTL_VMSAS.map((path) => sha256(readFileSync(join(folder, path)))),
    )
}

/** Images that the tools compute a digest of although no hypervisor starts a guest with them so; by what is missing. */
function refusedByName({ words, tool }: Row): RegExp | null {
    const names = (...files: string[]) => files.some((file) => words.some((word) => word.endsWith(file)))
    if (words.includes('snp') && names('ovmf-bookworm/usr/share/OVMF/OVMF_CODE_4M.fd', 'fw_amdsev_el9_suffix.bin'))
        return /has no SEV metadata/
    if (tool.startsWith('virt-') && words.includes('--kernel') && names('fw_synth_ovmfx64_32k.fd'))
        return /no place for the hashes of a kernel/
    return null
}

let ran = 0
const skipped = new Map<string, number>()
const skip = (why: string) => void skipped.set(why, (skipped.get(why) ?? 0) + 1)

for (const [index, row] of rows.entries()) {
    const question = questionOf(row)
    if (question === null || 'missing' in question) {
        if (question) skip(`${question.missing} is not here`)
        else if (!SPECIAL.some(({ tool }) => row.tool.startsWith(tool))) skip(`${row.tool}: no digest of a launch`)
        continue
    }
    const { asked, wanted } = question
    const refused = refusedByName(row)
    ran++
    test(`${index + 2}: ${row.command}`, (t) => {
        if (refused) t.throws(() => measure(asked), { code: 'ERR_FIRMWARE_LACKS', message: refused })
        else if (wanted.startsWith('ERR')) t.throws(() => measure(asked), { instanceOf: AttestError })
        else t.is(digestOf(measure(asked)), wanted)
    })
}

for (const special of SPECIAL)
    for (const row of rows.filter(({ tool }) => tool.startsWith(special.tool))) {
        const check = special.check(row)
        if (typeof check === 'string') {
            skip(check)
            continue
        }
        ran++
        test(`${row.tool}: ${row.command}`, check)
    }

needs(present)('which rows of the manifest ran, and which did not', (t) => {
    const unanswered = [...skipped].map(([why, count]) => `  ${count}: ${why}`)
    t.log([`${ran} of ${rows.length} rows`, ...unanswered].join('\n'))
    t.is(ran + [...skipped.values()].reduce((sum, count) => sum + count, 0), rows.length)
    t.true(ran >= 300, `${ran} rows`)
})
