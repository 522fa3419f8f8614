// Challenges and sessions: one try each, an end, and bounds that throw nobody out.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { SESSION_MS, sessions } from '#broker/sessions.ts'
import type { Authentic } from '#evidence/verifier.ts'
import { teeKey } from './rig.ts'

const proof = () => {
    const { key, jwk } = teeKey()
    return {
        authentic: { reportData: Buffer.alloc(64), guestId: null as string | null, claims: {} } as Authentic,
        teePubkey: jwk,
        teeKey: key,
    }
}

const HERE = '192.0.2.1'
const KNOWN = { known: true, address: HERE }

function started(maxSessions = 10) {
    const time = { now: 1000 }
    const maxSessionsPerAddress = maxSessions
    return { time, all: sessions({ maxSessions, maxSessionsPerAddress, ticks: () => time.now }) }
}

const SESSION = { code: 'ERR_KBS_SESSION' }
const BUSY = { code: 'ERR_KBS_BUSY' }

test('a challenge comes back as it was given out, once', (t) => {
    const { all } = started()
    const { cookie, challenge } = all.challenge('snp')
    t.is(Buffer.from(challenge.nonce, 'base64').length, 32)
    t.deepEqual(all.burn(cookie, HERE), challenge)
    t.throws(() => all.burn(cookie, HERE), { ...SESSION, message: /used already/ })
})

test('a cookie that is encoded otherwise is the same challenge', (t) => {
    const { all } = started()
    const { cookie } = all.challenge('snp')
    all.burn(cookie, HERE)
    for (const other of [`${cookie}=`, ` ${cookie}`, Buffer.from(cookie, 'base64url').toString('base64')])
        t.throws(() => all.burn(other, HERE), SESSION)
})

test('a challenge ends', (t) => {
    const { all, time } = started()
    const { cookie } = all.challenge('snp')
    time.now += SESSION_MS - 1
    t.notThrows(() => all.burn(cookie, HERE))
    const later = all.challenge('snp').cookie
    time.now += SESSION_MS
    t.throws(() => all.burn(later, HERE), { ...SESSION, message: /expired/ })
})

for (const [name, change] of [
    ['nothing', () => undefined],
    ['an empty text', () => ''],
    ['another text', () => 'x'.repeat(200)],
    ['one changed byte', (good: string) => `${good.slice(0, 40)}${good[40] === 'A' ? 'B' : 'A'}${good.slice(41)}`],
    ['a shorter one', (good: string) => good.slice(0, -4)],
    ['the challenge of another process', () => started().all.challenge('snp').cookie],
] as const)
    test(`no challenge: ${name}`, (t) => {
        const { all } = started()
        t.throws(() => all.burn(change(all.challenge('snp').cookie), HERE), SESSION)
    })

test('a session is what was proved, under a new name, until it ends', (t) => {
    const { all, time } = started()
    const given = proof()
    const cookie = all.begin(given, KNOWN)
    t.is(all.use(cookie).teePubkey, given.teePubkey)
    t.is(all.size, 1)
    time.now += SESSION_MS
    t.throws(() => all.use(cookie), SESSION)
    t.is(all.size, 0)
})

test('a challenge opens no session, and a session is no challenge', (t) => {
    const { all } = started()
    t.throws(() => all.use(all.challenge('snp').cookie), SESSION)
    t.throws(() => all.burn(all.begin(proof(), KNOWN), HERE), SESSION)
})

test('where no session fits, the challenge stays good and nobody is thrown out', (t) => {
    const { all, time } = started(2)
    const first = all.begin(proof(), KNOWN)
    all.begin(proof(), KNOWN)
    const { cookie } = all.challenge('snp')
    t.throws(() => all.burn(cookie, HERE), BUSY)
    t.throws(() => all.begin(proof(), KNOWN), BUSY)
    t.notThrows(() => all.use(first))
    time.now += SESSION_MS - 1
    t.throws(() => all.burn(cookie, HERE), BUSY)
})

test('who asks without end in one session is told to stop', (t) => {
    const { all } = started()
    const cookie = all.begin(proof(), KNOWN)
    for (let i = 0; i < 256; i++) all.use(cookie)
    t.throws(() => all.use(cookie), BUSY)
})

test('a hundred thousand challenges cost no memory, and old ones stay burnt', (t) => {
    const { all } = started()
    const { cookie } = all.challenge('snp')
    all.burn(cookie, HERE)
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 100_000; i++) all.challenge('snp')
    t.true(process.memoryUsage().arrayBuffers - before < 32 * 1024 * 1024)
    t.throws(() => all.burn(cookie, HERE), SESSION)
})
