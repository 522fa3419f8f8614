// The certificate table that a host stores for its guests: entries {GUID, offset, length}, a zero entry, then the blobs.
// GHCB 56421 rev 2.03 §4.1.8.1; GUIDs stand in text order, unlike elsewhere in this world. The table is the host's word.
// SPDX-License-Identifier: Apache-2.0

import { isZero, toHex } from '#core/bytes.ts'
import { snpError } from './errors.ts'

/** What the entries hold, by GUID. */
export const CERT_GUIDS = {
    VCEK: '63da758d-e664-4564-adc5-f4b93be8accd',
    VLEK: 'a8074bc2-a25a-483e-aae6-39c045a0b8a1',
    ASK: '4ab7b379-bbac-4fe4-a02f-05aef327c782',
    ARK: 'c0b406a4-a803-4952-9743-3fb6014cd0ae',
    CRL: '92f81bc3-5811-4d3d-97ff-d19f88dc67ea',
} as const

export type CertName = keyof typeof CERT_GUIDS

export interface CertEntry {
    readonly guid: string
    readonly data: Buffer
}

const ENTRY_SIZE = 24
const MAX_ENTRIES = 64
const guidText = (bytes: Buffer): string => toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')

const guidBytes = (guid: string): Buffer => Buffer.from(guid.replaceAll('-', ''), 'hex')

/** The text of each known GUID by its bytes: to write one out anew costs more than the rest of an entry. */
const KNOWN = new Map(Object.values(CERT_GUIDS).map((guid) => [guidBytes(guid).toString('latin1'), guid as string]))

/**
 * The entries in their order, as views of the table. An empty table, or one of zeros alone, has none.
 * @throws AttestError ERR_SNP_CERT_TABLE
 */
export function parseCertTable(table: Buffer): CertEntry[] {
    const entries: CertEntry[] = []
    if (isZero(table)) return entries
    const headerEnd = findEnd(table)
    for (let at = 0; at < headerEnd - ENTRY_SIZE; at += ENTRY_SIZE) {
        const guid = KNOWN.get(table.toString('latin1', at, at + 16)) ?? guidText(table.subarray(at, at + 16))
        const offset = table.readUInt32LE(at + 16)
        const length = table.readUInt32LE(at + 20)
        // Both are 32 bits wide, so their sum cannot run over here.
        if (offset < headerEnd || length === 0 || offset + length > table.length)
            throw malformed(`entry ${guid} spans [${offset}, +${length}) of a table of ${table.length} bytes`)
        if (entries.some((entry) => entry.guid === guid)) throw malformed(`entry ${guid} stands twice`)
        entries.push({ guid, data: table.subarray(offset, offset + length) })
    }
    return entries
}

/** A table with these entries, padded to whole pages of 4096 bytes as hosts do. */
export function encodeCertTable(entries: readonly CertEntry[]): Buffer {
    const header = Buffer.alloc(ENTRY_SIZE * (entries.length + 1))
    let offset = header.length
    for (const [index, { guid, data }] of entries.entries()) {
        header.set(guidBytes(guid), index * ENTRY_SIZE)
        header.writeUInt32LE(offset, index * ENTRY_SIZE + 16)
        header.writeUInt32LE(data.length, index * ENTRY_SIZE + 20)
        offset += data.length
    }
    const out = Buffer.alloc(Math.ceil(offset / 4096) * 4096)
    Buffer.concat([header, ...entries.map(({ data }) => data)]).copy(out)
    return out
}

/** The entry of a known GUID. */
export const certOf = (entries: readonly CertEntry[], name: CertName): Buffer | undefined =>
    entries.find(({ guid }) => guid === CERT_GUIDS[name])?.data

/** The known name of an entry, or undefined. */
export const certName = (guid: string): CertName | undefined =>
    (Object.keys(CERT_GUIDS) as CertName[]).find((name) => CERT_GUIDS[name] === guid)

// Where the header ends: behind the first entry that is all zero.
function findEnd(table: Buffer): number {
    for (let index = 0; index <= MAX_ENTRIES; index++) {
        const entry = table.subarray(index * ENTRY_SIZE, (index + 1) * ENTRY_SIZE)
        if (entry.length < ENTRY_SIZE) break
        if (isZero(entry)) return (index + 1) * ENTRY_SIZE
    }
    throw malformed('no zero entry ends its header')
}

const malformed = (what: string) => snpError('ERR_SNP_CERT_TABLE', `certificate table: ${what}`)
