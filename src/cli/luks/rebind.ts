// `luks rebind`: rotation. With a credential it stores a new version of the key; in any case the header ends with one
// binding, to the current version. At each step the volume opens, whatever ends this program there:
//
//   step                                                      header opens with           broker releases
//   a header with both key slots, both digests over it        old (new is not there yet)  n
//   the new key at the broker, if n is current still          new                         n + 1
//   a verified open with what the broker releases             new                         n + 1
//   a header with the new key slot alone                      new                         n + 1
//   a verified open from the disk; versions before n + 1 and the copy of the old header are erased
//
// Front ends try each binding's version. What was interrupted, the next `luks rebind` ends.
// SPDX-License-Identifier: Apache-2.0

import { wipe } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { formatResourcePath } from '#kbs/messages.ts'
import { changeBindings, hasClevis, openedBy, type Resource, slotsBut } from '#luks/bind.ts'
import { resourceText } from '#luks/binding.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { luksError } from '#luks/errors.ts'
import { forgetBackup, readSound, rewriteHeader } from '#luks/rewrite.ts'
import { command as define } from '../command.ts'
import { note } from '../term.ts'
import { enrollAt, readCredential } from './credential.ts'
import { type Disk, diskOf, othersOn, requireAll, requireIntact } from './disks.ts'
import { REPLACE_OPTION } from './others.ts'
import { KEY_FILE_OPTION, readExisting } from './passphrase.ts'
import { reencryptDisk } from './reencrypt.ts'
import { rotate } from './rotate.ts'
import { clevisSeal } from './seal.ts'
import { fetchResource, HEADER_OPTIONS, personalDeps, TARGET_OPTIONS } from './target.ts'

export const command = define({
    positionals: { devices: 'the encrypted block device or image; all that one key opens' },
    options: {
        ...TARGET_OPTIONS,
        credential: {
            type: 'string',
            describe: 'a file of `broker credential add … --may rotate`: make a new version',
        },
        'accept-header': {
            type: 'boolean',
            default: false,
            describe:
                'bind the header as it is now, although it is not the one that was bound (you changed it yourself)',
        },
        'recovery-file': {
            type: 'string',
            describe: 'with --reencrypt: a passphrase that gets a key slot again (the others are gone then)',
        },
        reencrypt: {
            type: 'boolean',
            default: false,
            describe: 'then give the volume a new volume key as well, and encrypt all data anew',
        },
        ...REPLACE_OPTION,
        ...KEY_FILE_OPTION,
        ...HEADER_OPTIONS,
    },
    examples: [
        ['/dev/vda3 --credential night.credential', 'a new key: the old one, and old headers, open nothing any more'],
        ['/dev/vda3', 'to the current version, after an interruption or `broker put --replace`'],
        ['/dev/vda3 --accept-header', 'after you have changed a key slot'],
        ['/dev/vdb /dev/vdc --credential night.credential', 'two volumes with one key'],
    ],
    details:
        'A rotation ends access through the broker. Whoever has the volume key itself keeps the data: --reencrypt.\n' +
        'Interrupted at any step, the volume opens; run it again. --key-file is needed where the current version does not\n' +
        'open the volume.',
    async run(args) {
        if (args.recoveryFile !== undefined && !args.reencrypt)
            throw coreError('ERR_USAGE', '--recovery-file: the key slots stay as they are without --reencrypt')
        const rotation = args.credential === undefined ? null : readCredential(args.credential)
        try {
            const devices = (args['devices'] as string[]).map(String)
            const deps = await personalDeps()
            const step = steps(rotation ? 5 + 2 * devices.length : 3 * devices.length)
            const disks: Disk[] = []
            for (const device of devices) disks.push(await diskOf(device, args, deps, step))
            const [{ target }] = disks as [Disk]
            if (rotation) {
                requireAll(disks)
                const version = await rotate(disks, enrollAt(target, deps, rotation))
                for (const disk of disks) await settle(disk, version)
                step('the versions before are erased')
                await enrollAt(target, deps, rotation).retire(target.path)
            } else for (const disk of disks) await settle(disk, null)
            if (args.reencrypt) for (const disk of disks) await reencryptDisk(disk, args.recoveryFile)
            return 0
        } finally {
            wipe(rotation?.secret)
        }
    },
})

/** One binding, to this version, or whichever is current; what else is bound to this path goes. */
async function settle(disk: Disk, version: number | null): Promise<void> {
    const { target, deps, rewrite, uuid, step, options } = disk
    const { device, backupFolder } = rewrite
    if (version === null) step(`asking for the key of ${formatResourcePath(target.path)}`)
    const now = await fetchResource(target, version, deps)
    let opened: Awaited<ReturnType<typeof openedBy>> = null
    try {
        const { copy } = readSound(device, rewrite.expected)
        opened = await openedBy(device, copy, now)
        if (opened) requireIntact(disk, opened.intact, opened.binding.id)
        const stale = slotsBut(copy, now.path, opened ? [opened.binding.keyslot] : [])
        step(opened ? 'a header with the current key slot alone' : 'a header with a key slot for the current version')
        if (!opened) await bindAnew(disk, now, stale, copy)
        else if (stale.length > 0 || !opened.intact || options.replace) {
            const { binding, passphrase } = opened
            using others = await othersOn(disk, copy)
            const changes = { keep: [[binding, now] as const, ...others.keep], remove: [...stale, ...others.remove] }
            await rewriteHeader({ ...rewrite, judged: copy }, (file) =>
                changeBindings(file, { existing: passphrase, ...changes }),
            )
        }
        step('a verified open from the disk')
        const last = await openedBy(device, copyWholeHeader(device), now)
        wipe(last?.passphrase)
        if (!last?.intact) throw luksError('ERR_LUKS_BINDING', `${device} does not open with what was written`)
        forgetBackup(backupFolder, uuid)
        note(`${device} is bound to ${resourceText(now)}: key slot ${last.binding.keyslot}, which has opened`)
        if (options.acceptHeader) note('the header was bound as it is')
    } finally {
        wipe(now.bytes, opened?.passphrase)
    }
}

async function bindAnew(disk: Disk, now: Resource, stale: string[], copy: Buffer): Promise<void> {
    const { rewrite, all, options } = disk
    using others = await othersOn(disk, copy)
    note(`${rewrite.device} does not open with the current version: what opens it?`)
    const existing = await readExisting(options.keyFile, rewrite.device)
    try {
        const seal = stale.some((slot) => hasClevis(copy, slot)) ? clevisSeal(all, now) : undefined
        const changes = { seal, keep: others.keep, remove: [...stale, ...others.remove] }
        await rewriteHeader({ ...rewrite, judged: copy }, (file) =>
            changeBindings(file, { existing, add: now, ...changes }),
        )
    } finally {
        wipe(existing)
    }
}

function steps(all: number): (text: string) => void {
    let done = 0
    return (text) => note(`step ${++done} of ${all}: ${text}`)
}
