// `broker launch register`: what a guest of SEV must be, and the secrets that it gets then. Its host brings both together
// over the public listener; the token that the host may have to show is made here, and the broker hears of its hash.
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import type { VmView } from '#broker/launches.ts'
import { toBase64, toBase64Url, toHex } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import { KVM_PROFILES } from '#core/launch/options.ts'
import { secretArea } from '#core/launch/ovmf.ts'
import { libc } from '#drivers/linux/libc.ts'
import { sevOwner } from '#plugins.ts'
import { type Args, command as define, JSON_OPTION, many } from '../../command.ts'
import { requireNewFile } from '../../options/new-file.ts'
import { readCertificate, readSignedCek } from '../../sev/certificate.ts'
import { checkExpected, EXPECTED_OPTIONS, namesProcessors, readExpected } from '../../sev/expected.ts'
import { readSized, SECRET, withSecrets } from '../../sev/inputs.ts'
import { hint, note, printJson } from '../../term.ts'
import { admin, DATA_OPTION } from '../admin.ts'
import { checkAddress, checkNumbers, rangeOf } from './numbers.ts'
import { vmPath } from './path.ts'

/** SHA-256 of a chip’s certificate. */
const CHIP_SIZE = 32

const OPTIONS = {
    ...DATA_OPTION,
    policy: {
        type: 'number',
        default: 15,
        describe: 'the policy of the launch: 15 (0xf) for SEV-ES, 11 (0xb) for SEV',
    },
    secret: many(SECRET),
    ...EXPECTED_OPTIONS,
    profile: {
        ...many(
            'how the host’s KVM prepares the state; each that QEMU’s hosts have is accepted unless told; may be repeated',
        ),
        choices: KVM_PROFILES,
    },
    'launch-digest': many('or a launch digest that is accepted (hex), as `measure` prints it; may be repeated'),
    'area-size': {
        type: 'number',
        describe: `with --launch-digest: the room that its firmware has for secrets, ${rangeOf('area-size')} [3072]`,
    },
    'min-api-major': {
        type: 'number',
        describe: 'the least API of the platform’s firmware, 0.17 unless told: major …',
    },
    'min-api-minor': { type: 'number', describe: '… and minor' },
    'min-build-id': { type: 'number', describe: 'its least build; with both of the API' },
    chip: many('the chip that it must be, as `sev chain verify` names it; may be repeated'),
    cek: many('a chip’s certificate with AMD’s signature, for hosts that have none; may be repeated'),
    owner: { type: 'string', describe: 'the certificate (OCA) of whoever must own the platform' },
    'trust-root': many('trust this ARK instead of AMD’s: an emulator’s, a laboratory’s'),
    'max-launches': {
        type: 'number',
        default: 1,
        describe: `how many launches may be validated, ${rangeOf('max-launches')}`,
    },
    'confirm-after': {
        type: 'number',
        describe: 'so many of them, fewer than all, without `broker launch confirm`; all unless told',
    },
    'max-open': { type: 'number', default: 4, describe: `how many may be under way at once, ${rangeOf('max-open')}` },
    'launch-seconds': {
        type: 'number',
        default: 600,
        describe: `how long one may be under way, ${rangeOf('launch-seconds')}`,
    },
    'broker-url': {
        type: 'string',
        describe:
            'give each launch a key, with which the guest proves itself to this broker, at this address, and to no other',
    },
    'allow-path': many('with --broker-url: what the guest asks it for, REPOSITORY/TYPE/TAG; * within a name'),
    'client-seconds': {
        type: 'number',
        describe: `how long the key of a launch lasts, ${rangeOf('client-seconds')} [30 days]`,
    },
    'host-token': {
        type: 'string',
        describe:
            'write a token that the host has to show to this new file (mode 0600); with --broker-url there must be one',
    },
    'insecure-unmeasured-cpu-state': {
        type: 'boolean',
        default: false,
        describe: 'accept a policy without ES: the host chooses where the processors start',
    },
    'insecure-migration': {
        type: 'boolean',
        default: false,
        describe: 'accept a policy without NOSEND (0x8): the host can read the guest’s memory',
    },
    ...JSON_OPTION,
} as const

export const command = define({
    positionals: { uuid: 'what the host asks for: a UUID of its own for each start, or each guest' },
    options: OPTIONS,
    examples: [
        [
            '7c9e6679-7425-40de-944b-e07fc1f90ae7 --firmware AmdSev.fd --kernel vmlinuz --initrd initrd.img --cmdline root=/dev/sda --num-cpus 4 --cpu-family 25 --cpu-model 1 --cpu-stepping 1 --secret luks-key:disk.key --host-token web.token',
            'a guest of SEV-ES, and its disk’s key',
        ],
        [
            '7c9e6679-7425-40de-944b-e07fc1f90ae7 --launch-digest 07f7ab… --secret luks-key:disk.key --max-launches 20 --confirm-after 3',
            'by what `measure sev-es` printed; from the fourth start on, you are asked',
        ],
        [
            '7c9e6679-7425-40de-944b-e07fc1f90ae7 --launch-digest 07f7ab… --broker-url https://kbs.example:8443 --allow-path "web/*/*" --host-token web.token',
            'with a key of each launch: the rest it gets from this broker, as other guests do',
        ],
    ],
    details:
        'The host: `guest-attest sev launch-host --vm UUID`. It learns yes or no; `broker launch show` says why.\n' +
        'Whoever knows the UUID can open launches: --host-token keeps others from using them up.',
    async run(args) {
        const path = vmPath(args['uuid'])
        const { hostToken } = args
        if (hostToken !== undefined) requireNewFile(hostToken, '--host-token')
        libc().forbidCoreDumps()
        checkBroker(args)
        await checkNumbers(args)
        const told = await settings(args)
        const expected = await readGuest(args)
        const token = hostToken === undefined ? undefined : toBase64Url(randomBytes(32))
        const view = await withSecrets(args.secret, '--secret', async (secrets) => {
            const value = {
                scheme: 'amd-sev',
                ...expected,
                ...told,
                ...(token === undefined ? {} : { 'host-token-hash': createHash('sha256').update(token).digest('hex') }),
                ...(secrets.length > 0
                    ? { secrets: secrets.map(({ guid, data }) => ({ guid, data: toBase64(data) })) }
                    : {}),
            }
            // The file first: a guest whose token nobody has could not be launched.
            if (hostToken !== undefined) createFile(hostToken, `${token}\n`)
            return admin(args.data)
                .json<VmView>({ method: 'POST', path, value })
                .catch((error: unknown) => {
                    if (hostToken !== undefined) rmSync(hostToken, { force: true })
                    throw error
                })
        })
        if (args.json) printJson(view)
        else
            note(
                `${view.uuid} is expected${hostToken === undefined ? '' : `; its host shows the token in ${hostToken}`}`,
            )
        // The broker hears of its digest alone.
        const { NO_KERNEL, WEAKNESSES } = await sevOwner()
        if (args.firmware !== undefined && args.kernel === undefined) hint(NO_KERNEL)
        // What this guest has of its own; what all of its kind have is known by name.
        const attacks = WEAKNESSES.filter(({ name }) => view.weaknesses.some((text) => text.startsWith(`${name} (`)))
        for (const text of view.weaknesses) if (!attacks.some(({ name }) => text.startsWith(`${name} (`))) hint(text)
        if (attacks.length > 0)
            hint(
                `published attacks that it may be open to: ${attacks.map(({ name }) => name).join(', ')}; \`broker launch show\` says what each means`,
            )
        return 0
    },
})

function checkBroker({ brokerUrl, allowPath, clientSeconds, secret, hostToken }: Args<typeof OPTIONS>): void {
    checkAddress(brokerUrl, allowPath)
    if (brokerUrl === undefined) {
        if (allowPath.length > 0 || clientSeconds !== undefined)
            throw coreError('ERR_USAGE', '--allow-path and --client-seconds are nothing without --broker-url')
        if (secret.length === 0) throw coreError('ERR_USAGE', 'say what the guest gets: --secret, or --broker-url')
    } else if (allowPath.length === 0)
        throw coreError('ERR_USAGE', '--broker-url: say what the guest asks it for, with --allow-path')
    else if (hostToken === undefined)
        throw coreError('ERR_USAGE', '--broker-url: its host shows a token, --host-token writes it', {
            hint: 'without, who knows the UUID could launch the guest, and end the key of the one that runs',
        })
}

/** The digests: computed here, of the owner's own files, or given. */
async function readGuest(args: Args<typeof OPTIONS>) {
    const { DIGEST_SIZE, readPolicy } = await sevOwner()
    const { policy, launchDigest, firmware, areaSize } = args
    if (launchDigest.length > 0 && firmware !== undefined)
        throw coreError('ERR_USAGE', '--launch-digest and --firmware both say which guest it must be: leave one out')
    if (launchDigest.length === 0 && firmware === undefined)
        throw coreError('ERR_USAGE', 'say which guest it must be: --firmware and what goes with it, or --launch-digest')
    if (firmware === undefined) {
        const { kernel, initrd, cmdline } = args
        if ([kernel, initrd, cmdline].some((file) => file !== undefined) || namesProcessors(args))
            throw coreError('ERR_USAGE', '--launch-digest says all of the guest: kernel and processors may not')
        const digests = launchDigest.map((text) => toHex(readSized(text, '--launch-digest', DIGEST_SIZE)))
        return { policy, 'launch-digests': digests, ...(areaSize === undefined ? {} : { 'secret-area': areaSize }) }
    }
    if (areaSize !== undefined) throw coreError('ERR_USAGE', '--firmware says what --area-size would')
    const { es } = readPolicy(policy)
    if (!es && namesProcessors(args))
        throw coreError('ERR_USAGE', `--policy ${policy} has no ES: nothing of the processors is measured`)
    checkExpected(args, es)
    const { digestOf, firmware: read } = await readExpected(args, es, false)
    const digests = (args.profile.length > 0 ? args.profile : KVM_PROFILES).map((profile) => toHex(digestOf(profile)))
    const area = secretArea(read)
    if (!area) throw coreError('ERR_USAGE', `${firmware} has no area for secrets: nothing could be injected`)
    return { policy, 'launch-digests': [...new Set(digests)], 'secret-area': area.size }
}

async function settings(args: Args<typeof OPTIONS>): Promise<Record<string, unknown>> {
    const blobs = async (paths: readonly string[], read: (path: string) => Promise<Buffer>) =>
        paths.length > 0 ? (await Promise.all(paths.map(read))).map(toBase64) : undefined
    const { owner } = args
    const all = {
        'min-api-major': args.minApiMajor,
        'min-api-minor': args.minApiMinor,
        'min-build-id': args.minBuildId,
        chips: args.chip.length > 0 ? args.chip.map((text) => toHex(readSized(text, '--chip', CHIP_SIZE))) : undefined,
        ceks: await blobs(args.cek, readSignedCek),
        'cloud-cert': owner === undefined ? undefined : toBase64(await readCertificate(owner, '--owner', 'oca')),
        'insecure-trust-roots': await blobs(args.trustRoot, (path) => readCertificate(path, '--trust-root', 'ark')),
        'max-launches': args.maxLaunches,
        'confirm-after': args.confirmAfter,
        'max-open': args.maxOpen,
        'launch-seconds': args.launchSeconds,
        'broker-url': args.brokerUrl,
        'broker-allow-paths': args.allowPath.length > 0 ? args.allowPath : undefined,
        'client-seconds': args.clientSeconds,
        'insecure-unmeasured-cpu-state': args.insecureUnmeasuredCpuState || undefined,
        'insecure-migration': args.insecureMigration || undefined,
    }
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}
