// `luks enroll`: one command from a disk with a passphrase to a disk that the guest opens by itself: trust, key, binding,
// volume table, crypttab, initrd, and a try. Each step leaves a machine that boots as before, and can be done again.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { LAUNCH_KEY_GUID } from '#core/secret-names.ts'
import { readSound } from '#luks/rewrite.ts'
import { FRONT_ENDS, ON_FAILURE, PROFILES } from '#unlock/volumes.ts'
import { command as define, many } from '../command.ts'
import { readGuid } from '../secrets/secrets.ts'
import { RESOURCE_OPTIONS } from './bind.ts'
import { nameOf } from './crypttab.ts'
import { enrollSecret } from './enroll-secret.ts'
import { enroll } from './enroll-steps.ts'
import { volumeAsTold } from './enroll-volume.ts'
import { findBuilder } from './machine.ts'
import { REPLACE_OPTION } from './others.ts'
import { KEY_FILE_OPTION } from './passphrase.ts'
import { HEADER_OPTIONS, rewriteOf, TARGET_OPTIONS, targetOf, volumeOf } from './target.ts'

export const command = define({
    positionals: { device: 'the encrypted block device' },
    options: {
        ...TARGET_OPTIONS,
        secret: {
            type: 'string',
            describe: 'instead of a broker: the GUID of what was injected into this guest, or luks-key (SEV)',
        },
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
        pin: many('trust the broker by its key, as `trust add` does'),
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
        ['/dev/vda3 --secret luks-key', 'in a guest of SEV: the passphrase that its owner injects at each launch'],
    ],
    details:
        'It asks for a passphrase that opens the volume; keep that one in a safe place: it is the recovery.\n' +
        'With --secret nobody is asked, and no key slot is added: what is injected opens the volume already, which is ' +
        'tried before anything is written, and it is not wiped.\n' +
        'The last line says whether the next boot opens the volume, and why not. ' +
        'Exit status: 0 it does, 1 it does not, 2 usage, 3 a step could not be done now: do it again.',
    async run(args) {
        const device = String(args['device'])
        if (args.secret !== undefined) refuseBesideSecret(args)
        const guid = args.secret === undefined ? null : readGuid(args.secret, '--secret')
        if (guid === LAUNCH_KEY_GUID)
            throw coreError('ERR_USAGE', '--secret: the key of a launch opens no disk', {
                hint: 'without --secret a disk opens with a key that the broker has for this guest',
            })
        const rewrite = rewriteOf(device, args)
        const { volume: header } = readSound(device, rewrite.expected)
        const text = existsSync(args.crypttab) ? readInput(args.crypttab).toString() : ''
        const builder = findBuilder()
        const known = nameOf(text, header.uuid, device)
        const row = () => volumeAsTold(args, { uuid: header.uuid, known, builder })
        if (guid !== null) return enrollSecret({ device, volume: { ...row(), secret: guid }, builder, options: args })
        const target = await targetOf(args, volumeOf(header.uuid))
        const volume = { ...row(), ...target }
        if (args.create !== (args.credential !== undefined))
            throw coreError('ERR_USAGE', args.create ? '--create needs --credential' : '--credential is for --create', {
                hint: 'on the broker: guest-attest broker credential add NAME --allow-path PATH --out FILE',
            })
        if (args.create && args.resourceFile !== undefined)
            throw coreError('ERR_USAGE', '--create makes a key, --resource-file has one: say which')
        return enroll({ device, rewrite, target, volume, builder, options: args })
    },
})

/** What of a broker, a key or a binding is named beside a secret. */
const NOT_WITH_SECRET = [
    'url',
    'path',
    'pin',
    'ca',
    'create',
    'credential',
    'resource-file',
    'resource-version',
    'replace',
    'key-file',
    'insecure-pin',
] as const

/** @throws AttestError ERR_USAGE */
function refuseBesideSecret(args: Readonly<Record<string, unknown>>): void {
    const isTold = (value: unknown) =>
        Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false
    const told = NOT_WITH_SECRET.filter((name) => isTold(args[name])).map((name) => `--${name}`)
    if (told.length === 0) return
    throw coreError(
        'ERR_USAGE',
        `--secret: no broker is asked and no key slot is added, so ${told.join(', ')} would mean nothing`,
        {
            hint: 'a disk opens with what was injected, or with the key of a broker: say which',
        },
    )
}
