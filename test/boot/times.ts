// From the start of unlocking to the open disk, as ratios to clevis and tang in the same image and the same run.
// SPDX-License-Identifier: Apache-2.0

import { markAt, type Ran } from './row.ts'

const BEGINS = /(?:unlocking|systemd-cryptsetup|guest-attest-key) begins/
const ENDS = /(?:unlocking|systemd-cryptsetup) ends/

/** What is compared with what, and the most that it may be. */
const COMPARED: readonly { readonly row: string; readonly with: string; readonly most: number }[] = [
    { row: 'key socket, dracut', with: 'clevis and tang, dracut', most: 0.45 },
    { row: 'clevis, dracut', with: 'clevis and tang, dracut', most: 0.9 },
    { row: 'keyscript, initramfs-tools', with: 'clevis and tang, initramfs-tools', most: 0.45 },
    { row: 'clevis, initramfs-tools', with: 'clevis and tang, initramfs-tools', most: 0.9 },
]

export function printTimes(all: readonly Ran[]): void {
    const spanOf = (name: string): number | null => {
        const ran = all.find(({ row }) => row.name === name)
        if (!ran) return null
        const begin = markAt(ran.booted.console, BEGINS)
        const end = markAt(ran.booted.console, ENDS)
        return begin === null || end === null ? null : end - begin
    }
    const rows = COMPARED.map(({ row, with: other, most }) => ({ row, most, own: spanOf(row), theirs: spanOf(other) }))
    if (rows.every(({ own, theirs }) => own === null || theirs === null)) return
    console.log('\nunlocking, from its start to the open disk (seconds of the guest), and its ratio to clevis and tang')
    for (const { row, most, own, theirs } of rows) {
        if (own === null || theirs === null) continue
        const ratio = own / theirs
        const verdict = ratio <= most ? '' : '  MORE THAN IT SHOULD BE'
        console.log(
            `  ${row.padEnd(28)}${own.toFixed(2).padStart(7)}${theirs.toFixed(2).padStart(7)}${ratio.toFixed(2).padStart(7)} (at most ${most})${verdict}`,
        )
    }
}
