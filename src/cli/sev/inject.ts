// `sev inject`: a packet of secrets for one launch, which is validated by its digest first.
// SPDX-License-Identifier: Apache-2.0

import { toBase64 } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { readInput, writeFiles } from '#core/files.ts'
import { readFirmware, secretArea } from '#core/launch/ovmf.ts'
import { libc } from '#drivers/linux/libc.ts'
import { sevOwner } from '#plugins.ts'
import { type Args, atLeastOne, command as define } from '../command.ts'
import { requireDistinct, requireNewFile } from '../options/new-file.ts'
import { note } from '../term.ts'
import { MAX_FIRMWARE } from './expected.ts'
import {
    CLAIM_OPTIONS,
    DIGEST_OPTION,
    KEY_OPTIONS,
    readBase64,
    readSized,
    SECRET,
    withKeys,
    withSecrets,
} from './inputs.ts'

const OPTIONS = {
    measurement: { ...CLAIM_OPTIONS.measurement, demandOption: true },
    'api-major': { ...CLAIM_OPTIONS['api-major'], demandOption: true },
    'api-minor': { ...CLAIM_OPTIONS['api-minor'], demandOption: true },
    'build-id': { ...CLAIM_OPTIONS['build-id'], demandOption: true },
    policy: { ...CLAIM_OPTIONS.policy, demandOption: true },
    'launch-digest': DIGEST_OPTION,
    ...KEY_OPTIONS,
    secret: atLeastOne(SECRET),
    firmware: { type: 'string', describe: 'the firmware of the guest, which says how much room there is' },
    'area-size': { type: 'number', describe: 'or that number of bytes; 3072 unless told' },
    header: { type: 'string', demandOption: true, describe: 'where the packet’s head goes (base64), a new file' },
    payload: { type: 'string', demandOption: true, describe: 'where the packet goes (base64), a new file' },
    es: { type: 'boolean', default: false, describe: 'it is a guest of SEV-ES: the policy must say so' },
    'insecure-unvalidated': {
        type: 'boolean',
        default: false,
        describe: 'make the packet for whatever guest this is: without --launch-digest',
    },
} as const

export const command = define({
    options: OPTIONS,
    examples: [
        [
            '--tek vm_tek.bin --tik vm_tik.bin --measurement Zerx… --api-major 1 --api-minor 55 --build-id 21 --policy 0xb --launch-digest 07f7ab… --secret luks-key:disk.key --header header.b64 --payload payload.b64',
            'a passphrase, for the guest that measures so',
        ],
    ],
    details:
        'The host gives both files to QEMU (sev-inject-launch-secret: packet-header, secret). The packet opens in that one launch ' +
        'alone. A secret that GRUB is to read ends with a zero byte.\n' +
        'Exit status: 0 written, 1 the launch is not the one that is expected, 2 usage.',
    async run(args) {
        const { validateLaunch, packSecrets, LAUNCH_MEASURE, DIGEST_SIZE, migrationRisk, readPolicy } = await sevOwner()
        const claim = { ...args, measurement: readBase64(args.measurement, '--measurement', 48) }
        const digests = args.launchDigest.map((text) => readSized(text, '--launch-digest', DIGEST_SIZE))
        if (digests.length > 0 && args.insecureUnvalidated)
            throw coreError('ERR_USAGE', '--launch-digest and --insecure-unvalidated were both given: leave one out')
        if (digests.length === 0 && !args.insecureUnvalidated)
            throw coreError('ERR_USAGE', 'say which guest it must be: --launch-digest', {
                hint: '`guest-attest measure sev` prints it; --insecure-unvalidated trusts the host instead',
            })
        requireNewFile(args.header, '--header')
        requireNewFile(args.payload, '--payload')
        requireDistinct({ '--header': args.header, '--payload': args.payload })
        const area = await readArea(args)
        libc().forbidCoreDumps()
        const packet = await withKeys(args, async (keys) => {
            const { measure } = LAUNCH_MEASURE.parse(claim.measurement)
            const launch = args.insecureUnvalidated
                ? { digest: Buffer.alloc(DIGEST_SIZE), measure }
                : validateLaunch(keys, claim, { es: args.es, policy: args.policy, digests })
            return withSecrets(args.secret, '--secret', (secrets) => packSecrets(keys, launch, secrets, area))
        })
        writeFiles([
            { path: args.payload, bytes: toBase64(packet.payload), mode: 0o644 },
            { path: args.header, bytes: toBase64(packet.header), mode: 0o644 },
        ])
        const risk = migrationRisk(readPolicy(args.policy))
        if (risk) note(`warning: the policy has ${risk}`)
        if (args.insecureUnvalidated)
            note('nobody looked at the launch: the packet may be for a guest of the host’s making')
        note(
            `${args.secret.length === 1 ? 'the secret is' : `${args.secret.length} secrets are`} in ${args.payload}, its head in ${args.header}`,
        )
        return 0
    },
})

async function readArea({ firmware, areaSize }: Args<typeof OPTIONS>): Promise<number> {
    const { USUAL_AREA } = await sevOwner()
    if (firmware === undefined) return areaSize ?? USUAL_AREA
    if (areaSize !== undefined) throw coreError('ERR_USAGE', '--firmware says what --area-size would')
    return secretArea(readFirmware(readInput(firmware, MAX_FIRMWARE), firmware))?.size ?? 0
}
