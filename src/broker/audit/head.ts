// The head of the audit log beside the database: what the log must at least contain. Two lines of JSON, padded to the
// same length and written in turn, so that a write that is torn by a crash leaves the other one; the later one counts.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, existsSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import * as z from 'zod/mini'
import { AttestError, coreError, messageOf } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import { parseJson } from '#core/json.ts'
import { brokerError } from '../errors.ts'
import { checkSignature, type Head } from './record.ts'

export interface HeadFile {
    /** Null: nothing was acknowledged yet. @throws AttestError ERR_BROKER_AUDIT */
    read(): Head | null
    /** Durable when it returns. @throws AttestError ERR_BROKER_STORE */
    write(head: Head): void
    close(): void
}

const LINE = 512

const HEAD = z.strictObject({
    seq: z.int().check(z.gte(1)),
    hash: z.string().check(z.regex(/^[0-9a-f]{64}$/)),
    time: z.string(),
    key: z.string(),
    signature: z.string(),
})

/** Makes the file where nothing was recorded yet. */
export function createHeadFile(path: string): void {
    if (!existsSync(path)) createFile(path, `${' '.repeat(LINE - 1)}\n`.repeat(2))
}

/** @throws AttestError ERR_BROKER_AUDIT where it does not exist */
export function openHeadFile(path: string): HeadFile {
    let fd: number
    try {
        fd = openSync(path, 'r+')
    } catch (cause) {
        throw brokerError('ERR_BROKER_AUDIT', `the head of the audit log is missing: ${messageOf(cause)}`, {
            cause,
            hint: 'without it nobody can tell whether the database was put back to an older state: restore it from the backup that the database comes from',
        })
    }
    let turn = 0
    return {
        read() {
            const { head, line } = readLines(path)
            turn = 1 - line
            return head
        },
        write(head) {
            const text = JSON.stringify(head)
            try {
                writeSync(fd, `${text.padEnd(LINE - 1)}\n`, turn * LINE)
                fdatasyncSync(fd)
            } catch (cause) {
                throw brokerError('ERR_BROKER_STORE', `${path}: ${messageOf(cause)}`, { cause })
            }
            turn = 1 - turn
        },
        close: () => closeSync(fd),
    }
}

/** A head that somebody has kept: one line of JSON. @throws AttestError ERR_USAGE where it is none, ERR_BROKER_AUDIT */
export function parseHead(text: string, title: string): Head {
    try {
        const head = HEAD.parse(parseJson(text, { title }))
        checkSignature(head, title)
        return head
    } catch (cause) {
        if (cause instanceof AttestError && cause.code === 'ERR_BROKER_AUDIT') throw cause
        throw coreError('ERR_USAGE', `${title}: not the head of an audit log, as --checkpoint writes it`, { cause })
    }
}

/** The head of a log that nobody writes at the moment. @throws AttestError ERR_BROKER_AUDIT */
export const readHeadFile = (path: string): Head | null => readLines(path).head

function readLines(path: string): { head: Head | null; line: number } {
    let lines: string[]
    try {
        lines = readFileSync(path, 'utf8').split('\n').slice(0, 2)
    } catch (cause) {
        throw brokerError('ERR_BROKER_AUDIT', `the head of the audit log cannot be read: ${messageOf(cause)}`, {
            cause,
        })
    }
    if (lines.every((line) => line.trim() === '')) return { head: null, line: 1 }
    const heads = lines.map((line) => headOrNothing(line, path))
    const [first, second] = heads
    if (!first && !second) throw brokerError('ERR_BROKER_AUDIT', `${path}: neither of its lines is a signed head`)
    const line = (first?.seq ?? 0) > (second?.seq ?? 0) ? 0 : 1
    return { head: heads[line] ?? null, line }
}

function headOrNothing(line: string, title: string): Head | null {
    try {
        return parseHead(line, title)
    } catch (error) {
        if (error instanceof AttestError) return null
        throw error
    }
}
