// Where a broker is: an https origin, or a socket that leads to one without a network. TLS is the same within each.
//   https://HOST[:PORT]     TCP
//   vsock://CID:PORT        AF_VSOCK (vsock(7)): from a guest to its host, which is CID 2, with no network between
//   unix:///PATH            a unix socket: what stands in for vsock on a machine that has none, and in a container
// SPDX-License-Identifier: Apache-2.0

import { coreError } from './errors.ts'
import { isLoopback } from './loopback.ts'

/** The members of a URL that say where a server is; `new URL()` gives none of a scheme that it does not know. */
export interface Origin {
    readonly protocol: string
    /** Its text, the same for each way to write it: by this it is found and compared. */
    readonly origin: string
    /** What stands in a request's Host. */
    readonly host: string
    readonly hostname: string
    readonly port: string
    /** `/`, or the path of a unix socket. */
    readonly pathname: string
}

const EXPECTED = 'expected https://HOST[:PORT] or vsock://CID:PORT'

/** VMADDR_CID_ANY and VMADDR_PORT_ANY: they name nobody. */
const ANY = 0xffff_ffff

/** struct sockaddr_un has 108 bytes, the last of them zero. */
const MAX_UNIX_PATH = 107

/**
 * Scheme, host and port, nothing else. Plain http is for tests on loopback, where the caller says so.
 * @param options what the caller’s --insecure-http says, where it has that option
 * @throws AttestError ERR_URL
 */
export function parseOrigin(text: string, options: { insecureHttp?: boolean } = {}): Origin {
    if (/^vsock:/i.test(text)) return parseVsock(text)
    if (/^unix:/i.test(text)) return parseUnix(text)
    let url: URL
    try {
        url = new URL(text)
    } catch {
        throw coreError('ERR_URL', `${JSON.stringify(text)} is not an address: ${EXPECTED}`)
    }
    const plain = url.protocol === 'http:'
    if (!plain && url.protocol !== 'https:')
        throw coreError('ERR_URL', `${text}: expected https, got ${url.protocol.slice(0, -1)}`)
    if (plain && !(options.insecureHttp && isLoopback(url.hostname)))
        throw coreError('ERR_URL', `${text}: plain http is refused`, {
            // Who says nothing of it has no such option.
            hint:
                options.insecureHttp === undefined
                    ? 'use https'
                    : 'use https; --insecure-http allows http to a loopback address, for tests',
        })
    if (url.pathname !== '/' || url.search || url.hash || url.username || url.password)
        throw coreError('ERR_URL', `${text}: expected an origin (https://HOST[:PORT]) without path, query or user`)
    return url
}

/** Whether a server has no name that a certificate could be for: then its key alone can be trusted. */
export const isNameless = ({ protocol }: Origin): boolean => protocol === 'vsock:' || protocol === 'unix:'

/** A number as vsock(7) has them, in its one decimal form; null where it is none. */
export function vsockNumber(text: string): number | null {
    const value = Number(text)
    return /^(?:0|[1-9]\d{0,9})$/.test(text) && value < ANY ? value : null
}

function parseVsock(text: string): Origin {
    const [, hostname = '', port = ''] = /^vsock:\/\/(\d+):(\d+)\/?$/.exec(text) ?? []
    // 0 was the hypervisor's once and nobody's now; a port 0 cannot be connected to.
    if (!vsockNumber(hostname) || !vsockNumber(port))
        throw coreError('ERR_URL', `${JSON.stringify(text)}: expected vsock://CID:PORT, two decimal numbers`, {
            hint: 'the host is CID 2: vsock://2:8443',
        })
    const host = `${hostname}:${port}`
    return { protocol: 'vsock:', origin: `vsock://${host}`, host, hostname, port, pathname: '/' }
}

function parseUnix(text: string): Origin {
    const [, pathname = ''] = /^unix:\/\/((?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._@+:-]+)+)$/.exec(text) ?? []
    if (pathname === '' || pathname.length > MAX_UNIX_PATH)
        throw coreError(
            'ERR_URL',
            `${JSON.stringify(text)}: expected unix:///PATH, absolute, of letters, digits and ._@+:-, at most ${MAX_UNIX_PATH} bytes`,
        )
    return { protocol: 'unix:', origin: `unix://${pathname}`, host: 'localhost', hostname: '', port: '', pathname }
}
