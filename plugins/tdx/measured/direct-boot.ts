// RTMR1 and RTMR2 of a TD whose kernel, initrd and command line QEMU hands over (`-kernel -initrd -append`), as OVMF
// and the EFI stub of Linux extend them. What they extend differs between versions: each difference is a choice.
//   QEMU 10.1 and older write into the kernel's setup header (hw/i386/x86-common.c, x86_load_linux), 10.2 does not
//   edk2 before edk2-stable202411 puts the separator of "ready to boot" into RTMR0 (OvmfPkg/Tcg/TdTcg2Dxe)
//   edk2 from edk2-stable202502 puts `initrd=initrd` before the command line, older ones behind it
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { tdxError } from '../errors.ts'
import { authenticodeDigest } from './authenticode.ts'

export interface DirectBoot {
    readonly kernel: Buffer
    readonly initrd: Buffer | null
    /** As QEMU is given it, without what the firmware adds. */
    readonly commandLine: string
    /** Bytes of memory; decides where a rewritten header says that the initrd is. */
    readonly memory: number
    readonly setupHeader: 'rewritten' | 'untouched'
    readonly separator: 'rtmr1' | 'rtmr0'
    readonly initrdWord: 'last' | 'first'
}

const ZERO = Buffer.alloc(48)

const sha384 = (bytes: Buffer | string): Buffer => createHash('sha384').update(bytes).digest()

/** new = SHA-384(old ‖ digest), from zeros on. */
const extended = (digests: readonly Buffer[]): Buffer =>
    digests.reduce((value, digest) => sha384(Buffer.concat([value, digest])), ZERO)

/** edk2, MdePkg/Include/IndustryStandard/UefiTcgPlatform.h: what EV_EFI_ACTION digests. */
const ACTIONS = {
    calling: 'Calling EFI Application from Boot Option',
    leaving: 'Exit Boot Services Invocation',
    left: 'Exit Boot Services Returned with Success',
} as const

const SEPARATOR = Buffer.alloc(4)

/** What the firmware measures of the kernel, and of its own way to it. @throws AttestError ERR_TDX_KERNEL */
export function predictRtmr1(boot: DirectBoot, title: string): Buffer {
    const kernel = boot.setupHeader === 'rewritten' ? rewriteHeader(boot, title) : boot.kernel
    return extended([
        authenticodeDigest(kernel, title),
        sha384(ACTIONS.calling),
        ...(boot.separator === 'rtmr1' ? [sha384(SEPARATOR)] : []),
        sha384(ACTIONS.leaving),
        sha384(ACTIONS.left),
    ])
}

/** What the EFI stub of Linux measures: its command line in UTF-16 with the final NUL, and the initrd. */
export function predictRtmr2({ commandLine, initrd, initrdWord }: DirectBoot): Buffer {
    const word = initrdWord === 'first' ? `initrd=initrd ${commandLine}` : `${commandLine} initrd=initrd`
    const options = Buffer.from(`${initrd ? word : commandLine}\0`, 'utf16le')
    return extended([sha384(options), ...(initrd ? [sha384(initrd)] : [])])
}

/** Documentation/arch/x86/boot.rst: offsets in the setup header of a bzImage. */
const HEADER = {
    setupSectors: 0x1f1,
    magic: 0x202,
    version: 0x206,
    typeOfLoader: 0x210,
    loadFlags: 0x211,
    ramdiskImage: 0x218,
    ramdiskSize: 0x21c,
    heapEnd: 0x224,
    commandLine: 0x228,
    initrdMax: 0x22c,
    xLoadFlags: 0x236,
    end: 0x238,
} as const

const QEMU = 0xb0
const CAN_USE_HEAP = 0x80
const CAN_BE_ABOVE_4G = 0x02

/** Where QEMU puts setup code and command line of a kernel whose protocol is 2.02 or newer. */
const REAL_ADDRESS = 0x10000
const COMMAND_LINE_ADDRESS = 0x20000

/** q35: what ACPI tables may take below 4 GiB, and what memory there is below it. */
const ACPI_SIZE = 0x20000 + 0x8000
const belowFourGiB = (memory: number): number => Math.min(memory, memory >= 0xb000_0000 ? 0x8000_0000 : 0xb000_0000)

/** A kernel as QEMU 10.1 and older hand it to the firmware. @throws AttestError ERR_TDX_KERNEL */
function rewriteHeader({ kernel, initrd, memory, commandLine }: DirectBoot, title: string): Buffer {
    const bad = (why: string) => tdxError('ERR_TDX_KERNEL', `${title}: ${why}`)
    if (kernel.length < HEADER.end || kernel.toString('latin1', HEADER.magic, HEADER.magic + 4) !== 'HdrS')
        throw bad('not a bzImage of Linux')
    const version = kernel.readUInt16LE(HEADER.version)
    if (version < 0x20c) throw bad(`boot protocol 0x${version.toString(16)}, expected 0x20c or newer`)
    // QEMU writes a number of that name into the header, too; nobody needs it with firmware.
    if (/vga=/.test(commandLine))
        throw bad('a command line with vga= cannot be predicted: QEMU writes it into the header')
    const out = Buffer.from(kernel)
    out[HEADER.typeOfLoader] = QEMU
    out[HEADER.loadFlags] = (out[HEADER.loadFlags] ?? 0) | CAN_USE_HEAP
    out.writeUInt16LE(COMMAND_LINE_ADDRESS - REAL_ADDRESS - 0x200, HEADER.heapEnd)
    out.writeUInt32LE(COMMAND_LINE_ADDRESS, HEADER.commandLine)
    if (!initrd) return out
    const anywhere = (out.readUInt16LE(HEADER.xLoadFlags) & CAN_BE_ABOVE_4G) !== 0
    const highest = Math.min(
        anywhere ? 0xffff_ffff : out.readUInt32LE(HEADER.initrdMax),
        belowFourGiB(memory) - ACPI_SIZE - 1,
    )
    if (initrd.length >= highest) throw bad(`the initrd does not fit into ${memory} bytes of memory`)
    const at = highest - initrd.length
    out.writeUInt32LE(at - (at % 4096), HEADER.ramdiskImage)
    out.writeUInt32LE(initrd.length, HEADER.ramdiskSize)
    return out
}
