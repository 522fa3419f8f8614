// What an attestation evidence broker hands over (inclavare-containers, attestation-evidence-broker, 2022): a report of
// ATTESTATION, and the certificates that it is verified by. JSON, in which bytes stand as arrays of numbers, or the same
// packed one behind the other. CEK is as the host has it: hosts export it without AMD's signature.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { AttestError, errnoOf, messageOf } from '#core/errors.ts'
import { parseJson } from '#core/json.ts'
import { bytes, layout, u8 } from '#core/layout.ts'
import { shape } from '#core/schema.ts'
import { CERT_SIZE, peekUsage } from '../chain/certs.ts'
import { sevError } from '../errors.ts'
import { REPORT_SIZE } from './report.ts'

export const EVIDENCE = layout('AEB evidence', REPORT_SIZE + 3 * CERT_SIZE, {
    report: bytes(0, REPORT_SIZE),
    cek: bytes(REPORT_SIZE, CERT_SIZE),
    pek: bytes(REPORT_SIZE + CERT_SIZE, CERT_SIZE),
    oca: bytes(REPORT_SIZE + 2 * CERT_SIZE, CERT_SIZE),
})

/** With the generation of the processor behind it, as rats-tls has it. */
const TYPED = layout('AEB evidence', EVIDENCE.size + 1, {
    evidence: bytes(0, EVIDENCE.size),
    deviceType: u8(EVIDENCE.size),
})

/** Of the last byte, or of `device_type`. */
const DEVICE_TYPES = ['Rome', 'Naples', 'Milan'] as const

/** As JSON it has four characters for a byte at most. */
export const MAX_AEB_EVIDENCE = 64 * 1024

export const FORMS = ['json', 'packed'] as const

export type EvidenceForm = (typeof FORMS)[number]

export interface AebParts {
    readonly report: Buffer
    readonly cek: Buffer
    readonly pek: Buffer
    readonly oca: Buffer
}

export interface AebEvidence extends AebParts {
    readonly form: EvidenceForm
    /** What the host calls its processor; nobody signs it. */
    readonly deviceType: (typeof DEVICE_TYPES)[number] | null
}

const numbers = (length: number) => z.array(z.int().check(z.gte(0), z.lte(255))).check(z.length(length))

const JSON_FORM = z.strictObject({
    report: numbers(REPORT_SIZE),
    cek: numbers(CERT_SIZE),
    pek: numbers(CERT_SIZE),
    oca: numbers(CERT_SIZE),
    device_type: z.optional(z.int().check(z.gte(0), z.lte(DEVICE_TYPES.length - 1))),
})

/** Whether a file is such evidence, rather than a report alone. */
export const isAebEvidence = (from: Buffer): boolean =>
    isPacked(from) || (from.length !== REPORT_SIZE && /^\s*\{/.test(from.subarray(0, 64).toString('latin1')))

/** Whether it is meant to be such evidence, among whatever else a file may hold. */
export const looksLikeAebEvidence = (from: Buffer): boolean =>
    isAebEvidence(from) &&
    (isPacked(from)
        ? peekUsage(from.subarray(REPORT_SIZE)) !== null
        : ['report', 'cek', 'pek', 'oca'].every((name) => from.includes(`"${name}"`)))

/** Nothing of it is verified. @throws AttestError ERR_SEV_EVIDENCE */
export function parseAebEvidence(from: Buffer): AebEvidence {
    try {
        return isPacked(from) ? unpack(from) : readJson(from)
    } catch (cause) {
        if (!(cause instanceof AttestError) || errnoOf(cause) === 'ERR_SEV_EVIDENCE') throw cause
        throw sevError('ERR_SEV_EVIDENCE', messageOf(cause), { cause })
    }
}

export function encodeAebEvidence(parts: AebParts, form: EvidenceForm): Buffer {
    if (form === 'packed') return EVIDENCE.encode(parts)
    const { report, cek, pek, oca } = parts
    const json = Object.entries({ report, cek, pek, oca }).map(([name, value]) => [name, [...value]])
    return Buffer.from(JSON.stringify(Object.fromEntries(json)))
}

const isPacked = ({ length }: Buffer): boolean => length === EVIDENCE.size || length === TYPED.size

function unpack(from: Buffer): AebEvidence {
    if (from.length === EVIDENCE.size) return { ...EVIDENCE.parse(from), form: 'packed', deviceType: null }
    const { evidence, deviceType } = TYPED.parse(from)
    const name = DEVICE_TYPES[deviceType]
    if (name === undefined)
        throw sevError(
            'ERR_SEV_EVIDENCE',
            `no processor has the device type ${deviceType}: 0 to ${DEVICE_TYPES.length - 1}`,
        )
    return { ...EVIDENCE.parse(evidence), form: 'packed', deviceType: name }
}

function readJson(from: Buffer): AebEvidence {
    const title = 'AEB evidence'
    const json = shape(JSON_FORM, parseJson(from, { title, maxBytes: MAX_AEB_EVIDENCE, maxDepth: 2 }), title)
    const { report, cek, pek, oca, device_type: type } = json
    return {
        report: Buffer.from(report),
        cek: Buffer.from(cek),
        pek: Buffer.from(pek),
        oca: Buffer.from(oca),
        form: 'json',
        deviceType: type === undefined ? null : (DEVICE_TYPES[type] ?? null),
    }
}
