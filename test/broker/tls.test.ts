// The listener's certificate: what it names, that it is renewed under the same key, and the operator's own.
// SPDX-License-Identifier: Apache-2.0

import { X509Certificate } from 'node:crypto'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { openData } from '#broker/data.ts'
import { parseListen } from '#broker/listen.ts'
import { givenIdentity, mintedIdentity, type TlsIdentity } from '#broker/tls.ts'
import { openSession, spkiPin } from '#core/http.ts'
import { temporaryFolder } from '#test/folder.ts'
import { rig } from './rig.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const NOW = new Date('2026-11-20T12:00:00Z')
const later = (days: number) => new Date(NOW.getTime() + days * DAY_MS)

const leaf = ({ certificate }: TlsIdentity) => new X509Certificate(certificate)

async function data(t: Parameters<typeof temporaryFolder>[0]) {
    const opened = await openData(join(temporaryFolder(t), 'data'), { init: true, now: () => NOW })
    t.teardown(() => opened.close())
    return opened
}

test('a minted certificate names this machine, leads to its CA, and stays until it is old', async (t) => {
    const opened = await data(t)
    const first = await mintedIdentity(opened, '192.0.2.7', NOW)
    const certificate = leaf(first)
    for (const ip of ['127.0.0.1', '::1', '192.0.2.7']) t.is(certificate.checkIP(ip), ip)
    t.is(certificate.checkHost('localhost'), 'localhost')
    const ca = new X509Certificate(readFileSync(first.caPath ?? ''))
    t.true(ca.ca)
    t.false(certificate.ca)
    t.true(certificate.checkIssued(ca) && certificate.verify(ca.publicKey))
    t.is((await mintedIdentity(opened, '192.0.2.7', later(59))).certificate, first.certificate)
})

test('it is renewed before it ends, and the pin stays', async (t) => {
    const opened = await data(t)
    const first = await mintedIdentity(opened, '127.0.0.1', NOW)
    const renewed = await mintedIdentity(opened, '127.0.0.1', later(61))
    t.not(renewed.certificate, first.certificate)
    t.true(leaf(renewed).validToDate > leaf(first).validToDate)
    t.is(renewed.pin, first.pin)
    t.is(spkiPin(leaf(renewed).publicKey.export({ type: 'spki', format: 'der' })), first.pin)
    const moved = await mintedIdentity(opened, '192.0.2.9', later(61))
    t.is(leaf(moved).checkIP('192.0.2.9'), '192.0.2.9', 'another address needs another certificate')
    t.is(moved.pin, first.pin)
    const decade = await mintedIdentity(opened, '127.0.0.1', later(3400))
    t.true(new X509Certificate(readFileSync(decade.caPath ?? '')).validToDate > later(3650), 'the CA is renewed too')
})

test('a client that pins the key, and one that trusts the CA', async (t) => {
    const { serving } = await rig(t)
    const origin = new URL(serving.url)
    const ca = readFileSync(serving.caPath ?? '', 'utf8')
    for (const trust of [{ pins: [serving.pin ?? ''] }, { ca }]) {
        const session = openSession(origin, { trust })
        const answer = await session.request({ method: 'GET', path: '/healthz', signal: AbortSignal.timeout(5000) })
        t.is(answer.status, 200)
        session.close()
    }
    const wrong = openSession(origin, { trust: { pins: [spkiPin(Buffer.from('x'))] } })
    await t.throwsAsync(wrong.request({ method: 'GET', path: '/healthz', signal: AbortSignal.timeout(5000) }), {
        code: 'ERR_HTTP_TLS',
    })
    wrong.close()
})

test('the operator’s certificate and key, if they fit', async (t) => {
    const opened = await data(t)
    const minted = await mintedIdentity(opened, '127.0.0.1', NOW)
    const folder = temporaryFolder(t)
    const [cert, key, other] = ['cert.pem', 'key.pem', 'other.pem'].map((name) => join(folder, name)) as [
        string,
        string,
        string,
    ]
    writeFileSync(cert, minted.certificate)
    writeFileSync(key, minted.key, { mode: 0o600 })
    writeFileSync(other, readFileSync(join(opened.paths.keys, 'token.key')), { mode: 0o600 })
    t.is(givenIdentity(cert, key).pin, minted.pin)
    t.throws(() => givenIdentity(cert, other), { code: 'ERR_BROKER_TLS', message: /is not the key of/ })
    t.throws(() => givenIdentity(key, key), { code: 'ERR_BROKER_TLS', message: /: expected a certificate in PEM$/ })
    t.throws(() => givenIdentity(cert, join(folder, 'none')), { code: 'ERR_BROKER_TLS', message: /no such file/ })
    chmodSync(key, 0o644)
    t.throws(() => givenIdentity(cert, key), { code: 'ERR_BROKER_KEY', message: /can be read by others/ })
    const served = await rig(t, { serve: { tls: { certificate: cert, key: join(opened.paths.keys, 'server.key') } } })
    t.is(served.serving.pin, minted.pin)
    t.is(served.serving.caPath, null)
    t.deepEqual(
        served.serving.broker.data.minted.map(({ name }) => name),
        ['master', 'audit', 'token'],
        'no CA is made that nobody needs',
    )
})

for (const { text, host, port } of [
    { text: '127.0.0.1:8443', host: '127.0.0.1', port: 8443 },
    { text: '[::1]:1', host: '::1', port: 1 },
    { text: 'broker.example:443', host: 'broker.example', port: 443 },
])
    test(`an address: ${text}`, (t) => void t.deepEqual(parseListen(text), { host, port }))

for (const text of ['8443', ':8443', '127.0.0.1', '::1:8443', '127.0.0.1:99999', '[127.0.0.1]:1', 'a:b'])
    test(`no address: ${text}`, (t) => void t.throws(() => parseListen(text), { code: 'ERR_BROKER_REQUEST' }))
