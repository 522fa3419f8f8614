// The table of secrets in guest memory, as OVMF publishes it and Linux reads it (drivers/virt/coco/efi_secret): a GUID and
// a length of the table, then a GUID and a length for each entry; each length counts its own head.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, secret } from '#core/bytes.ts'
import { GUID_SIZE, guidBytes, guidText, NULL_GUID } from '#core/guid.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'
import { sevError } from '../errors.ts'

const TABLE_GUID = '1e74f542-71dd-4d66-963e-ef4287ff173b'

/** GUID and length of the table, or of an entry. */
export const HEAD_SIZE = GUID_SIZE + 4

/** The firmware takes whole blocks. */
const BLOCK = 16

/** The area of OVMF's AmdSev builds, where nobody says how large it is. */
export const USUAL_AREA = 0xc00

/** Linux shows no more of them. */
export const MAX_SECRETS = 64

export interface LaunchSecret {
    /** Text, either case. */
    readonly guid: string
    readonly data: Uint8Array
}

/** @throws AttestError ERR_SEV_SECRET where there is none */
export function requireSecrets({ length }: readonly LaunchSecret[]): void {
    if (length === 0) throw sevError('ERR_SEV_SECRET', 'no secret was given')
}

/**
 * The table, padded to whole blocks. Wipe it.
 * @throws AttestError ERR_SEV_SECRET for what a guest could not read: it would see none of its secrets
 */
export function encodeSecretTable(secrets: readonly LaunchSecret[], area: number): Secret {
    checkGuids(secrets)
    const length = HEAD_SIZE + secrets.reduce((sum, { data }) => sum + HEAD_SIZE + data.length, 0)
    const size = Math.ceil(length / BLOCK) * BLOCK
    if (area === 0) throw sevError('ERR_SEV_SECRET', 'this firmware has no area for secrets', { hint: NO_AREA })
    const room = Math.min(area, MAX_SECRET_AREA)
    if (size > room)
        throw sevError('ERR_SEV_SECRET', `the secrets need ${size} bytes, the firmware has room for ${room}`)
    const table = Buffer.alloc(size) as Secret
    let at = writeHead(table, 0, TABLE_GUID, length)
    for (const { guid, data } of secrets) {
        at = writeHead(table, at, guid, HEAD_SIZE + data.length)
        table.set(data, at)
        at += data.length
    }
    return table
}

/** An entry where it stands: what is wiped in it is wiped in the table. */
export interface TableEntry {
    readonly guid: string
    /** Where it begins, with its GUID. */
    readonly at: number
    readonly data: Buffer
}

export type TableFault = 'no-table' | 'length' | 'entry-length' | 'same-guid'

/**
 * The entries of a table; those that were wiped (null GUID) are left out. As strict as Linux, which shows nothing of a
 * table with a fault.
 */
export function readSecretTable(
    table: Buffer,
): { readonly entries: readonly TableEntry[] } | { readonly fault: TableFault; readonly text: string } {
    if (table.length < HEAD_SIZE || guidText(table.subarray(0, GUID_SIZE)) !== TABLE_GUID)
        return { fault: 'no-table', text: 'no table of secrets begins here' }
    const end = table.readUInt32LE(GUID_SIZE)
    if (end < HEAD_SIZE || end > table.length)
        return { fault: 'length', text: `the table says it has ${end} bytes, and there are ${table.length}` }
    const entries = new Map<string, TableEntry>()
    // Less than a head at the end is padding that somebody counted.
    for (let at = HEAD_SIZE; at + HEAD_SIZE <= end; ) {
        const guid = guidText(table.subarray(at, at + GUID_SIZE))
        const length = table.readUInt32LE(at + GUID_SIZE)
        if (length < HEAD_SIZE || length > end - at)
            return { fault: 'entry-length', text: `the entry at byte ${at} says it has ${length} bytes` }
        if (entries.has(guid)) return { fault: 'same-guid', text: `two entries are called ${guid}` }
        if (guid !== NULL_GUID) entries.set(guid, { guid, at, data: table.subarray(at + HEAD_SIZE, at + length) })
        at += length
    }
    return { entries: [...entries.values()] }
}

/** Copies of the entries. Wipe them. @throws AttestError ERR_SEV_SECRET_TABLE */
export function parseSecretTable(table: Buffer): { readonly guid: string; readonly data: Secret }[] {
    const read = readSecretTable(table)
    if ('fault' in read) throw sevError('ERR_SEV_SECRET_TABLE', read.text)
    return read.entries.map(({ guid, data }) => ({ guid, data: secret(Buffer.from(data)) }))
}

const NO_AREA = 'OVMF has one in its AmdSev builds; Debian ships none of those'

function checkGuids(secrets: readonly LaunchSecret[]): void {
    if (secrets.length > MAX_SECRETS)
        throw sevError('ERR_SEV_SECRET', `${secrets.length} secrets: Linux shows ${MAX_SECRETS} at most`)
    const seen = new Set<string>()
    for (const { guid } of secrets) {
        const text = guidText(guidBytes(guid, 'secret'))
        if (text === NULL_GUID) throw sevError('ERR_SEV_SECRET', 'the null GUID marks a secret that was wiped')
        if (text === TABLE_GUID) throw sevError('ERR_SEV_SECRET', `${text} is the GUID of the table itself`)
        if (seen.has(text))
            throw sevError('ERR_SEV_SECRET', `${text} stands twice: Linux would show none of the secrets`)
        seen.add(text)
    }
}

function writeHead(table: Buffer, at: number, guid: string, length: number): number {
    table.set(guidBytes(guid), at)
    return table.writeUInt32LE(length, at + GUID_SIZE)
}
