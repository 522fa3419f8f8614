// One boot of the table, and how it is judged.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync, writeFileSync } from 'node:fs'
import { MEASUREMENT } from '#test/stage.ts'
import { cpio, type Entry, withSegment } from './cpio.ts'
import { guestFiles, INITRDS, type InitrdKind, type InitrdName, ROOT_UUID, type VolumeOptions } from './initrds.ts'
import { GOOD_MARKER, type Kit } from './kit.ts'
import { type Booted, boot, type Machine, USER_NETWORK } from './qemu.ts'
import { HOST } from './stage.ts'

/** How a boot ends that is as it should be. */
export type End =
    /** The real root says its marker and switches off. */
    | 'opens'
    /** The guest switches itself off, and no real root ran. */
    | 'stays shut'
    /** It waits, or tries again, until it is switched off from outside; no real root ran. */
    | 'waits'

export interface Row {
    readonly name: string
    readonly initrd: InitrdName
    /** The technology of the guest; SNP unless told. */
    readonly tee?: string
    readonly end: End
    /** Lines of the console, in this order. */
    readonly expect: readonly RegExp[]
    readonly never?: readonly RegExp[]
    /** Of a row that opens. */
    readonly marker?: RegExp
    readonly timeoutS?: number
    /** Boots that take long begin first. */
    readonly long?: boolean
    /** Disks, and what differs from other boots. */
    prepare?(kit: Kit, built: Built): Promise<Prepared>
    /** Instead of it: boots of its own making. */
    boots?(kit: Kit, built: Built): Promise<Booted>
}

export interface Prepared extends Partial<Pick<Machine, 'network' | 'types' | 'resolver' | 'onLine' | 'memoryMiB'>> {
    readonly drives: readonly string[]
    readonly commandLine?: string
    readonly measurement?: string
    /** What the guest calls its broker; the broker of the stage unless told. */
    readonly url?: string
    /** What its image trusts; the broker of the stage unless told. */
    readonly pin?: string
    readonly volume?: VolumeOptions
    /** Further files of the initrd. */
    readonly files?: Readonly<Record<string, Entry>>
    /** Looked at when the machine is off: what is wrong, or null. */
    verdict?(booted: Booted): string | null
    close?(): void
}

export interface Ran {
    readonly row: Row
    readonly booted: Booted
    readonly faults: readonly string[]
}

const TIMEOUT_S = 300

const ANY_ROOT = /REAL ROOT REACHED/

/** A state comes back now and then, between others; what is said at each try is said dozens of times. */
const MOST_TIMES = 4

export interface Built {
    readonly initrd: string
    readonly kernel: string
    /** The root that it was made in. */
    readonly root: string
}

export async function runRow(row: Row, kit: Kit, built: Built): Promise<Ran> {
    if (row.boots) {
        const booted = await row.boots(kit, built)
        writeFileSync(kit.file(`${row.name}.console`), booted.console)
        return { row, booted, faults: judge(row, booted, kit.secrets) }
    }
    const { stage, port, chip } = kit.boot
    const prepared = await row.prepare?.(kit, built)
    if (!prepared) throw new TypeError(`${row.name}: nothing to boot`)
    const kind: InitrdKind = INITRDS[row.initrd]
    const broker = { url: prepared.url ?? `https://${HOST}:${port}`, pin: prepared.pin ?? stage.pin }
    const segment = cpio({
        ...chip(prepared.measurement ?? MEASUREMENT),
        ...guestFiles(kind, broker, prepared.volume),
        ...prepared.files,
    })
    const initrd = kit.file(`${row.name}.initrd`)
    writeFileSync(initrd, withSegment(readFileSync(built.initrd), segment))
    const words = WORDS[`${kind.flavour} ${kind.frontEnd}`] ?? ''
    const { commandLine = `root=/dev/mapper/root ro${words}` } = prepared
    try {
        const booted = await boot({
            network: USER_NETWORK,
            ...prepared,
            kernel: built.kernel,
            initrd,
            commandLine,
            timeoutS: row.timeoutS ?? TIMEOUT_S,
            log: kit.file(`${row.name}.console`),
            ...(row.end === 'waits' ? { stopWhen: (text: string) => unmet(row.expect, text) === null } : {}),
        })
        writeFileSync(kit.file(`${row.name}.console`), booted.console)
        const said = prepared.verdict?.(booted)
        return { row, booted, faults: [...judge(row, booted, kit.secrets), ...(said ? [said] : [])] }
    } finally {
        prepared.close?.()
    }
}

// An initrd of dracut's for any machine has no crypttab where clevis is to open: the words are those of its manual.
const WORDS: Readonly<Record<string, string>> = {
    'dracut tang': ` rd.luks.name=${ROOT_UUID}=root rd.neednet=1 ip=dhcp`,
    'dracut clevis': ` rd.luks.name=${ROOT_UUID}=root`,
}

function judge(
    {
        expect,
        never = [],
        end,
        marker = new RegExp(`REAL ROOT REACHED: ${GOOD_MARKER} on /dev/mapper/root CRYPT-LUKS2-`),
    }: Row,
    { console, timedOut }: Booted,
    secrets: Iterable<string>,
): string[] {
    const faults: string[] = []
    const missing = unmet(expect, console)
    if (missing) faults.push(`the console does not say ${missing} (or not in its place)`)
    for (const pattern of never) {
        const found = pattern.exec(console)
        if (found) faults.push(`the console says ${JSON.stringify(found[0])}`)
    }
    for (const [line, times] of repeated(console)) faults.push(`the console says ${times} times: ${line}`)
    for (const secret of secrets) if (console.includes(secret)) faults.push('a secret is on the console')
    if (end === 'opens' && !marker.test(console))
        faults.push(`the real root was not reached${timedOut ? ' in time' : ''}`)
    if (end !== 'opens' && ANY_ROOT.test(console)) faults.push('a real root ran')
    if (end === 'stays shut' && timedOut) faults.push('the guest did not switch itself off')
    if (/Kernel panic|Attempted to kill init/.test(console)) faults.push('the kernel panicked')
    return faults
}

/** Lines of ours that are said again and again: each change of state is one. */
function repeated(console: string): [string, number][] {
    const times = new Map<string, number>()
    for (const [line] of console.matchAll(/guest-attest(?:-initrd)?: .*/g)) times.set(line, (times.get(line) ?? 0) + 1)
    return [...times].filter(([, count]) => count > MOST_TIMES)
}

/** The first expectation that the text does not meet. */
function unmet(expect: readonly RegExp[], text: string): RegExp | null {
    let from = 0
    for (const pattern of expect) {
        const found = pattern.exec(text.slice(from))
        if (!found) return pattern
        from += found.index + found[0].length
    }
    return null
}

/** Seconds of the kernel's clock at a mark. */
export function markAt(console: string, mark: RegExp): number | null {
    const found = new RegExp(`\\[ *([0-9.]+)\\] boot-test: ${mark.source}`).exec(console)
    return found ? Number(found[1]) : null
}
