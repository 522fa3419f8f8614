// A launch on an emulated processor, and the files and words with which an owner's program judges it: ours, or libvirt's.
// SPDX-License-Identifier: Apache-2.0

import { createHash, createPublicKey, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { guidBytes } from '#core/guid.ts'
import { hashCmdline, hashTable, NO_INITRD } from '#core/launch/kernel-hashes.ts'
import { FOOTER_GUIDS, readFirmware, resetAddress } from '#core/launch/ovmf.ts'
import { signature } from '#core/launch/vcpu.ts'
import { vmsaPages } from '#core/launch/vmsa.ts'
import { FOOTER_GUID } from '#core/ovmf-table.ts'
import { EmulatedLaunch, type ProcessorKeys } from '#plugins/sev/emulated/processor.ts'
import { newSession } from '#plugins/sev/launch/session.ts'
import { FIRMWARE } from './minted.ts'

export const MILAN = { family: 25, model: 1, stepping: 1 } as const

export interface LaunchOptions {
    readonly firmware: string
    readonly policy?: number
    readonly kernel?: string
    readonly initrd?: string
    readonly cmdline?: string
    readonly cpus?: number
}

export interface Rig {
    readonly processor: EmulatedLaunch
    readonly measurement: Buffer
    readonly digest: Buffer
    /** As virt-qemu-sev-validate and `sev validate` take them, with this measurement or another. */
    words(measurement?: Buffer): string[]
    readonly keys: { readonly tek: string; readonly tik: string }
}

/** Launches, and writes the keys into this folder. */
export function launch(folder: string, keys: ProcessorKeys, options: LaunchOptions): Rig {
    const { firmware, policy = 3, kernel, initrd, cmdline, cpus = 1 } = options
    const own = newSession(createPublicKey(keys.pdh), policy)
    const processor = new EmulatedLaunch(keys, FIRMWARE, { ...own, policy })
    const image = readFileSync(firmware)
    const parts: Buffer[] = [image]
    if (kernel !== undefined)
        parts.push(
            hashTable({
                kernel: sha256(readFileSync(kernel)),
                initrd: initrd === undefined ? NO_INITRD : sha256(readFileSync(initrd)),
                cmdline: hashCmdline(cmdline ?? ''),
            }),
        )
    if (policy & 4) {
        const state = { profile: 'kvm-legacy', signature: signature(MILAN), features: 0n } as const
        parts.push(...vmsaPages(state, resetAddress(readFirmware(image, firmware)), cpus))
    }
    for (const part of parts) processor.update(part)
    const name = join(folder, randomBytes(6).toString('hex'))
    const paths = { tek: `${name}.tek`, tik: `${name}.tik` }
    writeFileSync(paths.tek, own.tek)
    writeFileSync(paths.tik, own.tik)
    const option = (word: string, value: string | number | undefined) =>
        value === undefined ? [] : [word, String(value)]
    const { apiMajor, apiMinor, buildId } = FIRMWARE
    const measurement = processor.measure()
    return {
        processor,
        measurement,
        digest: sha256(Buffer.concat(parts)),
        keys: paths,
        words: (said = measurement) => [
            ...option('--tek', paths.tek),
            ...option('--tik', paths.tik),
            ...option('--measurement', said.toString('base64')),
            ...option('--api-major', apiMajor),
            ...option('--api-minor', apiMinor),
            ...option('--build-id', buildId),
            ...option('--policy', policy),
            ...option('--firmware', firmware),
            ...option('--kernel', kernel),
            ...option('--initrd', initrd),
            ...option('--cmdline', cmdline),
            ...(policy & 4
                ? ['--num-cpus', `${cpus}`, '--cpu-family', '25', '--cpu-model', '1', '--cpu-stepping', '1']
                : []),
        ],
    }
}

/** A small image with the table of OVMF's AmdSev builds at its end; `area` is its room for secrets. */
export function makeFirmware(area = 0xc00, size = 16 * 1024): Buffer {
    const entry = (guid: string, ...words: number[]): Buffer => {
        const data = Buffer.alloc(words.length * 4)
        for (const [at, word] of words.entries()) data.writeUInt32LE(word, at * 4)
        return Buffer.concat([data, tail(guid, data.length + 18)])
    }
    const entries = Buffer.concat([
        entry(FOOTER_GUIDS.hashArea, 0x81_0c00, 0x400),
        entry(FOOTER_GUIDS.secretArea, area === 0 ? 0 : 0x81_0000, area),
        entry(FOOTER_GUIDS.resetBlock, 0x0080_b004),
    ])
    const table = Buffer.concat([entries, tail(FOOTER_GUID, entries.length + 18)])
    const body = randomBytes(size - table.length - 32)
    return Buffer.concat([body, table, Buffer.alloc(32, 0x90)])
}

function tail(guid: string, length: number): Buffer {
    const out = Buffer.alloc(18)
    out.writeUInt16LE(length)
    out.set(guidBytes(guid), 2)
    return out
}

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()
