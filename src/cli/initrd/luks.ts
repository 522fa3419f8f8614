// `guest-attest-initrd luks-check`: judges a header where the whole program is not at hand.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { checkHeader } from '#luks/check.ts'
import { copyHeader } from '#luks/device.ts'
import { isUuid } from '#luks/header.ts'

/** Every check, one line each. */
export function check([device, uuid, ...more]: readonly string[]): number {
    if (device === undefined || more.length > 0) throw coreError('ERR_USAGE', 'luks-check: expected DEVICE [UUID]')
    if (uuid !== undefined && !isUuid(uuid)) throw coreError('ERR_USAGE', `luks-check: not a UUID: ${uuid}`)
    const { verdict, checks } = checkHeader(copyHeader(device), uuid === undefined ? {} : { uuid })
    for (const { name, result, detail } of checks) process.stdout.write(`${result}\t${name}\t${detail}\n`)
    return verdict === 'pass' ? 0 : 1
}
