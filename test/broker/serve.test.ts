// The two doors of a broker: what is where, what is measured, who is let go, and the end.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { request } from 'node:https'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import test from 'ava'
import { AUTH, filled, records, rig } from './rig.ts'

test('noise before a proof is counted in one record', async (t) => {
    const broker = await rig(t)
    for (let i = 0; i < 5; i++) await broker.ask('POST', '/kbs/v0/attest', {}, {})
    await broker.ask('POST', '/kbs/v0/auth', { ...AUTH, version: '9' })
    await broker.ask('GET', '/favicon.ico')
    const before = (await records(broker)).length
    broker.serving.broker.noise.flush()
    const after = await records(broker)
    t.is(after.length, before + 1)
    t.is(after.at(-1)?.kind, 'noise')
    t.deepEqual(after.at(-1)?.data.counts, { ERR_KBS_SESSION: 5, ERR_KBS_VERSION: 1, ERR_KBS_NOT_FOUND: 1 })
})

test('administration is not at the guests’ door, and the API describes itself at both', async (t) => {
    const { ask, admin } = await rig(t)
    for (const path of ['/v1/resources', '/v1/audit', '/v1/schema']) t.is((await ask('GET', path)).status, 404)
    const guests = (await ask('GET', '/openapi.json')).json
    t.is(guests.openapi, '3.1.0')
    t.deepEqual(
        Object.keys(guests.paths).toSorted((a, b) => (a < b ? -1 : 1)),
        [
            '/enroll/v1/resources/{repository}/{type}/{tag}',
            '/enroll/v1/resources/{repository}/{type}/{tag}/random',
            '/enroll/v1/resources/{repository}/{type}/{tag}/retire',
            '/healthz',
            '/kbs/v0/attest',
            '/kbs/v0/auth',
            '/kbs/v0/resource/{repository}/{type}/{tag}',
            '/metrics',
        ],
    )
    t.truthy((await admin('GET', '/openapi.json')).json.paths['/v1/policies/{name}'])
})

test('health and metrics', async (t) => {
    const broker = await filled(await rig(t))
    t.deepEqual((await broker.ask('GET', '/healthz')).json, { status: 'ok' })
    const guest = await broker.attest()
    await guest.get('web/files/key')
    await guest.get('web/files/none')
    const text = (await broker.ask('GET', '/metrics')).body.toString()
    for (const line of [
        'guest_attest_challenges_total 1',
        'guest_attest_attestations_total{result="ok"} 1',
        'guest_attest_releases_total 1',
        'guest_attest_denials_total{code="ERR_KBS_NOT_FOUND"} 1',
        'guest_attest_sessions 1',
        'guest_attest_request_seconds_count{route="POST /kbs/v0/attest"} 1',
    ])
        t.true(text.split('\n').includes(line), `${line}\n${text}`)
})

test('TLS 1.3 alone, and the key that is announced', async (t) => {
    const { serving } = await rig(t)
    const { hostname, port } = new URL(serving.url)
    await t.throwsAsync(
        new Promise((resolve, reject) => {
            const socket = connectTls(
                { host: hostname, port: Number(port), maxVersion: 'TLSv1.2', rejectUnauthorized: false },
                () => {
                    socket.destroy()
                    resolve(null)
                },
            )
            socket.on('error', reject)
        }),
    )
    t.regex(serving.pin ?? '', /^sha256\/[A-Za-z0-9+/]{43}=$/)
})

test('plain HTTP is for loopback alone', async (t) => {
    await t.throwsAsync(rig(t, { serve: { insecureHttp: true, listen: { host: '0.0.0.0', port: 0 } } }), {
        code: 'ERR_BROKER_TLS',
    })
})

test('a peer that says nothing is let go', async (t) => {
    const { serving } = await rig(t, { settings: { idleTimeoutMs: 300 } })
    const { hostname, port } = new URL(serving.url)
    const socket = connectTls({ host: hostname, port: Number(port), rejectUnauthorized: false })
    socket.on('error', () => undefined)
    const started = performance.now()
    await new Promise((resolve) => socket.on('close', resolve))
    t.true(performance.now() - started < 5000)
})

test('a request that trickles in is cut off', async (t) => {
    const { serving } = await rig(t, { settings: { requestTimeoutMs: 500 } })
    const call = request(`${serving.url}/kbs/v0/auth`, {
        method: 'POST',
        rejectUnauthorized: false,
        headers: { 'content-type': 'application/json', 'content-length': 100 },
    })
    call.flushHeaders()
    const trickle = setInterval(() => call.write(' '), 100)
    const outcome = await new Promise<number | string>((resolve) => {
        call.on('response', ({ statusCode }) => resolve(statusCode ?? 0))
        call.on('error', () => resolve('cut'))
    })
    clearInterval(trickle)
    call.destroy()
    t.true(outcome === 408 || outcome === 'cut', String(outcome))
})

test('the end: what was asked is answered, the socket is gone', async (t) => {
    const broker = await filled(await rig(t))
    const guest = await broker.attest()
    const { store } = broker.serving.broker.data
    const { commit } = store
    const begun = new Promise<void>((begin) => {
        store.commit = async (...what) => {
            begin()
            await new Promise((resolve) => setTimeout(resolve, 200))
            return commit(...what)
        }
    })
    const answer = guest.get('web/files/key')
    await begun
    await broker.stop()
    t.is((await answer).status, 200)
    t.false(existsSync(join(broker.folder, 'admin.sock')))
    await t.throwsAsync(
        new Promise((resolve, reject) => {
            const { port } = new URL(broker.serving.url)
            connectSocket({ host: '127.0.0.1', port: Number(port) }, () => resolve(null)).on('error', reject)
        }),
    )
})
