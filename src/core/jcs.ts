// JSON Canonicalization Scheme (RFC 8785): the text that both sides of the protocol hash.
// SPDX-License-Identifier: Apache-2.0

import canonicalize from 'canonicalize'

/** The canonical text of a JSON value. A value that JSON cannot hold is a programmer's mistake. */
export function jcs(value: unknown): string {
    const text = canonicalize(value)
    if (text === undefined) throw new TypeError('not a JSON value')
    return text
}
