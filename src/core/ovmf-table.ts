// The table of GUIDs at the end of an OVMF image (edk2: OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm): how a firmware
// tells whoever launches a confidential guest where its parts lie. Read backwards from 32 bytes before the end: each
// entry is its data, its length as u16 (data, length and GUID), its GUID; the last one counts the whole table.
// SPDX-License-Identifier: Apache-2.0

import { GUID_SIZE, guidText } from './guid.ts'

/** Length and GUID, behind the data of each entry; the length counts all three. */
export const HEADER_SIZE = 2 + GUID_SIZE

/** What follows the table: the code at the reset vector. */
export const RESET_VECTOR_SIZE = 32

export const FOOTER_GUID = '96b582de-1fb2-45f7-baea-a366c55a082d'

/**
 * The data of each entry by its GUID in lower case, as views of the image. Null: the image has no such table.
 * @throws what `malformed` makes where it has one that is malformed, or names something twice: the programs that read
 * such tables disagree on which of two counts
 */
export function readOvmfTable(image: Buffer, malformed: (why: string) => Error): ReadonlyMap<string, Buffer> | null {
    const bad = (why: string) => malformed(`the table of GUIDs at its end: ${why}`)
    const end = image.length - RESET_VECTOR_SIZE
    if (end < HEADER_SIZE || guidText(image.subarray(end - GUID_SIZE, end)) !== FOOTER_GUID) return null
    const total = image.readUInt16LE(end - HEADER_SIZE)
    if (total < HEADER_SIZE || total > end) throw bad(`its length is ${total}`)
    const table = image.subarray(end - total, end - HEADER_SIZE)
    const entries = new Map<string, Buffer>()
    for (let at = table.length; at > 0; ) {
        if (at < HEADER_SIZE) throw bad(`${at} bytes are left before its first entry`)
        const guid = guidText(table.subarray(at - GUID_SIZE, at))
        const size = table.readUInt16LE(at - HEADER_SIZE)
        if (size < HEADER_SIZE || size > at) throw bad(`the entry ${guid} has the length ${size}`)
        if (entries.has(guid)) throw bad(`the entry ${guid} stands twice`)
        entries.set(guid, table.subarray(at - size, at - HEADER_SIZE))
        at -= size
    }
    return entries
}
