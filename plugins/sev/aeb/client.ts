// The attestation evidence broker, 2022 (inclavare-containers, attestation-evidence-broker): a guest asks its host over
// ttrpc for a report of ATTESTATION. Both sides of the two calls; the messages are protobuf. The host chooses which guest
// it asks about and with which nonce, and the protocol has no place for a guest's own: evidence is bound to nobody, may
// be old, and releases nothing.
// SPDX-License-Identifier: Apache-2.0

import { errnoOf, excerpt, messageOf } from '#core/errors.ts'
import { bytes, message, uint32 } from '#core/protobuf.ts'
import { CODES, refused, type TtrpcAnswer, type TtrpcClient, type TtrpcRequest } from '#core/ttrpc.ts'
import { sevError } from '../errors.ts'
import { EVIDENCE, MAX_AEB_EVIDENCE } from './evidence.ts'

/** By the code of 2022, and by its documents. */
export const AEB_SERVICES = ['aeb.AEB', 'aeb.AEBService'] as const

export const METHODS = {
    size: 'RetrieveAttestationEvidenceSize',
    evidence: 'RetrieveAttestationEvidence',
} as const

export const SIZE_REQUEST = message('size request', { guestHandle: uint32(1) })
export const SIZE_RESPONSE = message('size response', { errorCode: uint32(1), evidenceSize: uint32(2) })
export const EVIDENCE_REQUEST = message('evidence request', { guestHandle: uint32(1), evidenceSize: uint32(2) })
export const EVIDENCE_RESPONSE = message('evidence response', {
    errorCode: uint32(1),
    evidenceSize: uint32(2),
    evidence: bytes(3),
})

/** What is said wherever such evidence is asked for, answered with or judged. */
export const AEB_WARNING =
    'evidence of an AEB is bound to nobody: the host chose which guest it is about, and the nonce; it may be old'

/**
 * The evidence of the guest that the host knows by this handle, as it came: nothing of it is verified.
 * @throws AttestError ERR_SEV_AEB_REFUSED, ERR_SEV_AEB_UNREACHABLE, ERR_SEV_EVIDENCE, what a call throws
 */
export async function retrieveEvidence(client: Pick<TtrpcClient, 'call'>, guestHandle: number): Promise<Buffer> {
    for (const service of AEB_SERVICES) {
        const sized = await client.call({
            service,
            method: METHODS.size,
            payload: SIZE_REQUEST.encode({ guestHandle }),
        })
        if (sized.status?.code === CODES.unimplemented) continue
        const { evidenceSize } = wantSuccess(sized, SIZE_RESPONSE)
        // Of JSON it says the size that the packed form would have: it is the host's word, and no more than passed on.
        const payload = EVIDENCE_REQUEST.encode({ guestHandle, evidenceSize })
        const { evidence } = wantSuccess(
            await client.call({ service, method: METHODS.evidence, payload }),
            EVIDENCE_RESPONSE,
        )
        if (evidence.length === 0) throw sevError('ERR_SEV_EVIDENCE', 'the evidence is empty')
        if (evidence.length > MAX_AEB_EVIDENCE)
            throw sevError('ERR_SEV_EVIDENCE', `${evidence.length} bytes, at most ${MAX_AEB_EVIDENCE} are accepted`)
        return Buffer.from(evidence)
    }
    throw sevError('ERR_SEV_AEB_REFUSED', `whoever listens there is no AEB: neither ${AEB_SERVICES.join(' nor ')}`)
}

/** A host that answers: the guests that it knows. */
export interface AebHost {
    has(guestHandle: number): Promise<boolean>
    /** The evidence of a guest that it has. */
    evidence(guestHandle: number): Promise<Buffer>
}

/** Answers one call; what the host throws is the caller's. */
export async function answerAeb({ service, method, payload }: TtrpcRequest, host: AebHost): Promise<TtrpcAnswer> {
    if (!(AEB_SERVICES as readonly string[]).includes(service))
        return refused(CODES.unimplemented, `service ${service}`)
    if (method !== METHODS.size && method !== METHODS.evidence) return refused(CODES.unimplemented, `method ${method}`)
    let request: ReturnType<typeof EVIDENCE_REQUEST.parse>
    try {
        request = EVIDENCE_REQUEST.parse(payload) // the other request begins like this one
    } catch (error) {
        if (errnoOf(error) !== 'ERR_ENCODING') throw error
        return refused(CODES.invalidArgument, messageOf(error))
    }
    const { guestHandle, evidenceSize } = request
    if (!(await host.has(guestHandle)))
        return refused(CODES.notFound, `no guest of this host has the handle ${guestHandle}`)
    const sizes = { errorCode: 0, evidenceSize: EVIDENCE.size }
    if (method === METHODS.size) return { status: null, payload: SIZE_RESPONSE.encode(sizes) }
    if (evidenceSize < EVIDENCE.size)
        return refused(CODES.invalidArgument, `evidence_size: the evidence has ${EVIDENCE.size} bytes`)
    const evidence = await host.evidence(guestHandle)
    return { status: null, payload: EVIDENCE_RESPONSE.encode({ ...sizes, evidence }) }
}

function wantSuccess<T extends { readonly errorCode: number }>(
    { status, payload }: TtrpcAnswer,
    response: { parse(bytes: Uint8Array): T },
): T {
    if (status)
        throw sevError(
            status.code === CODES.unavailable ? 'ERR_SEV_AEB_UNREACHABLE' : 'ERR_SEV_AEB_REFUSED',
            `the host answers: ${excerpt(status.message)} (status ${status.code})`,
        )
    const answer = response.parse(payload)
    if (answer.errorCode === 0) return answer
    throw sevError('ERR_SEV_AEB_REFUSED', `the host answers with the error ${answer.errorCode}`)
}
