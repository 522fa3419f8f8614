// SIGKILL at random moments: nothing that was acknowledged is lost, the log verifies, no release lacks its record.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent } from 'node:https'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { readHeadFile } from '#broker/audit/head.ts'
import { allRecords } from '#broker/audit/ledger.ts'
import { signerOf, verifyLog } from '#broker/audit/verify.ts'
import { openData } from '#broker/data.ts'
import { digestResource, openResource } from '#broker/store/seal.ts'
import { sqliteStore } from '#broker/store/sqlite.ts'
import { temporaryFolder } from '#test/folder.ts'
import { variable } from '../machine.ts'
import { startBroker } from './process.ts'
import { adminRequest, asker, attest, clock, POLICY, REFERENCE, theVendor } from './rig.ts'

const KILLS = 50

/** Each costs the start of a whole broker. */
const WHOLE_KILLS = variable('GUEST_ATTEST_SLOW').met ? 50 : 6

const WRITER = fileURLToPath(new URL('writer.ts', import.meta.url))

test(`${KILLS} kills during writes: what was acknowledged is there`, async (t) => {
    t.timeout(170_000)
    const folder = join(temporaryFolder(t), 'data')
    const acknowledged = new Map<string, { version: number; seq: number }>()
    let releases = 0
    for (let kill = 0; kill < KILLS; kill++) {
        const lines = await writeUntilKilled(folder, Math.random() * 120)
        for (const line of lines) {
            const [path = '', version, seq] = line.split(' ')
            acknowledged.set(path, { version: Number(version), seq: Number(seq) })
        }
        releases += lines.length
        const data = await openData(folder, { init: false, now: clock.now })
        for (const [path, { version, seq }] of acknowledged) {
            const entry = data.state.resources.get(path)
            t.true(
                entry && entry.version >= version,
                `${path}: ${version} was acknowledged, ${entry?.version} is there`,
            )
            t.true((data.ledger.head?.seq ?? 0) >= seq)
            const row = await data.store.resource(path, entry?.version ?? 0)
            t.is(row && digestResource(row), entry?.digest ?? null)
            t.is(row && openResource(data.masterKey, row).length, 32)
        }
        const counted = [...acknowledged.keys()].reduce((sum, path) => sum + data.state.ruleReleases('r', path), 0)
        t.true(counted >= releases, `${releases} releases were acknowledged, ${counted} are recorded`)
        await data.close()
        const store = sqliteStore(join(folder, 'broker.db'), { existing: true })
        const head = readHeadFile(join(folder, 'audit.head'))
        const signer = signerOf(join(folder, 'keys/audit.key'))
        await t.notThrowsAsync(verifyLog({ records: allRecords(store), head, signer, checkpoint: null }))
        await store.close()
    }
    t.true(releases > KILLS, `${releases} acknowledged in all`)
})

test(`${WHOLE_KILLS} kills while guests attest: no key left without its record`, async (t) => {
    t.timeout(170_000)
    const folder = temporaryFolder(t)
    const vendor = await theVendor()
    const socket = join(folder, 'data/admin.sock')
    let received = 0
    for (let kill = 0; kill < WHOLE_KILLS; kill++) {
        const broker = await startBroker({ folder, vendor })
        if (kill === 0) {
            await adminRequest(socket, 'POST', '/v1/references', REFERENCE)
            await adminRequest(socket, 'PUT', '/v1/policies/main', POLICY)
            await adminRequest(socket, 'POST', '/v1/resources/web/disk/root/random')
        }
        const agent = new Agent({ keepAlive: true, rejectUnauthorized: false })
        let running = true
        const guest = async () => {
            while (running)
                try {
                    const { get } = await attest(asker(broker.url, agent), vendor)
                    if ((await get('web/disk/root', 'luks-key')).status === 200) received++
                } catch {
                    running = false
                }
        }
        const guests = Promise.all([1, 2, 3, 4].map(guest))
        await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 600))
        t.is(await broker.end('SIGKILL'), 'SIGKILL')
        agent.destroy()
        await guests
        const data = await openData(join(folder, 'data'), { init: false, now: clock.now })
        const recorded = data.state.ruleReleases('web-disks', 'web/disk/root')
        t.true(recorded >= received, `${received} were received, ${recorded} are recorded`)
        await data.close()
    }
    t.true(received > 0)
})

async function writeUntilKilled(folder: string, afterMs: number): Promise<string[]> {
    const child = spawn(process.execPath, [WRITER, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    const ready = new Promise<void>((resolve) => {
        child.stdout.on('data', (chunk: Buffer) => {
            text += chunk
            if (text.startsWith('ready\n')) resolve()
        })
    })
    await Promise.race([ready, once(child, 'exit')])
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    child.kill('SIGKILL')
    await once(child, 'close')
    // The last line may be cut through.
    return text.split('\n').slice(1, -1)
}
