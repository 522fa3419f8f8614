// Which HTTPS server is believed, by what, and that the environment has no say in it.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { TlsOptions } from 'node:tls'
import test from 'ava'
import type { AttestError } from '#core/errors.ts'
import { openSession, parseOrigin, type ServerTrust } from '#core/http.ts'
import { temporaryFolder } from '#test/folder.ts'
import { run } from '../cli/run.ts'
import { programs } from '../machine.ts'
import { needs } from '../needs.ts'
import { answering, CA, CA_KEYS, days, get, leaf, listen, ok, PIN, pem, pinOf, sessionWith, tlsPeer } from './peer.ts'

const P384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ED25519 = generateKeyPairSync('ed25519')
const [ofP384, ofRsa, ofEd25519] = await Promise.all([P384, RSA, ED25519].map(({ publicKey }) => leaf({ publicKey })))
const own = await leaf()
const early = await leaf({ span: days(1, 2) })
const otherName = await leaf({ names: [{ type: 'dns', value: 'x.example' }] })
const addressAsName = await leaf({ names: [{ type: 'dns', value: '127.0.0.1' }] })
const noName = await leaf({ names: [] })

for (const { text, insecureHttp = false, origin } of [
    { text: 'https://kbs.example', origin: 'https://kbs.example' },
    { text: 'https://KBS.Example:443/', origin: 'https://kbs.example' },
    { text: 'https://[::1]:8443', origin: 'https://[::1]:8443' },
    { text: 'https://bücher.example', origin: 'https://xn--bcher-kva.example' },
    { text: 'http://localhost:81', insecureHttp: true, origin: 'http://localhost:81' },
    { text: 'http://[::1]:81', insecureHttp: true, origin: 'http://[::1]:81' },
    { text: 'http://127.1', insecureHttp: true, origin: 'http://127.0.0.1' },
])
    test(`an origin: ${text}`, (t) => t.is(parseOrigin(text, { insecureHttp }).origin, origin))

for (const { text, says } of [
    { text: '', says: /is not an address/ },
    { text: 'kbs.example:8443', says: /expected https, got kbs\.example/ },
    { text: 'https://', says: /is not an address/ },
    { text: 'https://kbs.example:99999', says: /is not an address/ },
    { text: 'file:///etc/passwd', says: /expected https/ },
    { text: 'http://kbs.example', says: /plain http is refused/ },
    { text: 'http://localhost.example', says: /plain http is refused/ },
    { text: 'http://127.0.0.1.example', says: /plain http is refused/ },
    { text: 'http://0.0.0.0', says: /plain http is refused/ },
    { text: 'http://[::ffff:127.0.0.1]', says: /plain http is refused/ },
    { text: 'https://kbs.example/a', says: /expected an origin/ },
    { text: 'https://kbs.example/#a', says: /expected an origin/ },
    { text: 'https://:secret@kbs.example', says: /expected an origin/ },
])
    test(`no origin: ${text}`, (t) =>
        void t.throws(() => parseOrigin(text, { insecureHttp: true }), { code: 'ERR_URL', message: says }))

needs(programs('openssl'))('a pin is what OpenSSL makes of the same key', async (t) => {
    const command =
        'openssl x509 -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64'
    const { stdout } = await run('sh', ['-c', command], { input: own })
    t.is(PIN, `sha256/${stdout.trim()}`)
})

for (const { name, options, trust, code } of [
    { name: 'a pinned P-384 key', options: { key: pem(P384), cert: ofP384 }, trust: { pins: [pinOf(P384)] } },
    { name: 'a pinned RSA key', options: { key: pem(RSA), cert: ofRsa }, trust: { pins: [pinOf(RSA)] } },
    {
        name: 'a pinned Ed25519 key',
        options: { key: pem(ED25519), cert: ofEd25519 },
        trust: { pins: [pinOf(ED25519)] },
    },
    { name: 'a pin, before its certificate begins', options: { cert: early }, trust: { pins: [PIN] } },
    { name: 'a pin, whatever the name', options: { cert: otherName }, trust: { pins: [PIN] } },
    { name: 'a CA among others', options: {}, trust: { ca: `${ofRsa}${CA}` } },
    {
        name: 'a pinned key of another certificate of the chain',
        options: { key: pem(P384), cert: `${ofP384}${CA}` },
        trust: { pins: [pinOf(CA_KEYS)] },
        code: 'ERR_HTTP_TLS',
    },
    { name: 'no pin at all', options: {}, trust: { pins: [] }, code: 'ERR_HTTP_TLS' },
    {
        name: 'a pin without its kind',
        options: {},
        trust: { pins: [PIN.slice('sha256/'.length)] },
        code: 'ERR_HTTP_TLS',
    },
    {
        name: 'by CA, before its certificate begins',
        options: { cert: early },
        trust: { ca: CA },
        code: 'ERR_HTTP_TLS',
    },
    {
        name: 'by CA, the name in its subject alone',
        options: { cert: noName },
        trust: { ca: CA },
        code: 'ERR_HTTP_TLS',
    },
    {
        name: 'by CA, the address as a host name',
        options: { cert: addressAsName },
        trust: { ca: CA },
        code: 'ERR_HTTP_TLS',
    },
    { name: 'TLS 1.2', options: { maxVersion: 'TLSv1.2' }, trust: { pins: [PIN] }, code: 'ERR_HTTP_TLS' },
] as { name: string; options: TlsOptions; trust: ServerTrust; code?: string }[])
    test(`${code ? 'not believed' : 'believed'}: ${name}`, async (t) => {
        const asked: string[] = []
        const peer = await tlsPeer(
            t,
            answering((socket, request) => {
                asked.push(request)
                socket.end(ok('yes'))
            }),
            options,
        )
        const asking = get(sessionWith(t, peer, { trust }))
        if (code === undefined) t.is((await asking).body.toString(), 'yes')
        else {
            const error = await t.throwsAsync<AttestError>(asking, { code })
            t.false(error?.passes)
            t.deepEqual(asked, [])
        }
    })

test('a wrong key: which was expected, which was got, and what to do', async (t) => {
    const error = await t.throwsAsync<AttestError>(
        get(sessionWith(t, await tlsPeer(t, () => undefined), { trust: { pins: [pinOf(P384), pinOf(RSA)] } })),
    )
    t.true(error?.message.includes(`expected key ${pinOf(P384)} or ${pinOf(RSA)}, got ${PIN}`))
    t.regex(error?.hint ?? '', /guest-attest trust add/)
})

for (const { name, serve, code } of [
    { name: 'one that speaks no TLS', serve: 'HTTP/1.1 400 Bad Request\r\n\r\n', code: 'ERR_HTTP_TLS' },
    { name: 'one that hangs up', serve: '', code: 'ERR_HTTP_CONNECT' },
])
    test(`no handshake with ${name}`, async (t) => {
        const peer = await listen(
            t,
            createServer((socket) => socket.resume().end(serve)),
        )
        await t.throwsAsync(get(sessionWith(t, peer)), { code })
    })

test('an address that nobody has', async (t) => {
    const session = openSession(parseOrigin('https://kbs.invalid'), { trust: { pins: [PIN] } })
    t.teardown(() => session.close())
    const error = await t.throwsAsync<AttestError>(get(session), { code: 'ERR_HTTP_CONNECT', message: /kbs\.invalid/ })
    t.true(error?.passes)
})

test('https without a pin or a CA is a mistake of the caller', (t) =>
    void t.throws(() => openSession(parseOrigin('https://127.0.0.1:1'), { trust: null }), { instanceOf: TypeError }))

const ASK = `
    import { openSession, parseOrigin } from '#core/http.ts'
    const session = openSession(parseOrigin(process.env.URL), { trust: JSON.parse(process.env.TRUST) })
    const signal = AbortSignal.timeout(60_000)
    await session.request({ method: 'GET', path: '/', signal }).then(
        ({ body }) => process.stdout.write(body),
        ({ code }) => process.stdout.write(code),
    )
    session.close()`

for (const { name, env, trust, cert, want } of [
    { name: 'proxies', env: () => ({}), trust: { pins: [PIN] }, want: 'yes' },
    {
        name: 'to believe anybody',
        env: () => ({ NODE_TLS_REJECT_UNAUTHORIZED: '0' }),
        trust: { ca: CA },
        cert: otherName,
        want: 'ERR_HTTP_TLS',
    },
    {
        name: 'another CA',
        env: (file: string) => ({ NODE_EXTRA_CA_CERTS: file, SSL_CERT_FILE: file, NODE_USE_SYSTEM_CA: '1' }),
        trust: { ca: ofRsa },
        want: 'ERR_HTTP_TLS',
    },
] as {
    name: string
    env: (caFile: string) => Record<string, string>
    trust: ServerTrust
    cert?: string
    want: string
}[])
    test(`the environment has no say: ${name}`, async (t) => {
        const trap = await listen(t, createServer())
        const proxy = `http://127.0.0.1:${trap.port}`
        const proxies = ['http_proxy', 'https_proxy', 'all_proxy'].flatMap((key) => [key, key.toUpperCase()])
        const file = join(temporaryFolder(t), 'ca.pem')
        writeFileSync(file, CA)
        const peer = await tlsPeer(
            t,
            answering((socket) => socket.end(ok('yes'))),
            cert ? { cert } : {},
        )
        const ran = await run(process.execPath, ['--input-type=module', '-e', ASK], {
            env: {
                ...Object.fromEntries(proxies.map((key) => [key, proxy])),
                ...{ NODE_USE_ENV_PROXY: '1', NO_PROXY: '', no_proxy: '' },
                ...{ URL: peer.url, TRUST: JSON.stringify(trust) },
                ...env(file),
            },
        })
        t.is(ran.stdout, want, ran.stderr)
        t.is(trap.connections(), 0)
    })
