// The hashes of kernel, initrd and command line that a host puts into guest memory before launch (QEMU kernel-hashes=on):
// PaddedSevHashTable of QEMU target/i386/sev.c. Little-endian, GUIDs as EFI stores them. The table is measured; the
// firmware compares what it loads with it.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { GUID_SIZE, guidBytes } from '../guid.ts'
import { bytes, layout, struct, u16, zero } from '../layout.ts'
import { launchError } from './errors.ts'
import { type Area, type Firmware, hashArea } from './ovmf.ts'

/** SHA-256 of each. */
export interface KernelHashes {
    readonly kernel: Buffer
    readonly initrd: Buffer
    readonly cmdline: Buffer
}

const ENTRY = layout('SevHashTableEntry', 50, { guid: bytes(0, GUID_SIZE), length: u16(16), hash: bytes(18, 32) })

const TABLE = layout('PaddedSevHashTable', 176, {
    guid: bytes(0, GUID_SIZE),
    length: u16(16),
    cmdline: struct(18, ENTRY),
    initrd: struct(68, ENTRY),
    kernel: struct(118, ENTRY),
    // Memory is measured in blocks of 16 bytes: these belong to what is measured.
    padding: zero(168, 8),
})

export const HASH_TABLE_SIZE = TABLE.size

const GUIDS = {
    table: guidBytes('9438d606-4f22-4cc9-b479-a793d411fd21'),
    cmdline: guidBytes('97d02dd8-bd20-4c94-aa78-e7714d36ab2a'),
    initrd: guidBytes('44baf731-3a2f-4bd7-9af1-41e29169781d'),
    kernel: guidBytes('4de79437-abd2-427f-b835-d5b172d2045b'),
} as const

export function hashTable(hashes: KernelHashes): Buffer {
    const entry = (name: keyof KernelHashes) => ({ guid: GUIDS[name], length: ENTRY.size, hash: hashes[name] })
    return TABLE.encode({
        guid: GUIDS.table,
        length: 168,
        cmdline: entry('cmdline'),
        initrd: entry('initrd'),
        kernel: entry('kernel'),
    })
}

/** Nothing is trimmed; a host passes the line with the zero byte at its end. Without one it passes that byte alone. */
export const hashCmdline = (line: string): Buffer => createHash('sha256').update(line).update('\0').digest()

/** Without an initrd a host hashes nothing. */
export const NO_INITRD: Buffer = createHash('sha256').digest()

/** Where the table goes. @throws AttestError ERR_FIRMWARE_LACKS */
export function wantHashArea(firmware: Firmware): Area {
    const area = hashArea(firmware)
    if (area && area.size >= HASH_TABLE_SIZE) return area
    throw launchError(
        'ERR_FIRMWARE_LACKS',
        area
            ? `${firmware.name} leaves ${area.size} bytes for the hashes of a kernel: ${HASH_TABLE_SIZE} are needed`
            : `${firmware.name} has no place for the hashes of a kernel: it would start any`,
        {
            hint: 'take a firmware that was built for measured direct boot (edk2 OvmfPkg/AmdSev), or leave --kernel out',
        },
    )
}
