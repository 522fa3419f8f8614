// Where the relay listens and where it leads to, as they stand on its command line.
// SPDX-License-Identifier: Apache-2.0

import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { coreError } from '#core/errors.ts'
import { vsockNumber } from '#core/origin.ts'
import { ANY_CID } from '#drivers/linux/vsock.ts'

export type RelayAddress =
    | { readonly kind: 'vsock'; readonly cid: number; readonly port: number }
    | { readonly kind: 'unix'; readonly path: string }
    | { readonly kind: 'tcp'; readonly host: string; readonly port: number }

export type Target = Exclude<RelayAddress, { kind: 'vsock' }>

/** Where guests come from: they call, or another relay that is called hands them over. */
export type Near = { readonly listen: RelayAddress } | { readonly call: Target }

/** Where the broker is: it is called, or another relay calls and leaves connections to it. */
export type Far = { readonly to: Target } | { readonly await: RelayAddress }

const MAX_UNIX_PATH = 107

/** `vsock:PORT`, `vsock:CID:PORT`, `unix:PATH`, `tcp:ADDRESS:PORT`. @throws AttestError ERR_USAGE */
export function parseListen(text: string, option = '--listen'): RelayAddress {
    const found =
        readVsock(text) ?? readUnix(text) ?? (text.startsWith('tcp:') ? readTcp(text.slice('tcp:'.length)) : null)
    if (found && (found.kind !== 'tcp' || isIP(found.host))) return found
    throw coreError(
        'ERR_USAGE',
        `${option}: expected vsock:PORT, vsock:CID:PORT, unix:PATH or tcp:ADDRESS:PORT, got ${JSON.stringify(text)}`,
    )
}

/** `HOST:PORT`, `unix:PATH`. @throws AttestError ERR_USAGE */
export function parseTarget(text: string, option = '--to'): Target {
    const found = readUnix(text) ?? readTcp(text)
    if (found && (found.kind !== 'tcp' || found.port > 0)) return found
    throw coreError('ERR_USAGE', `${option}: expected HOST:PORT or unix:PATH, got ${JSON.stringify(text)}`, {
        hint: /^https:\/\//.test(text) ? 'the relay knows nothing of https: the host and the port alone' : undefined,
    })
}

/** CIDs of guests. @throws AttestError ERR_USAGE */
export const parseCids = (texts: readonly string[]): number[] =>
    texts.map((text) => {
        const cid = vsockNumber(text)
        if (cid) return cid
        throw coreError('ERR_USAGE', `--allow-cid: expected a CID, a decimal number, got ${JSON.stringify(text)}`)
    })

export function formatAddress(address: Target): string {
    if (address.kind === 'unix') return `unix:${address.path}`
    const { host, port } = address
    return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
}

function readVsock(text: string): RelayAddress | null {
    const [, named, last = ''] = /^vsock:(?:(\d+):)?(\d+)$/.exec(text) ?? []
    const cid = named === undefined ? ANY_CID : vsockNumber(named)
    const port = vsockNumber(last)
    return cid && port ? { kind: 'vsock', cid, port } : null
}

function readUnix(text: string): Target | null {
    if (!text.startsWith('unix:') || text.length === 'unix:'.length) return null
    const path = resolve(text.slice('unix:'.length))
    if (Buffer.byteLength(path) <= MAX_UNIX_PATH) return { kind: 'unix', path }
    throw coreError('ERR_USAGE', `${path}: the path of a unix socket has at most ${MAX_UNIX_PATH} bytes`)
}

function readTcp(text: string): Target | null {
    const [, v6, name, port = ''] = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text) ?? []
    const host = v6 ?? name
    if (host === undefined || Number(port) > 65_535 || (v6 !== undefined && isIP(v6) !== 6)) return null
    return { kind: 'tcp', host, port: Number(port) }
}
