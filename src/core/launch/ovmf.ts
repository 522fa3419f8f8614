// What an OVMF image says of its launch under SEV: entries of the table of GUIDs at its end (edk2 OvmfPkg/ResetVector/
// Ia16/ResetVectorVtf0.asm), and the SEV metadata that one of them leads to (OvmfPkg/ResetVector/X64/
// OvmfSevMetadata.asm). Little-endian.
// SPDX-License-Identifier: Apache-2.0

import { GUID_SIZE, guidText } from '../guid.ts'
import { HEADER_SIZE, RESET_VECTOR_SIZE, readOvmfTable } from '../ovmf-table.ts'
import { launchError } from './errors.ts'

export const FOOTER_GUIDS = {
    /** u32: where application processors start. */
    resetBlock: '00f771de-1a7e-4fcb-890e-68c77e2fb44e',
    /** u32 base, u32 size. */
    hashArea: '7255371f-3a3b-4b04-927b-1da6efa8d454',
    /** u32 base, u32 size. */
    secretArea: '4c2eb361-7d9b-4cc3-8081-127c90d3d294',
    /** u32: bytes back from the end of the image. */
    sevMetadata: 'dc886566-984a-4798-a75e-5585a7bf67cc',
} as const

/** The data of each entry by its GUID, as views of the image. */
export type FooterTable = ReadonlyMap<string, Buffer>

/** An image that a guest is launched with, and the table at its end; null where it has none. */
export interface Firmware {
    readonly name: string
    readonly image: Buffer
    readonly table: FooterTable | null
}

/** Its size is not judged here. @throws AttestError ERR_FIRMWARE */
export const readFirmware = (image: Buffer, name: string): Firmware => ({
    name,
    image,
    table: readFooter(image, name),
})

/**
 * The table at the end of an image; null where there is none. The oldest images have the reset block alone in its place.
 * @throws AttestError ERR_FIRMWARE
 */
export const readFooter = (image: Buffer, name = 'the firmware'): FooterTable | null =>
    readOvmfTable(image, (why) => malformed({ name }, why)) ?? resetBlockAlone(image)

function resetBlockAlone(image: Buffer): FooterTable | null {
    const end = image.length - RESET_VECTOR_SIZE
    const tail = end - HEADER_SIZE
    if (tail < 0 || guidText(image.subarray(end - GUID_SIZE, end)) !== FOOTER_GUIDS.resetBlock) return null
    const start = Math.max(0, end - image.readUInt16LE(tail))
    return new Map([[FOOTER_GUIDS.resetBlock, image.subarray(start, tail)]])
}

/** Where application processors start, all 32 bits. @throws AttestError ERR_FIRMWARE, ERR_FIRMWARE_LACKS */
export function resetAddress(firmware: Firmware): number {
    const address = words(firmware, 'resetBlock', 1)?.[0]
    if (address) return address
    throw launchError(
        'ERR_FIRMWARE_LACKS',
        address === 0
            ? `${firmware.name} names address 0 for application processors: it cannot run with encrypted state`
            : `${firmware.name} has no SEV-ES reset block: it cannot run with encrypted state`,
    )
}

export interface Area {
    /** Guest-physical address. */
    readonly base: number
    /** Bytes. */
    readonly size: number
}

/** Where a host puts the hashes of kernel, initrd and command line; null where the firmware has no such place. */
export const hashArea = (firmware: Firmware): Area | null => area(firmware, 'hashArea')

/** Where the injected secrets go; null where the firmware has no such place. */
export const secretArea = (firmware: Firmware): Area | null => area(firmware, 'secretArea')

// An image that was built without it has the entry with zeros.
function area(firmware: Firmware, name: keyof typeof FOOTER_GUIDS): Area | null {
    const [base = 0, size = 0] = words(firmware, name, 2) ?? []
    return base === 0 || size === 0 ? null : { base, size }
}

function words(firmware: Firmware, name: keyof typeof FOOTER_GUIDS, count: number): number[] | null {
    const data = firmware.table?.get(FOOTER_GUIDS[name])
    if (!data) return null
    if (data.length !== 4 * count)
        throw malformed(firmware, `${name} of its table has ${data.length} bytes, expected ${4 * count}`)
    return Array.from({ length: count }, (_, i) => data.readUInt32LE(4 * i))
}

/** Types of sections, by number: OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm. */
export const SECTION_TYPES = {
    1: 'SEC_MEM',
    2: 'SECRETS',
    3: 'CPUID',
    4: 'SVSM_CAA',
    16: 'KERNEL_HASHES',
} as const satisfies Readonly<Record<number, string>>

export type SectionType = (typeof SECTION_TYPES)[keyof typeof SECTION_TYPES]

/** Memory that the host prepares before launch. */
export interface Section extends Area {
    readonly type: SectionType
}

const ONE_PAGE: readonly SectionType[] = ['SECRETS', 'CPUID', 'KERNEL_HASHES']

export const PAGE_SIZE = 4096

const METADATA_HEADER = 16
const SECTION_SIZE = 12
const MAX_SECTIONS = 64
/** What the sections may span together: many times what any firmware needs. */
const MAX_PAGES = 0x10000

/**
 * The sections of the SEV metadata, in their order; null where the firmware has none.
 * @throws AttestError ERR_FIRMWARE
 */
export function sevMetadata(firmware: Firmware): readonly Section[] | null {
    const { image } = firmware
    const back = words(firmware, 'sevMetadata', 1)?.[0]
    if (back === undefined) return null
    const bad = (why: string) => malformed(firmware, `SEV metadata: ${why}`)
    const start = image.length - back
    if (start < 0 || back < METADATA_HEADER) throw bad(`they would begin ${back} bytes before its end`)
    if (image.toString('latin1', start, start + 4) !== 'ASEV') throw bad(`no ASEV at ${hex(start)}`)
    const [length = 0, version, count = 0] = [4, 8, 12].map((at) => image.readUInt32LE(start + at))
    if (version !== 1) throw bad(`version ${version} is not supported: expected 1`)
    if (count > MAX_SECTIONS) throw bad(`${count} sections: at most ${MAX_SECTIONS}`)
    if (length < METADATA_HEADER + count * SECTION_SIZE || length > back)
        throw bad(`${length} bytes for ${count} sections, ${back} bytes before its end`)
    const sections = Array.from({ length: count }, (_, i) =>
        readSection(image, start + METADATA_HEADER + i * SECTION_SIZE, bad),
    )
    for (const type of ONE_PAGE)
        if (sections.filter((section) => section.type === type).length > 1) throw bad(`${type} stands twice`)
    const pages = sections.reduce((sum, { size }) => sum + size / PAGE_SIZE, 0)
    if (pages > MAX_PAGES) throw bad(`they span ${pages} pages: at most ${MAX_PAGES}`)
    return sections
}

function readSection(image: Buffer, at: number, bad: (why: string) => Error): Section {
    const [base = 0, size = 0, number = 0] = [0, 4, 8].map((offset) => image.readUInt32LE(at + offset))
    const type = SECTION_TYPES[number as keyof typeof SECTION_TYPES]
    if (!type) throw bad(`a section of the unknown type ${hex(number)}`)
    if (base % PAGE_SIZE !== 0 || size % PAGE_SIZE !== 0 || size === 0 || base + size > 2 ** 32)
        throw bad(`${type} spans [${hex(base)}, +${hex(size)}): no whole pages below 4 GiB`)
    if (ONE_PAGE.includes(type) && size !== PAGE_SIZE) throw bad(`${type} has ${hex(size)} bytes, expected one page`)
    return { type, base, size }
}

const malformed = ({ name }: { readonly name: string }, why: string) =>
    launchError('ERR_FIRMWARE', `${name} is malformed: ${why}`)

const hex = (n: number): string => `0x${n.toString(16)}`
