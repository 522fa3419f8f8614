// What MRTD, RTMR1 and RTMR2 of a TD should be, from its firmware and what QEMU hands over. Intel TDX Module Base
// Architecture Specification, "Measurement and attestation": MRTD is SHA-384 over a record of each page that is added,
// and of each 256 bytes that are measured. No door is touched, and nothing here is trusted.
// SPDX-License-Identifier: Apache-2.0

import { createHash, type Hash } from 'node:crypto'
import { toHex } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import type { Measure, MeasureRows, MeasureValues, Prediction } from '#evidence/measure.ts'
import { type DirectBoot, predictRtmr1, predictRtmr2 } from './measured/direct-boot.ts'
import { MR_EXTEND, PAGE_AUG, PAGE_SIZE, readSections, type Section } from './measured/tdvf.ts'

const RECORD = 128
const CHUNK = 256
const MIB = 1024 * 1024

/**
 * `onePass`: each page is added and measured before the next (KVM of Linux 6.16 and newer); `twoPass`: all pages of a
 * section are added first (Intel's older QEMU and KVM).
 */
export type MeasureOrder = 'onePass' | 'twoPass'

/** MRTD of a TD that starts with this image. @throws AttestError ERR_TDX_FIRMWARE */
export function predictMrTd(image: Buffer, order: MeasureOrder, title: string): Buffer {
    const hash = createHash('sha384')
    for (const section of readSections(image, title)) {
        const isAdded = (section.attributes & PAGE_AUG) === 0
        const isMeasured = (section.attributes & MR_EXTEND) !== 0
        if (order === 'onePass') hashPages(hash, section, isAdded, isMeasured)
        else {
            hashPages(hash, section, isAdded, false)
            hashPages(hash, section, false, isMeasured)
        }
    }
    return hash.digest()
}

// One buffer a page: records of 128 bytes cost more to hand over than to hash.
function hashPages(hash: Hash, { memoryAddress, memoryDataSize, data }: Section, add: boolean, measure: boolean): void {
    if (!add && !measure) return
    const added = add ? RECORD : 0
    const stream = Buffer.alloc(added + (measure ? (PAGE_SIZE / CHUNK) * (RECORD + CHUNK) : 0))
    if (add) stream.write('MEM.PAGE.ADD', 0, 'latin1')
    if (measure) for (let at = added; at < stream.length; at += RECORD + CHUNK) stream.write('MR.EXTEND', at, 'latin1')
    for (let offset = 0; offset < Number(memoryDataSize); offset += PAGE_SIZE) {
        const address = memoryAddress + BigInt(offset)
        const [low, high] = [Number(address & 0xffff_ffffn), Number(address >> 32n)]
        if (add) stream.writeBigUInt64LE(address, 16)
        // A page does not cross a multiple of 4 GiB: the upper half of an address is the same in all of it.
        for (let chunk = 0, at = added; at < stream.length; chunk += CHUNK, at += RECORD + CHUNK) {
            stream.writeUInt32LE(low + chunk, at + 16)
            stream.writeUInt32LE(high, at + 20)
            const from = offset + chunk
            const copied = from < data.length ? data.copy(stream, at + RECORD, from, from + CHUNK) : 0
            if (copied < CHUNK) stream.fill(0, at + RECORD + copied, at + RECORD + CHUNK)
        }
        hash.update(stream)
    }
}

const OPTIONS = {
    firmware: {
        type: 'file',
        required: true,
        describe: 'the firmware that the TD starts with, code and variables in one image',
    },
    twoPass: {
        type: 'flag',
        describe: 'the host adds all pages of a section before it measures them, as Intel’s older QEMU and KVM do',
    },
    kernel: { type: 'file', maxBytes: 512 * MIB, describe: 'the kernel of QEMU’s -kernel: predicts RTMR1 and RTMR2' },
    initrd: { type: 'file', maxBytes: 1024 * MIB, describe: 'the initrd of -initrd' },
    append: { type: 'text', describe: 'the command line of -append' },
    memory: { type: 'size', describe: 'memory of the TD; any from 2816M on gives the same values [4G]' },
    setupHeader: {
        type: 'choice',
        choices: ['rewritten', 'untouched'],
        describe: 'whether QEMU writes into the kernel’s header: 10.1 and older do, 10.2 does not',
    },
    separator: {
        type: 'choice',
        choices: ['rtmr1', 'rtmr0'],
        describe:
            'where the firmware puts the separator before the boot: RTMR0 before edk2-stable202411 (so in Debian 12)',
    },
    initrdWord: {
        type: 'choice',
        choices: ['last', 'first'],
        describe:
            'where the firmware puts initrd=initrd in the command line: first from edk2-stable202502 on (so in Debian 13)',
    },
} as const satisfies MeasureRows

type Values = MeasureValues<typeof OPTIONS>

export const tdxMeasure: Measure<typeof OPTIONS> = {
    options: OPTIONS,
    details:
        'MRTD covers the firmware alone. With --kernel, RTMR1 and RTMR2 are those of QEMU’s direct boot through OVMF, of a Linux whose EFI stub measures (6.9 and newer).\n' +
        'RTMR0 is never predicted: it holds the memory map, the ACPI tables and the variables that the host gave the firmware. Take it from an event log that replays: `broker reference add --from-eventlog`.',
    examples: [
        ['--firmware /usr/share/ovmf/OVMF.fd', 'MRTD, as KVM of Linux 6.16 and newer measures'],
        [
            "--firmware OVMF.fd --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0' --setup-header untouched",
            'MRTD, RTMR1 and RTMR2 of a direct boot under QEMU 10.2',
        ],
        ['--firmware OVMF.fd --two-pass --json', 'for a host with Intel’s older QEMU, as JSON'],
    ],
    measure,
}

const MEMORY = 4 * 1024 * MIB

function measure(values: Values): Prediction {
    const { firmware, twoPass, kernel } = values
    const order = twoPass ? 'twoPass' : 'onePass'
    const mrTd = toHex(predictMrTd(firmware.bytes, order, firmware.name))
    const assumed = [
        twoPass
            ? 'the host adds all pages of a section, then measures them (--two-pass)'
            : 'the host measures each page as it adds it (KVM of Linux 6.16 and newer; else --two-pass)',
    ]
    const unpredicted = { rtmr0: RTMR0, rtmr3: RTMR3 }
    if (!kernel) {
        requireKernel(values)
        return {
            measurements: { mrTd },
            coverage: 'firmware',
            coverageNote: 'MRTD is the firmware alone: the host chooses kernel, initrd and command line',
            assumed,
            unpredicted: { rtmr0: RTMR0, rtmr1: LOADER, rtmr2: LOADER, rtmr3: RTMR3 },
        }
    }
    const boot = readBoot(values, kernel.bytes)
    return {
        measurements: {
            mrTd,
            rtmr1: toHex(predictRtmr1(boot, kernel.name)),
            rtmr2: toHex(predictRtmr2(boot)),
        },
        coverage: 'firmware+kernel+initrd+cmdline',
        coverageNote:
            'only where a policy demands MRTD, RTMR1 and RTMR2 together; without RTMR0 the host still chooses memory map, ACPI tables and variables',
        assumed: [...assumed, ...BOOT_ASSUMED(boot)],
        unpredicted,
    }
}

const RTMR0 =
    'the memory map (TD HOB), configuration volume, Secure Boot variables, ACPI tables and boot options that the host gave the firmware: take it from an event log that replays'
const RTMR3 = 'nothing before the system runs: zeros, unless its software extends it'
const LOADER = 'the boot loader and what it loads: --kernel predicts it for a direct boot'

const BOOT_ASSUMED = ({ setupHeader, separator, initrdWord, initrd, memory }: DirectBoot): string[] => [
    setupHeader === 'rewritten'
        ? `QEMU 10.1 or older rewrites the kernel’s setup header, with ${memory / MIB} MiB of memory (else --setup-header untouched)`
        : 'QEMU 10.2 or newer leaves the kernel’s setup header alone (else --setup-header rewritten)',
    separator === 'rtmr1'
        ? 'the firmware is edk2-stable202411 or newer: the separator before the boot is in RTMR1 (else --separator rtmr0)'
        : 'the firmware is older than edk2-stable202411: the separator before the boot is in RTMR0',
    ...(initrd
        ? [
              initrdWord === 'last'
                  ? 'the firmware puts initrd=initrd behind the command line (from edk2-stable202502 on: --initrd-word first)'
                  : 'the firmware is edk2-stable202502 or newer: it puts initrd=initrd before the command line',
          ]
        : []),
    'the EFI stub of Linux measures command line and initrd into RTMR2 (6.9 and newer)',
]

function readBoot({ initrd, append = '', memory = MEMORY, ...choices }: Values, kernel: Buffer): DirectBoot {
    return {
        kernel,
        initrd: initrd?.bytes ?? null,
        commandLine: append,
        memory,
        // The command line offers these alone.
        setupHeader: choices.setupHeader as DirectBoot['setupHeader'],
        separator: choices.separator as DirectBoot['separator'],
        initrdWord: choices.initrdWord as DirectBoot['initrdWord'],
    }
}

function requireKernel({ initrd, append, memory }: Values): void {
    const stray = Object.entries({ initrd, append, memory }).find(([, value]) => value !== undefined)
    if (stray) throw coreError('ERR_USAGE', `--${stray[0]} is nothing without --kernel`)
}
