// configfs-tsm: `/sys/kernel/config/tsm/report`, on which a process makes a folder for each report that it wants.
// Linux drivers/virt/coco/guest/report.c, Documentation/ABI/testing/configfs-tsm-report. Not there: the attributes of
// guests behind an SVSM (service_provider and its like).
// SPDX-License-Identifier: Apache-2.0

import { Errno } from './errno.ts'
import type { Gate } from './gate.ts'
import type { TsmAnswer, TsmProvider } from './model.ts'
import {
    binaryWriteAttribute,
    type Caller,
    type Folder,
    folder,
    readAttribute,
    textAttribute,
    textWriteAttribute,
} from './tree.ts'

/** What a script of faults calls the making of a report here. */
export const TSM_REQUEST = 'configfs'

/** The kind of fault that configfs itself plays: somebody else writes to the entry while a report is made. */
export const GENERATION_RACE = 'generation-race'

/** TSM_REPORT_INBLOB_MAX. */
const MAX_INBLOB = 64

/** TSM_REPORT_PRIVLEVEL_MAX. */
const MAX_PRIVLEVEL = 3

/** The content of configfs's root; no provider means that nothing can be made in it. */
export function configfsFolder(provider: TsmProvider | undefined, gate: Gate): Folder {
    const report: Folder = {
        ...folder(),
        make: () => {
            if (!provider) throw new Errno('ENXIO')
            return entryFolder(provider, gate)
        },
    }
    return folder({ tsm: folder({ report }) })
}

function entryFolder(provider: TsmProvider, gate: Gate): Folder {
    let inblob: Buffer = Buffer.alloc(0)
    let privlevel = 0 // the kernel's own, also where the floor is higher
    let writeGeneration = 0n
    let readGeneration = 0n
    let report: TsmAnswer | undefined
    let gone = false

    // An unsigned long: it wraps, and stops where it would meet the generation that was read last.
    const write = (store: () => void) => {
        if (BigInt.asUintN(64, writeGeneration + 1n) === readGeneration) throw new Errno('EBUSY')
        writeGeneration = BigInt.asUintN(64, writeGeneration + 1n)
        store()
    }
    const alive = () => {
        if (gone) throw new Errno('ENOENT')
    }

    async function read(blob: 'outblob' | 'auxblob', { signal }: Caller): Promise<Buffer> {
        alive()
        if (inblob.length === 0) throw new Errno('EINVAL')
        if (!report || readGeneration !== writeGeneration) {
            report = undefined
            const generation = writeGeneration
            const { answer, faults } = await gate.pass(TSM_REQUEST, signal, async (call) =>
                provider.report({ ...call, inblob, privlevel }),
            )
            if (answer.errno) throw new Errno(answer.errno)
            report = answer
            readGeneration = generation
            if (faults.some(({ kind }) => kind === GENERATION_RACE)) writeGeneration += 1n
        }
        return report[blob]
    }

    const { name, privlevelFloor, hasAuxblob } = provider
    return {
        ...folder({
            generation: textAttribute(0o444, () => String(writeGeneration)),
            provider: textAttribute(0o444, () => name),
            ...(privlevelFloor !== undefined && {
                privlevel: textWriteAttribute(0o200, (text) => {
                    const level = parseUint(text)
                    if (level < privlevelFloor || level > MAX_PRIVLEVEL) throw new Errno('EINVAL')
                    write(() => {
                        privlevel = level
                    })
                }),
                privlevel_floor: textAttribute(0o444, () => String(privlevelFloor)),
            }),
            inblob: binaryWriteAttribute(0o200, MAX_INBLOB, (bytes) => {
                alive()
                write(() => {
                    inblob = bytes
                })
            }),
            outblob: readAttribute(0o400, 0, (caller) => read('outblob', caller)),
            ...(hasAuxblob && { auxblob: readAttribute(0o400, 0, (caller) => read('auxblob', caller)) }),
        }),
        removed: () => {
            gone = true
        },
    }
}

// kstrtouint with base 0: decimal, 0x…, 0… in octal, a plus sign, one line feed behind.
function parseUint(text: string): number {
    const [, hex, octal, decimal] = /^\+?(?:0x([0-9a-f]+)|(0[0-7]*)|([1-9][0-9]*))\n?$/i.exec(text) ?? []
    const value = hex ? Number.parseInt(hex, 16) : octal ? Number.parseInt(octal, 8) : Number(decimal)
    if (Number.isNaN(value)) throw new Errno('EINVAL')
    if (value > 0xffffffff) throw new Errno('ERANGE')
    return value
}
