// MRTD, RTMR1 and RTMR2: other tools' values for real firmware and a real kernel, the two orders of MRTD spelled out, and
// images that are refused by name.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { errnoOf, messageOf } from '#core/errors.ts'
import type { MeasureValues } from '#evidence/measure.ts'
import { predictMrTd, tdxMeasure } from '#plugins/tdx/measure.ts'
import { authenticodeDigest } from '#plugins/tdx/measured/authenticode.ts'
import { type DirectBoot, predictRtmr1, predictRtmr2 } from '#plugins/tdx/measured/direct-boot.ts'
import { TDX_METADATA_OFFSET } from '#plugins/tdx/measured/tdvf.ts'
import { debianFiles } from '#test/debian.ts'
import { VECTORS, vectors } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { type FirmwareChanges, firmware, kernelImage, SECTIONS } from './firmware.ts'

const sha384 = (bytes: Buffer | string): Buffer => createHash('sha384').update(bytes).digest()
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const extend = (digests: readonly Buffer[]): string =>
    digests.reduce((value, digest) => sha384(Buffer.concat([value, digest])), Buffer.alloc(48)).toString('hex')

const debian = (path: string): Buffer[] => debianFiles(path).map((file) => readFileSync(file))

interface Row {
    readonly tool: string
    readonly command: string
    readonly firmware: string
    readonly output: string
}

const MANIFEST = 'sev/manifest.tsv'
const HAS_MANIFEST = vectors(MANIFEST)
const rows: Row[] = (HAS_MANIFEST.met ? readFileSync(join(VECTORS, MANIFEST), 'utf8') : '')
    .split('\n')
    .map((line) => line.split('\t'))
    .map(([tool = '', command = '', inputs = '', output = '']) => ({
        tool,
        command,
        firmware: /OVMF\.fd=([0-9a-f]{64})/.exec(inputs)?.[1] ?? '',
        output,
    }))
const images = new Map(debian('usr/share/ovmf/OVMF.fd').map((image) => [sha256(image), image]))
const has = (hash: string) => ({ what: `ovmf ${hash.slice(0, 8)} (GUEST_ATTEST_DEBIAN)`, met: images.has(hash) })

const ORDERS = { 'quex td-report-web': 'twoPass', 'td-shim-tee-info-hash.py': 'onePass' } as const

needs(HAS_MANIFEST)('other tools have measured firmware', (t) => {
    t.is(rows.filter(({ tool }) => /^(?:quex|td-shim)/.test(tool)).length, 10)
})

for (const row of rows) {
    const order = Object.entries(ORDERS).find(([tool]) => row.tool.startsWith(`${tool}@`))?.[1]
    if (!order || row.command.startsWith('reproduceRtmr')) continue
    needs(has(row.firmware))(`MRTD of ${row.tool}: ${row.command}`, (t) => {
        const image = images.get(row.firmware) ?? Buffer.alloc(0)
        t.is(predictMrTd(image, order, 'OVMF.fd').toString('hex'), row.output)
    })
}

// quex predicts a kernel that QEMU rewrites, and a firmware whose separator is in RTMR0.
const [kernel] = debian('boot/vmlinuz-6.1.0-54-cloud-amd64')
for (const { tool, command, output } of rows) {
    const memory = Number(/mem=(\d+)/.exec(command)?.[1])
    if (!command.startsWith('reproduceRtmr')) continue
    const boot = {
        initrd: Buffer.of(1, 2, 3),
        commandLine: 'console=ttyS0',
        memory,
        setupHeader: 'rewritten',
        separator: 'rtmr0',
        initrdWord: 'last',
    } as const
    const title = `${tool.split('@')[0]}, ${command.slice(13).split('/')[0]}, ${memory / 2 ** 20} MiB`
    test(`RTMR2 of ${title}`, (t) => {
        t.is(predictRtmr2({ ...boot, kernel: Buffer.alloc(0) }).toString('hex'), output.split(' ')[2] ?? '')
    })
    const need = { what: 'linux-image-6.1.0-54-cloud-amd64 (GUEST_ATTEST_DEBIAN)', met: kernel !== undefined }
    needs(need)(`RTMR1 of ${title}`, (t) => {
        t.is(
            predictRtmr1({ ...boot, kernel: kernel ?? Buffer.alloc(0) }, 'vmlinuz').toString('hex'),
            output.split(' ')[1] ?? '',
        )
    })
}

// The definition, one record after the other.
function referenceMrTd(image: Buffer, isTwoPass: boolean): string {
    const record = (name: string, address: bigint): Buffer => {
        const bytes = Buffer.alloc(128)
        bytes.write(name)
        bytes.writeBigUInt64LE(address, 16)
        return bytes
    }
    const stream: Buffer[] = []
    for (const {
        dataOffset = 0,
        rawDataSize = 0,
        memoryAddress = 0n,
        memoryDataSize = 0n,
        attributes = 0,
    } of SECTIONS) {
        const memory = Buffer.alloc(Number(memoryDataSize))
        image.copy(memory, 0, dataOffset, dataOffset + rawDataSize)
        const pages = Array.from({ length: memory.length / 4096 }, (_, page) => BigInt(page * 4096))
        const adds = pages.map((page) => ((attributes & 2) === 0 ? [record('MEM.PAGE.ADD', memoryAddress + page)] : []))
        const extensions = pages.map((page) =>
            (attributes & 1) === 0
                ? []
                : Array.from({ length: 16 }, (_, chunk) => {
                      const at = Number(page) + chunk * 256
                      return [record('MR.EXTEND', memoryAddress + BigInt(at)), memory.subarray(at, at + 256)]
                  }).flat(),
        )
        if (isTwoPass) stream.push(...adds.flat(), ...extensions.flat())
        else pages.forEach((_, page) => void stream.push(...(adds[page] ?? []), ...(extensions[page] ?? [])))
    }
    return sha384(Buffer.concat(stream)).toString('hex')
}

for (const order of ['onePass', 'twoPass'] as const)
    test(`MRTD is what its definition says: ${order}`, (t) => {
        t.is(predictMrTd(firmware(), order, 'fw').toString('hex'), referenceMrTd(firmware(), order === 'twoPass'))
    })

test('the orders differ, and what is not measured changes nothing', (t) => {
    t.notDeepEqual(predictMrTd(firmware(), 'onePass', 'fw'), predictMrTd(firmware(), 'twoPass', 'fw'))
    const other = firmware()
    other[0x2fff] = 0 // in no section
    t.deepEqual(predictMrTd(other, 'onePass', 'fw'), predictMrTd(firmware(), 'onePass', 'fw'))
    other[0x1fff] = (other[0x1fff] ?? 0) ^ 1
    t.notDeepEqual(predictMrTd(other, 'onePass', 'fw'), predictMrTd(firmware(), 'onePass', 'fw'))
})

const one = (changes: NonNullable<FirmwareChanges['sections']>[number]): FirmwareChanges => ({
    sections: [{ ...SECTIONS[0], ...changes }],
})

const REFUSED: readonly (readonly [name: string, changes: FirmwareChanges, want: RegExp])[] = [
    ['no TDX entry', { entries: [['00f771de-1a7e-4fcb-890e-68c77e2fb44e', Buffer.alloc(4)]] }, /no TDX metadata/],
    ['an entry of 3 bytes', { entries: [[TDX_METADATA_OFFSET, Buffer.alloc(3)]] }, /has 3 bytes, expected 4/],
    [
        'an entry twice',
        {
            entries: [
                [TDX_METADATA_OFFSET, Buffer.alloc(4)],
                [TDX_METADATA_OFFSET, Buffer.alloc(4)],
            ],
        },
        / twice/,
    ],
    ['an offset beyond the image', { offset: 0x4001 }, /a place where no TDX metadata is/],
    ['an offset of 0', { offset: 0 }, /a place where no TDX metadata is/],
    ['an offset to other bytes', { offset: 0x2000 }, /a place where no TDX metadata is/],
    ['another signature', { signature: 'TDVX' }, /got "TDVX" 1/],
    ['another version', { version: 2 }, /got "TDVF" 2/],
    ['no section', { sections: [] }, /0 sections/],
    ['a count that its length denies', { sectionCount: 5 }, /5 sections/],
    ['a length that its count denies', { length: 16 }, /16 bytes and 4 sections/],
    ['more sections than a firmware has', { sectionCount: 65, length: 16 + 65 * 32 }, /65 sections/],
    ['an unknown type', one({ type: 8 }), /section 0: the type 8 is unknown/],
    ['an unknown attribute', one({ attributes: 4 }), /attributes 0x4/],
    ['half a page', one({ memoryDataSize: 0x2800n }), /whole pages/],
    ['an address within a page', one({ memoryAddress: 0xffffe800n }), /whole pages/],
    ['more data than memory', one({ memoryDataSize: 0x1000n }), /larger than its memory/],
    ['data outside the image', one({ dataOffset: 0x3000 }), /outside the image/],
    ['memory without end', one({ memoryDataSize: 0x4000_1000n }), /bytes of memory/],
]

for (const [name, changes, want] of REFUSED)
    test(`refused: ${name}`, (t) => {
        const error = t.throws(() => predictMrTd(firmware(changes), 'onePass', 'fw'))
        t.regex(messageOf(error), want)
        t.is(errnoOf(error), 'ERR_TDX_FIRMWARE')
    })

test('firmware that is cut anywhere is refused', (t) => {
    const image = firmware()
    for (const size of [0, 1, 31, 32, 49, 50, 100, 0x3fff])
        t.throws(() => predictMrTd(image.subarray(0, size), 'onePass', 'fw'), { code: 'ERR_TDX_FIRMWARE' }, `${size}`)
})

test('an EFI program is measured without checksum and certificates', (t) => {
    const plain = kernelImage()
    const checksum = 0x58 + 64
    const entry = 0x58 + 112 + 32
    const want = sha384(
        Buffer.concat([plain.subarray(0, checksum), plain.subarray(checksum + 4, entry), plain.subarray(entry + 8)]),
    )
    t.deepEqual(authenticodeDigest(plain, 'k'), want)
    t.deepEqual(authenticodeDigest(kernelImage(256), 'k'), want, 'signed')
    t.deepEqual(
        authenticodeDigest(
            kernelImage(0, (image) => void image.writeUInt32LE(0, checksum)),
            'k',
        ),
        want,
        'another checksum',
    )
    t.notDeepEqual(
        authenticodeDigest(
            kernelImage(0, (image) => void image.writeUInt8(1, 0xfff)),
            'k',
        ),
        want,
        'another byte',
    )
})

const BAD_KERNELS: readonly (readonly [string, Buffer, RegExp, 'rewritten'?])[] = [
    ['empty', Buffer.alloc(0), /not an EFI program/],
    ['no EFI stub', kernelImage(0, (image) => void image.write('\0\0')), /not an EFI program/],
    ['a PE header beyond the end', kernelImage(0, (image) => void image.writeUInt32LE(0xfffffff0, 0x3c)), /it ends at/],
    [
        'a section beyond the end',
        kernelImage(0, (image) => void image.writeUInt32LE(0xffffff, 0x58 + 0xf0 + 16)),
        /lies outside/,
    ],
    ['too many sections', kernelImage(0, (image) => void image.writeUInt16LE(0xffff, 0x46)), /65535 sections/],
    ['headers without end', kernelImage(0, (image) => void image.writeUInt32LE(0xffffffff, 0x58 + 60)), /headers have/],
    [
        'certificates over sections',
        kernelImage(16, (image) => void image.writeUInt32LE(0x800, 0x58 + 112 + 36)),
        /certificate table/,
    ],
    ['not Linux', kernelImage(0, (image) => void image.write('XXXX', 0x202)), /not a bzImage/, 'rewritten'],
    [
        'an old protocol',
        kernelImage(0, (image) => void image.writeUInt16LE(0x203, 0x206)),
        /boot protocol 0x203/,
        'rewritten',
    ],
]

const BOOT: DirectBoot = {
    kernel: kernelImage(),
    initrd: Buffer.of(1, 2, 3),
    commandLine: 'console=ttyS0',
    memory: 2 ** 32,
    setupHeader: 'rewritten',
    separator: 'rtmr1',
    initrdWord: 'last',
}

for (const [name, image, want, setupHeader = 'untouched'] of BAD_KERNELS)
    test(`a kernel is refused: ${name}`, (t) => {
        t.throws(() => predictRtmr1({ ...BOOT, kernel: image, setupHeader }, 'vmlinuz'), {
            code: 'ERR_TDX_KERNEL',
            message: want,
        })
    })

test('a kernel is refused: one whose header cannot be predicted', (t) => {
    const code = 'ERR_TDX_KERNEL'
    t.throws(() => predictRtmr1({ ...BOOT, commandLine: 'vga=ask' }, 'k'), { code, message: /vga=/ })
    t.throws(() => predictRtmr1({ ...BOOT, memory: 0x28002 }, 'k'), { code, message: /does not fit/ })
})

test('each version of host and firmware has its own registers', (t) => {
    const kernelDigest = authenticodeDigest(BOOT.kernel, 'k')
    const calling = sha384('Calling EFI Application from Boot Option')
    const rest = [sha384('Exit Boot Services Invocation'), sha384('Exit Boot Services Returned with Success')]
    const untouched = { ...BOOT, setupHeader: 'untouched' } as const
    t.is(
        predictRtmr1(untouched, 'k').toString('hex'),
        extend([kernelDigest, calling, sha384(Buffer.alloc(4)), ...rest]),
    )
    t.is(
        predictRtmr1({ ...untouched, separator: 'rtmr0' }, 'k').toString('hex'),
        extend([kernelDigest, calling, ...rest]),
    )
    t.notDeepEqual(predictRtmr1(BOOT, 'k'), predictRtmr1(untouched, 'k'))
    const options = (text: string) => sha384(Buffer.from(`${text}\0`, 'utf16le'))
    const initrd = sha384(Buffer.of(1, 2, 3))
    for (const [changes, want] of [
        [{}, [options('console=ttyS0 initrd=initrd'), initrd]],
        [{ initrdWord: 'first' }, [options('initrd=initrd console=ttyS0'), initrd]],
        [{ initrd: null }, [options('console=ttyS0')]],
    ] as const)
        t.is(predictRtmr2({ ...BOOT, ...changes }).toString('hex'), extend(want))
})

test('where the initrd lies depends on the memory up to 2816 MiB', (t) => {
    const at = (memory: number) => predictRtmr1({ ...BOOT, memory }, 'k').toString('hex')
    const MIB = 2 ** 20
    t.is(new Set([512, 1024, 2048, 2300].map((size) => at(size * MIB))).size, 4)
    t.is(new Set([2048, 2816, 4096, 65536].map((size) => at(size * MIB))).size, 1)
})

const VALUES: MeasureValues<typeof tdxMeasure.options> = {
    firmware: { name: 'fw', bytes: firmware() },
    twoPass: false,
    setupHeader: 'rewritten',
    separator: 'rtmr1',
    initrdWord: 'last',
}

test('MRTD alone is firmware, and the registers that it leaves out are named', (t) => {
    const { measurements, coverage, unpredicted, assumed } = tdxMeasure.measure(VALUES)
    t.deepEqual(Object.keys(measurements), ['mrTd'])
    t.is(coverage, 'firmware')
    t.deepEqual(Object.keys(unpredicted), ['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3'])
    t.regex(assumed.join('\n'), /--two-pass/)
})

test('with a kernel everything until the root file system is covered, under what is assumed', (t) => {
    const { measurements, coverage, unpredicted, assumed } = tdxMeasure.measure({
        ...VALUES,
        kernel: { name: 'k', bytes: BOOT.kernel },
        append: 'quiet',
    })
    t.deepEqual(Object.keys(measurements), ['mrTd', 'rtmr1', 'rtmr2'])
    t.is(coverage, 'firmware+kernel+initrd+cmdline')
    t.deepEqual(Object.keys(unpredicted), ['rtmr0', 'rtmr3'])
    for (const word of ['--setup-header untouched', '--separator rtmr0'])
        t.true(assumed.join('\n').includes(word), word)
    t.false(assumed.join('\n').includes('initrd=initrd'))
})

test('what belongs to a kernel is refused without one', (t) => {
    for (const [name, values] of Object.entries({
        initrd: { initrd: { name: 'i', bytes: Buffer.alloc(1) } },
        append: { append: 'quiet' },
        memory: { memory: 4096 },
    }))
        t.throws(() => tdxMeasure.measure({ ...VALUES, ...values }), {
            code: 'ERR_USAGE',
            message: `--${name} is nothing without --kernel`,
        })
})
