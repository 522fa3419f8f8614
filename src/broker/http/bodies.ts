// Bodies under way: each is held in memory before anybody has proved anything, so all of them have a bound together, and
// those of one address another.
// SPDX-License-Identifier: Apache-2.0

import { finished, type Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { kbsError } from '#kbs/errors.ts'
import type { Shares } from '../shares.ts'

/** What of a request is looked at. */
export type BodyRequest = Pick<FastifyRequest, 'ip' | 'headers' | 'routeOptions'>

export interface Bodies {
    /** Before anything is used up: would what is announced fit now? @throws AttestError ERR_KBS_BUSY; a 413 */
    admit(request: BodyRequest): void
    /** The whole body. @throws AttestError ERR_KBS_BUSY; a 413, a 400 where it breaks off */
    read(request: BodyRequest, payload: Readable): Promise<Buffer>
}

/** What is kept ready before the first byte is there. */
const FIRST = 16 * 1024

export function bodies(shares: Shares): Bodies {
    const admit = (request: BodyRequest): void => {
        const { announced } = sizeOf(request)
        if (announced !== null && !shares.fits(request.ip, announced)) throw busy()
    }
    return {
        admit,
        read: (request, payload) =>
            new Promise((resolve, reject) => {
                const { most, announced } = sizeOf(request)
                let buffer = Buffer.alloc(0)
                let length = 0
                const end = (error?: Error | null) => {
                    stop()
                    payload.off('data', add)
                    shares.give(request.ip, buffer.length)
                    if (error) reject(error)
                    else resolve(buffer.subarray(0, length))
                }
                // The pieces are copied: of a body that comes byte by byte each would cost a hundred times its size.
                const add = (piece: Buffer) => {
                    const needed = length + piece.length
                    if (needed > most) return end(tooLarge())
                    if (needed > buffer.length) {
                        const size = Math.min(announced ?? most, Math.max(needed, 2 * buffer.length, FIRST))
                        if (!shares.take(request.ip, size - buffer.length)) return end(busy())
                        const larger = Buffer.allocUnsafeSlow(size)
                        buffer.copy(larger, 0, 0, length)
                        buffer = larger
                    }
                    piece.copy(buffer, length)
                    length = needed
                }
                const stop = finished(payload, { writable: false }, (error) => end(error && brokenOff()))
                payload.on('data', add)
            }),
    }
}

function sizeOf({ headers, routeOptions }: BodyRequest): { most: number; announced: number | null } {
    const most = routeOptions.bodyLimit ?? 0
    const announced = headers['content-length'] === undefined ? null : Number(headers['content-length'])
    if (announced !== null && announced > most) throw tooLarge()
    return { most, announced }
}

const busy = () => kbsError('ERR_KBS_BUSY', 'as many bodies as are allowed are under way: come back later')

const tooLarge = () => Object.assign(new Error('the body is too large'), { statusCode: 413 })

const brokenOff = () => Object.assign(new Error('the body breaks off'), { statusCode: 400 })
