// The end of the broker at every step of its launch service: before each write, and between each write and its answer. What
// another start finds is the state that was written, no more and no less: launches that are open go on, those that are over
// do not, one key of a launch counts, and no sealed row is left without its record.
// SPDX-License-Identifier: Apache-2.0

import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'ava'
import { claim, SHOWN } from './launch-rig.ts'
import { handshake, launcher, type Machine, open, register, run } from './possession-rig.ts'

type Broker = Awaited<ReturnType<typeof launcher>>

interface Snapshot {
    readonly step: string
    readonly folder: string
    readonly state: State
}

/** What a start must find. */
type State = ReturnType<typeof stateOf>

function stateOf({ serving }: Pick<Broker, 'serving'>) {
    const vms = [...serving.broker.data.state.vms.values()].map(({ uuid, validated, confirmed, client, launches }) => ({
        ...{ uuid, validated, confirmed, client: client?.id ?? null },
        launches: launches.map(({ id, end }) => ({ id, outcome: end?.outcome ?? null })),
    }))
    const rows = vms.flatMap(({ uuid, client, launches }) => [
        `vm:${uuid}`,
        ...(client === null ? [] : [`client:${client}`]),
        ...launches.filter(({ outcome }) => outcome === null).map(({ id }) => `launch:${id}`),
    ])
    return { vms, rows: rows.toSorted((a, b) => a.localeCompare(b)) }
}

/** Copies the folder around each write, as a process that is killed there leaves it. */
function watch(broker: Broker, into: string): { readonly snapshots: Snapshot[]; finish(): void } {
    const { store } = broker.serving.broker.data
    const commit = store.commit.bind(store)
    const snapshots: Snapshot[] = []
    const written: Omit<Snapshot, 'state'>[] = []
    const copy = (step: string) => {
        const folder = join(into, String(snapshots.length + written.length), 'data')
        mkdirSync(folder, { recursive: true, mode: 0o700 })
        cpSync(broker.folder, folder, { recursive: true, filter: (path) => !path.endsWith('.sock') })
        return { step, folder }
    }
    // What was written is the state as soon as the next write begins.
    const settle = () => snapshots.push(...written.splice(0).map((one) => ({ ...one, state: stateOf(broker) })))
    Object.assign(store, {
        async commit(...[records, changes]: Parameters<typeof commit>) {
            const step = records.map(({ kind }) => kind).join('+')
            settle()
            snapshots.push({ ...copy(`before ${step}`), state: stateOf(broker) })
            await commit(records, changes)
            written.push(copy(`after ${step}`))
        },
    })
    return { snapshots, finish: () => void settle() }
}

test('each step', async (t) => {
    t.timeout(300_000)
    const broker = await launcher(t)
    const { snapshots, finish } = watch(broker, join(broker.folder, '..', 'snapshots'))
    const guests = new Map<string, Machine>()
    const start = async (launch: Awaited<ReturnType<typeof open>>) => void guests.set(launch.id, await run(launch))

    const { uuid } = await register(broker, { 'confirm-after': 1 })
    const launches = [await open(broker, uuid), await open(broker, uuid), await open(broker, uuid)] as const
    await start(launches[0])
    t.is((await launches[1].validate()).status, 403, 'it waits for its owner')
    t.is((await broker.admin('POST', `/v1/vm/${uuid}/confirm`)).status, 200)
    await start(launches[1])
    const wrong = { ...claim(launches[2].processor, launches[2].id), 'build-id': 1 }
    t.is((await broker.ask('POST', `/v1/vm/${uuid}/validate`, wrong, SHOWN)).status, 403)
    t.is((await broker.admin('POST', `/v1/vm/${uuid}/revoke`)).status, 200)
    const last = [await open(broker, uuid), await open(broker, uuid)] as const
    t.is((await broker.admin('POST', `/v1/vm/${uuid}/confirm`)).status, 200)
    await start(last[0])
    t.is((await broker.admin('DELETE', `/v1/vm/${uuid}`)).status, 204)
    finish()
    await broker.stop()

    const steps = snapshots.map(({ step }) => step)
    for (const kind of ['vm-put', 'launch-open', 'launch-end', 'vm-confirm', 'client-end', 'vm-rm'])
        for (const when of ['before', 'after']) t.true(steps.includes(`${when} ${kind}`), `${when} ${kind}`)
    const all = [...launches, ...last]
    for (const { step, folder, state } of snapshots) {
        const db = new DatabaseSync(join(folder, 'broker.db'))
        const rows = db.prepare('SELECT path FROM resources').all() as { path: string }[]
        db.close()
        t.deepEqual(
            rows.map(({ path }) => path).toSorted((a, b) => a.localeCompare(b)),
            state.rows,
            step,
        )

        const again = await launcher(t, folder)
        t.deepEqual(stateOf(again), state, step)
        const [vm] = state.vms
        for (const [id, guest] of guests)
            t.is((await handshake(again, guest)).status, id === vm?.client ? 200 : 403, `${step}: the key of ${id}`)
        const isOpen = (id: string) => vm?.launches.some((one) => one.id === id && one.outcome === null)
        for (const { id, processor } of all.filter((one) => vm && !isOpen(one.id))) {
            const { status } = await again.ask('POST', `/v1/vm/${uuid}/validate`, claim(processor, id), SHOWN)
            t.is(status, 403, `${step}: ${id} is over`)
        }
        const next = all.find(({ id }) => isOpen(id))
        if (vm && next) {
            t.is((await again.admin('POST', `/v1/vm/${uuid}/confirm`)).status, 200)
            const ask = () => again.ask('POST', `/v1/vm/${uuid}/validate`, claim(next.processor, next.id), SHOWN)
            t.is((await ask()).status, 200, `${step}: ${next.id} goes on`)
            t.is((await ask()).status, 403, `${step}: ${next.id} is answered once`)
            t.is(again.serving.broker.data.state.vms.get(uuid)?.client?.id, next.id, step)
        }
        await again.stop()
    }
    t.log(`${snapshots.length} ends`)
})
