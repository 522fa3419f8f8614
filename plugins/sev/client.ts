// What a guest does with the key of its launch: it proves itself, to the broker that injected it. The key stands in the
// guest's memory, or, when an initrd has taken it from there, sealed in the kernel's keyring. Every use reads it anew and
// wipes its copy: a first try that fails uses nothing up.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, wipe } from '#core/bytes.ts'
import { REPORT_DATA_SIZE } from '#core/sizes.ts'
import type { Evidence, Guest } from '#drivers/driver.ts'
import type { SecretDoors } from '#drivers/linux/secret-doors.ts'
import { CLIENT_GUID, type ClientSecret, parseClient } from './client-secret.ts'
import { provePossession } from './possession.ts'
import { TEE } from './tee.ts'

/** Its name in the keyring. */
export const KEYRING_NAME = `guest-attest:${CLIENT_GUID}`

/** What this guest can do with its key; nothing where it has none. @throws AttestError of drivers/errors.ts */
export function clientOf(doors: SecretDoors): Pick<Guest, 'evidence' | 'broker' | 'handOver'> {
    // Handed over and lost is not the same as never injected: whoever uses it is told.
    if (!isInMemory(doors) && !doors.keyring.has(KEYRING_NAME)) return {}
    return {
        evidence: async (binding) => evidenceOf(doors, binding),
        broker: () => use(doors, ({ broker }) => broker),
        handOver: () => handOver(doors),
    }
}

function evidenceOf(doors: SecretDoors, binding: Uint8Array): Evidence {
    if (binding.length === 0 || binding.length > REPORT_DATA_SIZE)
        throw new TypeError(`a proof binds 1 to ${REPORT_DATA_SIZE} bytes`)
    const reportData = Buffer.alloc(REPORT_DATA_SIZE)
    reportData.set(binding)
    return { tee: TEE, report: use(doors, ({ key, launchId }) => provePossession(key, launchId, reportData)) }
}

// The keyring first: what is wiped is there already.
function handOver(doors: SecretDoors): string | null {
    const { efiSecrets, keyring } = doors
    if (!isInMemory(doors)) return null
    const bytes = efiSecrets.read(CLIENT_GUID)
    try {
        keyring.put(KEYRING_NAME, bytes)
    } finally {
        wipe(bytes)
    }
    efiSecrets.wipe(CLIENT_GUID)
    return CLIENT_GUID
}

const isInMemory = ({ efiSecrets }: SecretDoors): boolean => efiSecrets.list().includes(CLIENT_GUID)

function use<T>(doors: SecretDoors, act: (client: ClientSecret) => T): T {
    const bytes = read(doors)
    let client: ClientSecret | undefined
    try {
        client = parseClient(bytes)
        return act(client)
    } finally {
        wipe(bytes, client?.key)
    }
}

function read(doors: SecretDoors): Secret {
    const kept = isInMemory(doors) ? null : doors.keyring.read(KEYRING_NAME)
    return kept ?? doors.efiSecrets.read(CLIENT_GUID)
}
