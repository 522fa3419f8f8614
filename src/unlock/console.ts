// The console, for the lines that the kernel's log does not bring there: a kernel that boots quietly shows errors alone.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs'
import { PRIORITY, type Sink } from '#core/log.ts'

/** Writes to the console what the kernel keeps to itself. Nothing where there is none. */
export const consoleSink: Sink = (level, line) => {
    try {
        if (PRIORITY[level] < shownBelow()) return
        // A console that nobody drains must not hold up a boot.
        const fd = openSync('/dev/console', constants.O_WRONLY | constants.O_NOCTTY | constants.O_NONBLOCK)
        try {
            writeSync(fd, `${line}\r\n`)
        } finally {
            closeSync(fd)
        }
    } catch {
        // no console, or a full one
    }
}

/** Records of a lower number appear on the console by themselves. proc(5): the first of four numbers. */
function shownBelow(): number {
    return Number(readFileSync('/proc/sys/kernel/printk', 'latin1').split(/\s+/)[0])
}
