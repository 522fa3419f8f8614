// `sev validate`: is this launch the one that its owner expects? Options, meaning and exit status are those of libvirt's
// virt-qemu-sev-validate; where that computes what is not safe, this refuses, unless --insecure says otherwise.
// SPDX-License-Identifier: Apache-2.0

import { toBase64, toHex } from '#core/bytes.ts'
import { AttestError, coreError, restated } from '#core/errors.ts'
import { writeFiles } from '#core/files.ts'
import { KVM_PROFILES } from '#core/launch/options.ts'
import { secretArea } from '#core/launch/ovmf.ts'
import { libc } from '#drivers/linux/libc.ts'
import { sevOwner } from '#plugins.ts'
import { type Args, command as define, JSON_OPTION, many } from '../command.ts'
import { requireDistinct, requireReplaceable } from '../options/new-file.ts'
import { complain, note, print, printJson } from '../term.ts'
import { checkExpected, EXPECTED_OPTIONS, namesProcessors, readExpected } from './expected.ts'
import { CLAIM_OPTIONS, KEY_OPTIONS, readBase64, withKeys, withSecrets } from './inputs.ts'

const OPTIONS = {
    ...CLAIM_OPTIONS,
    measurement: { ...CLAIM_OPTIONS.measurement, alias: 'm' },
    ...EXPECTED_OPTIONS,
    ...KEY_OPTIONS,
    'inject-secret': {
        ...many('GUID:FILE, or luks-key:FILE: a secret for this launch; may be repeated'),
        alias: 's',
    },
    'secret-header': { type: 'string', describe: 'where the head of its packet goes (base64)' },
    'secret-payload': { type: 'string', describe: 'where the packet goes (base64)' },
    domain: { type: 'string', alias: 'o', describe: 'not supported: a connection to the host’s libvirt' },
    connect: { type: 'string', alias: 'c', describe: 'not supported: the same' },
    'ignore-config': { type: 'boolean', alias: 'g', default: false, describe: 'not supported: the same' },
    insecure: {
        type: 'boolean',
        alias: 'i',
        default: false,
        describe: 'go on although the launch is not safe: a weak policy, processors or a kernel that nobody measures',
    },
    debug: { type: 'boolean', alias: 'd', default: false, describe: 'say what was computed' },
    quiet: { type: 'boolean', alias: 'q', default: false, describe: 'say nothing' },
    ...JSON_OPTION,
} as const

type Options = Args<typeof OPTIONS>

export const command = define({
    options: OPTIONS,
    examples: [
        [
            '-f OVMF.fd --tk vm_tk.bin -m Zerx… --api-major 1 --api-minor 55 --build-id 21 --policy 0xb',
            'is it that firmware?',
        ],
        [
            '-f AmdSev.fd -k vmlinuz -r initrd -e "root=/dev/vda" --tek vm_tek.bin --tik vm_tik.bin -m Zerx… --api-major 1 --api-minor 55 --build-id 21 --policy 0xf -n 4 --cpu-family 25 --cpu-model 1 --cpu-stepping 1 -s luks-key:disk.key --secret-header header.b64 --secret-payload payload.b64',
            'and that kernel, on four processors? If so, its packet of secrets',
        ],
    ],
    details:
        'Exit status: 0 it is, 1 it is not, 2 usage that is not supported, 3 usage that is not safe, 4 firmware or kernel that ' +
        'do not go together, 5 a guest in another state (never here), 6 anything else.\n' +
        'Firmware before API 0.17 is refused: what it takes is not bound to its launch. The keys and the firmware are the ' +
        'owner’s copies; what the host says (API, build, policy) is covered by the measurement.',
    async run(args) {
        try {
            return await validate(args)
        } catch (error) {
            if (!args.quiet) complain(error)
            return exitOf(error, args)
        }
    },
})

async function validate(args: Options): Promise<number> {
    const { migrationRisk, readPolicy, requirePolicy, requireFirmware, LEAST_API, packSecrets, ...owner } =
        await sevOwner()
    if (args.domain !== undefined || args.connect !== undefined || args.ignoreConfig)
        throw coreError('ERR_USAGE', '--domain, --connect and --ignore-config ask the host’s libvirt: not supported', {
            hint: 'the host’s word goes into --measurement, --api-major, --api-minor, --build-id and --policy',
        })
    const claim = readClaim(args)
    const policy = readPolicy(claim.policy)
    const { es } = policy
    checkExpected(args, es)
    const packetFiles = readPacketFiles(args)
    requireFirmware(claim, LEAST_API)
    const demand = { es: namesProcessors(args) }
    if (!args.insecure) requirePolicy(claim.policy, demand)
    libc().forbidCoreDumps()
    const { firmware, digestOf } = await readExpected(args, es, args.insecure)
    const digest = digestOf(args.profile)
    return withKeys(args, async (keys) => {
        const risk = migrationRisk(policy)
        if (risk && !args.quiet) note(`warning: the policy has ${risk}`)
        if (args.debug) {
            note(`launch digest ${toHex(digest)}`)
            note(`measurement ${toHex(claim.measurement)}`)
        }
        const expected = { ...demand, policy: claim.policy, digests: [digest], insecureWeakPolicy: args.insecure }
        const launch = orExplained(
            () => owner.validateLaunch(keys, claim, expected),
            // Who has TIK can tell what else the measurement may be of.
            () =>
                KVM_PROFILES.find((other) =>
                    owner.measuredDigest(keys.tik, claim.measurement, claim, [digestOf(other)]),
                ),
        )
        const packed = await withSecrets(args.injectSecret, '--inject-secret', (secrets) =>
            secrets.length === 0 ? null : packSecrets(keys, launch, secrets, secretArea(firmware)?.size ?? 0),
        )
        if (packed && packetFiles)
            writeFiles(
                [
                    { path: packetFiles.payload, bytes: toBase64(packed.payload), mode: 0o644 },
                    { path: packetFiles.header, bytes: toBase64(packed.header), mode: 0o644 },
                ],
                { replace: true },
            )
        if (args.json) printJson({ valid: true, launchDigest: toHex(digest), secrets: args.injectSecret.length })
        else if (!args.quiet) {
            print('OK: the launch is the one that is expected')
            if (packed)
                print(
                    `OK: ${args.injectSecret.length === 1 ? 'the secret is' : `${args.injectSecret.length} secrets are`} in ${args.secretPayload}`,
                )
        }
        return 0
    })
}

/** A measurement that is another, and the profile of which it is. @throws AttestError what `judge` does */
function orExplained<T>(judge: () => T, fitting: () => string | undefined): T {
    try {
        return judge()
    } catch (error) {
        if (!(error instanceof AttestError) || error.code !== 'ERR_SEV_MEASUREMENT') throw error
        const profile = fitting()
        const hint = profile
            ? `it is that of --profile ${profile}: so this host’s KVM prepares processors`
            : `${error.hint}; --debug prints the digest that was expected`
        throw restated(error, error.message, hint)
    }
}

/** Where the packet goes; null where none is made. @throws AttestError ERR_USAGE */
function readPacketFiles({ injectSecret, secretHeader: header, secretPayload: payload }: Options) {
    if (injectSecret.length === 0) {
        if (header === undefined && payload === undefined) return null
        throw coreError('ERR_USAGE', '--secret-header and --secret-payload are nothing without --inject-secret')
    }
    if (header === undefined || payload === undefined)
        throw coreError('ERR_USAGE', '--inject-secret: --secret-header and --secret-payload say where the packet goes')
    requireReplaceable(header, '--secret-header')
    requireReplaceable(payload, '--secret-payload')
    requireDistinct({ '--secret-header': header, '--secret-payload': payload })
    return { header, payload }
}

function readClaim({ measurement, apiMajor, apiMinor, buildId, policy }: Options) {
    const values = { measurement, 'api-major': apiMajor, 'api-minor': apiMinor, 'build-id': buildId, policy }
    for (const [name, value] of Object.entries(values))
        if (value === undefined) throw coreError('ERR_USAGE', `--${name} is missing`)
    return {
        measurement: readBase64(measurement ?? '', '--measurement', 48),
        apiMajor: apiMajor ?? 0,
        apiMinor: apiMinor ?? 0,
        buildId: buildId ?? 0,
        policy: policy ?? 0,
    }
}

/** Exit status of libvirt's tool, by our codes; 6 for what is not here. */
const EXITS: Readonly<Record<string, number>> = {
    ERR_SEV_MEASUREMENT: 1,
    ERR_USAGE: 2,
    ERR_VMSA: 2,
    ERR_VCPU: 2,
    ERR_SEV_GUEST_POLICY: 2,
    ERR_SEV_SECRET: 2,
    ERR_SEV_GUEST_POLICY_WEAK: 3,
    ERR_SEV_API: 3,
}

function exitOf(error: unknown, { kernel }: Options): number {
    if (!(error instanceof AttestError)) return 6
    if (error.code === 'ERR_FIRMWARE_LACKS' && kernel !== undefined) return 4
    return EXITS[error.code] ?? 6
}
