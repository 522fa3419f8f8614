// A certificate service of the tests' own, with the paths and headers of Intel's: what a minted vendor says, or whatever a
// test says instead.
// SPDX-License-Identifier: Apache-2.0

import { createServer as createPlain, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { certificatePem } from '#core/mint.ts'
import { DEFAULT_PLATFORM } from '#plugins/tdx/mint/mint.ts'
import { KEYS, leaf, listen, type Peer, pem } from '#test/core/peer.ts'
import type { Ending } from '#test/folder.ts'
import { identityOf, infoOf, type Vendor } from './minted.ts'

export const FMSPC = DEFAULT_PLATFORM.fmspc.toString('hex')

export type Handler = (request: IncomingMessage, response: ServerResponse) => void

/** By path, the query left out. */
export type Answers = Readonly<Record<string, Handler>>

export const PATHS = {
    tcb: '/tdx/certification/v4/tcb',
    identity: '/tdx/certification/v4/qe/identity',
    pckCrl: '/sgx/certification/v4/pckcrl',
    rootCrl: '/sgx/certification/v4/rootcacrl',
} as const

/** A body, with its issuer chain in a header. */
export const saying =
    (body: string | Buffer, header?: string, chain: readonly Buffer[] = []): Handler =>
    (_, response) => {
        if (header) response.setHeader(header, encodeURIComponent(chain.map(certificatePem).join('')))
        response.end(body)
    }

export const failing =
    (status: number): Handler =>
    (_, response) => {
        response.statusCode = status
        response.end('no')
    }

/** What a PCCS of this vendor answers; its root list is hex text, as a PCCS has it. */
export function answersOf(of: Vendor): Answers {
    const { root, platform, tcbSigning } = of.certificates
    return {
        [PATHS.tcb]: saying(infoOf(of).bytes, 'TCB-Info-Issuer-Chain', [tcbSigning, root]),
        [PATHS.identity]: saying(identityOf(of).bytes, 'SGX-Enclave-Identity-Issuer-Chain', [tcbSigning, root]),
        [PATHS.rootCrl]: saying(of.lists.root.toString('hex')),
        [PATHS.pckCrl]: (request, response) =>
            (request.url?.includes('ca=platform')
                ? saying(of.lists.pck, 'SGX-PCK-CRL-Issuer-Chain', [platform, root])
                : failing(404))(request, response),
    }
}

export interface Service extends Peer {
    /** What was asked for. */
    readonly asked: string[]
}

/** Over TLS with the CA of peer.ts, or without. */
export async function pccs(ending: Ending, answers: Answers, plain = false): Promise<Service> {
    const asked: string[] = []
    const handle: Handler = (request, response) => {
        asked.push(request.url ?? '')
        const [path = ''] = (request.url ?? '').split('?')
        ;(answers[path] ?? failing(404))(request, response)
    }
    const server = plain ? createPlain(handle) : createServer({ cert: await leaf(), key: pem(KEYS) }, handle)
    const peer = await listen(ending, server)
    return { ...peer, asked, ...(plain ? { url: peer.url.replace('https:', 'http:') } : {}) }
}
