// The event log of the firmware: its table, where it ends, and what a host may write there. Real logs end where others
// have found them to end.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { MAX_EVENT_LOG_SIZE } from '#core/sizes.ts'
import { CC_TYPES, CCEL_TABLE, firmwareLog, trimLog } from '#drivers/linux/firmware-log.ts'
import { temporaryFolder } from '#test/folder.ts'
import { VECTORS, vectors } from '#test/machine.ts'
import { needs } from '#test/needs.ts'

const u16 = (value: number): Buffer => {
    const bytes = Buffer.alloc(2)
    bytes.writeUInt16LE(value)
    return bytes
}
const u32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value)
    return bytes
}

const SHA384 = 0x0c
const EV_NO_ACTION = 3

const sized = (bytes: Buffer): Buffer => Buffer.concat([u32(bytes.length), bytes])

function specId({ type = EV_NO_ACTION, signature = 'Spec ID Event03\0', algorithms = [[SHA384, 48]] } = {}): Buffer {
    const table = algorithms.flatMap(([id = 0, size = 0]) => [u16(id), u16(size)])
    const event = [Buffer.from(signature), Buffer.alloc(8), u32(algorithms.length), ...table, Buffer.alloc(1)]
    return Buffer.concat([u32(1), u32(type), Buffer.alloc(20), sized(Buffer.concat(event))])
}

function event({ index = 1, type = 4, algorithm = SHA384, digests = 1, size = 48, data = Buffer.from('data') } = {}) {
    const all = Array.from({ length: digests }, () => [u16(algorithm), Buffer.alloc(size, 7)]).flat()
    return Buffer.concat([u32(index), u32(type), u32(digests), ...all, sized(data)])
}

const LOG = Buffer.concat([specId(), event(), event({ index: 0, type: 8 }), event({ index: 4, digests: 0 })])

for (const { name, area } of [
    { name: 'nothing', area: LOG },
    { name: 'ones', area: Buffer.concat([LOG, Buffer.alloc(4096, 0xff)]) },
    { name: 'zeros', area: Buffer.concat([LOG, Buffer.alloc(4096)]) },
    { name: 'fewer bytes than an event begins with', area: Buffer.concat([LOG, Buffer.alloc(7, 1)]) },
    { name: 'ones, and whatever follows', area: Buffer.concat([LOG, Buffer.alloc(8, 0xff), event()]) },
])
    test(`a log ends before ${name}`, (t) => t.deepEqual(trimLog(area), LOG))

test('a log of its first record alone', (t) => t.deepEqual(trimLog(specId()), specId()))

for (const { name, area, says } of [
    { name: 'nothing', area: Buffer.alloc(0), says: /4 bytes are announced at 0, 0 are there/ },
    { name: 'an area that was never written', area: Buffer.alloc(4096, 0xff), says: /announced/ },
    { name: 'another first record', area: specId({ type: 4 }), says: /Spec ID/ },
    { name: 'another signature', area: specId({ signature: 'Spec ID Event02\0' }), says: /Spec ID/ },
    {
        name: 'many algorithms',
        area: specId({ algorithms: Array.from({ length: 17 }, () => [SHA384, 48]) }),
        says: /17 algorithms/,
    },
    { name: 'a first record that is cut off', area: specId().subarray(0, 40), says: /announced/ },
    { name: 'an event that is cut off', area: LOG.subarray(0, LOG.length - 1), says: /announced/ },
    { name: 'a digest that is cut off', area: Buffer.concat([specId(), event().subarray(0, 30)]), says: /announced/ },
    { name: 'many digests', area: Buffer.concat([specId(), event({ digests: 17 })]), says: /17 digests/ },
    {
        name: 'a digest of an algorithm that it has not',
        area: Buffer.concat([specId(), event({ algorithm: 0x0b, size: 32 })]),
        says: /no algorithm of its log/,
    },
    {
        name: 'an event of 4 GiB',
        area: Buffer.concat([specId(), u32(1), u32(4), u32(0), u32(0xffff_ffff)]),
        says: /4294967295 bytes are announced/,
    },
])
    test(`malformed: ${name}`, (t) => void t.throws(() => trimLog(area), { code: 'ERR_EVENT_LOG', message: says }))

const TABLE = {
    signature: 'CCEL',
    length: 56,
    revision: 1,
    checksum: 0,
    oem: Buffer.alloc(26, 0x20),
    ccType: CC_TYPES.tdx as number,
    ccSubtype: 0,
    areaSize: 65536n,
    areaAddress: 0x1000n,
}

function table(over: Partial<typeof TABLE> = {}): Buffer {
    const raw = CCEL_TABLE.encode({ ...TABLE, ...over })
    raw[9] = -raw.reduce((sum, byte) => sum + byte, 0) & 0xff
    return raw
}

function door(t: ExecutionContext, files: { table?: Buffer; data?: Buffer }) {
    const folder = temporaryFolder(t)
    const [path, dataPath] = [join(folder, 'CCEL'), join(folder, 'data')]
    if (files.table) writeFileSync(path, files.table)
    if (files.data) writeFileSync(dataPath, files.data)
    return firmwareLog(existsSync, path, dataPath)
}

test('the log of a TD', (t) => {
    const log = door(t, { table: table(), data: Buffer.concat([LOG, Buffer.alloc(1024, 0xff)]) })
    t.true(log.exists())
    t.deepEqual(log.read(), LOG)
})

test('no table: no log', (t) => {
    t.false(door(t, {}).exists())
    t.throws(() => door(t, {}).read(), { code: 'ERR_EVENT_LOG_MISSING' })
    t.throws(() => door(t, { table: table() }).read(), { code: 'ERR_EVENT_LOG_MISSING' })
})

for (const { name, raw, says } of [
    { name: 'of SEV', raw: table({ ccType: CC_TYPES.sev }), says: /another technology than TDX \(CC type 1\)/ },
    { name: 'with another signature', raw: table({ signature: 'TPM2' }), says: /expected CCEL/ },
    { name: 'that names another length', raw: table({ length: 57 }), says: /expected CCEL of 56 bytes/ },
    { name: 'whose checksum does not hold', raw: CCEL_TABLE.encode(TABLE), says: /checksum/ },
    { name: 'with a byte too few', raw: table().subarray(1), says: /56 bytes, got 55/ },
    { name: 'with a byte too many', raw: Buffer.concat([table(), Buffer.alloc(1)]), says: /larger than 56 bytes/ },
    { name: 'of nothing', raw: Buffer.alloc(0), says: /got 0/ },
])
    test(`a table ${name} is refused`, (t) => {
        const log = door(t, { table: raw, data: LOG })
        t.throws(() => log.read(), { code: 'ERR_EVENT_LOG', message: says })
    })

test('a log area of more than is handed on', (t) => {
    const data = Buffer.concat([LOG, Buffer.alloc(MAX_EVENT_LOG_SIZE)])
    t.throws(() => door(t, { table: table(), data }).read(), { code: 'ERR_EVENT_LOG', message: /larger than/ })
})

// Where the projects that these came from have the same log without its padding, it is that long; else it was counted.
for (const { name, size } of [
    { name: 'attestation-rs--tdx_ccel_live.bin', size: 2120 },
    { name: 'cc-trusted-api--ccel_data.bin', size: 15812 },
    { name: 'go-eventlog--ccel-CCEL_unpadded.data.bin', size: 2026 },
    { name: 'go-eventlog--ccel-cos-113-intel-tdx-dupe-separator.bin', size: 18101 },
    { name: 'go-eventlog--ccel-cos-113-intel-tdx-dupe-separator-unpadded.bin', size: 18101 },
    { name: 'go-tdx-guest--ccel-ccel_data.dat', size: 18101 },
    { name: 'trustee--CCEL_data', size: 9822 },
    { name: 'trustee--CCEL_data_gcp', size: 20349 },
    { name: 'trustee--CCEL_data_grub', size: 15130 },
    { name: 'trustee--CCEL_data_grub_gke', size: 21897 },
    { name: 'trustee--CCEL_data_ovmf', size: 2120 },
    // Its last eight bytes are the terminator that its agent writes.
    { name: 'trustee--CCEL_AAEL_alibabacloud', size: 11715 - 8 },
]) {
    const path = `snp-tdx/eventlog/${name}`
    needs(vectors(path))(`a real log ends where it does: ${name}`, (t) => {
        const area = readFileSync(join(VECTORS, path))
        t.is(trimLog(area).length, size)
        t.true(area.subarray(0, size).equals(trimLog(area)))
    })
}

const REAL_TABLE = 'snp-tdx/eventlog/go-tdx-guest--ccel-ccel_table.dat'
needs(vectors(REAL_TABLE))('the table of a real TD', (t) => {
    const log = door(t, { table: readFileSync(join(VECTORS, REAL_TABLE)), data: LOG })
    t.deepEqual(log.read(), LOG)
})
