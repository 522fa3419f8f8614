// What unlocking needs of this machine: anchors, the guest, denials of this boot. Shared by every front end.
// SPDX-License-Identifier: Apache-2.0

import type { Config } from '#core/config.ts'
import type { Logger } from '#core/log.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import type { Attester } from '#kbs/client.ts'
import { pluginOf } from '#plugins.ts'
import { readAnchors } from '#unlock/anchors.ts'
import { bootDenials } from '#unlock/denials.ts'
import { type ReleaseDeps, UNLOCK_CONFIG } from '#unlock/release.ts'
import { dial } from './dial.ts'
import { noEvidence, openGuest } from './find-guest.ts'

export function releaseDeps(config: Config, log: Logger): ReleaseDeps {
    return {
        anchors: readAnchors(CONFIG_FOLDER),
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
