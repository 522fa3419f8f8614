// The options that say what authenticity is judged by, shared by every command that judges evidence.
// SPDX-License-Identifier: Apache-2.0

import { AttestError } from '#core/errors.ts'
import { checkRoots, readCertificates, readCollateral } from '#evidence/collateral.ts'
import { evidenceError } from '#evidence/errors.ts'
import type { Trust, Verifier } from '#evidence/verifier.ts'
import { PLUGINS } from '#plugins.ts'
import { many } from '../command.ts'
import { parseTime } from './time.ts'

export const TRUST_OPTIONS = {
    tee: { type: 'string', choices: PLUGINS.map(({ id }) => id), describe: 'the technology that it must be' },
    certs: many('certificates that lead to the root: PEM or DER'),
    collateral: { type: 'string', describe: 'a folder (or a file) with certificates and revocation lists' },
    'trust-root': many("trust this root (PEM) instead of the vendor's: an emulator's, a laboratory's"),
    'accept-status': many('a TCB status that is accepted beside UpToDate (TDX); several with commas'),
    'insecure-skip-tcb': {
        type: 'boolean',
        default: false,
        describe: 'go on where nothing says which firmware the vendor calls up to date (TDX)',
    },
    offline: { type: 'boolean', default: false, describe: 'go without a revocation list where none was given' },
} as const

export const TIME_OPTION = {
    at: { type: 'string', describe: 'judge at this time (ISO 8601) instead of now' },
} as const

export interface TrustArgs {
    readonly tee?: string | undefined
    readonly certs: readonly string[]
    readonly collateral?: string | undefined
    readonly trustRoot: readonly string[]
    readonly acceptStatus: readonly string[]
    readonly insecureSkipTcb: boolean
    readonly offline: boolean
}

/**
 * The verifiers of every technology, or of the one that was named, under what the options say.
 * @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE, ERR_EVIDENCE_TRUST: what was named is read before it judges
 */
export async function verifiersFor(args: TrustArgs): Promise<Verifier[]> {
    const trust = readTrust(args)
    const plugins = PLUGINS.filter(({ id }) => args.tee === undefined || id === args.tee)
    const verifiers = await Promise.all(plugins.map((plugin) => plugin.verifier(trust)))
    checkRoots(trust.roots ?? [], verifiers)
    return verifiers
}

/**
 * Reads all that the verifier of this evidence was given: what it cannot read says nothing of the evidence.
 * @throws AttestError ERR_EVIDENCE_TRUST
 */
export function checkReadable(verifier: Verifier): void {
    try {
        verifier.ready?.()
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        throw evidenceError('ERR_EVIDENCE_TRUST', error.message, {
            cause: error,
            hint:
                error.hint ??
                'a file that was given beside the evidence cannot be read: `collateral status` looks at --collateral',
        })
    }
}

function readTrust({ certs, collateral, trustRoot, acceptStatus, insecureSkipTcb, offline }: TrustArgs): Trust {
    const { certificates, revocationLists, statements } = readCollateral(collateral)
    return {
        ...(trustRoot.length > 0 ? { roots: trustRoot.map(readCertificates) } : {}),
        certificates: [...certs.map(readCertificates), ...certificates],
        revocationLists,
        statements,
        withoutRevocation: offline,
        withoutStatus: insecureSkipTcb,
        acceptStatuses: acceptStatus.flatMap((text) => text.split(',')),
    }
}

/** The time of `--at`, or now. @throws AttestError ERR_USAGE */
export const readTime = (text: string | undefined): Date => (text === undefined ? new Date() : parseTime(text, '--at'))
