// Asks AMD's service for the key of a chip, over the network of this machine.
// SPDX-License-Identifier: Apache-2.0

import { openHttps } from '#core/https-get.ts'
import { sevOwner } from '#plugins.ts'

/** Of the chip's id. */
export const CHIP_ID_SIZE = 64

const TIMEOUT_MS = 20_000

/** From AMD's own service, unless another is named. @throws AttestError ERR_URL, ERR_HTTP_* */
export async function askCek(chipId: Buffer, service: string | undefined): Promise<Buffer> {
    const { fetchCek } = await sevOwner()
    // Asked once: the service counts, and to ask again at once would only use up what it allows.
    const client = await openHttps({ timeoutMs: TIMEOUT_MS, retries: 0 })
    try {
        return await fetchCek(client.get, chipId, service)
    } finally {
        await client.close()
    }
}
