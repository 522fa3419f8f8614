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

import { randomBytes } from 'node:crypto'
import { equalBytes, type Secret, secret, wipe } from '#core/bytes.ts'
import { canPass, coreError } from '#core/errors.ts'
import type { Enrolling } from '#kbs/enroll.ts'
import { formatResourcePath, LUKS_KEY_SIZE } from '#kbs/messages.ts'
import { changeBindings, hasClevis, openedBy, type Resource, slotsBut } from '#luks/bind.ts'
import { readBindings } from '#luks/binding.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { luksError } from '#luks/errors.ts'
import { forgetBackup, readSound, rewriteHeader } from '#luks/rewrite.ts'
import type { ReleaseDeps } from '#unlock/release.ts'
import { command as define } from '../command.ts'
import { note } from '../term.ts'
import { enrollAt, readCredential } from './credential.ts'
import { KEY_FILE_OPTION, readExisting } from './passphrase.ts'
import { reencryptDisk } from './reencrypt.ts'
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

export const command = define({
    positionals: { device: 'the encrypted block device or image' },
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
        ...KEY_FILE_OPTION,
        ...HEADER_OPTIONS,
    },
    examples: [
        ['/dev/vda3 --credential night.credential', 'a new key: the old one, and old headers, open nothing any more'],
        ['/dev/vda3', 'to the current version, after an interruption or `broker put --replace`'],
        ['/dev/vda3 --accept-header', 'after you have changed a key slot'],
    ],
    details:
        'A rotation ends access through the broker. Whoever has the volume key itself keeps the data: --reencrypt.\n' +
        'Interrupted at any step, the volume opens; run it again. --key-file is needed where the current version does not\n' +
        'open the volume.',
    async run(args) {
        const device = String(args['device'])
        const rewrite = rewriteOf(device, args)
        const { copy, volume: header } = readSound(device, rewrite.expected)
        const volume = volumeOf(header.uuid)
        const target = targetOf({ ...args, path: args.path ?? (volume ? undefined : onlyPath(copy)) }, volume)
        if (args.recoveryFile !== undefined && !args.reencrypt)
            throw coreError('ERR_USAGE', '--recovery-file: the key slots stay as they are without --reencrypt')
        const deps = personalDeps()
        const rotation = args.credential === undefined ? null : readCredential(args.credential)
        try {
            const disk = { rewrite, target, deps, uuid: header.uuid, options: args, step: steps(rotation ? 7 : 3) }
            if (rotation) await rotate(disk, enrollAt(target, deps, rotation))
            await settle(disk, rotation && enrollAt(target, deps, rotation))
            if (args.reencrypt) await reencryptDisk(disk, args.recoveryFile)
            return 0
        } finally {
            wipe(rotation?.secret)
        }
    },
})

export interface Disk {
    readonly rewrite: ReturnType<typeof rewriteOf>
    readonly target: Target
    readonly deps: ReleaseDeps
    readonly uuid: string
    readonly options: { readonly acceptHeader: boolean; readonly keyFile?: string | undefined }
    /** Says what is done next. */
    step(text: string): void
}

/** A new version: in the header first, then at the broker. */
async function rotate(disk: Disk, broker: Enrolling): Promise<void> {
    const { target, deps, rewrite, step } = disk
    const { device } = rewrite
    step(`asking for the key of ${formatResourcePath(target.path)}`)
    const old = await fetchResource(target, null, deps)
    const next: { -readonly [K in keyof Resource]: Resource[K] } & { bytes: Secret } = {
        path: old.path,
        version: 0,
        bytes: secret(randomBytes(LUKS_KEY_SIZE)),
    }
    let opened: Awaited<ReturnType<typeof openedBy>> = null
    try {
        if (old.version === null)
            throw coreError('ERR_USAGE', `the broker counts no versions of ${old.path}: nothing can be rotated there`)
        next.version = old.version + 1
        const { copy } = readSound(device, rewrite.expected)
        opened = await openedBy(device, copy, old)
        if (!opened)
            throw luksError('ERR_LUKS_BINDING', `${device} does not open with version ${old.version} of ${old.path}`, {
                hint: 'first `luks rebind` without --credential, which takes --key-file',
            })
        requireIntact(disk, opened.intact, opened.binding.id)
        const { binding, passphrase } = opened
        step('a header with both key slots')
        const stale = slotsBut(copy, old.path, [binding.keyslot])
        const seal = hasClevis(copy, binding.keyslot) ? clevisSeal(target, next) : undefined
        await rewriteHeader(rewrite, (file) =>
            changeBindings(file, { existing: passphrase, add: next, seal, keep: [[binding, old]], remove: stale }),
        )
        step(`version ${next.version} at the broker`)
        await storeNext(disk, broker, next, old.version)
        step('a verified open with what the broker releases')
        const got = await fetchResource(target, next.version, deps)
        try {
            if (!equalBytes(got.bytes, next.bytes))
                throw luksError(
                    'ERR_LUKS_BINDING',
                    `version ${next.version} at the broker is not the key that was made here`,
                    {
                        hint: '`guest-attest luks rebind` with --key-file binds the volume to it',
                    },
                )
        } finally {
            wipe(got.bytes)
        }
    } finally {
        wipe(old.bytes, next.bytes, opened?.passphrase)
    }
}

// Whether a request that broke off was carried out, the broker knows: the next step asks it.
async function storeNext({ target }: Disk, broker: Enrolling, next: Resource, current: number): Promise<void> {
    try {
        await broker.store(target.path, next.bytes, current)
    } catch (error) {
        if (!canPass(error)) throw error
        note('the broker has not answered: asking it which version it has')
    }
}

/** One binding, to the current version; what else is bound to this path goes. */
async function settle(disk: Disk, broker: Enrolling | null): Promise<void> {
    const { target, deps, rewrite, uuid, step, options } = disk
    const { device, backupFolder } = rewrite
    if (!broker) step(`asking for the key of ${formatResourcePath(target.path)}`)
    const now = await fetchResource(target, null, deps)
    let opened: Awaited<ReturnType<typeof openedBy>> = null
    try {
        const { copy } = readSound(device, rewrite.expected)
        opened = await openedBy(device, copy, now)
        if (opened) requireIntact(disk, opened.intact, opened.binding.id)
        const remove = slotsBut(copy, now.path, opened ? [opened.binding.keyslot] : [])
        step(opened ? 'a header with the current key slot alone' : 'a header with a key slot for the current version')
        if (!opened) await bindAnew(disk, now, remove, copy)
        else if (remove.length > 0 || !opened.intact) {
            const { binding, passphrase } = opened
            await rewriteHeader(rewrite, (file) =>
                changeBindings(file, { existing: passphrase, keep: [[binding, now]], remove }),
            )
        }
        step('a verified open from the disk')
        const last = await openedBy(device, copyWholeHeader(device), now)
        wipe(last?.passphrase)
        if (!last?.intact) throw luksError('ERR_LUKS_BINDING', `${device} does not open with what was written`)
        if (broker) {
            step('the versions before are erased')
            await broker.retire(target.path)
        }
        forgetBackup(backupFolder, uuid)
        const what = now.version === null ? now.path : `${now.path}, version ${now.version}`
        note(`${device} is bound to ${what}: key slot ${last.binding.keyslot}, which has opened`)
        if (options.acceptHeader) note('the header was bound as it is')
    } finally {
        wipe(now.bytes, opened?.passphrase)
    }
}

async function bindAnew(
    { rewrite, target, options }: Disk,
    now: Resource,
    remove: string[],
    copy: Buffer,
): Promise<void> {
    note(`${rewrite.device} does not open with the current version: what opens it?`)
    const existing = await readExisting(options.keyFile, rewrite.device)
    try {
        const seal = remove.some((slot) => hasClevis(copy, slot)) ? clevisSeal(target, now) : undefined
        await rewriteHeader(rewrite, (file) => changeBindings(file, { existing, add: now, seal, remove }))
    } finally {
        wipe(existing)
    }
}

function requireIntact({ options, rewrite }: Disk, intact: boolean, id: string): void {
    if (intact || options.acceptHeader) return
    throw luksError(
        'ERR_LUKS_HEADER_DIGEST',
        `${rewrite.device}: the header is not the one that token ${id} was made for`,
        {
            hint: 'if you have changed it yourself: --accept-header; if not, somebody else has: restore it from a backup',
        },
    )
}

/** The one path that a header is bound to, where there is one. */
function onlyPath(copy: Buffer): string | undefined {
    const [path, ...more] = new Set(readBindings(copy).map((binding) => binding.path))
    return more.length === 0 ? path : undefined
}

function steps(all: number): (text: string) => void {
    let done = 0
    return (text) => note(`step ${++done} of ${all}: ${text}`)
}
