// Where the device of an SNP guest stands: all that is loaded of SNP where the guest may be of another technology.
// SPDX-License-Identifier: Apache-2.0

import { deviceExists } from './device-file.ts'

export interface SevDevice {
    readonly path: string
    /** @throws AttestError ERR_DEVICE_KIND where something else stands in its place */
    exists(): boolean
}

export const SEV_DEVICE = '/dev/sev-guest'

/** What the kernel makes in every SNP guest, whether the module that serves the device is there or not. */
export const SNP_PLATFORM_DEVICE = '/sys/devices/platform/sev-guest'

/** The name of its lock, for whoever reaches the same driver through another door. */
export const SEV_GUEST_LOCK = 'sev-guest'

/** What can be done where the channel to the firmware is lost. */
export const KEY_LOST_HINT =
    'the driver wiped its message key after an error or a burst: reload sev-guest with another vmpck_id, or restart the guest; leave at least 2 s between requests'

export const sevDevice = (path: string = SEV_DEVICE): SevDevice => ({ path, exists: () => deviceExists(path) })
