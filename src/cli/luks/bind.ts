// `luks bind`: a key slot and a token for a resource of a broker. The disk alone: no volume table, no crypttab, no initrd.
// SPDX-License-Identifier: Apache-2.0

import { wipe } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { formatResourcePath, keyFault } from '#kbs/messages.ts'
import { changeBindings, openedBy, type Resource, slotsBut } from '#luks/bind.ts'
import { resourceText } from '#luks/binding.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { luksError } from '#luks/errors.ts'
import { backupFile, forgetBackup, readSound, rewriteHeader } from '#luks/rewrite.ts'
import { command as define } from '../command.ts'
import { note } from '../term.ts'
import { othersOf, REPLACE_OPTION } from './others.ts'
import { KEY_FILE_OPTION, readExisting } from './passphrase.ts'
import { clevisSeal } from './seal.ts'
import {
    fetchResource,
    HEADER_OPTIONS,
    personalDeps,
    rewriteOf,
    TARGET_OPTIONS,
    type Target,
    targetOf,
    volumeOf,
} from './target.ts'

export const RESOURCE_OPTIONS = {
    'resource-file': {
        type: 'string',
        describe: 'on a machine that is no guest: a file with the 32 bytes of the resource (read, not stored)',
    },
    'resource-version': { type: 'number', describe: 'with --resource-file: its version at the broker' },
} as const

export const command = define({
    positionals: { device: 'the encrypted block device or image' },
    options: {
        ...TARGET_OPTIONS,
        ...KEY_FILE_OPTION,
        clevis: { type: 'boolean', default: false, describe: 'also a clevis token, which clevis’ own loop opens' },
        ...RESOURCE_OPTIONS,
        ...REPLACE_OPTION,
        ...HEADER_OPTIONS,
    },
    examples: [
        ['/dev/vda3 --path default/luks/web-1', 'in the guest; it asks for the passphrase that opens the volume'],
        [
            'disk.img --path default/luks/web-1 --resource-file web-1.key --resource-version 1 --key-file old.key',
            'elsewhere',
        ],
    ],
    details:
        'The new header is made on a copy, tried there, and put on the disk in one step. `luks enroll` does all of it,\n' +
        'with the volume table, crypttab and the initrd.',
    async run(args) {
        const device = String(args['device'])
        const rewrite = rewriteOf(device, args)
        const { volume } = readSound(device, rewrite.expected)
        const target = await targetOf(args, volumeOf(volume.uuid))
        const resource = await resourceOf(args, target)
        try {
            await bindDisk({ rewrite, target, resource, isGuest: args.resourceFile === undefined, ...args })
            return 0
        } finally {
            wipe(resource.bytes)
        }
    },
})

export interface ResourceArgs {
    readonly resourceFile?: string | undefined
    readonly resourceVersion?: number | undefined
}

/** The resource from its file, or released to this guest; the caller wipes it. @throws AttestError ERR_USAGE, as `release` */
export async function resourceOf({ resourceFile, resourceVersion }: ResourceArgs, target: Target): Promise<Resource> {
    if (resourceFile === undefined) {
        if (resourceVersion !== undefined)
            throw coreError('ERR_USAGE', '--resource-version: the broker says which it is, except with --resource-file')
        return fetchResource(target, null, await personalDeps())
    }
    const bytes = readInput(resourceFile, 4096)
    const fault = keyFault(bytes)
    if (fault === null) return { path: formatResourcePath(target.path), version: resourceVersion ?? null, bytes }
    wipe(bytes)
    throw coreError('ERR_USAGE', `--resource-file: ${resourceFile}: ${fault}`)
}

export interface DiskBinding {
    readonly rewrite: ReturnType<typeof rewriteOf>
    readonly target: Target
    readonly resource: Resource
    readonly keyFile: string | undefined
    readonly clevis: boolean
    readonly replace: boolean
    /** Whether a broker would release anything here. */
    readonly isGuest: boolean
}

/** Binds a disk to a resource, unless it is. @throws AttestError ERR_LUKS_*, ERR_FILE */
export async function bindDisk({
    rewrite,
    target,
    resource,
    keyFile,
    clevis,
    replace,
    isGuest,
}: DiskBinding): Promise<void> {
    const { device, expected, backupFolder } = rewrite
    const { copy, volume } = readSound(device, expected)
    const bound = await openedBy(device, copy, resource)
    wipe(bound?.passphrase)
    const what = resourceText(resource)
    if (bound?.intact && (!clevis || volume.tokens.some(({ pin }) => pin === 'kbs')))
        return note(`${device} is bound to ${what} already: key slot ${bound.binding.keyslot}`)
    const deps = isGuest ? personalDeps : null
    using others = await othersOf({ device, copy, path: resource.path, servers: target.servers, replace, deps })
    const existing = await readExisting(keyFile, device)
    try {
        const seal = clevis ? clevisSeal(target, resource) : undefined
        const remove = [...slotsBut(copy, resource.path, []), ...others.remove]
        const keyslot = await rewriteHeader({ ...rewrite, judged: copy }, (file) =>
            changeBindings(file, { existing, add: resource, seal, keep: others.keep, remove }),
        )
        const now = await openedBy(device, copyWholeHeader(device), resource)
        wipe(now?.passphrase)
        if (!now?.intact)
            throw luksError('ERR_LUKS_BINDING', `${device} does not open with its new key slot ${keyslot}`, {
                hint: `the old header is in ${backupFile(backupFolder, volume.uuid)}`,
            })
        forgetBackup(backupFolder, volume.uuid)
        note(`${device} is bound to ${what}: key slot ${keyslot}, which has opened`)
    } finally {
        wipe(existing)
    }
}
