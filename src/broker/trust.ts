// By what a broker judges evidence: the vendors' roots or those of the operator, and the certificates and revocation
// lists of one folder, which is read again when it changes. A folder that cannot be read leaves what was read before.
// SPDX-License-Identifier: Apache-2.0

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, messageOf } from '#core/errors.ts'
import type { Logger } from '#core/log.ts'
import { readCollateral } from '#evidence/collateral.ts'
import type { NamedBytes, Verifier } from '#evidence/verifier.ts'
import type { Plugin } from '#plugins/plugin.ts'

export interface Verifiers {
    /** By technology. */
    readonly current: ReadonlyMap<string, Verifier>
    /** Reads the folder again where it changed. */
    refresh(): Promise<void>
    close(): void
}

export interface TrustOptions {
    readonly plugins: readonly Plugin[]
    /** Root certificates that replace the vendors'. */
    readonly roots: readonly NamedBytes[] | undefined
    readonly collateral: string
    readonly log: Logger
}

const LOOK_AGAIN_MS = 10_000

/** @throws AttestError ERR_CERTIFICATE, ERR_FILE: at the start what is there must be readable */
export async function openVerifiers({ plugins, roots, collateral, log }: TrustOptions): Promise<Verifiers> {
    const load = async () => {
        // Whether revocation may go unchecked is for the floor to say, under each rule.
        const trust = { ...readFolder(collateral), ...(roots ? { roots } : {}), withoutRevocation: true }
        return new Map(
            await Promise.all(
                plugins.map(async (plugin): Promise<[string, Verifier]> => [plugin.id, await plugin.verifier(trust)]),
            ),
        )
    }
    let seen = fingerprint(collateral)
    let current = await load()

    const refresh = async () => {
        const now = fingerprint(collateral)
        if (now === seen) return
        seen = now
        try {
            current = await load()
            log.info('certificates and revocation lists were read again', { folder: collateral })
        } catch (error) {
            log.error('certificates and revocation lists cannot be read; those read before stay', {
                folder: collateral,
                reason: messageOf(error),
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

const readFolder = (path: string) => (fingerprint(path) === null ? readCollateral(undefined) : readCollateral(path))

/** Names, sizes and times of a folder's files; null where there is no folder. */
function fingerprint(path: string): string | null {
    try {
        return readdirSync(path)
            .toSorted()
            .map((name) => {
                const { size, mtimeMs, ino } = statSync(join(path, name))
                return `${name} ${size} ${mtimeMs} ${ino}`
            })
            .join('\n')
    } catch (error) {
        if (errnoOf(error) === 'ENOENT') return null
        throw error
    }
}
