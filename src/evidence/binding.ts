// How the key broker protocol binds a handshake into evidence: report data = SHA-384 of the canonical JSON of what both
// sides know (KBS attestation protocol 0.4.0; the code of its reference, where its document is older).
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { jcs } from '#core/jcs.ts'
import type { EcJwk } from '#core/jwe.ts'

export interface RuntimeData {
    /** The challenge as it was sent. */
    readonly nonce: string
    /** Exactly the members that the peer serialises again: a further one would change the digest. */
    readonly teePubkey: EcJwk
    /** The evidence of further devices as its JSON text; empty where there is none, and then hashed too. */
    readonly additionalEvidence: string
}

/** 48 bytes that go into the report data of the primary evidence, padded with zeros behind. */
export const runtimeDigest = ({ nonce, teePubkey, additionalEvidence }: RuntimeData): Buffer =>
    digestJson({ 'additional-evidence': additionalEvidence, nonce, 'tee-pubkey': teePubkey })

/** SHA-384 over the canonical form of any JSON value. */
export const digestJson = (value: unknown): Buffer => createHash('sha384').update(jcs(value)).digest()
