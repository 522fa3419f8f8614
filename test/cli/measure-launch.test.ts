// `measure sev|sev-es|snp`: what is refused, what a search finds, what is written; whatever the firmware, an answer.
// SPDX-License-Identifier: Apache-2.0

import { createHash, generateKeyPairSync, hash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { AttestError } from '#core/errors.ts'
import { FOOTER_GUIDS } from '#core/launch/ovmf.ts'
import type { Fit, Measure, Prediction } from '#evidence/measure.ts'
import { sevEsMeasure, sevMeasure } from '#plugins/sev/measure.ts'
import { snpMeasure } from '#plugins/snp/measure.ts'
import { encodeReport, parseReport } from '#plugins/snp/report.ts'
import { temporaryFolder } from '#test/folder.ts'
import { firmware, type SectionRow, words } from '../core/launch/firmware.ts'
import { guestAttest } from './run.ts'

type Values = Readonly<Record<string, unknown>>

const file = (bytes: Buffer, name = 'x') => ({ name, bytes })
const hashed = (text: string) => ({ name: text, size: text.length, sha256: hash('sha256', text, 'buffer') })
const fw = file(firmware(), 'fw')
const kernel = { kernel: hashed('kernel'), initrd: hashed('initrd'), append: ' console=ttyS0' }
const MILAN = { vcpuType: 'EPYC-Milan', vmm: 'QEMU' }

const ask = (measure: unknown, values: Values): Prediction => (measure as Measure).measure(values as never)
const digest = (measure: unknown, values: Values): string => Object.values(ask(measure, values).measurements)[0] ?? ''
const search = (measure: unknown, values: Values, wanted: string): readonly Fit[] =>
    (measure as Measure).search?.search(values as never, Buffer.from(wanted, 'hex')) ?? []

test('sev: the firmware and the table, nothing else', (t) => {
    t.is(digest(sevMeasure, { firmware: fw }), createHash('sha256').update(fw.bytes).digest('hex'))
    const { coverage, measurements } = ask(sevMeasure, { firmware: fw, ...kernel })
    t.is(coverage, 'firmware+kernel+initrd+cmdline')
    t.not(measurements['measurement'], digest(sevMeasure, { firmware: fw }))
})

for (const [name, measure, values, code, message] of [
    ['no size', sevMeasure, { firmware: file(Buffer.alloc(0)) }, 'ERR_FIRMWARE', /0 bytes/],
    ['half a block', sevMeasure, { firmware: file(Buffer.alloc(24)) }, 'ERR_FIRMWARE', /24 bytes/],
    ['an initrd alone', sevMeasure, { firmware: fw, initrd: hashed('a') }, 'ERR_USAGE', /without --kernel/],
    ['a line alone', snpMeasure, { firmware: fw, append: '', ...MILAN }, 'ERR_USAGE', /without --kernel/],
    [
        'no hash area',
        sevMeasure,
        { firmware: file(firmware({ hashArea: [0, 0] })), ...kernel },
        'ERR_FIRMWARE_LACKS',
        /would start any/,
    ],
    [
        'a hash area of 175 bytes',
        sevMeasure,
        { firmware: file(firmware({ hashArea: [0x810c00, 175] })), ...kernel },
        'ERR_FIRMWARE_LACKS',
        /leaves 175 bytes/,
    ],
    ['no processors', sevEsMeasure, { firmware: fw, vcpus: 0, ...MILAN }, 'ERR_USAGE', /1 to 4096/],
    ['too many processors', sevEsMeasure, { firmware: fw, vcpus: 4097, ...MILAN }, 'ERR_USAGE', /1 to 4096/],
    ['no type', sevEsMeasure, { firmware: fw, vmm: 'QEMU' }, 'ERR_USAGE', /what the processors are/],
    ['two types', sevEsMeasure, { firmware: fw, vcpuSig: 1n, ...MILAN }, 'ERR_USAGE', /say once/],
    ['a family alone', sevEsMeasure, { firmware: fw, cpuFamily: 25, vmm: 'QEMU' }, 'ERR_USAGE', /stand together/],
    ['a signature of 33 bits', snpMeasure, { firmware: fw, vcpuSig: 1n << 32n, vmm: 'QEMU' }, 'ERR_VCPU', /32 bits/],
    ['an unknown type', snpMeasure, { firmware: fw, vcpuType: 'EPYC-X', vmm: 'QEMU' }, 'ERR_VCPU', /EPYC-X/],
    ['an unknown profile', snpMeasure, { firmware: fw, profile: 'kvm', ...MILAN }, 'ERR_VCPU', /no profile/],
    ['a cloud as a profile', snpMeasure, { firmware: fw, profile: 'ec2', ...MILAN }, 'ERR_USAGE', /--vmm ec2/],
    [
        'a profile of a cloud',
        snpMeasure,
        { firmware: fw, ...MILAN, profile: 'kvm-init2', vmm: 'ec2' },
        'ERR_USAGE',
        /for --vmm QEMU, not for ec2/,
    ],
    ['SNP features', sevEsMeasure, { firmware: fw, guestFeatures: 1n, ...MILAN }, 'ERR_USAGE', /bit 0/],
    [
        'no metadata',
        snpMeasure,
        { firmware: file(firmware({ sections: null })), ...MILAN },
        'ERR_FIRMWARE_LACKS',
        /no SEV metadata/,
    ],
    [
        'no whole pages',
        snpMeasure,
        { firmware: file(firmware().subarray(16)), ...MILAN },
        'ERR_FIRMWARE',
        /no whole pages/,
    ],
    [
        'no section for hashes',
        snpMeasure,
        { firmware: file(firmware({ sections: [['SEC_MEM', 0x1000, 0x1000]] })), ...kernel, ...MILAN },
        'ERR_FIRMWARE_LACKS',
        /no KERNEL_HASHES/,
    ],
    [
        'hashes outside their section',
        snpMeasure,
        { firmware: file(firmware({ hashArea: [0x811c00, 0x400] })), ...kernel, ...MILAN },
        'ERR_FIRMWARE',
        /outside its KERNEL_HASHES/,
    ],
    [
        'hashes across two pages',
        snpMeasure,
        { firmware: file(firmware({ hashArea: [0x810fa0, 0x400] })), ...kernel, ...MILAN },
        'ERR_FIRMWARE',
        /outside its KERNEL_HASHES/,
    ],
    [
        'a short firmware hash',
        snpMeasure,
        { firmware: fw, firmwareHash: Buffer.alloc(47), ...MILAN },
        'ERR_LENGTH',
        /--firmware-hash/,
    ],
    ['nothing', snpMeasure, { vmm: 'QEMU' }, 'ERR_USAGE', /name --firmware/],
    [
        'processors of no firmware',
        snpMeasure,
        { digest: Buffer.alloc(48), ...MILAN },
        'ERR_USAGE',
        /--vcpu-type is nothing/,
    ],
    [
        'a page of another size',
        snpMeasure,
        { firmware: fw, vmm: 'QEMU', vmsa: [file(Buffer.alloc(1))] },
        'ERR_VMSA',
        /got 1/,
    ],
    [
        'three pages for four',
        snpMeasure,
        { firmware: fw, vmm: 'QEMU', vcpus: 4, vmsa: [1, 2, 3].map((n) => file(Buffer.alloc(4096, n))) },
        'ERR_VMSA',
        /3 pages for 4/,
    ],
    [
        'pages and a type',
        snpMeasure,
        { firmware: fw, vmsa: [file(Buffer.alloc(4096))], ...MILAN },
        'ERR_USAGE',
        /--vmsa says all/,
    ],
    [
        'an author alone',
        snpMeasure,
        { firmware: fw, authorKey: file(Buffer.alloc(1)), ...MILAN },
        'ERR_USAGE',
        /without --id-key/,
    ],
    [
        'a key that is none',
        snpMeasure,
        { firmware: fw, idKey: file(Buffer.from('a')), ...MILAN },
        'ERR_SNP_ID_BLOCK',
        /no private key/,
    ],
    [
        'an authentication alone',
        snpMeasure,
        { firmware: fw, idAuth: file(Buffer.alloc(1)), ...MILAN },
        'ERR_USAGE',
        /without --id-block/,
    ],
] as const)
    test(`refused: ${name}`, (t) => void t.throws(() => ask(measure, values), { code, message }))

test('pages that were given are taken as they are, also for those that are alike', (t) => {
    const { files = [] } = ask(snpMeasure, { firmware: fw, vcpus: 3, dumpVmsa: 'd', ...MILAN })
    t.deepEqual(
        files.map(({ path }) => path),
        ['d/vmsa0.bin', 'd/vmsa1.bin', 'd/vmsa2.bin'],
    )
    const wanted = digest(snpMeasure, { firmware: fw, vcpus: 3, ...MILAN })
    const pages = files.map(({ bytes }) => file(bytes))
    t.is(digest(snpMeasure, { firmware: fw, vmm: 'QEMU', vmsa: pages }), wanted)
    t.is(digest(snpMeasure, { firmware: fw, vmm: 'QEMU', vmsa: pages.slice(0, 2), vcpus: 3 }), wanted)
})

test('of a firmware whose digest is known the end is enough', (t) => {
    const big = firmware({ size: 0x10000 })
    const wanted = digest(snpMeasure, { firmware: file(big), ...MILAN })
    const firmwareHash = Buffer.from(digest(snpMeasure, { firmware: file(big), asFirmwareHash: true, ...MILAN }), 'hex')
    t.is(digest(snpMeasure, { firmware: file(big.subarray(-0x1000)), firmwareHash, ...MILAN }), wanted)
})

for (const [name, measure, given, launched, differs, inputs] of [
    ['what was given', snpMeasure, { vcpus: 2 }, { vcpus: 2 }, [], { vcpus: 2 }],
    [
        'another count',
        snpMeasure,
        { vcpus: 2, ...MILAN },
        { vcpus: 37 },
        ['vcpus'],
        { vcpus: 37, guestFeatures: '0x1' },
    ],
    ['another type', snpMeasure, MILAN, { vcpuType: 'EPYC-Rome' }, ['vcpuSig'], { vcpuSig: '0x830f10' }],
    [
        'debug swap',
        snpMeasure,
        { guestFeatures: 1n },
        { guestFeatures: 0x21n },
        ['guestFeatures'],
        { guestFeatures: '0x21' },
    ],
    ['rare features', snpMeasure, {}, { guestFeatures: 0x4201n }, [], { guestFeatures: '0x4201' }],
    [
        'an older kernel',
        snpMeasure,
        { profile: 'kvm-init2' },
        { profile: 'kvm-legacy' },
        ['profile'],
        { profile: 'kvm-legacy' },
    ],
    ['a cloud', snpMeasure, {}, { vmm: 'gce', vcpus: 4 }, ['vmm'], { vmm: 'gce', vcpus: 4 }],
    [
        'no hashes',
        snpMeasure,
        kernel,
        { kernel: undefined, initrd: undefined, append: undefined },
        ['kernel'],
        { vcpus: 1 },
    ],
    [
        'a line without its space',
        snpMeasure,
        kernel,
        { append: 'console=ttyS0' },
        ['append'],
        { append: '"console=ttyS0"' },
    ],
    ['no initrd', sevEsMeasure, kernel, { initrd: undefined }, ['initrd'], { initrd: 'none' }],
    [
        'a plain launch by an older QEMU',
        sevEsMeasure,
        { profile: 'kvm-init2' },
        { profile: 'kvm-legacy', vcpus: 3 },
        ['profile'],
        { vcpus: 3 },
    ],
    ['debug swap of a host', sevEsMeasure, {}, { profile: 'kvm-legacy+debugswap' }, [], { guestFeatures: '0x20' }],
] as const)
    test(`match: ${name}`, (t) => {
        const base = { firmware: fw, vmm: 'QEMU', ...given }
        const wanted = digest(measure, { ...MILAN, ...base, ...launched })
        const [nearest] = search(measure, base, wanted)
        t.deepEqual(nearest?.differs, [...differs])
        t.like(nearest?.inputs, inputs)
    })

test('match: nothing fits', (t) => {
    t.deepEqual(search(snpMeasure, { firmware: fw, vmm: 'QEMU' }, '00'.repeat(48)), [])
    t.deepEqual(search(sevMeasure, { firmware: fw, ...kernel }, '00'.repeat(32)), [])
    t.throws(() => search(snpMeasure, { firmware: fw, vmm: 'QEMU', vmsa: [file(Buffer.alloc(4096))] }, '00'), {
        code: 'ERR_USAGE',
    })
})

test('an ID block for a guest, and for another one', (t) => {
    const key = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export({ type: 'pkcs8', format: 'pem' })
    const idKey = file(Buffer.from(key))
    const { also = {} } = ask(snpMeasure, { firmware: fw, idKey, guestSvn: 7, imageId: Buffer.alloc(16, 9), ...MILAN })
    const idBlock = file(Buffer.from(`${also['id-block']}\n`))
    const idAuth = file(Buffer.from(String(also['id-auth']), 'base64'))
    const read = ask(snpMeasure, { idBlock, idAuth, vmm: 'QEMU' })
    t.is(read.measurements['measurement'], digest(snpMeasure, { firmware: fw, ...MILAN }))
    t.like(read.also, { guestSvn: 7, imageId: '09'.repeat(16), policy: '0x30000', idKeyDigest: also['idKeyDigest'] })
    t.notThrows(() => ask(snpMeasure, { firmware: fw, idBlock, ...MILAN }))
    t.throws(() => ask(snpMeasure, { firmware: fw, idBlock, vcpus: 2, ...MILAN }), {
        code: 'ERR_SNP_ID_BLOCK',
        message: /another guest/,
    })
})

test('whatever the firmware, the answer is one of ours', (t) => {
    const section = fc.tuple(
        fc.oneof(fc.constantFrom('SEC_MEM', 'SECRETS', 'CPUID', 'KERNEL_HASHES', 'SVSM_CAA'), fc.nat({ max: 20 })),
        fc.nat({ max: 0xffffffff }).map((base) => (base & ~0xff0) >>> 0),
        fc.constantFrom(0, 1, 0x1000, 0x2000, 0xfffff000),
    )
    const image = fc.record({
        sections: fc.option(fc.array(section, { maxLength: 5 })),
        version: fc.constantFrom(0, 1, 1, 1, 2),
        hashArea: fc.tuple(fc.constantFrom(0, 0x810c00, 0x810ffe, 0xffffffff), fc.constantFrom(0, 1, 175, 176, 0x400)),
        reset: fc.constantFrom(0, 1, 0xffffffff),
        entries: fc.array(
            fc.tuple(
                fc.constantFrom(...Object.values(FOOTER_GUIDS)),
                fc.uint8Array({ maxLength: 9 }).map((b) => Buffer.from(b)),
            ),
            { maxLength: 2 },
        ),
    })
    const cut = fc.option(fc.nat({ max: 0x4000 }))
    let answers = 0
    fc.assert(
        fc.property(image, cut, fc.boolean(), (parts, from, withKernel) => {
            const bytes = firmware({ ...parts, sections: parts.sections as readonly SectionRow[] | null }).subarray(
                from ?? 0,
            )
            const values = { firmware: file(bytes), ...MILAN, vcpus: 2, ...(withKernel ? kernel : {}) }
            for (const measure of [sevMeasure, sevEsMeasure, snpMeasure])
                try {
                    ask(measure, values)
                    answers++
                } catch (error) {
                    if (!(error instanceof AttestError)) throw error
                }
        }),
        { numRuns: 10_000 },
    )
    t.true(answers > 100, `${answers}`)
    t.is(words(1).length, 4)
})

const folder = temporaryFolder({ teardown: test.after.always })

test('the program: a digest alone, pages in a folder, a search in a report', async (t) => {
    const image = join(folder, 'fw')
    writeFileSync(image, fw.bytes)
    const common = ['measure', 'snp', '--firmware', image]
    const launched = ['--vcpus', '2', '--vcpu-type', 'EPYC-Milan']
    const wanted = digest(snpMeasure, { firmware: fw, vcpus: 2, ...MILAN })
    const pages = join(folder, 'pages')
    const told = await guestAttest([...common, ...launched, '--dump-vmsa', pages])
    t.is(told.stdout, `${wanted}\n`)
    t.regex(told.stderr, /coverage: firmware/)
    t.deepEqual(readdirSync(pages), ['vmsa0.bin', 'vmsa1.bin'])
    t.is(readFileSync(join(pages, 'vmsa1.bin')).length, 4096)
    const json = JSON.parse((await guestAttest([...common, ...launched, '--json'])).stdout)
    t.like(json, { tee: 'snp', measurements: { measurement: wanted } })
    t.like(json.inputs, { vcpus: 2, vcpuSig: '0xa00f11', vmm: 'QEMU', profile: 'kvm-init2', guestFeatures: '0x1' })

    const blank = Buffer.alloc(1184)
    blank.writeUInt32LE(2)
    const report = encodeReport({ ...parseReport(blank), measurement: Buffer.from(wanted, 'hex') })
    const path = join(folder, 'report.hex')
    writeFileSync(path, report.toString('hex'))
    const found = await guestAttest([...common, '--vcpus', '3', '--match', path])
    t.is(found.code, 0, found.stderr)
    t.regex(found.stdout, /^vcpus +2 +not as given$/m)
    const none = await guestAttest([...common, '--match', '00'.repeat(48), '--json'])
    t.is(none.code, 1)
    t.deepEqual(JSON.parse(none.stdout).fits, [])
    const short = await guestAttest([...common, '--match', '00'.repeat(32)])
    t.is(short.code, 2)
    const neither = await guestAttest([...common, '--match', 'zz'])
    t.is(neither.code, 2)
    t.regex(neither.stderr, /expected 96 hex digits, or a file; there is no file zz/)
})
