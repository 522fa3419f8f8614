// Where the device of a TDX guest stands: all that is loaded of TDX where the guest may be of another technology.
// SPDX-License-Identifier: Apache-2.0

import { deviceExists } from './device-file.ts'

export interface TdxDevice {
    /** That of upstream kernels. */
    readonly path: string
    /** The device that is here; null where there is none. @throws AttestError ERR_DEVICE_KIND */
    find(): string | null
}

/** Of upstream kernels since 6.2, and of Intel's before that. */
export const TDX_DEVICES = ['/dev/tdx_guest', '/dev/tdx-guest', '/dev/tdx-attest'] as const

/** The kernel sets it on every processor of a TD, whether the module that serves the device is there or not. */
export const TDX_CPU_FLAG = 'tdx_guest'

/** The name of its lock, for whoever reaches the same driver through another door. */
export const TDX_GUEST_LOCK = 'tdx-guest'

export const tdxDevice = (paths: readonly string[] = TDX_DEVICES): TdxDevice => ({
    path: paths[0] ?? TDX_DEVICES[0],
    find: () => paths.find(deviceExists) ?? null,
})
