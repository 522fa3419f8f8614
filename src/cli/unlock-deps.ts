// What unlocking needs of this machine: anchors, the guest, denials of this boot. Shared by every front end.
// SPDX-License-Identifier: Apache-2.0

import type { Config } from '#core/config.ts'
import type { Logger } from '#core/log.ts'
import type { Attester } from '#kbs/client.ts'
import { pluginOf } from '#plugins.ts'
import { bootDenials } from '#unlock/denials.ts'
import { type ReleaseDeps, UNLOCK_CONFIG } from '#unlock/release.ts'
import { guestAnchors } from './anchors.ts'
import { dial } from './dial.ts'
import { noEvidence, openGuest } from './find-guest.ts'

export async function releaseDeps(config: Config, log: Logger): Promise<ReleaseDeps> {
    return {
        anchors: await guestAnchors(config),
        attester: () => openAttester(config),
        denials: bootDenials(),
        log,
        dial,
        ...config.get(UNLOCK_CONFIG),
    }
}

/** This guest, ready to prove itself to a broker. @throws AttestError ERR_NO_TEE, what its driver says */
export async function openAttester(config: Config): Promise<Attester> {
    const guest = await openGuest({}, config)
    if (!guest.evidence) {
        guest.close()
        throw noEvidence(guest)
    }
    const plugin = pluginOf(guest.tee)
    const [kbsName = guest.tee] = plugin.kbsNames
    const { sendEventLog: eventLog } = config.get(UNLOCK_CONFIG)
    return { guest, kbsName, form: await plugin.forms(), eventLog, [Symbol.dispose]: () => guest.close() }
}
