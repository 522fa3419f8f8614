// The policy of a launch: a word that its owner chooses, that the session binds, and that the measurement covers.
// AMD 55766 (Secure Encrypted Virtualization API), guest policy structure.
// SPDX-License-Identifier: Apache-2.0

import { bitTable } from '#core/bits.ts'
import { sevError } from '../errors.ts'

export const POLICY = bitTable('POLICY', {
    noDebug: { bits: 0, means: 'the host may not read and write its memory by debugging (NODBG)' },
    noKeySharing: { bits: 1, means: 'its memory key may not be shared with another guest (NOKS)' },
    es: { bits: 2, means: 'its registers are encrypted, and measured: SEV-ES' },
    noSend: { bits: 3, means: 'it may not be sent away, to where its host could read it (NOSEND)' },
    domain: { bits: 4, means: 'it may be sent within its domain alone (DOMAIN)' },
    sev: { bits: 5, means: 'it may be sent to platforms with SEV alone (SEV)' },
    apiMajor: { bits: [23, 16], means: 'least API of the firmware, major' },
    apiMinor: { bits: [31, 24], means: 'least API of the firmware, minor' },
})

/** What a guest that keeps secrets needs. */
export interface PolicyDemand {
    /** It is a guest of SEV-ES: without that bit nothing of its processors is measured. */
    readonly es: boolean
}

/** @throws AttestError ERR_SEV_GUEST_POLICY for a word that is no policy */
export function readPolicy(policy: number): ReturnType<typeof POLICY.read> {
    if (!Number.isInteger(policy) || policy < 0 || policy > 0xffff_ffff)
        throw sevError('ERR_SEV_GUEST_POLICY', `policy: expected a word of 32 bits, got ${policy}`)
    const unknown = POLICY.unknown(BigInt(policy))
    if (unknown !== 0n)
        throw sevError('ERR_SEV_GUEST_POLICY', `policy ${hex(policy)}: the bits 0x${unknown.toString(16)} are reserved`)
    return POLICY.read(BigInt(policy))
}

/** @throws AttestError ERR_SEV_GUEST_POLICY, ERR_SEV_GUEST_POLICY_WEAK */
export function requirePolicy(policy: number, { es }: PolicyDemand): void {
    const has = readPolicy(policy)
    const lacks = [
        ...(has.noDebug ? [] : ['NODBG (0x1): the host could read its memory']),
        ...(has.noKeySharing ? [] : ['NOKS (0x2): another guest of the host could share its key']),
        ...(has.es || !es ? [] : ['ES (0x4): the state of its processors would not be measured']),
    ]
    if (lacks.length > 0) throw sevError('ERR_SEV_GUEST_POLICY_WEAK', `policy ${hex(policy)} lacks ${lacks.join('; ')}`)
}

/**
 * Who else can read a guest that its host may send away, or null where it may not. Asked to send, the firmware verifies the
 * receiver's certificates up to AMD's with SEV, up to the owner of the platform with DOMAIN, and none without: then any key
 * will do that the host makes. The owner of the platform is the host.
 */
export function migrationRisk({ noSend, sev }: { readonly noSend: boolean; readonly sev: boolean }): string | null {
    if (noSend) return null
    return sev
        ? 'no NOSEND (0x8): whoever has the key of one of AMD’s chips can read its memory, the host may send it there'
        : 'no NOSEND (0x8): the host can read its memory, it may send the guest to a key of its own'
}

const hex = (policy: number): string => `0x${policy.toString(16)}`
