// QMP, the monitor of QEMU for programs (docs/interop/qmp-spec.rst): a line of JSON for each message. Commands one after
// the other; what QEMU tells unasked (events) is passed over.
// SPDX-License-Identifier: Apache-2.0

import type { Duplex } from 'node:stream'
import * as z from 'zod/mini'
import { coreError, errnoOf, excerpt } from './errors.ts'
import { parseJson } from './json.ts'
import { type Schema, shape } from './schema.ts'
import { deadline } from './wait.ts'

/** The longest line: QEMU's own answers to introspection stay below. */
const MAX_LINE = 1024 * 1024

const GREETING = z.object({ QMP: z.object({}) })

const ANSWER = z.union([
    z.object({ return: z.unknown(), id: z.number() }),
    z.object({ error: z.object({ class: z.string(), desc: z.string() }), id: z.optional(z.number()) }),
])

export interface Qmp {
    /**
     * What a command returns, as its schema sees it.
     * @throws AttestError ERR_QMP_REFUSED where QEMU answers with an error, ERR_QMP, ERR_JSON, ERR_INTERRUPTED; the
     * stream's error
     */
    execute<T>(command: string, schema: Schema<T>, args?: object): Promise<T>
    close(): void
}

export interface QmpOptions {
    /** How long the greeting, and one command, may take. */
    readonly timeoutMs: number
}

/**
 * Takes the stream over, greets and negotiates.
 * @throws AttestError as `execute`
 */
export async function openQmp(stream: Duplex, { timeoutMs }: QmpOptions): Promise<Qmp> {
    stream.on('error', () => undefined) // whoever waits is told
    const lines = readLines(stream)
    const close = () => void stream.destroy()
    let id = 0

    async function inTime<T>(what: string, work: () => Promise<T>): Promise<T> {
        using signal = deadline(timeoutMs, `QMP: ${what}`)
        signal.addEventListener('abort', close, { once: true })
        try {
            signal.throwIfAborted()
            return await work()
        } catch (error) {
            signal.throwIfAborted()
            throw errnoOf(error)?.startsWith('ERR_STREAM_') ? hungUp() : error
        } finally {
            signal.removeEventListener('abort', close)
        }
    }

    /** The next line that is no event. */
    async function next<T>(schema: Schema<T>): Promise<T> {
        for (;;) {
            const { value: line } = await lines.next()
            if (line === undefined) throw hungUp()
            const json = parseJson(line, { title: 'QMP', maxBytes: MAX_LINE })
            if (typeof json !== 'object' || json === null || !('event' in json))
                return shape(schema, json, 'QMP', 'ERR_QMP')
        }
    }

    const execute: Qmp['execute'] = (command, schema, args) =>
        inTime(command, async () => {
            id++
            stream.write(`${JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}), id })}\n`)
            const answer = await next(ANSWER)
            if (answer.id !== id && !('error' in answer && answer.id === undefined))
                throw coreError('ERR_QMP', `QMP: an answer to the command ${answer.id}, expected one to ${id}`)
            if ('error' in answer)
                throw coreError(
                    'ERR_QMP_REFUSED',
                    `QEMU refuses ${command}: ${excerpt(answer.error.desc)} (${excerpt(answer.error.class)})`,
                )
            return shape(schema, answer.return, command, 'ERR_QMP')
        })

    try {
        await inTime('the greeting', () => next(GREETING))
        await execute('qmp_capabilities', z.unknown())
        return { execute, close }
    } catch (error) {
        close()
        throw error
    }
}

const hungUp = () => coreError('ERR_QMP', 'QMP: QEMU closed the connection')

/** Lines without their ends; what stands behind the last of them is none. */
async function* readLines(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, undefined> {
    let chunks: Buffer[] = []
    let have = 0
    for await (const chunk of source) {
        let rest = chunk
        for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
            yield Buffer.concat([...chunks, rest.subarray(0, end)])
            rest = rest.subarray(end + 1)
            chunks = []
            have = 0
        }
        chunks.push(rest)
        have += rest.length
        if (have > MAX_LINE) throw coreError('ERR_QMP', `QMP: a line of more than ${MAX_LINE} bytes`)
    }
    return undefined
}
