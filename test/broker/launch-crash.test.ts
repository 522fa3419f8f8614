// SIGKILL between the steps of a launch, and within the last: what was answered stands in the log, what is open goes on, and
// no launch is answered twice.
// SPDX-License-Identifier: Apache-2.0

import { Agent } from 'node:https'
import { join } from 'node:path'
import test from 'ava'
import { readHeadFile } from '#broker/audit/head.ts'
import { allRecords } from '#broker/audit/ledger.ts'
import { signerOf, verifyLog } from '#broker/audit/verify.ts'
import { sqliteStore } from '#broker/store/sqlite.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import { temporaryFolder } from '#test/folder.ts'
import { variable } from '../machine.ts'
import {
    capabilities,
    claim,
    injected,
    newUuid,
    PASSPHRASE,
    registration,
    SHOWN,
    started,
    TOKEN,
    thePlatform,
} from './launch-rig.ts'
import { startBroker } from './process.ts'
import { type Answer, adminRequest, asker, theVendor } from './rig.ts'

/** Each costs the start of a whole broker. */
const KILLS = variable('GUEST_ATTEST_SLOW').met ? 40 : 5

type Context = Parameters<typeof temporaryFolder>[0]

async function open(t: Context) {
    const [vendor, platform] = await Promise.all([theVendor(), thePlatform()])
    const folder = temporaryFolder(t)
    const socket = join(folder, 'data/admin.sock')
    const at = `/v1/vm/${newUuid()}`
    let broker = await startBroker({ folder, vendor })
    const agents: Agent[] = []
    t.teardown(async () => {
        for (const agent of agents) agent.destroy()
        await broker.end('SIGKILL')
    })
    const ask = (step: string, body: unknown): Promise<Answer> => {
        const agent = new Agent({ rejectUnauthorized: false })
        agents.push(agent)
        return asker(broker.url, agent)('POST', `${at}/${step}`, body, SHOWN)
    }
    return {
        folder,
        platform,
        register: (changed: object = {}) =>
            adminRequest(socket, 'POST', at, JSON.stringify(registration(platform, changed)), 'application/json'),
        show: async () => (await adminRequest(socket, 'GET', at)).json,
        launch: () => ask('launch', capabilities(platform)),
        validate: (body: unknown) => ask('validate', body),
        kill: () => broker.end('SIGKILL'),
        async start() {
            broker = await startBroker({ folder, vendor })
        },
    }
}

test('killed after each step', async (t) => {
    t.timeout(120_000)
    const broker = await open(t)
    const killed = async () => {
        t.is(await broker.kill(), 'SIGKILL')
        await broker.start()
    }
    t.is((await broker.register()).status, 200)
    await killed()
    const session = await broker.launch()
    t.is(session.status, 200, session.body.toString())
    await killed()
    const guest = started(broker.platform, session)
    const answer = await broker.validate(claim(guest, session.json['launch-id']))
    t.is(answer.status, 200, answer.body.toString())
    t.deepEqual(injected(guest, answer), [[DISK_GUID, PASSPHRASE]])
    await killed()
    t.is((await broker.validate(claim(guest, session.json['launch-id']))).status, 403)
    t.is((await broker.show()).validated, 1)
})

test(`${KILLS} kills while a launch is validated: none is answered twice`, async (t) => {
    t.timeout(170_000)
    const broker = await open(t)
    const told = { 'broker-url': 'https://kbs.example', 'broker-allow-paths': ['web/*/*'], ...TOKEN }
    t.is((await broker.register({ 'max-launches': 1000, 'max-open': 64, ...told })).status, 200)
    let received = 0
    for (let kill = 0; kill < KILLS; kill++) {
        const session = await broker.launch()
        t.is(session.status, 200, session.body.toString())
        const id = session.json['launch-id']
        const body = claim(started(broker.platform, session), id)
        const first = broker.validate(body).then(
            ({ status }) => status,
            () => null,
        )
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 25))
        await broker.kill()
        const status = await first
        await broker.start()
        const { launches } = await broker.show()
        const { end } = launches.find((one: { id: string }) => one.id === id)
        if (status === 200) t.is(end?.outcome, 'validated', 'what was answered is recorded')
        const second = (await broker.validate(body)).status
        t.is(second, end === null ? 200 : 403)
        if (status === 200 || second === 200) received++
        t.is((await broker.show()).client.id, id, 'the key of the last one that was validated')
    }
    t.true((await broker.show()).validated >= received)
    await broker.kill()
    const data = join(broker.folder, 'data')
    const store = sqliteStore(join(data, 'broker.db'), { existing: true })
    const head = readHeadFile(join(data, 'audit.head'))
    const signer = signerOf(join(data, 'keys/audit.key'))
    await t.notThrowsAsync(verifyLog({ records: allRecords(store), head, signer, checkpoint: null }))
    await store.close()
    await broker.start()
})
