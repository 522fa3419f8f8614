// Logging: an interface, what must never be in a log, and the one-line writer of the initrd path.
// The long-lived side logs with pino through the same interface (log-pino.ts).
// SPDX-License-Identifier: Apache-2.0

import { closeSync, openSync, writeSync } from 'node:fs'

export type LogFields = Readonly<Record<string, unknown>>

export interface Logger {
    debug(message: string, fields?: LogFields): void
    info(message: string, fields?: LogFields): void
    warn(message: string, fields?: LogFields): void
    error(message: string, fields?: LogFields): void
}

/** Members of these names are replaced, however deep they stand, whatever they hold. */
export const SECRET_NAMES: readonly string[] = [
    'authorization',
    'ciphertext',
    'cookie',
    'encrypted_key',
    'jwe',
    'key',
    'passphrase',
    'password',
    'privateKey',
    'resource',
    'secret',
    'set-cookie',
    'token',
]

const REDACTED = '[redacted]'

/** A copy of a value that may be logged: no secret names, no bytes. */
export function redact(value: unknown): unknown {
    if (value instanceof Uint8Array) return `<${value.length} bytes>`
    if (value instanceof Error) return value.message
    if (Array.isArray(value)) return value.map(redact)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
        Object.entries(value).map(([name, v]) => [name, SECRET_NAMES.includes(name) ? REDACTED : redact(v)]),
    )
}

/** Writes `program: message name=value …` on one line to each of its sinks; below `warn` only if it is verbose. */
export function lineLogger(program: string, sinks: readonly Sink[], verbose = false): Logger {
    const write = (level: Level, message: string, fields: LogFields = {}) => {
        const pairs = Object.entries(redact(fields) as LogFields).map(([name, value]) => ` ${name}=${oneLine(value)}`)
        for (const sink of sinks) sink(level, `${program}: ${oneLine(message)}${pairs.join('')}`)
    }
    return {
        debug: (message, fields) => verbose && write('debug', message, fields),
        info: (message, fields) => verbose && write('info', message, fields),
        warn: (message, fields) => write('warn', message, fields),
        error: (message, fields) => write('error', message, fields),
    }
}

export type Level = 'debug' | 'info' | 'warn' | 'error'
export type Sink = (level: Level, line: string) => void

export const stderrSink: Sink = (_level, line) => void writeQuietly(2, `${line}\n`)

/** The kernel's log, for an initrd whose callers throw standard error away. Nothing if it cannot be opened. */
export const kernelSink: Sink = (level, line) => {
    try {
        const fd = openSync('/dev/kmsg', 'a')
        try {
            writeQuietly(fd, `<${PRIORITY[level]}>${line}\n`)
        } finally {
            closeSync(fd)
        }
    } catch {
        // no kernel log here
    }
}

/** Logs nothing. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }

// syslog(3) priorities
const PRIORITY: Record<Level, number> = { debug: 7, info: 6, warn: 4, error: 3 }

function writeQuietly(fd: number, line: string): void {
    try {
        writeSync(fd, line)
    } catch {
        // a reader that has gone must not stop an unlock
    }
}

const oneLine = (value: unknown): string =>
    // Control characters could draw on the console or forge a second line.
    (typeof value === 'string' ? value : JSON.stringify(value)).replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ')
