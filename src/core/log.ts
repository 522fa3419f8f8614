// Logging: an interface, what must never be in a log, and the one-line writer of the initrd path.
// The long-lived side logs with pino through the same interface (log-pino.ts).
// SPDX-License-Identifier: Apache-2.0

import { closeSync, fstatSync, openSync, writeSync } from 'node:fs'
import { CONTROLS } from './text.ts'

export type LogFields = Readonly<Record<string, unknown>>

export interface Logger {
    debug(message: string, fields?: LogFields): void
    info(message: string, fields?: LogFields): void
    warn(message: string, fields?: LogFields): void
    error(message: string, fields?: LogFields): void
}

/** Members of these names, in either case, are replaced, however deep they stand, whatever they hold. */
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

const SECRETS = new Set(SECRET_NAMES.map((name) => name.toLowerCase()))

/** A copy of a value that may be logged, and that JSON can hold: no secret names, no bytes. */
export function redact(value: unknown): unknown {
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `<${value.byteLength} bytes>`
    if (value instanceof Error) return value.message
    if (Array.isArray(value)) return value.map(redact)
    if (typeof value === 'bigint') return String(value)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
        Object.entries(value).map(([name, v]) => [name, SECRETS.has(name.toLowerCase()) ? REDACTED : redact(v)]),
    )
}

/** Writes `program: message name=value …` on one line to each of its sinks; below `warn` only if it is verbose. */
export function lineLogger(program: string, sinks: readonly Sink[], verbose = false): Logger {
    const write = (level: Level, message: string, fields: LogFields = {}) => {
        const pairs = Object.entries(redact(fields) as LogFields).map(([name, value]) => ` ${name}=${textOf(value)}`)
        const line = `${program}: ${message}${pairs.join('')}`.replaceAll(CONTROLS, ' ')
        for (const sink of sinks) sink(level, line)
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

/** syslog(3), as the kernel's log has them. */
export const PRIORITY: Readonly<Record<Level, number>> = { debug: 7, info: 6, warn: 4, error: 3 }

export const stderrSink: Sink = (_level, line) => void writeQuietly(2, Buffer.from(`${line}\n`))

/** The kernel's log, for an initrd whose callers throw standard error away. Nothing if it cannot be opened. */
export const kernelSink: Sink = (level, line) => {
    try {
        const fd = openSync('/dev/kmsg', 'a')
        try {
            const record = Buffer.from(`<${PRIORITY[level]}>${line}`).subarray(0, KERNEL_RECORD)
            writeQuietly(fd, Buffer.concat([record, Buffer.from('\n')]))
        } finally {
            closeSync(fd)
        }
    } catch {
        // no kernel log here
    }
}

/** Whether a caller has led standard error there: two sinks would say everything twice. */
export function stderrIsKernelLog(fd = 2): boolean {
    try {
        const status = fstatSync(fd)
        return status.isCharacterDevice() && status.rdev === KERNEL_LOG
    } catch {
        return false // closed
    }
}

/** Logs nothing. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }

// /dev/kmsg, 1:11 in Documentation/admin-guide/devices.txt
const KERNEL_LOG = (1 << 8) | 11

// Of a record with more bytes the kernel writes nothing at all: 1024 with the line's end, in older ones 976.
const KERNEL_RECORD = 960

function writeQuietly(fd: number, record: Buffer): void {
    try {
        writeSync(fd, record)
    } catch {
        // a reader that has gone must not stop an unlock
    }
}

const textOf = (value: unknown): string =>
    typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
