// The two parties of a launch around a broker: an owner who registers a guest, and a host with an emulated processor under a
// vendor of our own.
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomUUID } from 'node:crypto'
import { toBase64 } from '#core/bytes.ts'
import { readFirmware, resetAddress } from '#core/launch/ovmf.ts'
import { signature } from '#core/launch/vcpu.ts'
import { vmsaPages } from '#core/launch/vmsa.ts'
import { EmulatedLaunch } from '#plugins/sev/emulated/processor.ts'
import type { SecretPacket } from '#plugins/sev/launch/packet.ts'
import { parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { FIRMWARE, minted } from '#test/plugins/sev/minted.ts'
import { MILAN, makeFirmware } from '#test/plugins/sev/rig.ts'
import type { Answer } from './rig.ts'

export type Platform = Awaited<ReturnType<typeof minted>>

let made: Promise<Platform> | undefined

/** One for all tests of a file. */
export const thePlatform = (): Promise<Platform> => {
    made ??= minted()
    return made
}

export const IMAGE = makeFirmware()
export const PASSPHRASE = 'correct horse battery staple'
const CPUS = 2

/** A token that a host has to show, for its registration. */
export const TOKEN = { 'host-token-hash': createHash('sha256').update('sesame').digest('hex') }
/** The headers of a host that shows it. */
export const SHOWN = { authorization: 'Bearer sesame' }

/** What an owner says of a guest of SEV-ES, with members changed. */
export const registration = ({ certificates }: Platform, changed: object = {}) => ({
    scheme: 'amd-sev',
    policy: 15,
    firmware: toBase64(IMAGE),
    'cpu-count': CPUS,
    cpus: [MILAN],
    profiles: ['kvm-legacy'],
    'insecure-trust-roots': [toBase64(certificates.ark)],
    secrets: [{ type: 'luks-passphrase', passphrase: PASSPHRASE }],
    ...changed,
})

/** What QMP query-sev-capabilities says, and the certificates of the vendor. */
export const capabilities = ({ certificates: c }: Platform) => ({
    pdh: toBase64(c.pdh),
    'cert-chain': toBase64(Buffer.concat([c.pek, c.oca, c.cek, c.ask, c.ark])),
})

export const newUuid = (): string => randomUUID()

/** A processor that was given the answer to `/launch`, with the guest's memory in it. */
export function started({ keys }: Platform, { json }: Answer, image = IMAGE): EmulatedLaunch {
    const launch = new EmulatedLaunch(keys, FIRMWARE, {
        godh: Buffer.from(json['owner-cert'], 'base64'),
        session: Buffer.from(json.session, 'base64'),
        policy: json.policy,
    })
    launch.update(image)
    const state = { profile: 'kvm-legacy', signature: signature(MILAN), features: 0n } as const
    if (json.policy & 4)
        for (const page of vmsaPages(state, resetAddress(readFirmware(image, 'image')), CPUS)) launch.update(page)
    return launch
}

/** The body of `/validate`. */
export const claim = (launch: EmulatedLaunch, id?: string) => ({
    'api-major': FIRMWARE.apiMajor,
    'api-minor': FIRMWARE.apiMinor,
    'build-id': FIRMWARE.buildId,
    policy: launch.policy,
    measurement: toBase64(launch.measure()),
    ...(id === undefined ? {} : { 'launch-id': id }),
})

/** The packet of secrets, of the answer to `/validate`. */
export const packetOf = (json: Readonly<Record<string, string>>): SecretPacket => ({
    header: Buffer.from(json['secret-header'] ?? '', 'base64'),
    payload: Buffer.from(json['secret-payload'] ?? '', 'base64'),
})

/** What the guest finds of it. */
export const injected = (launch: EmulatedLaunch, { json }: Answer) =>
    parseSecretTable(launch.inject(packetOf(json))).map(({ guid, data }) => [guid, data.toString()])
