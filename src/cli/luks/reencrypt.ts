// `luks rebind --reencrypt`: another volume key, so that whoever knows the old one, or an old header with an old key, has
// nothing. While it runs the header says so, and no front end opens the volume: not for a root disk that may crash.
// SPDX-License-Identifier: Apache-2.0

import { statSync } from 'node:fs'
import { type Secret, wipe } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { changeBindings, free, openedBy } from '#luks/bind.ts'
import { addPersonsKeyslot, reencrypt } from '#luks/cryptsetup.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { luksError } from '#luks/errors.ts'
import { metadataOf } from '#luks/metadata.ts'
import { forgetBackup, readSound, requireOtherKey, rewriteHeader } from '#luks/rewrite.ts'
import { note } from '../term.ts'
import type { Disk } from './disks.ts'
import { readExisting } from './passphrase.ts'
import { fetchResource } from './target.ts'

/** @throws AttestError ERR_USAGE where key slots would be lost, ERR_LUKS_* */
export async function reencryptDisk({ rewrite, target, deps, uuid }: Disk, recoveryFile: string | undefined) {
    const { device, expected, backupFolder } = rewrite
    const resource = await fetchResource(target, null, deps)
    let recovery: Secret | undefined
    let passphrase: Secret | undefined
    try {
        const { copy, volume } = readSound(device, expected)
        const opened = await openedBy(device, copy, resource)
        if (!opened?.intact) throw luksError('ERR_LUKS_BINDING', `${device} does not open with the current version`)
        passphrase = opened.passphrase
        const lost = volume.keyslots.map(({ id }) => id).filter((id) => id !== opened.binding.keyslot)
        if (lost.length > 0 && recoveryFile === undefined)
            throw coreError('ERR_USAGE', `--reencrypt removes key slot ${lost.join(', ')}: expected --recovery-file`, {
                hint: 'a passphrase in a file; or remove them first with `cryptsetup luksKillSlot`',
            })
        if (recoveryFile !== undefined) recovery = await readExisting(recoveryFile, device)
        // Their tokens go with them: cryptsetup would leave them there, and lead nowhere.
        const { binding } = opened
        if (lost.length > 0)
            await rewriteHeader({ ...rewrite, judged: copy }, (file) =>
                changeBindings(file, { existing: opened.passphrase, keep: [[binding, resource]], remove: lost }),
            )
        note(`encrypting ${device} anew: until it is done, no front end opens it`)
        await reencrypt(device, statSync(device).isFile(), opened.binding.keyslot, opened.passphrase)
        const done = copyWholeHeader(device)
        requireOtherKey(device, copy, done)
        const now = await openedBy(device, done, resource)
        if (!now)
            throw luksError('ERR_LUKS_BINDING', `${device} was encrypted anew, and does not open with its binding`)
        wipe(now.passphrase)
        await rewriteHeader({ ...rewrite, judged: done }, async (file) => {
            if (recovery) {
                const { keyslots } = metadataOf(copyWholeHeader(file))
                await addPersonsKeyslot(file, free(keyslots, 'key slot'), opened.passphrase, recovery)
            }
            await changeBindings(file, { existing: opened.passphrase, keep: [[now.binding, resource]] })
        })
        const last = await openedBy(device, copyWholeHeader(device), resource)
        wipe(last?.passphrase)
        if (!last?.intact) throw luksError('ERR_LUKS_BINDING', `${device} does not open with what was written`)
        forgetBackup(backupFolder, uuid)
        note(`${device} has a new volume key: key slot ${last.binding.keyslot}, which has opened`)
    } finally {
        wipe(resource.bytes, recovery, passphrase)
    }
}
