// What did the caller hand over? Binary evidence, hex or base64 of it, or the key broker protocol's JSON; whatever else
// is known is named, so that a person sees what was mixed up.
// SPDX-License-Identifier: Apache-2.0

import { isUtf8 } from 'node:buffer'
import { parseJson } from '#core/json.ts'
import type { Evidence } from '#drivers/driver.ts'
import { evidenceError } from './errors.ts'
import type { Mistaken, Verifier } from './verifier.ts'

export interface Recognised {
    readonly verifier: Verifier
    readonly evidence: Evidence
    /** `SNP report, as hex`. */
    readonly form: string
}

/** Largest evidence that is looked at: a quote with its event log, as text. */
export const MAX_EVIDENCE_BYTES = 4 * 1024 * 1024

/**
 * The evidence and the verifier that knows it.
 * @throws AttestError ERR_EVIDENCE_UNKNOWN, and what a verifier says of its own
 */
export function recognise(bytes: Buffer, verifiers: readonly Verifier[]): Recognised {
    return recogniseBinary(bytes, verifiers) ?? recogniseText(bytes, verifiers) ?? unknown(bytes, verifiers)
}

/** What no verifier judges, and can be shown. Null: nothing of the kind. @throws AttestError it is malformed */
export function readMistaken(bytes: Buffer, verifiers: readonly Verifier[]) {
    for (const { tee, mistaken = [] } of verifiers)
        for (const { what, is, hint, describe } of mistaken)
            if (describe && is(bytes)) return { tee, form: what, hint, fields: describe(bytes) }
    return null
}

function recogniseBinary(bytes: Buffer, verifiers: readonly Verifier[], as = ''): Recognised | null {
    for (const verifier of verifiers) {
        const found = verifier.recognise(bytes)
        if (found) return { verifier, evidence: found.evidence, form: `${found.form}${as}` }
    }
    return null
}

function recogniseText(bytes: Buffer, verifiers: readonly Verifier[]): Recognised | null {
    if (!isUtf8(bytes)) return null
    const text = bytes.toString().trim()
    if (text.startsWith('{')) return recogniseJson(text, verifiers)
    const packed = text.replaceAll(/\s/g, '')
    for (const { encoding, pattern } of ENCODINGS) {
        const [, digits] = pattern.exec(packed) ?? []
        const found = digits && recogniseBinary(Buffer.from(digits, encoding), verifiers, `, as ${encoding}`)
        if (found) return found
    }
    return null
}

const ENCODINGS = [
    // Quotes in hex often come from chains, whose tools write `0x` before it.
    { encoding: 'hex', pattern: /^(?:0x)?((?:[0-9a-fA-F]{2})+)$/ },
    { encoding: 'base64', pattern: /^([A-Za-z0-9+/]+={0,2})$/ },
    { encoding: 'base64url', pattern: /^([A-Za-z0-9_-]+={0,2})$/ },
] as const

// The primary evidence itself, or the message that carries it to a broker.
function recogniseJson(text: string, verifiers: readonly Verifier[]): Recognised | null {
    const value = parseJson(text, { title: 'evidence', maxBytes: MAX_EVIDENCE_BYTES })
    const inner = member(member(value, 'tee-evidence'), 'primary_evidence')
    for (const primary of [value, inner])
        for (const verifier of verifiers) {
            const evidence = verifier.fromKbs(primary)
            if (evidence) return { verifier, evidence, form: `key broker evidence of ${verifier.tee} (JSON)` }
        }
    return null
}

const member = (value: unknown, name: string): unknown =>
    typeof value === 'object' && value !== null && Object.hasOwn(value, name)
        ? (value as Record<string, unknown>)[name]
        : undefined

interface Known extends Pick<Mistaken, 'what' | 'hint'> {
    readonly is: (bytes: Buffer, text: string) => boolean
}

/** Things that people have at hand and take for evidence, beside those of each technology. */
const KNOWN: readonly Known[] = [
    { what: 'a TPM quote (TPMS_ATTEST)', is: (b) => b.length > 6 && b.readUInt32BE(0) === 0xff544347 },
    { what: 'a PEM certificate or key', is: (_, t) => t.startsWith('-----BEGIN ') },
    { what: 'a DER certificate or revocation list', is: (b) => b[0] === 0x30 && (b[1] === 0x82 || b[1] === 0x83) },
    {
        what: 'a JSON Web Token: attestation tokens are not evidence',
        is: (_, t) => /^eyJ[\w-]+\.[\w-]+\.[\w-]*$/.test(t),
    },
    { what: 'a JWE', is: (_, t) => /^eyJ[\w-]+\.[\w-]*\.[\w-]+\.[\w-]+\.[\w-]+$/.test(t) },
    { what: 'a LUKS header', is: (b) => b.subarray(0, 4).toString('latin1') === 'LUKS' },
    { what: 'a CCEL or TPM event log', is: (b) => b.subarray(32, 47).toString('latin1') === 'Spec ID Event03' },
    { what: "an HCL report of Azure's paravisor", is: (b) => b.toString('latin1', 0, 4) === 'HCLA' },
    { what: "Azure's vTPM evidence", is: (_, t) => t.startsWith('{') && t.includes('"hcl_report"') },
    { what: 'a JSON text of another kind', is: (_, t) => t.startsWith('{') },
    { what: 'an empty file', is: (b) => b.length === 0 },
]

function unknown(bytes: Buffer, verifiers: readonly Verifier[]): never {
    const text = bytes
        .subarray(0, 64 * 1024)
        .toString('latin1')
        .trim()
    const mistaken = verifiers.flatMap((verifier) => verifier.mistaken ?? [])
    const shown = mistaken.flatMap(({ what, describe }) => (describe ? [what] : []))
    const found = [...(mistaken as readonly Known[]), ...KNOWN].find(({ is }) => is(bytes, text))
    throw evidenceError(
        'ERR_EVIDENCE_UNKNOWN',
        found ? `this is ${found.what}, not evidence that this program can judge` : 'not a proof that I know',
        {
            hint:
                found?.hint ??
                `expected: ${[...verifiers.map(({ forms }) => forms), 'hex or base64 of it, or key broker evidence (JSON)'].join(', ')}${shown.length > 0 ? `; \`inspect\` shows as well: ${shown.join(', ')}` : ''}`,
        },
    )
}
