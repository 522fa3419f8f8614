// What Linux 6.12 made of tables of secrets, booted on edk2's AmdSev: tables of the same form, and what the emulated guest
// shows of them. The kernel's own words are in the vectors' manifest.
// SPDX-License-Identifier: Apache-2.0

import { hash } from 'node:crypto'
import { guidBytes } from '#core/guid.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import { SECRETS_FOLDER } from '#drivers/linux/secret-area.ts'
import { shown } from '#plugins/sev/emulated/model.ts'
import { encodeSecretTable, HEAD_SIZE, USUAL_AREA } from '#plugins/sev/launch/secret-table.ts'
import { vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { MANIFEST } from './manifest.ts'

const possible = needs(vectors('sev/manifest.tsv'))

const OTHER = 'e6f5a162-d67f-4750-a67c-5d065f2a9910'
const EMPTY = '1ee27366-0c87-43a6-af48-28543eaf7cb0'
const of = (guid: string, data: string | number) => ({
    guid,
    data: typeof data === 'string' ? Buffer.from(data) : Buffer.alloc(data, 0x61),
})

function padded(counted: number): Buffer {
    const table = Buffer.concat([encodeSecretTable([of(DISK_GUID, 'abc')], USUAL_AREA), Buffer.alloc(64)])
    table.writeUInt32LE(table.readUInt32LE(16) + counted, 16)
    return table
}

function twice(): Buffer {
    const table = Buffer.from(encodeSecretTable([of(DISK_GUID, 'abc'), of(OTHER, 'abc')], USUAL_AREA))
    table.set(guidBytes(DISK_GUID), 2 * HEAD_SIZE + 3)
    return table
}

function truncated(): Buffer {
    const table = Buffer.from(encodeSecretTable([of(DISK_GUID, 'abc')], USUAL_AREA))
    table.writeUInt32LE(0x200, HEAD_SIZE + 16)
    return table
}

/** More than our encoder makes, for the reason that the row shows. */
function many(count: number): Buffer {
    const entries = Array.from({ length: count }, (_, at) =>
        Buffer.concat([
            guidBytes(`00000000-0000-0000-0000-${(0x1000 + at).toString(16).padStart(12, '0')}`),
            Buffer.of(HEAD_SIZE + 2, 0, 0, 0),
            Buffer.from(String(at).padStart(2, '0')),
        ]),
    )
    const table = Buffer.concat([encodeSecretTable([], USUAL_AREA).subarray(0, HEAD_SIZE), ...entries])
    table.writeUInt32LE(table.length, 16)
    return table
}

const TABLES: Readonly<Record<string, () => Buffer>> = {
    good: () => encodeSecretTable([of(DISK_GUID, 28), of(OTHER, 54), of(EMPTY, 0)], USUAL_AREA),
    libvirtpad: () =>
        Buffer.concat([encodeSecretTable([of(DISK_GUID, 24), of(OTHER, 20)], USUAL_AREA), Buffer.alloc(16)]),
    dup: twice,
    lenpad20: () => padded(20),
    lenpad8: () => padded(8),
    trunc: truncated,
    big3072: () => encodeSecretTable([of(DISK_GUID, 3032)], USUAL_AREA),
    many70: () => many(70),
}

const ROWS = MANIFEST.filter(({ tool, command }) => tool.startsWith('edk2-') && command.includes('ht_good.bin st_'))

possible('each row has a table here', (t) => {
    t.deepEqual(
        ROWS.map(({ note }) => note.replace('e2e ', '')),
        Object.keys(TABLES),
    )
})

for (const { note, output } of ROWS) {
    const name = note.replace('e2e ', '')
    possible(`as Linux shows it: ${name}`, async (t) => {
        const table = TABLES[name]?.() ?? Buffer.alloc(0)
        const folder = shown(table).folders[SECRETS_FOLDER]
        const created = /Created (\d+) entries/.exec(output)?.[1]
        if (created === undefined) {
            t.regex(output, /failed with error -(?:17|22)/)
            t.is(folder, undefined)
            return
        }
        const files = Object.entries(folder ?? {}).map(([guid, file]) => {
            const bytes = file.read?.({ faults: [], nowMs: 0 }).bytes ?? Buffer.alloc(0)
            return { guid, size: bytes.length, digest: hash('sha256', bytes).slice(0, 16) }
        })
        t.is(files.length, Number(created))
        for (const [, guid = '', size = '', digest] of output.matchAll(/([0-9a-f-]{36}):(\d+):([0-9a-f]{16})/g)) {
            const file = files.find((one) => one.guid === guid)
            t.is(file?.size, Number(size), guid)
            // What the others held is not among the vectors.
            if (name === 'many70' || name === 'lenpad8') t.is(file?.digest, digest, guid)
        }
    })
}
