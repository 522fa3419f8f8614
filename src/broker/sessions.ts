// Sessions of the handshake, in the cookie `kbs-session-id`. Before the proof nothing is stored: the challenge travels in
// the cookie, sealed by a key of this process. The first proof burns it whatever its result, and a guest that succeeds
// goes on under a new, random name. All numbers are bounded: who comes when a bound is reached is asked to come back
// (session-pool.ts says who may hold how many).
// SPDX-License-Identifier: Apache-2.0

import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { joined, open, parted, seal } from '#core/aead.ts'
import { toBase64, toBase64Url } from '#core/bytes.ts'
import type { EcJwk } from '#core/jwe.ts'
import type { Authentic } from '#evidence/verifier.ts'
import { kbsError } from '#kbs/errors.ts'
import { NONCE_SIZE, SESSION_COOKIE } from '#kbs/messages.ts'
import { type Holder, type PoolOptions, sessionPool } from './session-pool.ts'

/** How long a challenge, and then a session, lasts. It is not renewed. */
export const SESSION_MS = 5 * 60_000

/** Requests for resources in one session: a guest that asks more often is broken, or fills the audit log. */
const MAX_REQUESTS = 256

export interface Challenge {
    /** Base64, as it goes over the wire. */
    readonly nonce: string
    readonly tee: string
}

/** A guest that has proved itself. */
export interface Session {
    /** For the audit log: it opens nothing. */
    readonly name: string
    readonly authentic: Authentic
    readonly teePubkey: EcJwk
    /** What resources are encrypted to. */
    readonly teeKey: KeyObject
    /** Resources that this session was given, by path and version, with the record of it: a repetition counts once. */
    readonly given: Map<string, Promise<number>>
    requests: number
}

export interface Sessions {
    /** The value of the cookie. */
    challenge(tee: string): { readonly cookie: string; readonly challenge: Challenge }
    /** Uses a challenge up. @throws AttestError ERR_KBS_SESSION, ERR_KBS_BUSY */
    burn(cookie: string | undefined, address: string): Challenge
    /** The value of the new cookie. @throws AttestError ERR_KBS_BUSY */
    begin(proof: Pick<Session, 'authentic' | 'teePubkey' | 'teeKey'>, holder: Omit<Holder, 'guestId' | 'bytes'>): string
    /** One more request of a session. @throws AttestError ERR_KBS_SESSION, ERR_KBS_BUSY */
    use(cookie: string | undefined): Session
    /** How many are alive. */
    readonly size: number
}

export type SessionOptions = Omit<PoolOptions, 'lifetimeMs'>

// Plaintext of a sealed cookie: number (8 bytes, a double), end in ticks (8, a double), nonce (32), tee (text).
const END_AT = 8
const NONCE_AT = 16
const TEE_AT = NONCE_AT + NONCE_SIZE

/** What a sealed challenge is authenticated with. */
const ADDITIONAL = Buffer.from(SESSION_COOKIE)

/** Challenges that are told apart as used or not: more than a core can answer while one lasts. 512 KiB of bits. */
const WINDOW = 2 ** 22

export function sessions(options: SessionOptions): Sessions {
    const { ticks } = options
    const key = createSecretKey(randomBytes(32))
    const alive = sessionPool<Session>({ ...options, lifetimeMs: SESSION_MS })
    const burnt = burntNumbers()

    return {
        challenge(tee) {
            const plaintext = Buffer.alloc(TEE_AT + Buffer.byteLength(tee))
            plaintext.writeDoubleBE(burnt.issue(), 0)
            plaintext.writeDoubleBE(ticks() + SESSION_MS, END_AT)
            randomBytes(NONCE_SIZE).copy(plaintext, NONCE_AT)
            plaintext.write(tee, TEE_AT)
            return {
                cookie: toBase64Url(joined(seal(key, plaintext, ADDITIONAL))),
                challenge: readChallenge(plaintext),
            }
        },
        burn(cookie, address) {
            const plaintext = cookie === undefined ? null : unseal(key, cookie)
            if (!plaintext) throw noSession()
            // Before anything is used up: who does not fit keeps the challenge and can come back with it.
            if (!alive.hasRoom(address)) throw busy()
            if (ticks() >= plaintext.readDoubleBE(END_AT))
                throw kbsError('ERR_KBS_SESSION', 'the challenge has expired: begin with /auth again')
            if (!burnt.burn(plaintext.readDoubleBE(0)))
                throw kbsError('ERR_KBS_SESSION', 'the challenge was used already: begin with /auth again')
            return readChallenge(plaintext)
        },
        begin(proof, holder) {
            const cookie = toBase64Url(randomBytes(32))
            const name = randomBytes(8).toString('hex')
            // A small Buffer is a window into a large one, which it would keep alive for as long as the session lasts.
            const reportData = Buffer.alloc(proof.authentic.reportData.length)
            reportData.set(proof.authentic.reportData)
            const authentic = { ...proof.authentic, reportData }
            const session: Session = { ...proof, authentic, name, given: new Map(), requests: 0 }
            const bytes = JSON.stringify(authentic.claims).length
            if (!alive.add(cookie, session, { ...holder, guestId: authentic.guestId, bytes })) throw busy()
            return cookie
        },
        use(cookie) {
            const session = cookie === undefined ? undefined : alive.get(cookie)
            if (!session) throw noSession()
            if (session.requests >= MAX_REQUESTS) throw kbsError('ERR_KBS_BUSY', 'too many requests in one session')
            session.requests++
            return session
        },
        get size() {
            return alive.size
        },
    }
}

const noSession = () =>
    kbsError('ERR_KBS_SESSION', 'there is no such session, or it has expired: begin with /auth again')

const busy = () => kbsError('ERR_KBS_BUSY', 'as many sessions as are allowed are alive: come back later')

const readChallenge = (plaintext: Buffer): Challenge => ({
    nonce: toBase64(plaintext.subarray(NONCE_AT, TEE_AT)),
    tee: plaintext.toString('utf8', TEE_AT),
})

/** Which numbers of a running count were used: one bit each, for the last ones. */
function burntNumbers() {
    const bits = new Uint8Array(WINDOW / 8)
    let next = 0
    const at = (number: number) => ({ byte: Math.trunc((number % WINDOW) / 8), mask: 1 << (number % 8) })
    return {
        issue(): number {
            const { byte, mask } = at(next)
            bits[byte] = (bits[byte] ?? 0) & ~mask
            return next++
        },
        /** False where it was used before, or lies too far back to say. */
        burn(number: number): boolean {
            const { byte, mask } = at(number)
            if (next - number > WINDOW || ((bits[byte] ?? 0) & mask) !== 0) return false
            bits[byte] = (bits[byte] ?? 0) | mask
            return true
        },
    }
}

// Null for whatever this process has not sealed.
function unseal(key: KeyObject, cookie: string): Buffer | null {
    try {
        const plaintext = open(key, parted(Buffer.from(cookie, 'base64url')), ADDITIONAL)
        return plaintext.length < TEE_AT ? null : plaintext
    } catch {
        return null
    }
}
