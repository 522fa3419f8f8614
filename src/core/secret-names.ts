// The GUIDs of secrets that are injected into guests, by the names that people have for them.
// SPDX-License-Identifier: Apache-2.0

import { isGuid } from './guid.ts'

/** The passphrase of a disk, as GRUB, libvirt and this program know it. */
export const DISK_GUID = '736869e5-84f0-4973-92ec-06879ce3da0b'

/** The key of a launch, which the broker that launches a guest makes: nobody gives it by hand. */
export const LAUNCH_KEY_GUID = '2e2f6c54-6678-417a-a857-1c3d727d9c0f'

/** What is said to whoever gives it all the same. */
export const LAUNCH_KEY_BY_HAND = {
    message: `${LAUNCH_KEY_GUID} is the key of a launch: the broker makes it, nobody gives it by hand`,
    hint: '`guest-attest broker launch register --broker-url` has it made; a secret of your own gets a GUID of its own',
}

/** Names for GUIDs on a command line; libvirt's. */
export const SECRET_ALIASES: Readonly<Record<string, string>> = { 'luks-key': DISK_GUID }

/** Of a GUID, or of a name that one has; in lower case, as the kernel names its file. Null: it is neither. */
export function secretGuid(name: string): string | null {
    const guid = Object.hasOwn(SECRET_ALIASES, name) ? SECRET_ALIASES[name] : name
    return guid !== undefined && isGuid(guid) ? guid.toLowerCase() : null
}

/** The name of a GUID in lower case, where it has one. */
export const secretName = (guid: string): string | null =>
    Object.keys(SECRET_ALIASES).find((name) => SECRET_ALIASES[name] === guid) ?? null
