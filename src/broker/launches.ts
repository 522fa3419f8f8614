// The launch service: guests that are proved before they run, and can have no reports then. Their owner registers them;
// their host asks for a session, and then for the secrets, among which can be a key for a guest that asks itself later.
// Whatever is refused, a host learns that it was; why stands in the audit log. Each step is durable before it is answered,
// and a launch is answered once.
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomBytes } from 'node:crypto'
import { equalBytes, fromHex, type Secret, toBase64Url, wipe } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import type { LaunchSecrets, LaunchService } from '#evidence/launch.ts'
import { demand, record } from './admin.ts'
import type { Broker } from './broker.ts'
import { brokerError, isFailure } from './errors.ts'
import { clientName, hasExpired, type MadeClient, requirePin } from './launch-clients.ts'
import type { ClientEntry, GuestBroker, LaunchEnd, LaunchEntry, VmEntry, VmLimits } from './launch-state.ts'
import { digestResource, openResource, type ResourceName, sealResource } from './store/seal.ts'
import type { Change } from './store/store.ts'

/** That are registered at once. */
const MAX_VMS = 10_000

const ID_SIZE = 16

/** What an owner says beside what the technology asks for. */
export interface VmTerms {
    readonly limits: VmLimits
    readonly hostToken: string | null
    /** What the guest is told of this broker, with a key of each launch; null: nothing. */
    readonly broker: GuestBroker | null
    readonly registration: unknown
}

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

/** As its owner sees it. */
export type VmView = Omit<VmEntry, 'digest' | 'hostToken' | 'launches' | 'client'> & {
    readonly hostToken: boolean
    readonly lastRefusal: HostRefusal | null
    readonly launches: readonly Omit<LaunchEntry, 'digest'>[]
    readonly client: Omit<ClientEntry, 'digest'> | null
}

/** @throws AttestError ERR_BROKER_EXISTS, ERR_BROKER_REQUEST, ERR_BROKER_STORE, what the technology says */
export const registerVm = (
    broker: Broker,
    service: LaunchService,
    uuid: string,
    { limits, hostToken, broker: told, registration }: VmTerms,
): Promise<VmView> =>
    broker.change(async () => {
        const { vms } = broker.data.state
        if (vms.has(uuid))
            throw brokerError('ERR_BROKER_EXISTS', `${uuid} is registered already`, {
                hint: 'each start of a guest has a UUID of its own; `guest-attest broker launch rm` forgets this one',
            })
        if (vms.size >= MAX_VMS)
            throw brokerError('ERR_BROKER_REQUEST', `${MAX_VMS} guests are registered already: remove some`)
        const { terms, secrets, weaknesses } = service.register(
            registration,
            told && { url: told.url, allowPaths: told.allowPaths, pins: [requirePin(broker.listener.pin)] },
        )
        try {
            const put = sealResource(broker.data.masterKey, secretsName(uuid), secrets)
            const { scheme } = service
            const what = { scheme, terms, weaknesses, limits, hostToken, broker: told, digest: digestResource(put) }
            await record(broker, 'vm-put', uuid, what, { put })
        } finally {
            wipe(secrets)
        }
        broker.launchRefusals.delete(uuid)
        return viewVm(broker, uuid)
    })

/** One more launch may be validated than `confirm-after` says. @throws AttestError ERR_BROKER_NOT_FOUND */
export const confirmVm = (broker: Broker, uuid: string): Promise<VmView> =>
    broker.change(async () => {
        const { limits } = find(broker, uuid)
        if (limits.confirmAfter === null)
            throw brokerError('ERR_BROKER_REQUEST', `${uuid} needs no confirmation: it was registered without`)
        await record(broker, 'vm-confirm', uuid, {})
        return viewVm(broker, uuid)
    })

/** The key of its last launch proves nothing any more. @throws AttestError ERR_BROKER_NOT_FOUND */
export const revokeVm = (broker: Broker, uuid: string): Promise<VmView> =>
    broker.change(async () => {
        const { client } = find(broker, uuid)
        if (!client) throw brokerError('ERR_BROKER_NOT_FOUND', `${uuid}: no launch of it has a key that counts`)
        await endClient(broker, uuid, client, 'revoked')
        return viewVm(broker, uuid)
    })

/** Ends what is over: launches under way, and keys of launches. */
export const sweepVms = (broker: Broker): Promise<void> => broker.change(() => endExpired(broker))

/** Forgets a guest; what is open ends, and the key of its last launch. @throws AttestError ERR_BROKER_NOT_FOUND */
export const removeVm = (broker: Broker, uuid: string): Promise<void> =>
    broker.change(async () => {
        for (const launch of openOf(find(broker, uuid))) await endLaunch(broker, uuid, launch, { outcome: 'removed' })
        const { client } = find(broker, uuid)
        if (client) await endClient(broker, uuid, client, 'removed')
        await record(broker, 'vm-rm', uuid, {}, { erase: secretsName(uuid).path })
        broker.launchRefusals.delete(uuid)
    })

/** @throws AttestError ERR_BROKER_NOT_FOUND */
export function viewVm(broker: Broker, uuid: string): VmView {
    const { digest: _digest, hostToken, launches, client, ...vm } = find(broker, uuid)
    return {
        ...vm,
        client: client && withoutDigest(client),
        hostToken: hostToken !== null,
        lastRefusal: broker.launchRefusals.get(uuid) ?? null,
        launches: launches.map(withoutDigest),
    }
}

const withoutDigest = <T extends { digest: string }>({ digest: _digest, ...rest }: T): Omit<T, 'digest'> => rest

/** A session for a platform that is accepted. @throws AttestError ERR_BROKER_LAUNCH_DENIED, ERR_BROKER_STORE */
export const openVm = (broker: Broker, service: LaunchService, uuid: string, host: Host, request: unknown) =>
    refusing(broker, uuid, host, async (vm) => {
        const open = openOf(vm)
        if (vm.validated >= vm.limits.maxLaunches)
            throw refused(`${vm.validated} launches were validated: no more are allowed`)
        if (open.length >= vm.limits.maxOpen) throw refused(`${open.length} launches are open: no more are allowed`)
        const { answer, keys, platform } = service.open(vm.terms, request)
        try {
            const id = toBase64Url(randomBytes(ID_SIZE))
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
            secrets = await openRow(broker, secretsName(uuid), vm.digest)
            keys = await openRow(broker, keysName(launch.id), launch.digest)
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

function prove(service: LaunchService, { terms }: VmEntry, sealed: LaunchSecrets, request: unknown) {
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

const openOf = ({ launches }: VmEntry): readonly LaunchEntry[] => launches.filter(({ end }) => end === null)

function find({ data }: Broker, uuid: string): VmEntry {
    const vm = data.state.vms.get(uuid)
    demand(vm, 'guest', uuid)
    return vm
}

// One after the other: limits hold, however many ask at once. A guest that nobody knows is refused like any other.
function refusing<T>(broker: Broker, uuid: string, host: Host, act: (vm: VmEntry) => Promise<T>): Promise<T> {
    return broker.change(async () => {
        try {
            await endExpired(broker)
            const vm = broker.data.state.vms.get(uuid)
            requireToken(vm?.hostToken ?? null, host.token)
            if (!vm) throw refused('no guest of that UUID is registered')
            return await act(vm)
        } catch (error) {
            if (!(error instanceof AttestError) || isFailure(error)) throw error
            const refusal = { time: broker.clock.now().toISOString(), peer: host.peer, ...reasonOf(error) }
            if (broker.data.state.vms.has(uuid)) broker.launchRefusals.set(uuid, refusal)
            broker.log.warn('a launch is denied', { vm: uuid, ...refusal, correlation: host.correlation })
            throw brokerError('ERR_BROKER_LAUNCH_DENIED', 'the launch is denied: its owner can see why', {
                cause: error,
            })
        }
    })
}

const refused = (text: string) => brokerError('ERR_BROKER_LAUNCH', text)

const reasonOf = (error: AttestError) => ({ code: error.code, detail: messageOf(error) })

function requireToken(hash: string | null, token: string | undefined): void {
    if (hash === null) return
    const shown = createHash('sha256')
        .update(token ?? '')
        .digest()
    if (token === undefined || !equalBytes(shown, fromHex(hash, 'hash')))
        throw refused(token === undefined ? 'the host shows no token' : 'the host shows another token')
}

async function endExpired(broker: Broker): Promise<void> {
    const now = broker.clock.now().toISOString()
    for (const vm of broker.data.state.vms.values())
        for (const launch of openOf(vm))
            if (launch.expires <= now) await endLaunch(broker, vm.uuid, launch, { outcome: 'expired' })
    for (const { uuid, client } of broker.data.state.vms.values())
        if (client && hasExpired(client, broker.clock)) await endClient(broker, uuid, client, 'expired')
}

async function endClient(
    broker: Broker,
    uuid: string,
    { id }: ClientEntry,
    outcome: 'expired' | 'revoked' | 'removed',
): Promise<void> {
    await record(broker, 'client-end', uuid, { id, outcome }, { erase: clientName(id).path })
    broker.clients.forget(id)
}

/** How a launch ends, and the keys that come and go with it. */
type Ending = Pick<LaunchEnd, 'outcome'> &
    Partial<LaunchEnd> & { readonly made?: MadeClient | null; readonly before?: ClientEntry | null }

async function endLaunch(
    { data, clock, log }: Broker,
    uuid: string,
    { id }: LaunchEntry,
    end: Ending,
    host?: Host,
): Promise<void> {
    const { outcome, code = null, detail = null, measured = null, made = null, before = null } = end
    const changes: Change[] = [
        { erase: keysName(id).path },
        ...(before ? [{ erase: clientName(before.id).path }] : []),
        ...(made ? [{ put: made.put }] : []),
    ]
    const said = host ? { peer: host.peer, correlation: host.correlation } : {}
    const { seq } = await data.ledger.append(
        {
            kind: 'launch-end',
            subject: uuid,
            data: { id, outcome, code, detail, measured, client: made?.entry ?? null, ...said },
            at: clock.now(),
        },
        changes,
    )
    log.info('a launch ended', { vm: uuid, launch: id, outcome, ...said, audit: seq })
}

// Neither has the form of a resource's path: no guest can name it.
const secretsName = (uuid: string): ResourceName => ({ path: `vm:${uuid}`, kind: 'vm', version: 1 })
const keysName = (id: string): ResourceName => ({ path: `launch:${id}`, kind: 'launch', version: 1 })

async function openRow({ data }: Broker, { path, version }: ResourceName, digest: string): Promise<Secret> {
    const row = await data.store.resource(path, version)
    if (!row || digestResource(row) !== digest)
        throw brokerError('ERR_BROKER_ROW', `${path} is not the row that the audit log recorded`)
    return openResource(data.masterKey, row)
}
