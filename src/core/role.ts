// What this process is, decided before anything else, and the only place where the environment decides what is trusted.
// The initrd program is built with a constant role (packaging/build.ts): the environment is the host's word there,
// and what the program must not have, such as the door to an emulated device, is not in it at all.
// SPDX-License-Identifier: Apache-2.0

declare const GUEST_ATTEST_ROLE: Role | undefined

export type Role = 'full' | 'initrd'

// A constant where the program is built for an initrd: what hangs on it is then not in the bundle.
const FULL: boolean = typeof GUEST_ATTEST_ROLE === 'undefined' || GUEST_ATTEST_ROLE === 'full'

export const ROLE: Role = FULL ? 'full' : 'initrd'

/**
 * True inside `guest-attest emulate -- COMMAND`, which sets this for what it starts: then a device may be a regular
 * file. Reports of such a device prove nothing, and every verifier but one that was told otherwise refuses them.
 */
export const EMULATED: boolean = FULL && process.env['GUEST_ATTEST_INSECURE_EMULATED_DEVICE'] === '1'

/** The folder of the configuration and the trust anchors. */
export const CONFIG_FOLDER: string = (FULL ? process.env['GUEST_ATTEST_CONFIG'] : undefined) || '/etc/guest-attest'

/** State that must not outlive the boot: the device lock and denials. */
export const RUN_FOLDER = '/run/guest-attest'
