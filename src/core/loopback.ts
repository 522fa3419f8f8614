// Addresses that never leave the machine (RFC 6890 §2.2.2, §2.2.3).
// SPDX-License-Identifier: Apache-2.0

import { isIP } from 'node:net'

/** A host as it stands in a URL or a configuration, or the address of a peer, which may be an IPv4 one in IPv6's form. */
export function isLoopback(host: string): boolean {
    const address = host.replace(/^\[(.*)\]$/, '$1').replace(/^::ffff:(?=\d+\.)/i, '')
    return address === 'localhost' || address === '::1' || (isIP(address) === 4 && address.startsWith('127.'))
}
