// Many guests: one after the other, and at once. No error, and memory that does not grow with those that have gone.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { variable } from '../machine.ts'
import { startBroker } from './process.ts'
import { adminRequest, asker, attest, POLICY, REFERENCE, theVendor } from './rig.ts'

/** The number takes a minute or two on a small machine; fewer show growth as well. */
const IN_A_ROW = variable('GUEST_ATTEST_SLOW').met ? 5000 : 1500

test(`${IN_A_ROW} handshakes in a row and 200 at once`, async (t) => {
    t.timeout(600_000)
    const folder = temporaryFolder(t)
    const vendor = await theVendor()
    const broker = await startBroker({ folder, vendor })
    t.teardown(() => broker.end('SIGKILL'))
    const socket = join(folder, 'data/admin.sock')
    await adminRequest(socket, 'POST', '/v1/references', REFERENCE)
    await adminRequest(socket, 'PUT', '/v1/policies/main', POLICY)
    await adminRequest(socket, 'POST', '/v1/resources/web/disk/root/random')

    const handshakes = async (count: number) => {
        const agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false })
        for (let i = 0; i < count; i++) {
            const guest = await attest(asker(broker.url, agent), vendor, { reportId: randomBytes(32) })
            const answer = await guest.get('web/disk/root', 'luks-key')
            if (answer.status !== 200) throw new Error(`handshake ${i}: ${answer.status} ${answer.body}`)
            if (i % 100 === 0) t.is(guest.open(answer).length, 32)
        }
        agent.destroy()
    }
    await handshakes(IN_A_ROW / 5)
    const early = residentMb(broker.child.pid)
    await handshakes((IN_A_ROW * 4) / 5)
    const late = residentMb(broker.child.pid)
    // Each of those guests still holds a session of some kilobytes, for five minutes.
    const perSession = ((late - early) * 1024) / ((IN_A_ROW * 4) / 5)
    t.log(`${early.toFixed(0)} MB, then ${late.toFixed(0)} MB: ${perSession.toFixed(1)} KB a session`)
    t.true(perSession < 40, `${perSession} KB a session`)

    await Promise.all(Array.from({ length: 200 }, () => handshakes(1)))

    const metrics = (await adminRequest(socket, 'GET', '/metrics')).body.toString()
    t.true(metrics.includes(`guest_attest_releases_total ${IN_A_ROW + 200}\n`), metrics)
    t.false(metrics.includes('denials_total{'), metrics)
    t.is(await broker.end('SIGTERM'), 0)
})

const residentMb = (pid: number | undefined): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
