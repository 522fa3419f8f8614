// Where guests connect: an address and a port. IPv6 addresses stand in brackets.
// SPDX-License-Identifier: Apache-2.0

import { isIP } from 'node:net'
import { brokerError } from './errors.ts'

export interface ListenAddress {
    readonly host: string
    readonly port: number
}

/** `HOST:PORT`, `[ADDRESS]:PORT`. @throws AttestError ERR_BROKER_REQUEST */
export function parseListen(text: string): ListenAddress {
    const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
    const host = match?.[1] ?? match?.[2] ?? ''
    const port = Number(match?.[3])
    if (!match || port > 65535 || (match[1] && isIP(host) !== 6))
        throw brokerError('ERR_BROKER_REQUEST', `${JSON.stringify(text)} is no address: expected HOST:PORT`)
    return { host, port }
}

/** As it stands in a URL. */
export const formatListen = ({ host, port }: ListenAddress): string =>
    `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
