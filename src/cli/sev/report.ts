// `sev report verify`: a report that a host asked its firmware for while a guest runs. It says little, and this says so.
// SPDX-License-Identifier: Apache-2.0

import { Checks } from '#core/checks.ts'
import { coreError } from '#core/errors.ts'
import type { Weakness } from '#evidence/verdict.ts'
import { sevOwner } from '#plugins.ts'
import { type CommandRow, command as define, JSON_OPTION } from '../command.ts'
import { note, printJson } from '../term.ts'
import { DIGEST_OPTION, readBlob, readSized } from './inputs.ts'
import { type RecordedLaunch, readLaunchRecord } from './launch-record.ts'
import { PLATFORM_OPTIONS, readPlatform } from './platform.ts'
import { type Ending, exitOf, lastLine, showChecks, verdictOf } from './show.ts'

const OPTIONS = {
    ...PLATFORM_OPTIONS,
    'launch-digest': DIGEST_OPTION,
    policy: { type: 'number', describe: 'the policy that it must have been launched with' },
    nonce: {
        type: 'string',
        describe: 'the 16 bytes that the host was asked to put into it (hex, hex:…, b64:… or @FILE)',
    },
    'launch-record': {
        type: 'string',
        describe:
            'what `broker launch show UUID --json` says of the guest (- is standard input): what contradicts it is refused',
    },
    'authentic-only': {
        type: 'boolean',
        default: false,
        describe: 'exit 0 on an authentic report although nothing was expected of it',
    },
    ...JSON_OPTION,
} as const

export const command = define({
    positionals: { file: 'the report, 208 bytes: raw or base64; or the evidence of an AEB, which brings certificates' },
    options: OPTIONS,
    examples: [
        [
            'report.bin --cert-chain chain.b64 --cek cek.cert --launch-digest 07f7ab…',
            'a guest like that, on AMD’s hardware',
        ],
        ['report.bin --cert-chain chain.b64 --cek cek.cert --authentic-only', 'some guest on AMD’s hardware'],
        ['evidence.json --cek cek.cert --launch-digest 07f7ab…', 'what `evidence --via aeb` wrote'],
    ],
    details:
        'The host chooses which guest it asks about, and the nonce: the report is bound to nobody, and may be old. It never ' +
        'proves that the guest you talk to is this one. A policy without NODBG and NOKS is refused as soon as anything is expected.\n' +
        'A launch record denies what contradicts it; what agrees with it is no more than authentic.\n' +
        'Exit status: 0 accepted (or authentic with --authentic-only), 1 rejected, 2 usage, 3 undecided or nothing was expected.',
    async run(args) {
        const { CHAIN_CHECKS, DIGEST_SIZE, REPORT_SIZE, readPolicy, verifyChain, verifyReport, weaknessesOf } =
            await sevOwner()
        const digests = args.launchDigest.map((text) => readSized(text, '--launch-digest', DIGEST_SIZE))
        const nonce = args.nonce === undefined ? null : readSized(args.nonce, '--nonce', 16)
        if (args.policy !== undefined) readPolicy(args.policy)
        const record = args.launchRecord === undefined ? null : readLaunchRecord(args.launchRecord)
        const { report: bytes, certificates, claims: via } = await readEvidence(String(args['file']))
        const { files, trust } = await readPlatform(args, certificates)
        const checks = new Checks([...CHAIN_CHECKS, 'report', ...EXPECTATIONS])
        const isExpected = digests.length > 0 || nonce !== null || args.policy !== undefined
        let ending: Ending = { verdict: isExpected ? 'accepted' : 'authentic' }
        let claims: object | null = null
        let weaknesses: readonly Weakness[] = []
        try {
            const platform = verifyChain(files, trust, checks)
            const { report } = checks.run('report', () => {
                if (bytes.length !== REPORT_SIZE)
                    throw coreError('ERR_LENGTH', `expected ${REPORT_SIZE} bytes, got ${bytes.length}`)
                return { report: verifyReport(bytes, platform.pek), detail: 'signed by PEK' }
            })
            weaknesses = weaknessesOf(platform)
            claims = {
                launchDigest: report.launchDigest.toString('hex'),
                mnonce: report.mnonce.toString('hex'),
                policy: report.policy,
                chip: platform.chip,
                owner: platform.owner,
                productLine: platform.productLine,
                rootIsAmd: platform.productLine !== null,
                binding: 'none',
                freshness: 'host-chosen',
                ...via,
            }
            const wanted = { digests, nonce, policy: args.policy, isExpected, record }
            await appraise({ ...report, chip: platform.chip }, wanted, checks)
        } catch (error) {
            ending = verdictOf(error)
        }
        if (args.json) printJson({ ...ending, checks: checks.all(), claims, weaknesses })
        else showChecks(checks.all(), weaknesses, lastLine(ending, TEXTS[ending.verdict]))
        return ending.verdict === 'authentic' && args.authenticOnly ? 0 : exitOf(ending)
    },
})

export const group: readonly CommandRow[] = [
    {
        signature: 'verify <file>',
        describe: 'is this report authentic, and as expected?',
        load: async () => ({ command }),
    },
]

const EXPECTATIONS = ['policy', 'launch-digest', 'nonce', 'launch-record'] as const

const TEXTS: Readonly<Record<Ending['verdict'], string | undefined>> = {
    accepted: 'ACCEPTED: such a guest was launched there; which guest the host asked about is its own choice',
    authentic: 'AUTHENTIC, NOT APPRAISED: could be any guest, could be a replay',
    rejected: undefined,
    undecided: undefined,
}

/** A report alone, or what an AEB handed over: of that it is said each time what it is worth. */
async function readEvidence(path: string) {
    const { AEB_WARNING, isAebEvidence, parseAebEvidence } = await sevOwner()
    const bytes = readBlob(path)
    if (!isAebEvidence(bytes)) return { report: bytes, certificates: [], claims: {} }
    const { report, cek, pek, oca, deviceType } = parseAebEvidence(bytes)
    note(AEB_WARNING)
    return {
        report,
        certificates: [cek, pek, oca].map((certificate) => ({ name: path, bytes: certificate })),
        claims: { via: 'aeb', trust: 'informational', ...(deviceType === null ? {} : { deviceType }) },
    }
}

interface Wanted {
    readonly digests: readonly Buffer[]
    readonly nonce: Buffer | null
    readonly policy: number | undefined
    readonly isExpected: boolean
    readonly record: readonly RecordedLaunch[] | null
}

async function appraise(
    report: {
        readonly launchDigest: Buffer
        readonly mnonce: Buffer
        readonly policy: number
        readonly chip: string
    },
    { digests, nonce, policy, isExpected, record }: Wanted,
    checks: Checks,
): Promise<void> {
    const { requirePolicy, sevError } = await sevOwner()
    const unexpected = (text: string) => sevError('ERR_SEV_REPORT_UNEXPECTED', text)
    const hex = `0x${report.policy.toString(16)}`
    checks.runIfNamed('policy', 'nothing was expected', () => {
        if (!isExpected) return null
        if (policy !== undefined && policy !== report.policy)
            throw unexpected(`${hex}, expected 0x${policy.toString(16)}`)
        requirePolicy(report.policy, { es: false })
        return { detail: hex }
    })
    checks.runIfNamed('launch-digest', 'none was expected', () => {
        if (digests.length === 0) return null
        if (!digests.some((digest) => digest.equals(report.launchDigest)))
            throw unexpected(`${report.launchDigest.toString('hex')} is none of those that are accepted`)
        return { detail: report.launchDigest.toString('hex') }
    })
    checks.runIfNamed('nonce', 'none was expected', () => {
        if (!nonce) return null
        if (!nonce.equals(report.mnonce)) throw unexpected(`${report.mnonce.toString('hex')}, expected another`)
        return { detail: 'the one that was named; the host asked with it' }
    })
    checks.runIfNamed('launch-record', 'none was named', () => {
        if (!record) return null
        const digest = report.launchDigest.toString('hex')
        const isLike = (one: RecordedLaunch) =>
            one.digest === digest && one.policy === report.policy && one.chip === report.chip
        if (!record.some(isLike)) throw unexpected('no launch that was validated has its digest, policy and chip')
        return { detail: 'a launch that was validated is like it, which proves no more' }
    })
}
