// The claims of an attestation token, placed as clients of the key broker protocol look for them: EAT Attestation Results
// (draft-fv-rats-ear) as Trustee writes them, under a profile of our own, because the appraisal is.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import type { RuntimeData } from './binding.ts'
import type { Claims } from './verdict.ts'
import type { Authentic } from './verifier.ts'

/** RFC 9711 §4.3.2: what says how to read the rest. */
export const EAR_PROFILE = 'tag:guest-attest,2026:broker-1'

export interface EarOptions {
    /** True only if the guest matches a reference set and the floor has nothing against it. */
    readonly affirming: boolean
    readonly runtimeData: RuntimeData
    /** Names the program that has judged, and its version. */
    readonly build: string
    /** Claims that are too long for a token, as dotted paths. */
    readonly leaveOut?: readonly string[]
}

/** The part of a token that says what was proved; who issues it adds issuer and times. */
export function earClaims(
    authentic: Authentic,
    { affirming, runtimeData, build, leaveOut = [] }: EarOptions,
): Record<string, unknown> {
    return {
        eat_profile: EAR_PROFILE,
        'ear.verifier-id': { developer: 'guest-attest', build },
        submods: {
            cpu0: {
                // "none" claims nothing: what a guest may have is decided when it asks.
                'ear.status': affirming ? 'affirming' : 'none',
                'ear.veraison.annotated-evidence': {
                    [authentic.tee]: leaveOut.reduce(without, authentic.claims),
                    report_data: toHex(authentic.reportData),
                    runtime_data_claims: {
                        'tee-pubkey': runtimeData.teePubkey,
                        nonce: runtimeData.nonce,
                        'additional-evidence': runtimeData.additionalEvidence,
                    },
                },
            },
        },
    }
}

function without(claims: Claims, path: string): Claims {
    const [name = '', ...rest] = path.split('.')
    const { [name]: value, ...others } = claims
    if (value === undefined || rest.length === 0) return others
    return { ...claims, [name]: without(value as Claims, rest.join('.')) }
}
