// Servers that speak TLS properly and everything above it as a test says, byte by byte.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo, Server, Socket } from 'node:net'
import { createServer, type TlsOptions } from 'node:tls'
import { type HttpSession, openSession, parseOrigin, type SessionOptions, spkiPin } from '#core/http.ts'
import { certificatePem, mintCertificate } from '#core/mint.ts'
import type { Ending } from '../folder.ts'

export const KEYS = generateKeyPairSync('ec', { namedCurve: 'P-256' })
export const CA_KEYS = generateKeyPairSync('ec', { namedCurve: 'P-256' })

const DAY = 86_400_000
export const days = (from: number, to: number) => ({
    notBefore: new Date(Date.now() + from * DAY),
    notAfter: new Date(Date.now() + to * DAY),
})

const authority = { name: [['CN', 'test CA']], privateKey: CA_KEYS.privateKey, signature: 'ecdsaP256' } as const

export const CA = certificatePem(
    await mintCertificate(
        {
            subject: authority.name,
            publicKey: CA_KEYS.publicKey,
            ...days(-1, 1),
            extensions: (x) => [new x.BasicConstraintsExtension(true, undefined, true)],
        },
        authority,
    ),
)

interface Leaf {
    readonly publicKey?: KeyObject
    readonly span?: ReturnType<typeof days>
    readonly names?: readonly { readonly type: 'ip' | 'dns'; readonly value: string }[]
}

/** A certificate of the CA for this machine's own address unless told, in PEM. */
export const leaf = async ({ publicKey = KEYS.publicKey, span = days(-1, 1), names = HERE }: Leaf = {}) =>
    certificatePem(
        await mintCertificate(
            {
                subject: [['CN', '127.0.0.1']],
                publicKey,
                ...span,
                extensions: (x) => (names.length === 0 ? [] : [new x.SubjectAlternativeNameExtension([...names])]),
            },
            authority,
        ),
    )

const HERE = [{ type: 'ip', value: '127.0.0.1' }] as const

export const pem = ({ privateKey }: { readonly privateKey: KeyObject }): string =>
    privateKey.export({ type: 'pkcs8', format: 'pem' }) as string

export const pinOf = ({ publicKey }: { readonly publicKey: KeyObject }): string =>
    spkiPin(publicKey.export({ type: 'spki', format: 'der' }))

export const PIN = pinOf(KEYS)

const OWN: TlsOptions = { cert: await leaf(), key: pem(KEYS) }

export interface Peer {
    readonly port: number
    readonly url: string
    /** Connections that have been made so far. */
    readonly connections: () => number
    /** When a connection has ended on both sides. */
    readonly closed: Promise<void>
    /** Breaks off every connection that is open (RST). */
    reset(): void
}

/** Listens until the test ends. */
export async function listen(ending: Ending, server: Server): Promise<Peer> {
    const open = new Set<Socket>()
    const closed = Promise.withResolvers<void>()
    let connections = 0
    server.on('connection', (socket) => {
        connections++
        open.add(socket)
        socket.on('error', () => undefined)
        socket.on('close', () => {
            open.delete(socket)
            closed.resolve()
        })
    })
    ending.teardown(() => {
        for (const socket of open) socket.destroy()
        server.close()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    return {
        port,
        url: `https://127.0.0.1:${port}`,
        connections: () => connections,
        closed: closed.promise,
        reset() {
            for (const socket of open) socket.resetAndDestroy()
        },
    }
}

/** A TLS server that hands each connection over when its handshake is done. */
export function tlsPeer(ending: Ending, serve: (socket: Socket) => void, options: TlsOptions = {}): Promise<Peer> {
    const server = createServer({ ...OWN, ...options }, (socket) => {
        socket.on('error', () => undefined)
        serve(socket)
    })
    server.on('tlsClientError', () => undefined)
    return listen(ending, server)
}

/** Says this to each request, whatever it asks for; requests are told by the empty line that ends their headers. */
export const answering = (answer: (socket: Socket, request: string) => void) => (socket: Socket) => {
    let text = ''
    socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1')
        for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
            const request = text.slice(0, end)
            text = text.slice(end + 4)
            answer(socket, request)
        }
    })
}

/** An answer that is as it should be. */
export const ok = (body: string): string =>
    `HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`

/** A session with the peer's key pinned, closed when the test ends. */
export function sessionWith(ending: Ending, { url }: Peer, options: Partial<SessionOptions> = {}): HttpSession {
    const session = openSession(parseOrigin(url, { insecureHttp: true }), { trust: { pins: [PIN] }, ...options })
    ending.teardown(() => session.close())
    return session
}

/** Long enough for any machine: where this ends a test, what should have ended it did not. */
export const patience = (): AbortSignal => AbortSignal.timeout(60_000)

export const get = (session: HttpSession, maxBytes = 1000, signal: AbortSignal = patience()) =>
    session.request({ method: 'GET', path: '/', maxBytes, signal })
