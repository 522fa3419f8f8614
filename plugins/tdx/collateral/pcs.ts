// Where Intel's statements are to be had: Intel's Provisioning Certification Service (API version 4), caches of it that
// answer the same (PCCS), and Azure's mirror. Which question gives what, where its issuer chain stands, and how much of
// an answer is read, is one table.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, coreError } from '#core/errors.ts'
import { parseOrigin } from '#core/origin.ts'
import type { HttpAnswer, HttpGet } from '#evidence/collateral-service.ts'
import { tdxError } from '../errors.ts'

/** A service, by the parts of its addresses. */
interface Source {
    readonly title: string
    readonly base: string
    /** Where the list of the root is: a PCCS has it beside the rest, Intel has not. */
    readonly rootCrl: string
}

const INTEL_ROOT_CRL = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der'

export const SOURCES = {
    intel: {
        title: 'Intel’s own service',
        base: 'https://api.trustedservices.intel.com',
        rootCrl: INTEL_ROOT_CRL,
    },
    azure: { title: 'Azure’s mirror', base: 'https://global.acccache.azure.net', rootCrl: INTEL_ROOT_CRL },
} as const satisfies Readonly<Record<string, Source>>

/** What Intel calls its sets of statements: the one in force, and the one that comes into force next. */
export const UPDATES = ['standard', 'early'] as const

export type PckCa = 'platform' | 'processor'

interface Row {
    readonly what: string
    readonly url: (source: Source, asked: Asked) => string
    /** The header with the issuer chain, URL-encoded PEM. */
    readonly chain: string | null
    readonly maxBytes: number
}

interface Asked {
    readonly fmspc: string
    /** `&update=early` and its like, or nothing. */
    readonly set: string
    readonly ca: PckCa
}

const KIB = 1024

// Real answers: TCB info 20 KiB, identity 1 KiB, lists 3 KiB, issuer chains 2 KiB.
const ROWS = {
    tcbInfo: {
        what: 'TCB info',
        url: ({ base }, { fmspc, set }) => `${base}/tdx/certification/v4/tcb?fmspc=${fmspc.toUpperCase()}${set}`,
        chain: 'tcb-info-issuer-chain',
        maxBytes: 256 * KIB,
    },
    qeIdentity: {
        what: 'QE identity',
        url: ({ base }, { set }) => `${base}/tdx/certification/v4/qe/identity${set.replace('&', '?')}`,
        chain: 'sgx-enclave-identity-issuer-chain',
        maxBytes: 64 * KIB,
    },
    pckCrl: {
        what: 'revocation list of PCK certificates',
        url: ({ base }, { ca }) => `${base}/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`,
        chain: 'sgx-pck-crl-issuer-chain',
        maxBytes: 1024 * KIB,
    },
    rootCrl: {
        what: 'revocation list of the root',
        // A PCCS answers DER as hex text.
        url: ({ rootCrl }) => rootCrl,
        chain: null,
        maxBytes: 256 * KIB,
    },
} as const satisfies Readonly<Record<string, Row>>

type RowName = keyof typeof ROWS

/** What a service said to one question, not verified yet. */
export interface Answer {
    readonly what: string
    readonly body: Buffer
    /** PEM; empty where the question has none. */
    readonly chain: Buffer
}

/** What one platform is judged by, of one set of Intel's statements, and who is asked for it. */
interface Question {
    readonly source: string
    readonly update: string
    readonly fmspc: string
    readonly ca: PckCa
}

/** Asks one question. @throws AttestError ERR_USAGE, ERR_URL, ERR_HTTP_*, ERR_TDX_COLLATERAL, ERR_TDX_COLLATERAL_MISSING */
export async function ask(name: RowName, question: Question, get: HttpGet): Promise<Answer> {
    const { what, url: urlOf, chain, maxBytes }: Row = ROWS[name]
    const asked = { fmspc: question.fmspc, ca: question.ca, set: setOf(question.update) }
    const url = urlOf(sourceOf(question.source), asked)
    const answer = await get(url, { maxBytes })
    checkStatus(answer, `${what} from ${url}`, question)
    return { what, body: answer.body, chain: chain === null ? Buffer.alloc(0) : readChain(answer, chain, what) }
}

/** @throws AttestError ERR_USAGE, ERR_URL */
function sourceOf(name: string): Source {
    if (Object.hasOwn(SOURCES, name)) return SOURCES[name as keyof typeof SOURCES]
    if (!name.includes('://'))
        throw coreError(
            'ERR_USAGE',
            `${JSON.stringify(name)}: expected ${Object.keys(SOURCES).join(', ')} or https://HOST`,
        )
    // Plain http is for a rehearsal on loopback: whoever brings the network says whether it may be.
    const { origin } = parseOrigin(name, { insecureHttp: true })
    return { title: origin, base: origin, rootCrl: `${origin}/sgx/certification/v4/rootcacrl` }
}

/** @throws AttestError ERR_USAGE */
function setOf(update: string): string {
    if (update === 'standard') return '' // what a service means that does not know the word
    if (update === 'early') return '&update=early'
    if (/^[1-9]\d{0,9}$/.test(update)) return `&tcbEvaluationDataNumber=${update}`
    throw coreError('ERR_USAGE', `--update: expected ${UPDATES.join(', ')} or an evaluation number, got ${update}`)
}

function checkStatus({ status }: HttpAnswer, title: string, { fmspc, update }: Question): void {
    if (status === 200) return
    if (status === 404 || status === 410)
        throw tdxError('ERR_TDX_COLLATERAL_MISSING', `${title}: the service has none (status ${status})`, {
            hint: `is ${fmspc} a platform with TDX, and does the service offer the set ${update}?`,
        })
    throw coreError('ERR_HTTP_RESPONSE', `${title}: the service answers with status ${status}`)
}

function readChain({ headers }: HttpAnswer, header: string, what: string): Buffer {
    const value = headers[header]
    if (!value) throw tdxError('ERR_TDX_COLLATERAL', `${what}: the answer has no header ${header}`)
    try {
        return Buffer.from(decodeURIComponent(value))
    } catch (cause) {
        if (cause instanceof AttestError) throw cause
        throw tdxError('ERR_TDX_COLLATERAL', `${what}: the header ${header} is not URL-encoded`, { cause })
    }
}
