// The administrator's side of enrolling: with a credential, over the broker's TLS listener, from a guest or from any
// machine that trusts the broker. No key comes back.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { wipe } from '#core/bytes.ts'
import { type Dial, openSession } from '#core/http.ts'
import { deadline } from '#core/wait.ts'
import { type Broker, read } from './client.ts'
import { type Credential, ENROLL_PREFIX } from './credential.ts'
import { formatResourcePath, type ResourcePath } from './messages.ts'

/** What is at a path after a request. */
const Stored = z.object({ path: z.string(), version: z.int().check(z.minimum(1)) })

export interface Enrolling {
    /** A key that nobody has seen, where there is none; its version. @throws AttestError ERR_KBS_EXISTS, ERR_KBS_* */
    create(path: ResourcePath): Promise<number>
    /** This key, where there is none, or (`ifVersion` above 0) where that version is current. @throws AttestError ERR_KBS_* */
    store(path: ResourcePath, key: Uint8Array, ifVersion: number): Promise<number>
    /** Ends the versions before the current one. @throws AttestError ERR_KBS_* */
    retire(path: ResourcePath): Promise<number>
}

export interface EnrollOptions {
    readonly signal: AbortSignal
    readonly requestTimeoutMs: number
    /** The way to a broker that is on no network. */
    readonly dial?: Dial | undefined
}

const MAX_ANSWER = 64 * 1024

export function enrolling(broker: Broker, credential: Credential, options: EnrollOptions): Enrolling {
    const send = async (method: 'POST' | 'PUT', path: ResourcePath, last: string, more: string, key?: Uint8Array) => {
        const http = openSession(broker.origin, { trust: broker.trust, dial: options.dial })
        const body = Buffer.concat([credential.secret, ...(key ? [key] : [])])
        try {
            const query = `credential=${encodeURIComponent(credential.name)}${more}`
            const url = `${ENROLL_PREFIX}/resources/${formatResourcePath(path)}${last}?${query}`
            using signal = deadline(options.requestTimeoutMs, `${broker.origin.origin}${ENROLL_PREFIX}`, options.signal)
            const response = await http.request({
                method,
                path: url,
                headers: { accept: 'application/json', 'content-type': 'application/octet-stream' },
                body,
                maxBytes: MAX_ANSWER,
                signal,
            })
            return read(response, Stored, 'answer').version
        } finally {
            wipe(body)
            http.close()
        }
    }
    return {
        create: (path) => send('POST', path, '/random', ''),
        store: (path, key, ifVersion) => send('PUT', path, '', `&ifVersion=${ifVersion}`, key),
        retire: (path) => send('POST', path, '/retire', ''),
    }
}
