// The first half of a rotation: a new version of the key in each header, then at the broker. What rebind.ts says of each
// step's crash holds because of this order.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { equalBytes, secret, wipe } from '#core/bytes.ts'
import { canPass, coreError } from '#core/errors.ts'
import type { Enrolling } from '#kbs/enroll.ts'
import { formatResourcePath, LUKS_KEY_SIZE } from '#kbs/messages.ts'
import { changeBindings, hasClevis, openedBy, type Resource, slotsBut } from '#luks/bind.ts'
import { luksError } from '#luks/errors.ts'
import { readSound, rewriteHeader } from '#luks/rewrite.ts'
import { note } from '../term.ts'
import { type Disk, othersOn, requireIntact } from './disks.ts'
import { clevisSeal } from './seal.ts'
import { fetchResource } from './target.ts'

type Opened = NonNullable<Awaited<ReturnType<typeof openedBy>>> & { readonly copy: Buffer }

/** A new version: in each header first, then at the broker. @returns it */
export async function rotate(disks: readonly Disk[], broker: Enrolling): Promise<number> {
    const [{ target, deps, step }] = disks as [Disk]
    step(`asking for the key of ${formatResourcePath(target.path)}`)
    const old = await fetchResource(target, null, deps)
    const bytes = secret(randomBytes(LUKS_KEY_SIZE))
    const opened: Opened[] = []
    try {
        if (old.version === null)
            throw coreError('ERR_USAGE', `the broker counts no versions of ${old.path}: nothing can be rotated there`)
        const next = { path: old.path, version: old.version + 1, bytes }
        // All of them, before anything is written.
        for (const disk of disks) opened.push(await openedByOld(disk, old))
        step('a header with both key slots')
        for (const [i, disk] of disks.entries()) await addNext(disk, opened[i] as Opened, old, next)
        step(`version ${next.version} at the broker`)
        await storeNext(disks[0] as Disk, broker, next, old.version)
        step('a verified open with what the broker releases')
        await verifyNext(disks[0] as Disk, next)
        return next.version
    } finally {
        wipe(old.bytes, bytes, ...opened.map(({ passphrase }) => passphrase))
    }
}

async function openedByOld(disk: Disk, old: Resource): Promise<Opened> {
    const { device, expected } = disk.rewrite
    const { copy } = readSound(device, expected)
    const opened = await openedBy(device, copy, old)
    if (!opened)
        throw luksError('ERR_LUKS_BINDING', `${device} does not open with version ${old.version} of ${old.path}`, {
            hint: 'first `luks rebind` without --credential, which takes --key-file',
        })
    requireIntact(disk, opened.intact, opened.binding.id)
    return { ...opened, copy }
}

async function addNext(disk: Disk, { binding, passphrase, copy }: Opened, old: Resource, next: Resource) {
    await rewriteHeader({ ...disk.rewrite, judged: copy }, async (file) => {
        using others = await othersOn(disk, copy)
        const remove = [...slotsBut(copy, old.path, [binding.keyslot]), ...others.remove]
        const keep = [[binding, old] as const, ...others.keep]
        const seal = hasClevis(copy, binding.keyslot) ? clevisSeal(disk.all, next) : undefined
        return await changeBindings(file, { existing: passphrase, add: next, seal, keep, remove })
    })
}

async function verifyNext({ target, deps }: Disk, next: Resource): Promise<void> {
    const { bytes } = await fetchResource(target, next.version, deps)
    try {
        if (!equalBytes(bytes, next.bytes))
            throw luksError(
                'ERR_LUKS_BINDING',
                `version ${next.version} at the broker is not the key that was made here`,
                {
                    hint: '`guest-attest luks rebind` with --key-file binds the volume to it',
                },
            )
    } finally {
        wipe(bytes)
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
