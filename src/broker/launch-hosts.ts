// The launch service, the host's half: it asks for a session, and then for the secrets, among which can be a key for a guest
// that asks itself later. Whatever is refused, a host learns that it was; why stands in the audit log. Each step is durable
// before it is answered, and a launch is answered once.
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomBytes } from 'node:crypto'
import { equalBytes, fromHex, type Secret, toBase64Url, wipe } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { LAUNCH_ID_SIZE } from '#core/sizes.ts'
import type { LaunchService, SealedLaunch } from '#evidence/launch.ts'
import type { Broker } from './broker.ts'
import { brokerError, isFailure } from './errors.ts'
import type { MadeClient } from './launch-clients.ts'
import { endExpired, endLaunch, keysName, openOf, secretsName } from './launch-ends.ts'
import type { LaunchEntry, VmEntry } from './launch-state.ts'
import { digestResource, openRecorded, type ResourceName, sealResource } from './store/seal.ts'

/** Who asks for a launch. */
export interface Host {
    /** What it shows, or nothing. */
    readonly token: string | undefined
    readonly peer: string
    readonly correlation: string
}

/** Why a host was refused that opened nothing: it is not recorded, anybody can ask. */
export interface HostRefusal {
    readonly time: string
    readonly peer: string
    readonly code: string
    readonly detail: string
}

/** A session for a platform that is accepted. @throws AttestError ERR_BROKER_LAUNCH_DENIED, ERR_BROKER_STORE */
export const openVm = (broker: Broker, service: LaunchService, uuid: string, host: Host, request: unknown) =>
    refusing(broker, uuid, host, async (vm) => {
        const open = openOf(vm)
        if (vm.validated >= vm.limits.maxLaunches)
            throw refused(`${vm.validated} launches were validated: no more are allowed`)
        if (open.length >= vm.limits.maxOpen) throw refused(`${open.length} launches are open: no more are allowed`)
        const { answer, keys, platform } = service.open(vm.terms, request)
        try {
            const id = toBase64Url(randomBytes(LAUNCH_ID_SIZE))
            const put = sealResource(broker.data.masterKey, keysName(id), keys)
            const at = broker.clock.now()
            const expires = new Date(at.getTime() + vm.limits.launchSeconds * 1000).toISOString()
            const { peer, correlation } = host
            const data = { id, expires, peer, correlation, platform, digest: digestResource(put) }
            const { seq } = await broker.data.ledger.append({ kind: 'launch-open', subject: uuid, data, at }, { put })
            broker.log.info('a launch is open', { vm: uuid, launch: id, peer, correlation, audit: seq })
            return { ...answer, 'launch-id': id }
        } finally {
            wipe(keys)
        }
    })

/**
 * The secrets, for the launch that is the one that is expected. When this returns, the launch is over.
 * @throws AttestError ERR_BROKER_LAUNCH_DENIED, ERR_BROKER_STORE, ERR_BROKER_ROW
 */
export const validateVm = (
    broker: Broker,
    service: LaunchService,
    uuid: string,
    host: Host,
    { id, request }: { readonly id: string | undefined; readonly request: unknown },
) =>
    refusing(broker, uuid, host, async (vm) => {
        const launch = pick(openOf(vm), id)
        let keys: Secret | undefined
        let secrets: Secret | undefined
        let made: MadeClient | null = null
        try {
            secrets = await readRow(broker, secretsName(uuid), vm.digest)
            keys = await readRow(broker, keysName(launch.id), launch.digest)
            made = broker.clients.make(vm, launch.id)
            const { answer, measured } = prove(service, vm, { secrets, keys, client: made?.client ?? null }, request)
            requireAllowed(vm)
            if (made) broker.clients.keep(uuid, launch.id, made.put)
            await endLaunch(broker, uuid, launch, { outcome: 'validated', measured, made, before: vm.client }, host)
            if (vm.client) broker.clients.forget(vm.client.id)
            return answer
        } catch (error) {
            if (error instanceof NotProved)
                await endLaunch(broker, uuid, launch, { outcome: 'denied', ...reasonOf(error.reason) }, host)
            throw error instanceof NotProved ? error.reason : error
        } finally {
            wipe(keys, secrets, made?.client.key)
        }
    })

/** A launch that is not the one that is expected: it ends. */
class NotProved extends Error {
    readonly reason: AttestError

    constructor(reason: AttestError) {
        super(reason.message)
        this.reason = reason
    }
}

function prove(service: LaunchService, { terms }: VmEntry, sealed: SealedLaunch, request: unknown) {
    try {
        return service.validate(terms, sealed, request)
    } catch (error) {
        throw error instanceof AttestError ? new NotProved(error) : error
    }
}

function requireAllowed({ validated, confirmed, limits }: VmEntry): void {
    if (validated >= limits.maxLaunches) throw refused(`${validated} launches were validated: no more are allowed`)
    if (limits.confirmAfter === null || validated < limits.confirmAfter + confirmed) return
    throw refused('the launch is the one that is expected, and waits for its owner’s confirmation')
}

function pick(open: readonly LaunchEntry[], id: string | undefined): LaunchEntry {
    const found = id === undefined ? (open.length === 1 ? open[0] : undefined) : open.find((one) => one.id === id)
    if (found) return found
    throw refused(
        id === undefined ? `${open.length} launches are open, and none was named` : 'no launch of that id is open',
    )
}

// Who is no host of the guest is refused before anything else, and waits for nobody. Then one after the other: limits hold,
// however many ask at once.
async function refusing<T>(broker: Broker, uuid: string, host: Host, act: (vm: VmEntry) => Promise<T>): Promise<T> {
    let admitted: VmEntry | null = null
    try {
        admitted = admit(broker, uuid, host.token)
        return await broker.change(async () => {
            await endExpired(broker, uuid)
            return act(admit(broker, uuid, host.token))
        })
    } catch (error) {
        if (!(error instanceof AttestError) || isFailure(error)) throw error
        const refusal = { time: broker.clock.now().toISOString(), peer: host.peer, ...reasonOf(error) }
        // What strangers do is no word on a host, and fills no log.
        if (admitted && broker.data.state.vms.has(uuid)) broker.launchRefusals.set(uuid, refusal)
        if (admitted?.hostToken || broker.noise.count(error.code))
            broker.log.warn('a launch is denied', { vm: uuid, ...refusal, correlation: host.correlation })
        throw brokerError('ERR_BROKER_LAUNCH_DENIED', 'the launch is denied: its owner can see why', {
            cause: error,
        })
    }
}

const refused = (text: string) => brokerError('ERR_BROKER_LAUNCH', text)

const reasonOf = (error: AttestError) => ({ code: error.code, detail: messageOf(error) })

// The same work for a guest that nobody knows as for one with a token.
function admit({ data }: Broker, uuid: string, token: string | undefined): VmEntry {
    const vm = data.state.vms.get(uuid)
    const shown = createHash('sha256')
        .update(token ?? '')
        .digest()
    const is = equalBytes(shown, vm?.hostToken ? fromHex(vm.hostToken, 'hash') : NO_HASH)
    if (!vm) throw refused('no guest of that UUID is registered')
    if (vm.hostToken === null || (is && token !== undefined)) return vm
    throw refused(token === undefined ? 'the host shows no token' : 'the host shows another token')
}

const NO_HASH = Buffer.alloc(32)

async function readRow({ data }: Broker, { path, version }: ResourceName, digest: string): Promise<Secret> {
    return openRecorded(data.masterKey, { path, version, digest }, await data.store.resource(path, version))
}
