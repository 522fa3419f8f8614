// Talks to a running broker over the unix socket in its folder.
// SPDX-License-Identifier: Apache-2.0

import { request } from 'node:http'
import { BROKER_CONFIG } from '#broker/config.ts'
import { type DataPaths, dataPaths } from '#broker/data.ts'
import { brokerError } from '#broker/errors.ts'
import { AttestError, type ErrorRow, errnoOf, messageOf, restated } from '#core/errors.ts'
import { parseJson, stringifyJson } from '#core/json.ts'
import { ERRORS } from '../errors.ts'
import { readConfig } from '../settings.ts'

export const DATA_OPTION = {
    data: { type: 'string', describe: 'folder of the broker’s data and keys' },
} as const

export interface AdminRequest {
    readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
    readonly path: string
    /** Text goes as text/plain, bytes as application/octet-stream. */
    readonly body?: string | Buffer
    /** What goes as JSON instead. */
    readonly value?: unknown
}

export interface Admin {
    /** @throws AttestError what the broker says, ERR_BROKER_STOPPED */
    text(request: AdminRequest): Promise<string>
    json<T>(request: AdminRequest): Promise<T>
}

/** A page of the audit log, with policies in it, is the largest answer; and a million resources in one listing. */
const MAX_ANSWER = 256 * 1024 * 1024

/** Where the data are: the option, or the configuration. */
export const folderOf = (data: string | undefined): DataPaths => dataPaths(data ?? readConfig().get(BROKER_CONFIG).data)

export function admin(data: string | undefined): Admin {
    const { socket } = folderOf(data)
    const text = ({ value, ...call }: AdminRequest) =>
        value === undefined ? send(socket, call) : send(socket, { ...call, body: stringifyJson(value) }, JSON_TYPE)
    return {
        text,
        async json<T>(call: AdminRequest) {
            // Our own broker, and as much as it holds: bounded by size alone.
            const limits = { title: 'answer of the broker', maxBytes: MAX_ANSWER, maxValues: MAX_ANSWER }
            return parseJson(await text(call), limits) as T
        },
    }
}

/** What the broker says of a text by a title of its own, said of the file that the text stands in. */
export async function naming<T>(file: string, title: string, answer: Promise<T>): Promise<T> {
    try {
        return await answer
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        const message = error.message.replaceAll(`${title}:`, `${file === '-' ? 'standard input' : file}:`)
        throw restated(error, message)
    }
}

/** A path of three names, as it stands in a URL. */
export const urlPath = (path: string): string => path.split('/').map(encodeURIComponent).join('/')

const JSON_TYPE = 'application/json'

function send(
    socketPath: string,
    { method, path, body }: AdminRequest,
    type = typeof body === 'string' ? 'text/plain' : 'application/octet-stream',
): Promise<string> {
    return new Promise((resolve, reject) => {
        const call = request(
            { socketPath, method, path, headers: body === undefined ? {} : { 'content-type': type } },
            (response) => {
                const chunks: Buffer[] = []
                let total = 0
                response.on('data', (chunk: Buffer) => {
                    total += chunk.length
                    if (total > MAX_ANSWER) call.destroy(brokerError('ERR_BROKER_REQUEST', 'the answer is too large'))
                    chunks.push(chunk)
                })
                response.on('error', reject)
                response.on('end', () => {
                    const text = Buffer.concat(chunks).toString()
                    if ((response.statusCode ?? 500) < 400) resolve(text)
                    else reject(errorOf(text))
                })
            },
        )
        call.on('error', (cause) => reject(cause instanceof AttestError ? cause : unreachable(socketPath, cause)))
        call.end(body)
    })
}

function unreachable(socket: string, cause: Error): Error {
    if (errnoOf(cause) === 'EACCES')
        return brokerError(
            'ERR_BROKER_STOPPED',
            `${socket} may not be opened: administration is for the broker’s own user`,
        )
    return brokerError('ERR_BROKER_STOPPED', `no broker answers at ${socket}: ${messageOf(cause)}`, {
        cause,
        hint: 'is it running? --data names the folder that `broker serve` was started with',
    })
}

// The broker's error as if it had been thrown here.
function errorOf(text: string): AttestError {
    const { code, detail, hint, correlation } = parseJson(text, { title: 'answer of the broker' }) as Record<
        string,
        string
    >
    const rows: Readonly<Record<string, ErrorRow>> = ERRORS
    const row: ErrorRow = rows[code ?? ''] ?? { exit: 3, means: '' }
    const failed = row.exit === 3 && code === 'ERR_KBS_SERVER' ? ` (correlation ${correlation})` : ''
    return new AttestError(code ?? 'ERR_BROKER_REQUEST', row, `${detail}${failed}`, { hint })
}
