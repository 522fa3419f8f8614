// The handshake from the broker's side: a challenge, then the proof. What is checked here is that the evidence is
// authentic and belongs to this handshake; whether the guest may have anything is decided when it asks.
// SPDX-License-Identifier: Apache-2.0

import { type KeyObject, randomUUID, sign } from 'node:crypto'
import type * as z from 'zod/mini'
import { equalBytes, toBase64Url } from '#core/bytes.ts'
import { Checks } from '#core/checks.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { importEcJwk } from '#core/jwe.ts'
import type { Evidence } from '#drivers/driver.ts'
import { authenticate } from '#evidence/authenticate.ts'
import { type RuntimeData, runtimeDigest } from '#evidence/binding.ts'
import { earClaims } from '#evidence/ear.ts'
import { padReportData } from '#evidence/judge.ts'
import type { Authentic, Verifier } from '#evidence/verifier.ts'
import { kbsError } from '#kbs/errors.ts'
import { PROTOCOL_VERSION } from '#kbs/messages.ts'
import type { Attestation, Request } from '#kbs/requests.ts'
import type { Broker } from './broker.ts'
import { type Standing, standingOf } from './decision/floor.ts'
import { isFailure } from './errors.ts'
import { type Challenge, SESSION_MS } from './sessions.ts'

const ISSUER = 'guest-attest broker'

/** The challenge for a guest that says what it is, and the cookie that carries it. @throws AttestError ERR_KBS_* */
export function beginHandshake(broker: Broker, { version, tee }: z.infer<typeof Request>) {
    if (version !== PROTOCOL_VERSION)
        throw kbsError(
            'ERR_KBS_VERSION',
            // The words that clients of the protocol know.
            `KBS Client Protocol Version Mismatch: expect =${PROTOCOL_VERSION} while the request is ${JSON.stringify(version)}`,
        )
    const plugin = broker.plugins.find(({ kbsNames }) => kbsNames.includes(tee))
    if (!plugin)
        throw kbsError(
            'ERR_KBS_TEE',
            `tee: ${JSON.stringify(tee)} is not supported here, expected one of ${broker.plugins.flatMap(({ kbsNames }) => kbsNames).join(', ')}`,
        )
    broker.metrics.count('challenges')
    return broker.sessions.challenge(plugin.id)
}

/** Judges the proof; the new cookie and a token. @throws AttestError ERR_KBS_*, and what the plugin says */
export function finishHandshake(
    broker: Broker,
    { nonce, tee }: Challenge,
    message: z.infer<typeof Attestation>,
    address: string,
): { cookie: string; token: string } {
    const { 'runtime-data': runtime, 'tee-evidence': evidence, 'init-data': initData } = message
    if (runtime.nonce !== nonce)
        throw kbsError('ERR_KBS_SESSION', 'runtime-data.nonce is not the challenge of this session')
    if (evidence.additional_evidence !== '')
        throw kbsError(
            'ERR_KBS_ADDITIONAL_EVIDENCE',
            'tee-evidence.additional_evidence must be empty: evidence of further devices is not supported',
        )
    if (initData !== null && initData !== undefined)
        throw kbsError('ERR_KBS_MESSAGE', 'init-data must be null: it would be compared with nothing here')
    const teePubkey = runtime['tee-pubkey']
    const teeKey = importEcJwk(teePubkey)
    const runtimeData: RuntimeData = { nonce, teePubkey, additionalEvidence: '' }

    const verifier = broker.verifiers.current.get(tee) as Verifier
    const authentic = authenticated(broker, verifier, evidence.primary_evidence, runtimeData)
    const standing = standingOf(verifier, authentic, broker.rules.references, broker.clock.now())
    const known = standing.matched.length > 0
    const cookie = broker.sessions.begin({ authentic, teePubkey, teeKey }, { known, address })
    return {
        cookie,
        token: issueToken(broker, standing, { authentic, leaveOut: verifier.longClaims ?? [] }, runtimeData),
    }
}

// The guest is told what is wrong with its evidence, with the plugin's own code as the cause.
function authenticated(broker: Broker, verifier: Verifier, primary: unknown, runtimeData: RuntimeData): Authentic {
    const evidence = readEvidence(verifier, primary)
    const bound = padReportData(runtimeDigest(runtimeData))
    try {
        // Before anything that takes time: evidence that others have published is refused for next to nothing.
        checkBinding(verifier.reportDataOf(evidence), bound)
        const authentic = authenticate(
            verifier,
            evidence,
            broker.clock.now(),
            new Checks(verifier.checkNames.authentic),
        )
        checkBinding(authentic.reportData, bound)
        return authentic
    } catch (cause) {
        if (!(cause instanceof AttestError) || cause.code === 'ERR_KBS_BINDING' || isFailure(cause)) throw cause
        throw kbsError('ERR_KBS_ATTESTATION', `the evidence is not accepted as authentic: ${messageOf(cause)}`, {
            cause,
        })
    }
}

function checkBinding(reportData: Buffer, bound: Buffer): void {
    if (!equalBytes(reportData, bound))
        throw kbsError('ERR_KBS_BINDING', 'the evidence carries other report data than this handshake')
}

function readEvidence(verifier: Verifier, primary: unknown): Evidence {
    const member = 'tee-evidence.primary_evidence'
    let evidence: Evidence | null
    try {
        evidence = verifier.fromKbs(primary)
    } catch (cause) {
        if (!(cause instanceof AttestError)) throw cause
        throw kbsError('ERR_KBS_MESSAGE', `${member}: ${messageOf(cause)}`, { cause })
    }
    if (!evidence) throw kbsError('ERR_KBS_MESSAGE', `${member} is not evidence of ${verifier.tee}`)
    return evidence
}

function issueToken(
    broker: Broker,
    { matched, findings }: Standing,
    { authentic, leaveOut }: { readonly authentic: Authentic; readonly leaveOut: readonly string[] },
    runtimeData: RuntimeData,
): string {
    const now = broker.clock.now()
    const affirming = matched.length > 0 && findings.length === 0
    const issuedAt = Math.floor(now.getTime() / 1000)
    return signEs256(broker.data.tokenKey, {
        ...earClaims(authentic, { affirming, runtimeData, build: broker.build, leaveOut }),
        iss: ISSUER,
        iat: issuedAt,
        exp: issuedAt + SESSION_MS / 1000,
        jti: randomUUID(),
    })
}

// JWS compact serialisation, RFC 7515 §3.1 and RFC 7518 §3.4. jose would do the same through WebCrypto's threads, which
// takes longer than everything else in a handshake but the signature of the evidence.
function signEs256(key: KeyObject, claims: Readonly<Record<string, unknown>>): string {
    const text = `${JWT_HEADER}.${base64UrlJson(claims)}`
    return `${text}.${toBase64Url(sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }))}`
}

const base64UrlJson = (value: unknown): string => toBase64Url(Buffer.from(JSON.stringify(value)))

const JWT_HEADER = base64UrlJson({ alg: 'ES256', typ: 'JWT' })
