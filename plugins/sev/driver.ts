// The guest's side of SEV and SEV-ES: the secrets that were injected before it ran, which is all that it has. With the key
// of its launch among them it proves itself, to the broker that injected it. That key stands in the guest's memory, or,
// when an initrd has taken it from there, sealed in the kernel's keyring. Every use reads it anew and wipes its copy: a first try
// that fails uses nothing up.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, wipe } from '#core/bytes.ts'
import { REPORT_DATA_SIZE } from '#core/sizes.ts'
import type { Driver, Evidence, Guest } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import type { Doors } from '#drivers/linux/doors.ts'
import { CLIENT_GUID, type ClientSecret, parseClient } from './client-secret.ts'
import { provePossession } from './possession.ts'
import { TEE } from './tee.ts'

/** Its name in the keyring. */
export const KEYRING_NAME = `guest-attest:${CLIENT_GUID}`

/** A guest of SEV-SNP: the firmware of one may name an area as well, and it proves itself. */
const SNP_DEVICE = '/sys/devices/platform/sev-guest'

/** Of the processors of a guest of TDX. */
const TDX_FLAG = 'tdx_guest'

export const sevDriver: Driver = {
    tee: TEE,
    async open({ system, efiSecrets, keyring }, { via } = {}) {
        if (!efiSecrets.exists()) return null
        // What is injected says whom the guest trusts: of a guest that proves itself by reports, that is nobody's word.
        if (system.exists(SNP_DEVICE) || system.hasCpuFlag(TDX_FLAG)) return null
        if (via !== undefined && via !== 'securityfs')
            throw driverError('ERR_VIA', `this is an SEV guest, and does not answer through ${via}`, {
                hint: 'it has no reports, only the secrets that were injected: --via securityfs',
            })
        efiSecrets.requireShown()
        const { path } = efiSecrets
        return {
            tee: TEE,
            probe: { via: 'securityfs', path, tried: [{ via: 'securityfs', path, found: 'secrets' }] },
            secrets: efiSecrets,
            ...clientOf({ efiSecrets, keyring }),
            close: () => undefined,
        }
    },
}

type Own = Pick<Doors, 'efiSecrets' | 'keyring'>

/** What this guest can do with its key; nothing where it has none. @throws AttestError of drivers/errors.ts */
function clientOf(doors: Own): Pick<Guest, 'evidence' | 'broker' | 'handOver'> {
    // Handed over and lost is not the same as never injected: whoever uses it is told.
    if (!isInMemory(doors) && !doors.keyring.has(KEYRING_NAME)) return {}
    return {
        evidence: async (binding) => evidenceOf(doors, binding),
        broker: () => use(doors, ({ broker }) => broker),
        handOver: () => handOver(doors),
    }
}

function evidenceOf(doors: Own, binding: Uint8Array): Evidence {
    if (binding.length === 0 || binding.length > REPORT_DATA_SIZE)
        throw new TypeError(`a proof binds 1 to ${REPORT_DATA_SIZE} bytes`)
    const reportData = Buffer.alloc(REPORT_DATA_SIZE)
    reportData.set(binding)
    return { tee: TEE, report: use(doors, ({ key, launchId }) => provePossession(key, launchId, reportData)) }
}

// The keyring first: what is wiped is there already.
function handOver(doors: Own): string | null {
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

const isInMemory = ({ efiSecrets }: Own): boolean => efiSecrets.list().includes(CLIENT_GUID)

function use<T>(doors: Own, act: (client: ClientSecret) => T): T {
    const bytes = read(doors)
    let client: ClientSecret | undefined
    try {
        client = parseClient(bytes)
        return act(client)
    } finally {
        wipe(bytes, client?.key)
    }
}

function read(doors: Own): Secret {
    if (isInMemory(doors)) return doors.efiSecrets.read(CLIENT_GUID)
    const bytes = doors.keyring.read(KEYRING_NAME)
    if (bytes) return bytes
    throw driverError('ERR_SECRET_MISSING', 'the key of this guest’s launch is not there any more')
}
