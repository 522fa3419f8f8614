// The digest by which UEFI firmware measures a program: Windows Authenticode Portable Executable Signature Format 1.0,
// "Calculating the PE Image Hash": the file without its checksum, the entry of its certificate table, and that table.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { tdxError } from '../errors.ts'

const PE32_PLUS = 0x20b
const PE32 = 0x10b
const CERTIFICATE_TABLE = 4
const MAX_SECTIONS = 96

/** SHA-384 of a PE image. @throws AttestError ERR_TDX_KERNEL */
export function authenticodeDigest(image: Buffer, title: string): Buffer {
    const u16 = (at: number) => readAt(image, at, 2, title)
    const u32 = (at: number) => readAt(image, at, 4, title)
    const header = image.toString('latin1', 0, 2) === 'MZ' ? u32(0x3c) : 0
    if (header === 0 || u32(header) !== 0x4550) throw bad(title, 'not an EFI program (PE)')
    const optional = header + 24
    const magic = u16(optional)
    if (magic !== PE32_PLUS && magic !== PE32) throw bad(title, `PE magic 0x${magic.toString(16)}`)
    const checksum = optional + 64
    const directories = optional + (magic === PE32_PLUS ? 112 : 96)
    const hasTable = u32(directories - 4) > CERTIFICATE_TABLE
    const entry = directories + 8 * CERTIFICATE_TABLE
    const headersSize = u32(optional + 60)
    const sections = readSections(image, { count: u16(header + 6), at: optional + u16(header + 20) }, title)
    if (headersSize < (hasTable ? entry + 8 : checksum + 4) || headersSize > image.length)
        throw bad(title, `its headers have ${headersSize} bytes`)

    const hash = createHash('sha384').update(image.subarray(0, checksum))
    if (hasTable) hash.update(image.subarray(checksum + 4, entry)).update(image.subarray(entry + 8, headersSize))
    else hash.update(image.subarray(checksum + 4, headersSize))
    let hashed = headersSize
    for (const { start, size } of sections) {
        hash.update(image.subarray(start, start + size))
        hashed += size
    }
    const end = image.length - (hasTable ? u32(entry + 4) : 0)
    if (end < hashed) throw bad(title, 'its certificate table reaches into its sections')
    return hash.update(image.subarray(hashed, end)).digest()
}

// In the order of their bytes in the file.
function readSections(image: Buffer, { count, at }: { count: number; at: number }, title: string) {
    if (count > MAX_SECTIONS) throw bad(title, `it has ${count} sections`)
    const sections = Array.from({ length: count }, (_, index) => ({
        size: readAt(image, at + 40 * index + 16, 4, title),
        start: readAt(image, at + 40 * index + 20, 4, title),
    }))
    const used = sections.filter(({ size }) => size > 0)
    if (used.some(({ start, size }) => start + size > image.length)) throw bad(title, 'a section lies outside the file')
    return used.toSorted((a, b) => a.start - b.start)
}

function readAt(image: Buffer, at: number, size: 2 | 4, title: string): number {
    if (at + size > image.length) throw bad(title, `it ends at ${image.length}, 0x${at.toString(16)} was to be read`)
    return image.readUIntLE(at, size)
}

const bad = (title: string, why: string) => tdxError('ERR_TDX_KERNEL', `${title}: ${why}`)
