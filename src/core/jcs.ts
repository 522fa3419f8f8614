// JSON Canonicalization Scheme (RFC 8785): the text that both sides of the protocol hash.
// SPDX-License-Identifier: Apache-2.0

import canonicalize from 'canonicalize'
import { coreError, messageOf } from './errors.ts'

/**
 * The canonical text of a JSON value. What is no JSON value is a programmer's mistake.
 * @throws AttestError ERR_JSON for what I-JSON cannot hold: half of a surrogate pair, a number that is no double
 */
export function jcs(value: unknown): string {
    let text: string | undefined
    try {
        text = canonicalize(value)
    } catch (cause) {
        throw coreError('ERR_JSON', `no canonical JSON: ${messageOf(cause)}`, { cause })
    }
    if (text === undefined) throw new TypeError('not a JSON value')
    return text
}
