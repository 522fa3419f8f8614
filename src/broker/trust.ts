// By what a broker judges evidence: the vendors' roots or those of the operator, and the certificates and revocation
// lists of one folder (or file), which is read again when it changes. A folder that cannot be read leaves what was read before.
// SPDX-License-Identifier: Apache-2.0

import { statSync } from 'node:fs'
import { errnoOf, messageOf } from '#core/errors.ts'
import type { Logger } from '#core/log.ts'
import { checkRoots, collateralFiles, readCollateral } from '#evidence/collateral.ts'
import type { LaunchedGuests } from '#evidence/launch.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import type { NamedBytes, Verifier } from '#evidence/verifier.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { brokerError } from './errors.ts'

export interface Verifiers {
    /** By technology. */
    readonly current: ReadonlyMap<string, Verifier>
    /** Reads the folder again where it changed. Never rejects: what cannot be read is logged. */
    refresh(): Promise<void>
    close(): void
}

export interface TrustOptions {
    readonly plugins: readonly Plugin[]
    /** Root certificates that replace the vendors'. */
    readonly roots: readonly NamedBytes[] | undefined
    readonly collateral: CollateralFolder
    readonly log: Logger
    /** Guests that this broker has launched. */
    readonly launches?: LaunchedGuests
}

export interface CollateralFolder {
    readonly path: string
    /** Whether somebody named it: then it must be there. */
    readonly named: boolean
}

// Whether revocation may go unchecked is for the floor to say, under each rule; which statuses of a platform are accepted
// beside the best, for each reference set.
const LATER = { ...STRICT_TRUST, withoutRevocation: true } as const

const LOOK_AGAIN_MS = 10_000

/** What the operator trusts instead of the vendors must be roots, or nothing is opened. @throws AttestError ERR_EVIDENCE_TRUST */
export async function requireRoots(plugins: readonly Plugin[], roots: readonly NamedBytes[]): Promise<void> {
    checkRoots(roots, await Promise.all(plugins.map((plugin) => plugin.verifier(LATER))))
}

/** @throws AttestError ERR_BROKER_COLLATERAL, ERR_EVIDENCE_TRUST, ERR_FILE: at the start what is there must be readable */
export async function openVerifiers({ plugins, roots, collateral, log, launches }: TrustOptions): Promise<Verifiers> {
    // What cannot be read must not replace what can, so it is read before it does.
    const load = async (seen: string | null) => {
        const found = readCollateral(seen === null ? undefined : collateral.path)
        const trust = { ...LATER, ...found, ...(roots ? { roots } : {}), ...(launches ? { launches } : {}) }
        const verifiers = new Map(
            await Promise.all(
                plugins.map(async (plugin): Promise<[string, Verifier]> => [plugin.id, await plugin.verifier(trust)]),
            ),
        )
        for (const verifier of verifiers.values())
            for (const reason of verifier.ready?.() ?? [])
                log.warn('a file of the folder counts for nothing', { folder: collateral.path, reason })
        return verifiers
    }
    let seen = fingerprint(collateral)
    let current = await load(seen)
    let complaint: string | null = null

    const refresh = async () => {
        try {
            const now = fingerprint(collateral)
            if (now !== seen) {
                current = await load(now)
                seen = now
                log.info('certificates and revocation lists were read again', { folder: collateral.path })
            }
            complaint = null
        } catch (error) {
            const reason = messageOf(error)
            // It is tried again every few seconds, and said once.
            if (reason === complaint) return
            complaint = reason
            log.error('certificates and revocation lists cannot be read; those read before stay', {
                folder: collateral.path,
                reason,
            })
        }
    }
    const timer = setInterval(() => void refresh(), LOOK_AGAIN_MS).unref()
    return {
        get current() {
            return current
        },
        refresh,
        close: () => clearInterval(timer),
    }
}

/** Names, sizes and times of a folder's files; null where nobody named the folder and it is not there. */
function fingerprint({ path, named }: CollateralFolder): string | null {
    try {
        return collateralFiles(path)
            .map((name) => {
                // What a broken link or a file that has just gone means is for whoever reads it to say.
                const { size, mtimeMs, ino } = statSync(name, { throwIfNoEntry: false }) ?? {}
                return `${name} ${size} ${mtimeMs} ${ino}`
            })
            .join('\n')
    } catch (cause) {
        if (!named && errnoOf(cause) === 'ERR_NOT_FOUND_FILE') return null
        throw brokerError('ERR_BROKER_COLLATERAL', messageOf(cause), { cause })
    }
}
