// The brokers that this guest trusts: the one that its owner injected, or those of its files. The pins load this as well.
// SPDX-License-Identifier: Apache-2.0

import type { Config } from '#core/config.ts'
import { coreError } from '#core/errors.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { LAUNCHED } from '#plugins.ts'
import { type Anchor, injectedAnchor, readAnchors } from '#unlock/anchors.ts'
import { findGuest } from './find-guest.ts'

/** @throws AttestError what the driver of such a guest says, ERR_UNLOCK_ANCHOR_FILE, ERR_UNTRUSTED_FILE, ERR_CONFIG */
export async function guestAnchors(config: Config): Promise<readonly Anchor[]> {
    const injected = await findInjected(config)
    return injected ? [injected] : readAnchors(CONFIG_FOLDER)
}

/** Null where the owner has injected none. @throws AttestError what the driver says, ERR_UNLOCK_ANCHOR_FILE */
async function findInjected(config: Config): Promise<Anchor | null> {
    const guest = await findGuest({ tee: LAUNCHED.id }, config)
    try {
        const broker = guest?.broker?.()
        return broker ? injectedAnchor(broker) : null
    } finally {
        guest?.close()
    }
}

/**
 * For whoever would change what the files say.
 * @throws AttestError ERR_USAGE where the owner has injected a broker: then they count for nothing
 */
export async function requireFilesCount(config: Config): Promise<void> {
    const injected = await findInjected(config)
    if (!injected) return
    throw coreError(
        'ERR_USAGE',
        `this guest’s owner injected the only broker that it trusts, ${injected.origin.origin}: another one would count for nothing`,
        { hint: 'the owner names another one for the next launch: broker launch register --broker-url' },
    )
}
