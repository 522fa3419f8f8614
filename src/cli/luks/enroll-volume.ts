// The row of the volume table that `luks enroll` writes: as told, as crypttab has it, or what fits this machine.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { type BootVolume, type FrontEnd, VOLUME_NAME, type VolumeEntry } from '#unlock/volumes.ts'
import { type Builder, isRootVolume } from './machine.ts'

export interface ToldVolume {
    readonly frontEnd?: FrontEnd | undefined
    readonly profile?: BootVolume['profile'] | undefined
    readonly onFailure: BootVolume['onFailure']
    readonly deadline: number
    readonly name?: string | undefined
    readonly root?: boolean | undefined
}

interface Known {
    readonly uuid: string
    /** The name in crypttab. */
    readonly known: string | undefined
    readonly builder: Builder | null
}

/** @throws AttestError ERR_USAGE */
export function volumeAsTold(told: ToldVolume, { uuid, known, builder }: Known): VolumeEntry {
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
    return { name, uuid, frontEnd, profile, onFailure, deadlineS, root }
}
