// A guest of SEV that was launched by a broker: what was injected into it, its keyring, and the real client.
// SPDX-License-Identifier: Apache-2.0

import { secret } from '#core/bytes.ts'
import { parseOrigin } from '#core/http.ts'
import type { EcJwk } from '#core/jwe.ts'
import { silent } from '#core/log.ts'
import type { Guest } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import type { Doors } from '#drivers/linux/doors.ts'
import type { SecretDoors } from '#drivers/linux/secret-doors.ts'
import { runtimeDigest } from '#evidence/binding.ts'
import { type AttestedSession, attest } from '#kbs/client.ts'
import { sevDriver } from '#plugins/sev/driver.ts'
import type { EmulatedLaunch } from '#plugins/sev/emulated/processor.ts'
import * as forms from '#plugins/sev/forms.ts'
import { sev } from '#plugins/sev/index.ts'
import { parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { LAUNCHED } from '#plugins.ts'
import { foreignDoors } from '#test/drivers/doors.ts'
import {
    capabilities,
    claim,
    newUuid,
    packetOf,
    registration,
    SHOWN,
    started,
    TOKEN,
    thePlatform,
} from './launch-rig.ts'
import { type Answer, cookieOf, movable, type Rig, rig, teeKey } from './rig.ts'

type Context = Parameters<typeof rig>[0]

/** ES, and nobody may move it. */
export const POLICY = 15

/** A broker that launches guests, at a time that tests can move. */
export async function launcher(t: Context, folder?: string, ahead = 0) {
    const { clock, later } = movable(ahead)
    const broker = await rig(t, {
        ...(folder === undefined ? {} : { folder }),
        serve: { launched: LAUNCHED, plugins: [sev], roots: [], clock },
    })
    return { ...broker, later }
}

/** Registers a guest that gets a key of each launch. */
export async function register({ adminJson, serving }: Rig, changed: object = {}) {
    const uuid = newUuid()
    const body = registration(await thePlatform(), {
        policy: POLICY,
        'max-launches': 9,
        'broker-url': serving.url,
        'broker-allow-paths': ['web/*/*'],
        ...TOKEN,
        ...changed,
    })
    return { uuid, answer: await adminJson('POST', `/v1/vm/${uuid}`, body) }
}

export interface Launched {
    readonly id: string
    readonly processor: EmulatedLaunch
    validate(): Promise<Answer>
}

/** A launch that waits for its secrets. */
export async function open({ ask }: Rig, uuid: string, shown: Record<string, string> = SHOWN): Promise<Launched> {
    const platform = await thePlatform()
    const session = await ask('POST', `/v1/vm/${uuid}/launch`, capabilities(platform), shown)
    if (session.status !== 200) throw new Error(session.body.toString())
    const processor = started(platform, session)
    const id = session.json['launch-id']
    return { id, processor, validate: () => ask('POST', `/v1/vm/${uuid}/validate`, claim(processor, id), shown) }
}

/** The memory of a guest, as its kernel shows it. */
export interface Machine {
    readonly secrets: Map<string, Buffer>
    readonly keys: Map<string, Buffer>
    readonly doors: Doors
    guest(): Promise<Guest>
}

/** The guest that runs after its launch was validated. */
export async function run(launch: Launched): Promise<Machine> {
    const { json, status, body } = await launch.validate()
    if (status !== 200) throw new Error(body.toString())
    const table = launch.processor.inject(packetOf(json))
    return machine(new Map(parseSecretTable(table).map(({ guid, data }) => [guid, Buffer.from(data)])))
}

export function machine(secrets: Map<string, Buffer>, system: Partial<Doors['system']> = {}): Machine {
    const keys = new Map<string, Buffer>()
    const missing = (guid: string) => driverError('ERR_SECRET_MISSING', `there is no secret ${guid}`)
    const kept: SecretDoors = {
        efiSecrets: {
            requireShown: () => undefined,
            list: () => [...secrets.keys()],
            read(guid) {
                const bytes = secrets.get(guid)
                if (!bytes) throw missing(guid)
                return secret(Buffer.from(bytes))
            },
            wipe(guid) {
                if (!secrets.delete(guid)) throw missing(guid)
            },
        },
        keyring: {
            has: (name) => keys.has(name),
            read: (name) => {
                const bytes = keys.get(name)
                return bytes ? secret(Buffer.from(bytes)) : null
            },
            put: (name, bytes) => void keys.set(name, Buffer.from(bytes)),
        },
    }
    const doors: Doors = {
        system: {
            kernelRelease: '6.12.0',
            exists: () => false,
            hasCpuFlag: () => false,
            requireFilesystem: () => undefined,
            ...system,
        },
        secretArea: { path: '/secrets', exists: () => true },
        secrets: async () => kept,
        ...foreignDoors('tsm', 'sevDevice', 'sevGuest', 'tdxDevice', 'tdx'),
    }
    return {
        secrets,
        keys,
        doors,
        async guest() {
            const guest = await sevDriver.open(doors)
            if (!guest) throw new Error('no guest')
            return guest
        },
    }
}

/** The same doors, with a keyring that does something else. */
export const withKeyring = (doors: Doors, changed: Partial<SecretDoors['keyring']>): Doors => ({
    ...doors,
    async secrets() {
        const { efiSecrets, keyring } = await doors.secrets()
        return { efiSecrets, keyring: { ...keyring, ...changed } }
    },
})

/** A session of the real client with the broker that the guest trusts. */
export async function attested({ guest: find }: Machine): Promise<AttestedSession> {
    const guest = await find()
    const broker = guest.broker?.()
    if (!broker) throw new Error('the guest trusts no broker')
    return attest(
        { origin: parseOrigin(broker.url), trust: { pins: broker.pins } },
        { guest, kbsName: 'sev', form: forms, eventLog: false, [Symbol.dispose]: () => undefined },
        { log: silent, signal: AbortSignal.timeout(20_000), requestTimeoutMs: 10_000 },
    )
}

/** A handshake by hand, in which somebody changes what is sent. */
export async function handshake(
    { ask }: Rig,
    machine: Machine,
    change: (message: Message, jwk: EcJwk) => unknown = (message) => message,
    tee = 'sev',
): Promise<Answer> {
    const challenge = await ask('POST', '/kbs/v0/auth', { version: '0.4.0', tee, 'extra-params': '' })
    if (challenge.status !== 200) return challenge
    const { jwk } = teeKey()
    const message = change(await messageOf(machine, challenge.json.nonce, jwk), jwk)
    return ask('POST', '/kbs/v0/attest', message, { cookie: cookieOf(challenge) })
}

export type Message = Awaited<ReturnType<typeof messageOf>>

async function messageOf(machine: Machine, nonce: string, teePubkey: EcJwk) {
    const guest = await machine.guest()
    const evidence = await guest.evidence?.(runtimeDigest({ nonce, teePubkey, additionalEvidence: '' }))
    if (!evidence) throw new Error('the guest has no key')
    return {
        'init-data': null,
        'runtime-data': { nonce, 'tee-pubkey': teePubkey },
        'tee-evidence': { primary_evidence: forms.toKbs(evidence), additional_evidence: '' },
    }
}
