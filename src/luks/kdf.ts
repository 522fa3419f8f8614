// What unlocking a key slot costs, and its bounds. The lower ones are cryptsetup's own; clevis and systemd sit on them,
// with passphrases that are random. The upper ones are ours: the host chooses these numbers, and the guest works them
// off before it can tell that the key is wrong.
// SPDX-License-Identifier: Apache-2.0

import type { Schema } from '#core/schema.ts'
import { checkHash } from './algorithms.ts'
import { brief, luksError } from './errors.ts'
import { ARGON2, type Argon2, fit, PBKDF2, type Pbkdf2 } from './metadata.ts'

export interface KdfCost {
    readonly type: string
    /** `pbkdf2 with 1000 iterations` */
    readonly text: string
    /** What it takes on one slow core, roughly. */
    readonly seconds: number
}

/** A slow core: iterations of PBKDF2 for a key of 512 bits, and KiB that Argon2 fills, in a second. */
const PBKDF2_PER_SECOND = 500_000
const ARGON2_KIB_PER_SECOND = 512 * 1024

/** What one derivation, and what all key slots that a passphrase is tried against, may take on such a core. */
const MAX_SECONDS = 120
const MAX_TOTAL_SECONDS = 600

/** Below this, a person's passphrase can be guessed. */
export const CHEAP_SECONDS = 0.1

/** cryptsetup's limits (crypt_pbkdf_get_limits). */
const MIN_ITERATIONS = 1000
const ARGON2_LIMITS = { time: [4, 0xffff_ffff], memory: [32, 4 * 1024 * 1024], cpus: [1, 4] } as const

/** The schema of a type, and how its parameters are judged. */
const KDFS: Readonly<Record<string, (kdf: unknown, where: string) => KdfCost>> = {
    pbkdf2: reader(PBKDF2, (kdf, where) => {
        checkHash(kdf.hash, `${where}: kdf.hash`)
        return pbkdf2Cost(kdf, where)
    }),
    argon2i: reader(ARGON2, argon2Cost),
    argon2id: reader(ARGON2, argon2Cost),
}

/**
 * The key derivation of a key slot, within its bounds.
 * @throws AttestError ERR_LUKS_UNKNOWN, ERR_LUKS_HASH, ERR_LUKS_KDF
 */
export function readKdf(kdf: { readonly type: string }, where: string): KdfCost {
    const read = Object.hasOwn(KDFS, kdf.type) ? KDFS[kdf.type] : undefined
    if (read) return read(kdf, where)
    throw luksError(
        'ERR_LUKS_UNKNOWN',
        `${where}: kdf.type: expected ${Object.keys(KDFS).join(', ')}, got ${brief(kdf.type)}`,
    )
}

/** Also for a digest, which is PBKDF2 over the volume key. @throws AttestError ERR_LUKS_KDF */
export function pbkdf2Cost({ type, iterations }: Pick<Pbkdf2, 'type' | 'iterations'>, where: string): KdfCost {
    if (iterations < MIN_ITERATIONS)
        throw luksError('ERR_LUKS_KDF', `${where}: expected at least ${MIN_ITERATIONS} iterations, got ${iterations}`)
    return bounded(
        { type, text: `${type} with ${iterations} iterations`, seconds: iterations / PBKDF2_PER_SECOND },
        where,
    )
}

/** What a passphrase that opens none of them would cost. @throws AttestError ERR_LUKS_KDF */
export function checkTotal(costs: readonly KdfCost[]): void {
    const total = costs.reduce((sum, { seconds }) => sum + seconds, 0)
    if (total > MAX_TOTAL_SECONDS)
        throw luksError('ERR_LUKS_KDF', `all key slots together: ${tooLong(total, MAX_TOTAL_SECONDS)}`)
}

function argon2Cost(kdf: Argon2, where: string): KdfCost {
    for (const [name, [least, most]] of Object.entries(ARGON2_LIMITS)) {
        const got = kdf[name as keyof typeof ARGON2_LIMITS]
        if (got < least || got > most)
            throw luksError('ERR_LUKS_KDF', `${where}: kdf.${name}: expected ${least} to ${most}, got ${got}`)
    }
    const { type, time, memory } = kdf
    // Its lanes run side by side only where there are as many cores.
    const seconds = (time * memory) / ARGON2_KIB_PER_SECOND
    return bounded({ type, text: `${type} with ${time} passes over ${memory} KiB`, seconds }, where)
}

function bounded(cost: KdfCost, where: string): KdfCost {
    if (cost.seconds <= MAX_SECONDS) return cost
    throw luksError('ERR_LUKS_KDF', `${where}: ${cost.text}: ${tooLong(cost.seconds, MAX_SECONDS)}`)
}

const tooLong = (seconds: number, most: number): string =>
    `expected at most ${most} s on a slow core, got about ${Math.round(seconds)} s`

function reader<T>(schema: Schema<T>, judge: (kdf: T, where: string) => KdfCost) {
    return (kdf: unknown, where: string) => judge(fit(schema, kdf, `${where}: kdf`, 'ERR_LUKS_KDF'), where)
}
