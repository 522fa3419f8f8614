// All that a trust says, read once: whether it can be read is known from then on, and nothing is read again for each
// quote.
// SPDX-License-Identifier: Apache-2.0

import type { Trust } from '#evidence/verifier.ts'
import { type Anchors, chainReader, readAnchors, readRoots } from '../chain.ts'
import { readStatements, type SignerFinder, type Statements, signerFinder, statementVerifier } from './collateral.ts'
import { type RevocationLists, readLists } from './revocation.ts'

export interface Trusted {
    readonly anchors: Anchors
    readonly lists: RevocationLists
    readonly statements: Statements
    readonly readChain: ReturnType<typeof chainReader>
    readonly signersOf: SignerFinder
    readonly verifyStatement: ReturnType<typeof statementVerifier>
}

/**
 * The same answer, or the same error, each time.
 * @throws AttestError ERR_TDX_COLLATERAL, ERR_TDX_CRL, ERR_TDX_CHAIN, ERR_JSON, ERR_CERTIFICATE
 */
export type TrustReader = () => Trusted

export function trustReader(trust: Trust): TrustReader {
    let answer: { readonly trusted: Trusted } | { readonly error: unknown } | undefined
    return () => {
        answer ??= attempt(trust)
        if ('error' in answer) throw answer.error
        return answer.trusted
    }
}

/**
 * `Verifier.ready`: reads what has not been read yet. Roots of other technologies alone lead to no quote, and nothing
 * beside them matters.
 * @throws AttestError as `TrustReader`
 */
export function ready({ roots }: Pick<Trust, 'roots'>, read: TrustReader): string[] {
    if (roots && !roots.some((root) => readRoots(root).length > 0)) return []
    const { statements, signersOf } = read()
    return [...statements.tcbInfos, ...statements.qeIdentities]
        .filter((statement) => signersOf(statement).length === 0)
        .map(({ name }) => `${name} is not signed by any key that a trusted root vouches for`)
}

function attempt(trust: Trust) {
    try {
        return { trusted: readTrust(trust) }
    } catch (error) {
        return { error }
    }
}

function readTrust(trust: Trust): Trusted {
    const statements = readStatements(trust.statements)
    const anchors = readAnchors(trust, statements.certificates)
    const lists = readLists([...trust.revocationLists, ...statements.revocationLists])
    const signersOf = signerFinder(anchors)
    return {
        anchors,
        lists,
        statements,
        readChain: chainReader(anchors),
        signersOf,
        verifyStatement: statementVerifier(anchors, lists, signersOf),
    }
}
