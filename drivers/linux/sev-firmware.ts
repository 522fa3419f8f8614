// Status codes of the SEV firmware, as `fw_error` and as the status word of a response.
// AMD 56860 (SEV-SNP Firmware ABI) rev 1.58, table "Status Codes"; Linux include/uapi/linux/psp-sev.h.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

interface Status {
    readonly name: string
    readonly means: string
    readonly hint?: string
}

const RESTART = 'the platform is in a state that a guest cannot change: tell the operator of the host this status'

/** By status word. What is not listed is reported as a number. */
export const FIRMWARE_STATUS = {
    1: { name: 'INVALID_PLATFORM_STATE', means: 'invalid platform state', hint: RESTART },
    2: { name: 'INVALID_GUEST_STATE', means: 'invalid guest state' },
    3: { name: 'INVALID_CONFIG', means: 'invalid configuration of the platform', hint: RESTART },
    4: { name: 'INVALID_LENGTH', means: 'a buffer is too small' },
    5: { name: 'ALREADY_OWNED', means: 'the platform has an owner already' },
    6: { name: 'INVALID_CERTIFICATE', means: 'a certificate is not valid' },
    7: { name: 'POLICY_FAILURE', means: "the guest's policy does not allow this request" },
    8: { name: 'INACTIVE', means: 'the guest is not active' },
    9: { name: 'INVALID_ADDRESS', means: 'an address is not valid' },
    10: { name: 'BAD_SIGNATURE', means: 'a signature does not verify' },
    11: { name: 'BAD_MEASUREMENT', means: 'a measurement does not match' },
    12: { name: 'ASID_OWNED', means: 'the address space identifier is in use' },
    13: { name: 'INVALID_ASID', means: 'the address space identifier is not valid' },
    14: { name: 'WBINVD_REQUIRED', means: 'caches must be written back first' },
    15: { name: 'DF_FLUSH_REQUIRED', means: 'the data fabric must be flushed first' },
    16: { name: 'INVALID_GUEST', means: 'the guest handle is not valid' },
    17: { name: 'INVALID_COMMAND', means: 'the firmware does not know the command' },
    18: { name: 'ACTIVE', means: 'the guest is active' },
    19: { name: 'HARDWARE_PLATFORM', means: 'a hardware error; the platform stays safe', hint: RESTART },
    20: { name: 'HARDWARE_UNSAFE', means: 'a hardware error; the platform is not safe any more', hint: RESTART },
    21: { name: 'UNSUPPORTED', means: 'the feature is not supported' },
    22: {
        name: 'INVALID_PARAM',
        means: 'a parameter is not valid',
        hint: 'most often the privilege level: ask for the VMPL that the kernel runs at or a higher number (--vmpl)',
    },
    23: { name: 'RESOURCE_LIMIT', means: 'the firmware has run out of a resource' },
    24: { name: 'SECURE_DATA_INVALID', means: 'the secure data of the platform are not valid', hint: RESTART },
    25: { name: 'INVALID_PAGE_SIZE', means: 'invalid page size' },
    26: { name: 'INVALID_PAGE_STATE', means: 'invalid page state' },
    27: { name: 'INVALID_METADATA_ENTRY', means: 'invalid metadata entry' },
    28: { name: 'INVALID_PAGE_OWNER', means: 'invalid page owner' },
    29: { name: 'AEAD_OVERFLOW', means: 'the message counter has run over' },
    31: { name: 'EXIT_RING_BUFFER', means: 'the mailbox left its ring-buffer mode' },
    32: { name: 'RMP_INIT_REQUIRED', means: 'the reverse map table was not initialised', hint: RESTART },
    33: { name: 'BAD_SVN', means: 'a security version number is too low' },
    34: { name: 'BAD_VERSION', means: 'a version is not supported' },
    35: { name: 'SHUTDOWN_REQUIRED', means: 'the platform must be shut down first', hint: RESTART },
    36: { name: 'UPDATE_FAILED', means: 'a firmware update failed', hint: RESTART },
    37: { name: 'RESTORE_REQUIRED', means: 'the firmware must be restored', hint: RESTART },
    38: { name: 'RMP_INIT_FAILED', means: 'the reverse map table could not be initialised', hint: RESTART },
    39: {
        name: 'INVALID_KEY',
        means: 'the key that was asked for cannot be used',
        hint: 'the host masks the chip key, or offers only the other kind (VLEK instead of VCEK)',
    },
    40: { name: 'SHUTDOWN_INCOMPLETE', means: 'a shutdown has not ended', hint: RESTART },
    48: { name: 'BUFFER_LENGTH', means: 'a buffer length is wrong' },
    49: { name: 'EXPAND_BUFFER', means: 'a buffer must be larger' },
    50: { name: 'SPDM_REQUEST', means: 'a device (SPDM) must be asked' },
    51: { name: 'SPDM_ERROR', means: 'a device (SPDM) answered with an error' },
    53: { name: 'TEEIO_35', means: 'a trusted device (TEE-IO) is in the wrong state' },
    54: { name: 'TEEIO_36', means: 'a trusted device (TEE-IO) is in the wrong state' },
    55: { name: 'TEEIO_37', means: 'a trusted device (TEE-IO) is in the wrong state' },
    56: { name: 'TEEIO_38', means: 'a trusted device (TEE-IO) is in the wrong state' },
    57: { name: 'TEEIO_39', means: 'a trusted device (TEE-IO) is in the wrong state' },
    58: { name: 'TEEIO_3A', means: 'a trusted device (TEE-IO) is in the wrong state' },
    59: { name: 'TEEIO_3B', means: 'a trusted device (TEE-IO) is in the wrong state' },
    60: { name: 'TEEIO_3C', means: 'a trusted device (TEE-IO) is in the wrong state' },
    61: { name: 'TEEIO_3D', means: 'a trusted device (TEE-IO) is in the wrong state' },
    62: { name: 'TEEIO_3E', means: 'a trusted device (TEE-IO) is in the wrong state' },
    63: { name: 'TEEIO_3F', means: 'a trusted device (TEE-IO) is in the wrong state' },
} as const satisfies Record<number, Status>

type Name = (typeof FIRMWARE_STATUS)[keyof typeof FIRMWARE_STATUS]['name']
/** The number of a status. */
export const firmwareStatus = (name: Name): number =>
    Number(Object.entries(FIRMWARE_STATUS).find(([, row]) => row.name === name)?.[0])

type FirmwareCode = `ERR_SEV_FW_${Name | 'UNKNOWN'}`

export const FIRMWARE_ERRORS = {
    ERR_SEV_FW_UNKNOWN: { exit: 3, means: 'the firmware answered with a status that this program does not know' },
    ...(Object.fromEntries(
        Object.values(FIRMWARE_STATUS).map(({ name, means }) => [
            `ERR_SEV_FW_${name}`,
            { exit: 3, means: `the firmware refuses: ${means}` },
        ]),
    ) as Record<`ERR_SEV_FW_${Name}`, ErrorTable[keyof ErrorTable]>),
} satisfies Record<FirmwareCode, ErrorTable[keyof ErrorTable]>

const fail = errorsOf(FIRMWARE_ERRORS)

/** The error of a status word that is not zero. */
export function firmwareError(status: number, request: string) {
    const row: Status | undefined = FIRMWARE_STATUS[status as keyof typeof FIRMWARE_STATUS]
    const code = `0x${status.toString(16).padStart(2, '0')}`
    if (!row)
        return fail('ERR_SEV_FW_UNKNOWN', `${request}: the firmware refuses with status ${code}, which is not known`)
    return fail(`ERR_SEV_FW_${row.name as Name}`, `${request}: the firmware refuses: ${row.means} (status ${code})`, {
        hint: row.hint,
    })
}
