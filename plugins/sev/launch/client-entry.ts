// The key of a launch as an entry of the table of secrets, behind those of its owner.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, secret, wipe } from '#core/bytes.ts'
import { CLIENT_KEY_SIZE, LAUNCH_ID_SIZE } from '#core/sizes.ts'
import type { InjectedBroker } from '#drivers/driver.ts'
import type { LaunchClient } from '#evidence/launch.ts'
import { CLIENT_GUID, formatClient } from '../client-secret.ts'
import { encodeSecretTable, type LaunchSecret, parseSecretTable } from './secret-table.ts'

/** The table of the owner's secrets with the client's behind them. Wipe it. @throws AttestError ERR_SEV_SECRET */
export function withClient(table: Buffer, client: LaunchClient, area: number): Secret {
    const own = parseSecretTable(table)
    const json = formatClient(client)
    try {
        return encodeSecretTable([...own, { guid: CLIENT_GUID, data: json }], area)
    } finally {
        wipe(json, ...own.map(({ data }) => data))
    }
}

/**
 * Whether both have room: every client of this broker is as long as this one.
 * @throws AttestError ERR_SEV_SECRET
 */
export function requireRoom(own: readonly LaunchSecret[], broker: InjectedBroker, area: number): void {
    const id = Buffer.alloc(LAUNCH_ID_SIZE).toString('base64url')
    const data = formatClient({ id, key: secret(Buffer.alloc(CLIENT_KEY_SIZE)), broker })
    wipe(encodeSecretTable([...own, { guid: CLIENT_GUID, data }], area))
}
