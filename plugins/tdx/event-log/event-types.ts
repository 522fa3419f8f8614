// The events of a boot: what each type means, and of what its digest is taken where the log itself holds that. TCG PC
// Client Platform Firmware Profile 1.06 §10.4; where firmware, shim, GRUB and systemd do otherwise, as they do.
// SPDX-License-Identifier: Apache-2.0

import { GUID_SIZE, guidBytes, guidText } from '#core/guid.ts'

/** Carries information for a verifier and extends nothing. */
export const EV_NO_ACTION = 3

export const EV_IPL = 0xd
export const EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001

/** dstack's own: an application of the guest tells something. */
export const DSTACK_RUNTIME_EVENT = 0x08000001

interface EventType {
    readonly name: string
    /** The texts of which the digest may have been taken; absent where the log does not hold what was measured. */
    readonly measured?: (data: Buffer) => readonly Buffer[]
    /** What was measured, for a person, once it is known to be that. */
    readonly says?: (data: Buffer) => string
    /** What the data say of something that they do not hold. */
    readonly names?: (data: Buffer) => string
}

const whole = (data: Buffer): readonly Buffer[] => [data]

const ROWS: readonly (EventType & { readonly type: number })[] = [
    { type: 0x1, name: 'EV_POST_CODE' },
    { type: EV_NO_ACTION, name: 'EV_NO_ACTION' },
    { type: 0x4, name: 'EV_SEPARATOR', measured: whole, says: (data) => data.toString('hex') },
    { type: 0x5, name: 'EV_ACTION', measured: whole },
    { type: 0x6, name: 'EV_EVENT_TAG', measured: tagged, says: tagText, names: tagText },
    { type: 0x7, name: 'EV_S_CRTM_CONTENTS' },
    { type: 0x8, name: 'EV_S_CRTM_VERSION', measured: whole },
    { type: 0x9, name: 'EV_CPU_MICROCODE' },
    { type: 0xa, name: 'EV_PLATFORM_CONFIG_FLAGS' },
    { type: 0xb, name: 'EV_TABLE_OF_DEVICES' },
    { type: 0xc, name: 'EV_COMPACT_HASH' },
    { type: EV_IPL, name: 'EV_IPL', measured: loaderText, says: loaderSays },
    { type: 0xe, name: 'EV_IPL_PARTITION_DATA' },
    { type: 0xf, name: 'EV_NONHOST_CODE' },
    { type: 0x10, name: 'EV_NONHOST_CONFIG' },
    { type: 0x11, name: 'EV_NONHOST_INFO', measured: whole },
    { type: 0x12, name: 'EV_OMIT_BOOT_DEVICE_EVENTS' },
    { type: DSTACK_RUNTIME_EVENT, name: 'DSTACK_RUNTIME_EVENT', measured: whole, says: dstackText },
    { type: EV_EFI_VARIABLE_DRIVER_CONFIG, name: 'EV_EFI_VARIABLE_DRIVER_CONFIG', measured: whole, says: variableText },
    // EDK II measures the value of these alone, not what it belongs to.
    { type: 0x80000002, name: 'EV_EFI_VARIABLE_BOOT', measured: valueOrWhole, says: variableText },
    { type: 0x80000003, name: 'EV_EFI_BOOT_SERVICES_APPLICATION', names: imageText },
    { type: 0x80000004, name: 'EV_EFI_BOOT_SERVICES_DRIVER', names: imageText },
    { type: 0x80000005, name: 'EV_EFI_RUNTIME_SERVICES_DRIVER', names: imageText },
    { type: 0x80000006, name: 'EV_EFI_GPT_EVENT', measured: whole, says: sizeOf },
    { type: 0x80000007, name: 'EV_EFI_ACTION', measured: whole },
    { type: 0x80000008, name: 'EV_EFI_PLATFORM_FIRMWARE_BLOB' },
    { type: 0x80000009, name: 'EV_EFI_HANDOFF_TABLES' },
    { type: 0x8000000a, name: 'EV_EFI_PLATFORM_FIRMWARE_BLOB2', names: countedText },
    { type: 0x8000000b, name: 'EV_EFI_HANDOFF_TABLES2', names: countedText },
    { type: 0x8000000c, name: 'EV_EFI_VARIABLE_BOOT2', measured: whole, says: variableText },
    { type: 0x8000000d, name: 'EV_EFI_GPT_EVENT2', measured: whole, says: sizeOf },
    { type: 0x80000010, name: 'EV_EFI_HCRTM_EVENT' },
    { type: 0x800000e0, name: 'EV_EFI_VARIABLE_AUTHORITY', measured: whole, says: variableText },
    { type: 0x800000e1, name: 'EV_EFI_SPDM_FIRMWARE_BLOB' },
    { type: 0x800000e2, name: 'EV_EFI_SPDM_FIRMWARE_CONFIG' },
]

/** A type that is not here is known by its number alone. */
const EVENT_TYPES: ReadonlyMap<number, EventType> = new Map(ROWS.map((row) => [row.type, row]))

export const typeName = (type: number): string =>
    EVENT_TYPES.get(type)?.name ?? `0x${type.toString(16).padStart(8, '0')}`

/** What the digest of such an event may have been taken of, as far as its data hold that. */
export const measuredOf = (type: number, data: Buffer): readonly Buffer[] =>
    EVENT_TYPES.get(type)?.measured?.(data) ?? []

/** An event in words: what was measured, or what the log says that it was. */
export function textOf({
    type,
    data,
    proven,
}: {
    readonly type: number
    readonly data: Buffer
    readonly proven: boolean
}): string {
    const row = EVENT_TYPES.get(type)
    return (proven ? row?.says : row?.names)?.(data) ?? printable(data)
}

/** Whether a text only says how much was measured, which is the same for much else. */
export const isSizeAlone = (text: string): boolean => /(?:^| = )\d+ bytes$/.test(text)

/** A UEFI variable as it is measured (UEFI_VARIABLE_DATA). */
export function variableBytes(guid: string, name: string, value: Buffer): Buffer {
    const sizes = Buffer.alloc(16)
    sizes.writeBigUInt64LE(BigInt(name.length), 0)
    sizes.writeBigUInt64LE(BigInt(value.length), 8)
    return Buffer.concat([guidBytes(guid), sizes, Buffer.from(name, 'utf16le'), value])
}

/** Its inverse. Null: it is none. */
export function variableOf(
    data: Buffer,
): { readonly guid: string; readonly name: string; readonly value: Buffer } | null {
    if (data.length < 32) return null
    const nameSize = data.readBigUInt64LE(16) * 2n
    const valueSize = data.readBigUInt64LE(24)
    if (32n + nameSize + valueSize !== BigInt(data.length)) return null
    const end = 32 + Number(nameSize)
    return {
        guid: guidText(data.subarray(0, GUID_SIZE)),
        name: data.toString('utf16le', 32, end),
        value: data.subarray(end),
    }
}

/** What GRUB writes before the text that it measures, and whether it measured the zero byte behind it, too. */
const GRUB_LABELS = [
    { label: 'grub_cmd: ', ends: false },
    { label: 'kernel_cmdline: ', ends: false },
    { label: 'module_cmdline: ', ends: false },
    // Red Hat's GRUB before 2.06 had no colon.
    { label: 'grub_cmd ', ends: true },
] as const

/** The kernel's command line in an event of GRUB; null where it is no text, or a long one; undefined: another event. */
export function kernelCommandLine(data: Buffer): string | null | undefined {
    const label = 'kernel_cmdline: '
    return data.toString('latin1', 0, label.length) === label
        ? plainText(untilZero(data).subarray(label.length))
        : undefined
}

function loaderText(data: Buffer): readonly Buffer[] {
    const text = untilZero(data)
    const grub = GRUB_LABELS.filter(({ label }) => text.toString('latin1', 0, label.length) === label).map(
        ({ label, ends }) => data.subarray(label.length, text.length + (ends ? 1 : 0)),
    )
    // systemd's stub names a section in UTF-16, and measures its name in ASCII.
    const name = utf16(data)
    return [data, ...grub, ...(name === null ? [] : [Buffer.from(`${name}\0`, 'latin1')])]
}

// What is behind the text of GRUB was not measured with it.
function loaderSays(data: Buffer): string {
    const text = untilZero(data)
    return printable(GRUB_LABELS.some(({ label }) => text.toString('latin1', 0, label.length) === label) ? text : data)
}

// TCG_PCClientTaggedEvent: an identifier, a size, and what is measured: it alone, or all of it.
function tagged(data: Buffer): readonly Buffer[] {
    if (data.length < 8 || data.readUInt32LE(4) !== data.length - 8) return [data]
    return [data, data.subarray(8)]
}

function valueOrWhole(data: Buffer): readonly Buffer[] {
    const variable = variableOf(data)
    return variable ? [variable.value, data] : [data]
}

function variableText(data: Buffer): string {
    const variable = variableOf(data)
    if (!variable) return printable(data)
    const { guid, name, value } = variable
    const shown = value.length <= 32 ? value.toString('hex') : `${value.length} bytes`
    return `${printable(Buffer.from(name))} (${guid}) = ${shown || 'nothing'}`
}

// The type, a colon, the name of the event, a colon, its payload.
function dstackText(data: Buffer): string {
    const name = data.indexOf(':', 5)
    const payload = data.subarray(name + 1)
    return `${printable(data.subarray(5, name))} = ${payload.length > 0 ? payload.toString('hex') : 'nothing'}`
}

function sizeOf(data: Buffer): string {
    return `${data.length} bytes`
}

function tagText(data: Buffer): string {
    return data.length < 8 || data.readUInt32LE(4) !== data.length - 8 ? printable(data) : printable(data.subarray(8))
}

// UEFI_IMAGE_LOAD_EVENT: four words, then the device path (UEFI 2.10 §10.3), whose nodes of type 4.4 name a file.
function imageText(data: Buffer): string {
    const names: string[] = []
    let at = 32
    while (at + 4 <= data.length) {
        const size = data.readUInt16LE(at + 2)
        if (size < 4) break
        if (data[at] === 4 && data[at + 1] === 4) names.push(printable(data.subarray(at + 4, at + size)))
        at += size
    }
    return names.join(' ') || sizeOf(data)
}

// A byte that counts, and as many of text.
function countedText(data: Buffer): string {
    return printable(data.subarray(1, 1 + (data[0] ?? 0)))
}

function untilZero(data: Buffer): Buffer {
    const end = data.indexOf(0)
    return end < 0 ? data : data.subarray(0, end)
}

function utf16(data: Buffer): string | null {
    if (data.length < 4 || data.length % 2 !== 0) return null
    const text = data.toString('utf16le').replace(/\0+$/, '')
    return /^[\x20-\x7e]+$/.test(text) ? text : null
}

/** Text that somebody else wrote, as far as a terminal and a log can bear it; anything else in hex, or its size. */
const printable = (data: Buffer): string => plainText(data) ?? (data.length <= 32 ? data.toString('hex') : sizeOf(data))

// Null: no text, or a long one. Nothing of it is left out, so that no two texts look like one.
function plainText(data: Buffer): string | null {
    const text = utf16(data) ?? data.toString('latin1').replace(/\0+$/, '')
    if (text.length > MAX_TEXT || !/^[\x20-\x7e\n\t]+$/.test(text)) return null
    return text.replaceAll('\n', NEW_LINE).replaceAll('\t', TAB)
}

// The pictures of these characters, which are no other text.
const NEW_LINE = '\u240a'
const TAB = '\u2409'

/** Real command lines have up to 800 characters. */
const MAX_TEXT = 1024
