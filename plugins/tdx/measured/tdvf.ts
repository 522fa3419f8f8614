// What a TDX firmware (TDVF) says of its parts: Intel TDX Virtual Firmware Design Guide rev 1.01, chapter 11 (the TDVF
// descriptor). Little-endian. OVMF's table of GUIDs says where the descriptor is; Intel's td-shim lays it out alike.
// SPDX-License-Identifier: Apache-2.0

import { guidText } from '#core/guid.ts'
import { layout, type Parsed, text, u32, u64 } from '#core/layout.ts'
import { readOvmfTable } from '#core/ovmf-table.ts'
import { tdxError } from '../errors.ts'

/** In OVMF’s table: u32, how far before the end of the image the descriptor is. */
export const TDX_METADATA_OFFSET = 'e47a6535-984a-4798-865e-4685a7bf8ec2'

/** Stands before the descriptor. */
export const TDVF_GUID = 'e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae'

export const PAGE_SIZE = 4096

/** Attributes: the section's bytes are measured; its pages are added when the guest runs, and never measured. */
export const MR_EXTEND = 1 << 0
export const PAGE_AUG = 1 << 1

export const DESCRIPTOR = layout('TDVF descriptor', 16, {
    signature: text(0, 4),
    length: u32(4),
    version: u32(8),
    sectionCount: u32(12),
})

export const SECTION = layout('TDVF section', 32, {
    dataOffset: u32(0),
    rawDataSize: u32(4),
    memoryAddress: u64(8),
    memoryDataSize: u64(16),
    type: u32(24),
    attributes: u32(28),
})

/** By number; those from 4 on are td-shim's. */
export const SECTION_TYPES = [
    'BFV',
    'CFV',
    'TD_HOB',
    'TEMP_MEM',
    'PERM_MEM',
    'PAYLOAD',
    'PAYLOAD_PARAM',
    'TD_INFO',
] as const

export interface Section extends Parsed<typeof SECTION.fields> {
    readonly name: (typeof SECTION_TYPES)[number]
    /** What of the image is in it; zeros follow up to `memoryDataSize`. */
    readonly data: Buffer
}

const MAX_SECTIONS = 64

/** Real firmware adds some MiB; this much more is no firmware. */
const MAX_MEMORY = 1n << 30n

/** The sections of an image, in the order in which they are added. @throws AttestError ERR_TDX_FIRMWARE */
export function readSections(image: Buffer, title: string): Section[] {
    const at = findDescriptor(image, title)
    const { signature, length, version, sectionCount } = DESCRIPTOR.parse(image.subarray(at, at + DESCRIPTOR.size))
    if (signature !== 'TDVF' || version !== 1)
        throw bad(title, `expected a TDVF descriptor of version 1, got ${JSON.stringify(signature)} ${version}`)
    const wanted = DESCRIPTOR.size + sectionCount * SECTION.size
    if (sectionCount === 0 || sectionCount > MAX_SECTIONS || length !== wanted || at + wanted > image.length)
        throw bad(title, `its TDVF descriptor has ${length} bytes and ${sectionCount} sections`)
    const sections = Array.from({ length: sectionCount }, (_, index) => {
        const start = at + DESCRIPTOR.size + index * SECTION.size
        return readSection(image, start, index, title)
    })
    const memory = sections.reduce((sum, { memoryDataSize }) => sum + memoryDataSize, 0n)
    if (memory > MAX_MEMORY) throw bad(title, `its sections ask for ${memory} bytes of memory`)
    return sections
}

function findDescriptor(image: Buffer, title: string): number {
    const entry = readOvmfTable(image, (why) => tdxError('ERR_TDX_FIRMWARE', `${title} is malformed: ${why}`))?.get(
        TDX_METADATA_OFFSET,
    )
    if (!entry)
        throw tdxError('ERR_TDX_FIRMWARE', `${title}: this firmware has no TDX metadata: no TD can start with it`, {
            hint: 'name the image that holds code and variables (Debian: /usr/share/ovmf/OVMF.fd), built for TDX',
        })
    if (entry.length !== 4) throw bad(title, `the entry of its TDX metadata has ${entry.length} bytes, expected 4`)
    const at = image.length - entry.readUInt32LE()
    if (at < 16 || at + DESCRIPTOR.size > image.length || guidText(image.subarray(at - 16, at)) !== TDVF_GUID)
        throw bad(title, 'its table names a place where no TDX metadata is')
    return at
}

function readSection(image: Buffer, start: number, index: number, title: string): Section {
    const section = SECTION.parse(image.subarray(start, start + SECTION.size))
    const { type, attributes, dataOffset, rawDataSize, memoryAddress, memoryDataSize } = section
    const name = SECTION_TYPES[type]
    if (!name) throw bad(title, `section ${index}: the type ${type} is unknown`)
    if ((attributes & ~(MR_EXTEND | PAGE_AUG)) !== 0)
        throw bad(title, `section ${index}: attributes 0x${attributes.toString(16)}`)
    if (memoryAddress % BigInt(PAGE_SIZE) !== 0n || memoryDataSize % BigInt(PAGE_SIZE) !== 0n)
        throw bad(title, `section ${index}: its memory is not made of whole pages`)
    if (BigInt(rawDataSize) > memoryDataSize) throw bad(title, `section ${index}: its data is larger than its memory`)
    if (rawDataSize > 0 && dataOffset + rawDataSize > image.length)
        throw bad(title, `section ${index}: its data lies outside the image`)
    return { ...section, name, data: image.subarray(dataOffset, dataOffset + rawDataSize) }
}

const bad = (title: string, why: string) => tdxError('ERR_TDX_FIRMWARE', `${title}: malformed TDX metadata: ${why}`)
