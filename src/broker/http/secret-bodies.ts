// Bodies of bytes that are secret: no copy of one stays behind.
// SPDX-License-Identifier: Apache-2.0

import type { FastifyRequest } from 'fastify'
import { secret, wipe } from '#core/bytes.ts'
import { brokerError } from '../errors.ts'

export const BYTES = 'application/octet-stream'

/** The parser of such bodies. */
export async function readBytes({ routeOptions }: FastifyRequest, payload: AsyncIterable<Buffer>): Promise<Buffer> {
    const most = routeOptions.bodyLimit ?? 0
    const chunks: Buffer[] = []
    try {
        let total = 0
        for await (const chunk of payload) {
            chunks.push(chunk)
            total += chunk.length
            if (total > most) throw brokerError('ERR_BROKER_REQUEST', `the body has more than ${most} bytes`)
        }
        return secret(Buffer.concat(chunks))
    } finally {
        wipe(...chunks)
    }
}

/** @throws AttestError ERR_BROKER_REQUEST */
export function bytesOf(body: unknown): Buffer {
    if (Buffer.isBuffer(body) && body.length > 0) return body
    throw brokerError('ERR_BROKER_REQUEST', `a body of ${BYTES} was expected`)
}
