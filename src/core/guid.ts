// GUIDs as EFI and Microsoft store them: the first three fields little-endian, the last eight bytes as they are printed
// (UEFI 2.10, appendix A). SNP's certificate table is the exception: its GUIDs stand in the order of their text.
// SPDX-License-Identifier: Apache-2.0

import { toHex, wantLength } from './bytes.ts'
import { coreError } from './errors.ts'

export const GUID_SIZE = 16

export const NULL_GUID = '00000000-0000-0000-0000-000000000000'

/** The text of a GUID, and of any UUID: `736869e5-84f0-4973-92ec-06879ce3da0b`. */
export const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
export const LOWER_CASE_UUID = new RegExp(UUID.source)

export const isGuid = (text: string): boolean => UUID.test(text)

/** The 16 bytes of a GUID. @throws AttestError ERR_ENCODING */
export function guidBytes(text: string, title = 'GUID'): Buffer {
    if (!isGuid(text)) throw coreError('ERR_ENCODING', `${title}: ${JSON.stringify(text)} is no GUID`)
    return swapped(Buffer.from(text.replaceAll('-', ''), 'hex'))
}

/** The text of 16 bytes, in lower case. @throws AttestError ERR_LENGTH */
export function guidText(bytes: Uint8Array): string {
    const hex = toHex(swapped(Buffer.from(wantLength(bytes, GUID_SIZE, 'GUID'))))
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

function swapped(bytes: Buffer): Buffer {
    bytes.subarray(0, 4).reverse()
    bytes.subarray(4, 6).reverse()
    bytes.subarray(6, 8).reverse()
    return bytes
}
