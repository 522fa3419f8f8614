// What peers may cost that have proved nothing: requests a minute and connections, for each address.
// SPDX-License-Identifier: Apache-2.0

import type { Server, Socket } from 'node:net'
import rateLimit from '@fastify/rate-limit'
import type { Shares } from '../shares.ts'
import type { App } from './server.ts'

const SILENT = { 'x-ratelimit-limit': false, 'x-ratelimit-remaining': false, 'x-ratelimit-reset': false }

/** Counts the requests of each address (IPv6: of each /64) to the routes that are added from here on. */
export async function limitRequests(app: App, ratePerMinute: number): Promise<void> {
    await app.register(rateLimit, {
        max: ratePerMinute,
        timeWindow: 60_000,
        cache: 50_000,
        ipv6Subnet: 64,
        addHeaders: SILENT,
        addHeadersOnExceeding: SILENT,
        errorResponseBuilder: () =>
            Object.assign(new Error('too many requests from this address: come back later'), { statusCode: 429 }),
    })
}

/** Hangs up on an address that holds its share already. */
export function limitConnections(server: Server, shares: Shares, refused: () => void): void {
    server.on('connection', (socket: Socket) => {
        const { remoteAddress } = socket
        // Without an address it has gone already.
        if (remoteAddress === undefined || !shares.take(remoteAddress, 1)) {
            refused()
            socket.destroy()
        } else socket.once('close', () => shares.give(remoteAddress, 1))
    })
}
