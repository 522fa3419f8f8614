// A broker that answers as a test says, and a guest that it does not look at.
// SPDX-License-Identifier: Apache-2.0

import type { KeyObject } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { encryptTo, importEcJwk } from '#core/jwe.ts'
import type { Attester } from '#kbs/client.ts'
import { ERROR_TYPE_PREFIX, parseResourcePath } from '#kbs/messages.ts'

export const PATH = parseResourcePath('default/luks/a')
export const NONCE = Buffer.alloc(32, 7).toString('base64')

/** Evidence of a technology that nobody knows: this side does not look into it. */
export const ATTESTER: Attester = {
    kbsName: 'snp',
    guest: {
        tee: 'snp',
        probe: { via: 'configfs', path: '', tried: [] },
        evidence: async () => ({ tee: 'snp', report: Buffer.alloc(8) }),
        close: () => undefined,
    },
    form: { toKbs: () => ({ made: 'up' }) },
    eventLog: true,
    [Symbol.dispose]: () => undefined,
}

export interface Answer {
    readonly status?: number
    readonly headers?: Record<string, string>
    readonly body?: unknown
}

export interface Script {
    readonly auth?: Answer
    readonly attest?: Answer
    readonly resource?: Answer | ((teeKey: KeyObject) => Answer)
}

/** A broker that answers as it is told. */
export function scripted(script: Script, seen: string[] = []): RequestListener {
    let teeKey: KeyObject | undefined
    return (request, response) => {
        const chunks: Buffer[] = []
        request.on('data', (chunk: Buffer) => chunks.push(chunk))
        request.on('end', () => {
            const path = request.url ?? ''
            seen.push(`${request.method} ${path} ${request.headers.cookie ?? ''}`.trim())
            let answer: Answer = { status: 404 }
            if (path.endsWith('/auth'))
                answer = {
                    headers: { 'set-cookie': 'kbs-session-id=first; HttpOnly' },
                    body: { nonce: NONCE, 'extra-params': '' },
                    ...script.auth,
                }
            if (path.endsWith('/attest')) {
                const body = JSON.parse(Buffer.concat(chunks).toString()) as {
                    'runtime-data': { 'tee-pubkey': Parameters<typeof importEcJwk>[0] }
                }
                teeKey = importEcJwk(body['runtime-data']['tee-pubkey'])
                answer = { headers: { 'set-cookie': 'kbs-session-id=second' }, body: { token: 'x' }, ...script.attest }
            }
            if (path.includes('/resource/') && teeKey) {
                const own = { body: encryptTo(teeKey, Buffer.from('the secret')) }
                answer =
                    typeof script.resource === 'function' ? script.resource(teeKey) : { ...own, ...script.resource }
            }
            response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers })
            response.end(
                typeof answer.body === 'string' || Buffer.isBuffer(answer.body)
                    ? answer.body
                    : JSON.stringify(answer.body ?? {}),
            )
        })
    }
}

/** The body of a refusal, as brokers of this protocol write it. */
export const refusal = (name: string, detail = 'because') => ({ type: `${ERROR_TYPE_PREFIX}${name}`, detail })
