// `luks enroll`: one command from a disk with a passphrase to a disk that the guest opens by itself: trust, key, binding,
// volume table, crypttab, initrd, and a try. Each step leaves a machine that boots as before, and can be done again.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { readSound } from '#luks/rewrite.ts'
import { FRONT_ENDS, type FrontEnd, ON_FAILURE, PROFILES, VOLUME_NAME, type Volume } from '#unlock/volumes.ts'
import { command as define } from '../command.ts'
import { RESOURCE_OPTIONS } from './bind.ts'
import { nameOf } from './crypttab.ts'
import { enroll } from './enroll-steps.ts'
import { type Builder, findBuilder, isRootVolume } from './machine.ts'
import { REPLACE_OPTION } from './others.ts'
import { KEY_FILE_OPTION } from './passphrase.ts'
import { HEADER_OPTIONS, rewriteOf, TARGET_OPTIONS, type Target, targetOf, volumeOf } from './target.ts'

const NONE: string[] = []

export const command = define({
    positionals: { device: 'the encrypted block device' },
    options: {
        ...TARGET_OPTIONS,
        'front-end': {
            type: 'string',
            choices: FRONT_ENDS,
            describe: 'how the key reaches cryptsetup; what fits the initrd of this machine unless told',
        },
        profile: {
            type: 'string',
            choices: PROFILES,
            describe:
                'strict: the key or nothing, no shell; compat: the prompt stays. strict unless told, compat for clevis',
        },
        'on-failure': {
            type: 'string',
            choices: ON_FAILURE,
            default: 'poweroff',
            describe: 'of strict, after the deadline',
        },
        deadline: {
            type: 'number',
            default: 300,
            describe: 'seconds for the key, counted from the start of unlocking',
        },
        name: { type: 'string', describe: 'of the mapping; as crypttab has it unless told' },
        root: { type: 'boolean', describe: 'the root file system is on it; found out unless told' },
        create: { type: 'boolean', default: false, describe: 'make the key, where there is none (needs --credential)' },
        credential: { type: 'string', describe: 'a file of `broker credential add … --may create`' },
        pin: {
            type: 'array',
            string: true,
            default: NONE,
            describe: 'trust the broker by its key, as `trust add` does',
        },
        ca: { type: 'string', describe: 'trust the broker by a CA, as `trust add` does' },
        ...RESOURCE_OPTIONS,
        ...REPLACE_OPTION,
        ...KEY_FILE_OPTION,
        crypttab: { type: 'string', default: '/etc/crypttab', describe: 'the file whose line is written' },
        initrd: { type: 'boolean', default: true, describe: 'rebuild it; --no-initrd leaves that to you' },
        ...HEADER_OPTIONS,
    },
    examples: [
        [
            '/dev/vda3 --url https://kbs.example:8443 --pin sha256/4vF…= --path default/luks/web-1 --create --credential ops.credential',
            'all of it, with a key that nobody has ever seen',
        ],
        ['/dev/vda3 --path default/luks/web-1', 'a broker that is trusted, a key that is there'],
        ['/dev/vdb --name data --path default/luks/data', 'a data volume, opened after boot'],
    ],
    details:
        'It asks for a passphrase that opens the volume; keep that one in a safe place: it is the recovery.\n' +
        'The last line says whether the next boot opens the volume, and why not. Exit status: 0 it does, 1 it does not,\n' +
        '2 usage, 3 a step could not be done now: do it again.',
    async run(args) {
        const device = String(args['device'])
        const rewrite = rewriteOf(device, args)
        const { volume: header } = readSound(device, rewrite.expected)
        const target = await targetOf(args, volumeOf(header.uuid))
        const text = existsSync(args.crypttab) ? readInput(args.crypttab).toString() : ''
        const builder = findBuilder()
        const volume = volumeAsTold(args, {
            uuid: header.uuid,
            target,
            known: nameOf(text, header.uuid, device),
            builder,
        })
        if (args.create !== (args.credential !== undefined))
            throw coreError('ERR_USAGE', args.create ? '--create needs --credential' : '--credential is for --create', {
                hint: 'on the broker: guest-attest broker credential add NAME --allow-path PATH --out FILE',
            })
        if (args.create && args.resourceFile !== undefined)
            throw coreError('ERR_USAGE', '--create makes a key, --resource-file has one: say which')
        return enroll({ device, rewrite, target, volume, builder, options: args })
    },
})

interface Told {
    readonly frontEnd?: FrontEnd | undefined
    readonly profile?: Volume['profile'] | undefined
    readonly onFailure: Volume['onFailure']
    readonly deadline: number
    readonly name?: string | undefined
    readonly root?: boolean | undefined
}

interface Known {
    readonly uuid: string
    readonly target: Target
    /** The name in crypttab. */
    readonly known: string | undefined
    readonly builder: Builder | null
}

/** @throws AttestError ERR_USAGE */
function volumeAsTold(told: Told, { uuid, target, known, builder }: Known): Volume {
    const name = told.name ?? known
    if (name === undefined)
        throw coreError('ERR_USAGE', '--name is missing: crypttab has no line of this volume', {
            hint: 'choose what its mapping is called: --name root, --name data',
        })
    if (!VOLUME_NAME.test(name))
        throw coreError(
            'ERR_USAGE',
            `${told.name === undefined ? 'crypttab' : '--name'}: ${JSON.stringify(name)}: expected letters, digits, \`_\` and dots, at most 64`,
            {
                hint: 'it is part of units and scripts; a mapping of another name is renamed in crypttab and fstab first',
            },
        )
    const root = told.root ?? isRootVolume(uuid)
    const frontEnd = told.frontEnd ?? (root ? builder?.frontEnds[0] : 'socket')
    if (frontEnd === undefined)
        throw coreError('ERR_USAGE', '--front-end is missing: neither dracut nor initramfs-tools is here')
    if (root && builder && !builder.frontEnds.includes(frontEnd))
        throw coreError(
            'ERR_USAGE',
            `--front-end: an initrd of ${builder.name} opens its root by ${builder.frontEnds.join(' or ')}`,
        )
    const profile = told.profile ?? (frontEnd === 'clevis' ? 'compat' : 'strict')
    if (frontEnd === 'clevis' && profile === 'strict')
        throw coreError('ERR_USAGE', '--profile strict: clevis opens from the disk and leaves the prompt open', {
            hint: '--front-end socket (dracut) or keyscript (initramfs-tools)',
        })
    if (told.deadline < 5 || told.deadline > 604_800)
        throw coreError('ERR_USAGE', '--deadline: expected 5 to 604800 seconds')
    const { onFailure, deadline: deadlineS } = told
    return { name, uuid, servers: target.servers, path: target.path, frontEnd, profile, onFailure, deadlineS, root }
}
