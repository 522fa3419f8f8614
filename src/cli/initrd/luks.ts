// `guest-attest-initrd luks-check` and `luks-open`: disks by hand, and for initrds of another make, where the whole program
// is not at hand.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { lineLogger, stderrSink } from '#core/log.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { libc } from '#drivers/linux/libc.ts'
import { checkHeader } from '#luks/check.ts'
import { copyHeader } from '#luks/device.ts'
import { isUuid } from '#luks/header.ts'
import { openDisk } from '#unlock/open-disk.ts'
import { deviceOf } from '#unlock/volume-header.ts'
import { requireVolume } from '#unlock/volumes.ts'
import { readConfig } from '../settings.ts'
import { releaseDeps } from '../unlock-deps.ts'

/** Every check, one line each. */
export function check([device, uuid, ...more]: readonly string[]): number {
    if (device === undefined || more.length > 0) throw coreError('ERR_USAGE', 'luks-check: expected DEVICE [UUID]')
    if (uuid !== undefined && !isUuid(uuid)) throw coreError('ERR_USAGE', `luks-check: not a UUID: ${uuid}`)
    const { verdict, checks } = checkHeader(copyHeader(device), uuid === undefined ? {} : { uuid })
    for (const { name, result, detail } of checks) process.stdout.write(`${result}\t${name}\t${detail}\n`)
    return verdict === 'pass' ? 0 : 1
}

/** `luks-open NAME`: a volume of the table, as `/dev/mapper/NAME`. */
export async function open([name, ...more]: readonly string[]): Promise<number> {
    if (name === undefined || more.length > 0)
        throw coreError('ERR_USAGE', 'luks-open: expected the NAME of one volume')
    const { servers, path, uuid, ...volume } = requireVolume(CONFIG_FOLDER, name)
    libc().forbidCoreDumps()
    const deps = releaseDeps(readConfig(), lineLogger('guest-attest', [stderrSink]))
    const request = { servers, path, device: deviceOf({ uuid }), expected: { uuid } }
    await openDisk(request, name, { ...deps, deadlineMs: volume.deadlineS * 1000 })
    return 0
}
