// The launch digest of SEV-SNP: what MEASUREMENT of a report should be. AMD 56860 (SEV-SNP Firmware ABI), SNP_LAUNCH_UPDATE,
// PAGE_INFO: SHA-384 over the digest so far and what the firmware is told of each page, in the order in which hosts add
// them (QEMU target/i386/sev.c; EC2 and GCE differ in a few). No door is touched, and nothing here is trusted.
// SPDX-License-Identifier: Apache-2.0

import { hash } from 'node:crypto'
import { launchError } from '#core/launch/errors.ts'
import { HASH_TABLE_SIZE, hashTable, type KernelHashes, wantHashArea } from '#core/launch/kernel-hashes.ts'
import { type Firmware, PAGE_SIZE, type Section, type SectionType, sevMetadata } from '#core/launch/ovmf.ts'
import type { Vmm } from '#core/launch/vmsa.ts'

export const DIGEST_SIZE = 48

/** PAGE_TYPE. */
const PAGE_TYPES = { normal: 1, vmsa: 2, zero: 3, unmeasured: 4, secrets: 5, cpuid: 6 } as const

type PageType = keyof typeof PAGE_TYPES

/** Where VMSAs are said to be, whatever their real address. */
const VMSA_ADDRESS = 0xffff_ffff_f000

const NO_CONTENTS = Buffer.alloc(DIGEST_SIZE)

/** How each section of the firmware's metadata is added. */
const SECTION_PAGES: Readonly<Record<SectionType, PageType>> = {
    SEC_MEM: 'zero',
    SECRETS: 'secrets',
    CPUID: 'cpuid',
    SVSM_CAA: 'zero',
    KERNEL_HASHES: 'zero',
}

/** PAGE_INFO, of which the last digest is written over the first bytes. */
export class LaunchDigest {
    readonly #info = Buffer.alloc(0x70)

    /** The digest so far: 48 zero bytes before the first page. */
    constructor(start: Uint8Array = NO_CONTENTS) {
        this.#info.set(start)
        this.#info.writeUInt16LE(this.#info.length, 0x60)
    }

    get value(): Buffer {
        return Buffer.from(this.#info.subarray(0, DIGEST_SIZE))
    }

    is(digest: Buffer): boolean {
        return this.#info.compare(digest, 0, DIGEST_SIZE, 0, DIGEST_SIZE) === 0
    }

    /** One page, by its hash; of a page that is not measured its kind and address count. */
    add(type: PageType, address: number, contents: string | null = null): void {
        const info = this.#info
        if (contents === null) info.fill(0, DIGEST_SIZE, 2 * DIGEST_SIZE)
        else info.write(contents, DIGEST_SIZE, 'latin1')
        info.writeUInt8(PAGE_TYPES[type], 0x62)
        info.writeUInt32LE(address % 2 ** 32, 0x68)
        info.writeUInt32LE(Math.floor(address / 2 ** 32), 0x6c)
        info.write(hash('sha384', info, 'latin1'), 0, 'latin1')
    }

    /** A page of initial processor state, by its hash. */
    addVmsa(contents: string): void {
        this.add('vmsa', VMSA_ADDRESS, contents)
    }
}

/** As text of one character a byte: a Buffer of each would cost more than half of what its hash costs. */
export const pageHash = (page: Uint8Array): string => hash('sha384', page, 'latin1')

/** The digest after the firmware alone, which ends at 4 GiB. @throws AttestError ERR_FIRMWARE */
export function firmwareDigest({ name, image }: Firmware): Buffer {
    if (image.length === 0 || image.length % PAGE_SIZE !== 0)
        throw launchError('ERR_FIRMWARE', `${name} has ${image.length} bytes: no whole pages of ${PAGE_SIZE}`)
    const digest = new LaunchDigest()
    for (let at = 0; at < image.length; at += PAGE_SIZE)
        digest.add('normal', 2 ** 32 - image.length + at, pageHash(image.subarray(at, at + PAGE_SIZE)))
    return digest.value
}

/**
 * The digest before the processors are added: firmware, and what its metadata asks for.
 * @param start the digest after the firmware alone
 * @throws AttestError ERR_FIRMWARE, ERR_FIRMWARE_LACKS
 */
export function memoryDigest(start: Buffer, firmware: Firmware, hashes: KernelHashes | null, vmm: Vmm): Buffer {
    const digest = new LaunchDigest(start)
    const table = hashes && hashPage(firmware, hashes)
    for (const section of inOrder(wantMetadata(firmware), vmm)) {
        if (table && section.type === 'KERNEL_HASHES') digest.add('normal', section.base, pageHash(table))
        else addSection(digest, section, vmm)
    }
    return digest.value
}

/** The digest with processors, whose pages come in their order. */
export function launchDigest(memory: Buffer, pages: readonly Buffer[]): Buffer {
    const digest = new LaunchDigest(memory)
    const known = new Map<Buffer, string>()
    for (const page of pages) {
        const contents = known.get(page) ?? pageHash(page)
        known.set(page, contents)
        digest.addVmsa(contents)
    }
    return digest.value
}

function addSection(digest: LaunchDigest, { type, base, size }: Section, vmm: Vmm): void {
    const page = vmm === 'gce' && type === 'SEC_MEM' ? 'unmeasured' : SECTION_PAGES[type]
    for (let at = 0; at < size; at += PAGE_SIZE) digest.add(page, base + at)
}

// EC2 adds what it knows of CPUID last.
const inOrder = (sections: readonly Section[], vmm: Vmm): readonly Section[] =>
    vmm === 'ec2' ? sections.toSorted((a, b) => Number(a.type === 'CPUID') - Number(b.type === 'CPUID')) : sections

function wantMetadata(firmware: Firmware): readonly Section[] {
    const sections = sevMetadata(firmware)
    if (sections) return sections
    throw launchError(
        'ERR_FIRMWARE_LACKS',
        `${firmware.name} has no SEV metadata: no hypervisor starts an SNP guest with it`,
        { hint: 'name the image that holds them (Debian: /usr/share/ovmf/OVMF.fd), not one of code alone' },
    )
}

/** The page that holds the hashes of a kernel, at their place in it. */
function hashPage(firmware: Firmware, hashes: KernelHashes): Buffer {
    const { base } = wantHashArea(firmware)
    const offset = base % PAGE_SIZE
    const section = wantMetadata(firmware).find(({ type }) => type === 'KERNEL_HASHES')
    if (!section)
        throw launchError('ERR_FIRMWARE_LACKS', `${firmware.name} has no KERNEL_HASHES section in its SEV metadata`)
    if (base - offset !== section.base || offset + HASH_TABLE_SIZE > PAGE_SIZE)
        throw launchError('ERR_FIRMWARE', `${firmware.name}: its hash area lies outside its KERNEL_HASHES section`)
    const page = Buffer.alloc(PAGE_SIZE)
    page.set(hashTable(hashes), offset)
    return page
}
