// Is evidence authentic? The plugin's own checks, and what no plugin may decide for itself.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import type { Evidence } from '#drivers/driver.ts'
import { evidenceError } from './errors.ts'
import type { Authentic, Verifier } from './verifier.ts'

/**
 * Whoever judges evidence asks here. What an emulator signed proves nothing of hardware, so a vendor's root cannot vouch
 * for it: only one that the caller gave, who then knows what that is.
 * @throws AttestError what the plugin throws; ERR_EVIDENCE_EMULATED
 */
export function authenticate(verifier: Verifier, evidence: Evidence, at: Date, checks: Checks): Authentic {
    const authentic = verifier.authenticate(evidence, at, checks)
    if (authentic.emulated && !authentic.customRoot)
        checks.run('emulation', () => {
            throw evidenceError(
                'ERR_EVIDENCE_EMULATED',
                'an emulator made this, and no root that was given vouches for it',
            )
        })
    return authentic
}
