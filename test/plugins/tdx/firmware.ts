// A TDX firmware and an EFI program of the tests' own, small enough to be followed by hand.
// SPDX-License-Identifier: Apache-2.0

import { guidBytes } from '#core/guid.ts'
import { FOOTER_GUID } from '#core/ovmf-table.ts'
import { DESCRIPTOR, SECTION, TDVF_GUID, TDX_METADATA_OFFSET } from '#plugins/tdx/measured/tdvf.ts'

export interface SectionRow {
    readonly dataOffset?: number
    readonly rawDataSize?: number
    readonly memoryAddress?: bigint
    readonly memoryDataSize?: bigint
    readonly type?: number
    readonly attributes?: number
}

export interface FirmwareChanges {
    readonly sections?: readonly SectionRow[]
    readonly signature?: string
    readonly version?: number
    readonly sectionCount?: number
    readonly length?: number
    /** Where OVMF's table says that the descriptor is, back from the end. */
    readonly offset?: number
    readonly entries?: readonly (readonly [guid: string, data: Buffer])[]
}

/** Three pages of code, and memory that is not in the image. */
export const SECTIONS: readonly SectionRow[] = [
    { dataOffset: 0, rawDataSize: 0x2000, memoryAddress: 0xffffe000n, memoryDataSize: 0x2000n, attributes: 1 },
    { dataOffset: 0x1000, rawDataSize: 0x1000, memoryAddress: 0xffffc000n, memoryDataSize: 0x2000n, type: 1 },
    { memoryAddress: 0x809000n, memoryDataSize: 0x2000n, type: 2 },
    { memoryAddress: 0x810000n, memoryDataSize: 0x1000n, type: 3, attributes: 2 },
]

/** An image of 16 KiB. */
export function firmware(changes: FirmwareChanges = {}): Buffer {
    const image = Buffer.alloc(0x4000)
    for (let at = 0; at < 0x3000; at++) image[at] = (at * 7 + (at >> 8)) & 0xff
    const { sections = SECTIONS, signature = 'TDVF', version = 1 } = changes
    const at = 0x3010
    guidBytes(TDVF_GUID).copy(image, at - 16)
    const length = changes.length ?? DESCRIPTOR.size + sections.length * SECTION.size
    const sectionCount = changes.sectionCount ?? sections.length
    DESCRIPTOR.encode({ signature, length, version, sectionCount }).copy(image, at)
    sections.forEach((section, index) => {
        const row = { dataOffset: 0, rawDataSize: 0, memoryAddress: 0n, memoryDataSize: 0n, type: 0, attributes: 0 }
        SECTION.encode({ ...row, ...section }).copy(image, at + DESCRIPTOR.size + index * SECTION.size)
    })
    const offset = Buffer.alloc(4)
    offset.writeUInt32LE(changes.offset ?? image.length - at)
    ovmfTable(changes.entries ?? [[TDX_METADATA_OFFSET, offset]]).forEach((byte, index, { length: size }) => {
        image[image.length - 32 - size + index] = byte
    })
    return image
}

/** OVMF's table with these entries, the footer behind them. */
export function ovmfTable(entries: readonly (readonly [guid: string, data: Buffer])[]): Buffer {
    const parts = entries.flatMap(([guid, data]) => [data, u16(data.length + 18), guidBytes(guid)])
    const total = parts.reduce((sum, part) => sum + part.length, 0) + 18
    return Buffer.concat([...parts, u16(total), guidBytes(FOOTER_GUID)])
}

function u16(value: number): Buffer {
    const bytes = Buffer.alloc(2)
    bytes.writeUInt16LE(value)
    return bytes
}

/** A bzImage that is an EFI program as well: one section, and a certificate table if asked for. */
export function kernelImage(certificateSize = 0, changes: (image: Buffer) => void = () => undefined): Buffer {
    const image = Buffer.alloc(0x1000 + certificateSize, 0xee)
    image.fill(0, 0, 0x400)
    image.write('MZ', 0, 'latin1')
    image.writeUInt32LE(0x40, 0x3c)
    image.write('PE\0\0', 0x40, 'latin1')
    image.writeUInt16LE(1, 0x46) // sections
    image.writeUInt16LE(0xf0, 0x54) // size of the optional header
    const optional = 0x58
    image.writeUInt16LE(0x20b, optional)
    image.writeUInt32LE(0x400, optional + 60) // size of headers
    image.writeUInt32LE(0x12345678, optional + 64) // checksum
    image.writeUInt32LE(16, optional + 108) // directories
    if (certificateSize > 0) {
        image.writeUInt32LE(0x1000, optional + 112 + 32)
        image.writeUInt32LE(certificateSize, optional + 112 + 36)
    }
    const section = optional + 0xf0
    image.writeUInt32LE(0xc00, section + 16)
    image.writeUInt32LE(0x400, section + 20)
    // The setup header of Linux lies in the headers of the program.
    image.writeUInt8(4, 0x1f1)
    image.write('HdrS', 0x202, 'latin1')
    image.writeUInt16LE(0x20f, 0x206)
    image.writeUInt32LE(0x7fffffff, 0x22c)
    image.writeUInt16LE(2, 0x236)
    changes(image)
    return image
}
