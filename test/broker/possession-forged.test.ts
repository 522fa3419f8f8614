// Proofs of possession that somebody has made up, cut, or carried elsewhere: a broker refuses each in an orderly way, and
// the guest that was launched goes on.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import test from 'ava'
import { toBase64, toBase64Url } from '#core/bytes.ts'
import { CLIENT_GUID, parseClient } from '#plugins/sev/client-secret.ts'
import { provePossession } from '#plugins/sev/possession.ts'
import { handshake, launcher, type Machine, type Message, open, register, run } from './possession-rig.ts'

const clientIn = ({ secrets }: Machine) => parseClient(secrets.get(CLIENT_GUID) ?? Buffer.alloc(0))

const withProof = (message: Message, changed: object): Message => {
    const { 'sev-possession': proof } = message['tee-evidence'].primary_evidence
    const primary_evidence = { 'sev-possession': { ...proof, ...changed } }
    return { ...message, 'tee-evidence': { ...message['tee-evidence'], primary_evidence } }
}

const proofOf = (message: Message) => message['tee-evidence'].primary_evidence['sev-possession']

const bytes = (size: number): string => toBase64(randomBytes(size))

test('what is no proof of this launch', async (t) => {
    const broker = await launcher(t)
    const { uuid } = await register(broker)
    const { uuid: another } = await register(broker)
    const guest = await run(await open(broker, uuid))
    const { launchId } = clientIn(await run(await open(broker, another)))
    const underWay = await open(broker, uuid)
    for (const { name, change, says } of [
        { name: 'another MAC of the right length', change: () => ({ hmac: bytes(48) }), says: /not made with the key/ },
        { name: 'a MAC of zeros', change: () => ({ hmac: toBase64(Buffer.alloc(48)) }), says: /not made with the key/ },
        { name: 'a MAC that is cut', change: () => ({ hmac: bytes(47) }), says: /hmac/ },
        { name: 'a longer MAC', change: () => ({ hmac: bytes(49) }), says: /hmac/ },
        { name: 'no MAC', change: () => ({ hmac: '' }), says: /hmac/ },
        { name: 'a MAC of 1 MB', change: () => ({ hmac: bytes(1_000_000) }), says: /./ },
        { name: 'no text', change: () => ({ hmac: 7 }), says: /hmac/ },
        { name: 'no base64', change: () => ({ hmac: '~'.repeat(64) }), says: /hmac/ },
        {
            name: 'report data that are cut',
            change: (m: Message) => ({ 'report-data': proofOf(m)['report-data'].slice(0, 60) }),
            says: /report-data/,
        },
        {
            name: 'other report data',
            change: () => ({ 'report-data': bytes(64) }),
            says: /other report data than this/,
        },
        { name: 'half a launch id', change: () => ({ 'launch-id': toBase64Url(randomBytes(8)) }), says: /launch-id/ },
        { name: 'no launch', change: () => ({ 'launch-id': toBase64Url(randomBytes(16)) }), says: /no launch of this/ },
        {
            name: 'the launch of another guest',
            change: () => ({ 'launch-id': toBase64Url(launchId) }),
            says: /not made with the key/,
        },
        {
            name: 'a launch that is under way',
            change: () => ({ 'launch-id': underWay.id }),
            says: /no launch of this/,
        },
        { name: 'one member more', change: () => ({ key: 'AAAA' }), says: /key/ },
    ]) {
        const { status, json } = await handshake(broker, guest, (message) => withProof(message, change(message)))
        t.true([400, 403, 413].includes(status), `${name}: ${status}`)
        t.regex(JSON.stringify(json), says, name)
    }
    for (const evidence of [
        {},
        { 'sev-possession': null },
        { 'sev-possession': [] },
        { 'sev-possession': 'AAAA' },
        [],
    ]) {
        const { status } = await handshake(broker, guest, (message) => ({
            ...message,
            'tee-evidence': { primary_evidence: evidence, additional_evidence: '' },
        }))
        t.true([400, 403].includes(status), `${JSON.stringify(evidence)}: ${status}`)
    }
    t.is((await handshake(broker, guest)).status, 200)
    t.deepEqual(
        broker.log.filter((line) => line.startsWith('error')),
        [],
    )
})

test('a key that somebody has guessed', async (t) => {
    const broker = await launcher(t)
    const { uuid } = await register(broker)
    const guest = await run(await open(broker, uuid))
    const { launchId } = clientIn(guest)
    for (let round = 0; round < 20; round++) {
        const { status } = await handshake(broker, guest, (message) => {
            const data = Buffer.from(proofOf(message)['report-data'], 'base64')
            const mac = provePossession(randomBytes(32) as never, launchId, data).subarray(-48)
            return withProof(message, { hmac: toBase64(mac) })
        })
        t.is(status, 403)
    }
})

test('another broker, which launched the same guest: neither its launches nor its proofs are this one’s', async (t) => {
    const [broker, other] = await Promise.all([launcher(t), launcher(t)])
    const [mine, its] = [await register(broker), await register(other)]
    const guest = await run(await open(broker, mine.uuid))
    const twin = await run(await open(other, its.uuid))
    let seen: unknown
    t.is((await handshake(broker, guest, (message) => (seen = message))).status, 200)
    const carried = await handshake(other, guest)
    t.is(carried.status, 403)
    t.regex(carried.json.detail, /no launch of this broker/)
    t.true([401, 403].includes((await handshake(other, twin, () => seen)).status))
    t.is((await handshake(other, twin)).status, 200)
})

test('the same proof once more in its own session', async (t) => {
    const broker = await launcher(t)
    const { uuid } = await register(broker)
    const guest = await run(await open(broker, uuid))
    let last: Parameters<typeof broker.ask> | undefined
    const ask: typeof broker.ask = (...request) => {
        last = request
        return broker.ask(...request)
    }
    t.is((await handshake({ ...broker, ask }, guest)).status, 200)
    if (!last) return t.fail()
    t.is(last[1], '/kbs/v0/attest')
    const again = await broker.ask(...last)
    t.true([401, 403].includes(again.status), `${again.status}`)
    t.falsy(again.json.token)
})
