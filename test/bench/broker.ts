// Whole handshakes against the cryptography that none of them can do without. Each is a guest of its own on a connection of
// its own: TLS, challenge, proof, and one key, with its audit record durable before the answer. Time is the broker's
// processor time, all threads together, so the figure is what one core does; the guests' is not in it.
// SPDX-License-Identifier: Apache-2.0

import {
    createCipheriv,
    createDecipheriv,
    createECDH,
    diffieHellman,
    generateKeyPairSync,
    randomBytes,
    sign,
    verify,
} from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { join } from 'node:path'
import { startBroker } from '../broker/process.ts'
import { adminRequest, asker, attest, POLICY, REFERENCE, theVendor } from '../broker/rig.ts'
import { temporaryFolder } from '../folder.ts'
import type { Vendor } from '../plugins/snp/minted.ts'
import { atLeast, inTurn, milliseconds, type Row } from './table.ts'

const ROUNDS = 9
const HANDSHAKES = 400
const AT_ONCE = 16

export async function benchBroker(): Promise<Row[]> {
    const ends: (() => unknown)[] = []
    try {
        const folder = temporaryFolder({ teardown: (end) => ends.push(end) })
        const vendor = await theVendor()
        const broker = await startBroker({ folder, vendor, config: '[broker]\nratePerMinute = 10000000\n' })
        ends.push(() => broker.end('SIGTERM'))
        const socket = join(folder, 'data/admin.sock')
        await adminRequest(socket, 'POST', '/v1/references', REFERENCE)
        await adminRequest(socket, 'PUT', '/v1/policies/main', POLICY)
        await adminRequest(socket, 'POST', '/v1/resources/web/disk/root/random')

        const ours = async () => {
            const before = processorMs(broker.child.pid)
            await handshakes(broker.url, vendor)
            return (processorMs(broker.child.pid) - before) / HANDSHAKES
        }
        const bare = unavoidable()
        const theirs = async () => (await milliseconds(() => repeat(HANDSHAKES, bare))) / HANDSHAKES
        await inTurn(2, ours, theirs) // compiled by then, as in a broker that has served for a while
        const [oursMs, theirsMs] = await inTurn(ROUNDS, ours, theirs)
        return [
            atLeast(
                'handshakes a second on one core',
                'the cryptography that they cannot do without',
                1000 / oursMs,
                1000 / theirsMs,
                0.5,
                'a second',
            ),
        ]
    } finally {
        for (const end of ends.toReversed()) await end()
    }
}

async function handshakes(url: string, vendor: Vendor): Promise<void> {
    let left = HANDSHAKES
    const guests = async () => {
        while (left-- > 0) {
            const agent = new Agent({ keepAlive: true, rejectUnauthorized: false, maxCachedSessions: 0 })
            const guest = await attest(asker(url, agent), vendor)
            const answer = await guest.get('web/disk/root', 'luks-key')
            if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`)
            agent.destroy()
        }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, guests))
}

/** What any broker of this protocol has to compute for one guest, each with keys that are ready. */
function unavoidable(): () => void {
    const vcek = generateKeyPairSync('ec', { namedCurve: 'P-384' })
    const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const ed25519 = generateKeyPairSync('ed25519')
    const peer = generateKeyPairSync('x25519')
    const report = randomBytes(0x2a0)
    const options = { dsaEncoding: 'ieee-p1363' } as const
    const signature = sign('sha384', report, { key: vcek.privateKey, ...options })
    const guest = createECDH('prime256v1')
    guest.generateKeys()
    const [key, iv, row] = [randomBytes(32), randomBytes(12), randomBytes(32)]
    return () => {
        // The server's half of a TLS 1.3 handshake: a key share, its secret, a signature.
        const { privateKey } = generateKeyPairSync('x25519')
        diffieHellman({ privateKey, publicKey: peer.publicKey })
        sign('sha256', report, { key: p256.privateKey, ...options })
        // The report; the token.
        if (!verify('sha384', report, { key: vcek.publicKey, ...options }, signature)) throw new Error('not verified')
        sign('sha256', report, { key: p256.privateKey, ...options })
        // The key: out of the store, and sealed to the guest (ECDH-ES, AES key wrap, AES-GCM).
        createDecipheriv('aes-256-gcm', key, iv).update(row)
        const ephemeral = createECDH('prime256v1')
        ephemeral.generateKeys()
        ephemeral.computeSecret(guest.getPublicKey())
        createCipheriv('id-aes256-wrap', key, Buffer.alloc(8, 0xa6)).update(row)
        createCipheriv('aes-256-gcm', key, iv).update(row)
        // The record of it.
        sign(null, report, ed25519.privateKey)
    }
}

function repeat(times: number, work: () => void): void {
    for (let i = 0; i < times; i++) work()
}

// utime and stime of proc(5), in ticks of 10 ms.
function processorMs(pid: number | undefined): number {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
    return (Number(fields[11]) + Number(fields[12])) * 10
}
