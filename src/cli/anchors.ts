// The brokers that this guest trusts: the one that its owner injected, or those of its files. The pins load this as well.
// SPDX-License-Identifier: Apache-2.0

import type { Config } from '#core/config.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { LAUNCHED } from '#plugins.ts'
import { type Anchor, injectedAnchor, readAnchors } from '#unlock/anchors.ts'
import { findGuest } from './find-guest.ts'

/** @throws AttestError what the driver of such a guest says, ERR_UNLOCK_ANCHOR_FILE, ERR_UNTRUSTED_FILE, ERR_CONFIG */
export async function guestAnchors(config: Config): Promise<readonly Anchor[]> {
    const guest = await findGuest({ tee: LAUNCHED.id }, config)
    try {
        const injected = guest?.broker?.()
        return injected ? [injectedAnchor(injected)] : readAnchors(CONFIG_FOLDER)
    } finally {
        guest?.close()
    }
}
