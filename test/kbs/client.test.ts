// The guest's side of the protocol against servers that misbehave: each says what is wrong, and nothing is sent to one
// that is not trusted. The whole handshake is tried against the broker.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createServer as createPlain } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import type { AttestError } from '#core/errors.ts'
import { parseOrigin, type ServerTrust, spkiPin } from '#core/http.ts'
import { encryptTo } from '#core/jwe.ts'
import { type Logger, silent } from '#core/log.ts'
import { certificatePem, mintCertificate } from '#core/mint.ts'
import type { Guest } from '#drivers/driver.ts'
import { attest } from '#kbs/client.ts'
import { ATTESTER, NONCE, PATH, refusal, type Script, scripted } from './scripted.ts'

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const caKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const DAY = 86_400_000
const span = { notBefore: new Date(Date.now() - DAY), notAfter: new Date(Date.now() + DAY) }
const authority = { name: [['CN', 'test CA']], privateKey: caKeys.privateKey, signature: 'ecdsaP256' } as const
const ca = certificatePem(
    await mintCertificate(
        {
            subject: authority.name,
            publicKey: caKeys.publicKey,
            ...span,
            extensions: (x) => [new x.BasicConstraintsExtension(true, undefined, true)],
        },
        authority,
    ),
)
const leaf = (dates: typeof span, host: string) =>
    mintCertificate(
        {
            subject: [['CN', 'broker']],
            publicKey: keys.publicKey,
            ...dates,
            extensions: (x) => [
                new x.SubjectAlternativeNameExtension([{ type: host === '127.0.0.1' ? 'ip' : 'dns', value: host }]),
            ],
        },
        authority,
    )
const cert = certificatePem(await leaf(span, '127.0.0.1'))
const expired = certificatePem(await leaf({ notBefore: new Date(0), notAfter: new Date(DAY) }, '127.0.0.1'))
const otherName = certificatePem(await leaf(span, 'elsewhere.example'))
const key = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
const pin = spkiPin(keys.publicKey.export({ type: 'spki', format: 'der' }))
const otherPin = spkiPin(caKeys.publicKey.export({ type: 'spki', format: 'der' }))

async function listen(t: ExecutionContext, server: Server | ReturnType<typeof createPlain>): Promise<string> {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => {
        server.closeAllConnections()
        server.close()
    })
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function fetchFrom(
    url: string,
    trust: ServerTrust | null,
    log: Logger = silent,
    timeoutMs = 2000,
    version?: number,
): Promise<string> {
    const origin = parseOrigin(url, { insecureHttp: true })
    const signal = AbortSignal.timeout(20_000)
    using session = await attest({ origin, trust }, ATTESTER, { log, signal, requestTimeoutMs: timeoutMs })
    return (await session.resource(PATH, { use: 'luks-key', version })).bytes.toString()
}

const serve = async (t: ExecutionContext, script: Script, seen?: string[], tls = { cert, key }): Promise<string> =>
    `https://${await listen(t, createServer(tls, scripted(script, seen)))}`

for (const eventLog of [true, false])
    test(`the event log: asked of the guest is ${eventLog}, as its attester says`, async (t) => {
        const url = await serve(t, {})
        const asked: (boolean | undefined)[] = []
        const guest: Guest = {
            ...ATTESTER.guest,
            evidence: async (_binding, options) => {
                asked.push(options?.eventLog)
                return { tee: 'snp', report: Buffer.alloc(8) }
            },
        }
        const options = { log: silent, signal: AbortSignal.timeout(20_000), requestTimeoutMs: 20_000 }
        const broker = { origin: parseOrigin(url), trust: { pins: [pin] } }
        using session = await attest(broker, { ...ATTESTER, guest, eventLog }, options)
        t.truthy(session)
        t.deepEqual(asked, [eventLog])
    })

test('a handshake: the routes, the cookie of each step, the kind that is asked for', async (t) => {
    const seen: string[] = []
    t.is(await fetchFrom(await serve(t, {}, seen), { pins: [otherPin, pin] }), 'the secret')
    t.deepEqual(seen, [
        'POST /kbs/v0/auth',
        'POST /kbs/v0/attest kbs-session-id=first',
        'GET /kbs/v0/resource/default/luks/a?use=luks-key kbs-session-id=second',
    ])
})

for (const { name, tls, trust, code } of [
    { name: 'another pin', tls: { cert, key }, trust: { pins: [otherPin] }, code: 'ERR_HTTP_TLS' },
    { name: 'another CA', tls: { cert, key }, trust: { ca: cert }, code: 'ERR_HTTP_TLS' },
    { name: 'by CA, another name', tls: { cert: otherName, key }, trust: { ca }, code: 'ERR_HTTP_TLS' },
    { name: 'by CA, expired', tls: { cert: expired, key }, trust: { ca }, code: 'ERR_HTTP_TLS' },
])
    test(`a server that is not trusted hears nothing: ${name}`, async (t) => {
        const seen: string[] = []
        await t.throwsAsync(fetchFrom(await serve(t, {}, seen, tls), trust), { code })
        t.deepEqual(seen, [])
    })

for (const { name, tls, trust } of [
    { name: 'by CA', tls: { cert, key }, trust: { ca } },
    { name: 'by pin, whatever name and date its certificate has', tls: { cert: expired, key }, trust: { pins: [pin] } },
])
    test(`a server that is trusted: ${name}`, async (t) =>
        t.is(await fetchFrom(await serve(t, {}, [], tls), trust), 'the secret'))

for (const { name, script, code, message } of [
    {
        name: 'a redirect',
        script: { auth: { status: 302, headers: { location: 'https://elsewhere.example/' } } },
        code: 'ERR_HTTP_RESPONSE',
        message: /redirect/,
    },
    {
        name: 'a challenge without cookie',
        script: { auth: { headers: {} } },
        code: 'ERR_KBS_MESSAGE',
        message: /cookie/,
    },
    { name: 'a challenge without nonce', script: { auth: { body: {} } }, code: 'ERR_KBS_MESSAGE', message: /nonce/ },
    {
        name: 'a nonce of 31 bytes',
        script: { auth: { body: { nonce: Buffer.alloc(31).toString('base64'), 'extra-params': '' } } },
        code: 'ERR_LENGTH',
        message: /32 bytes/,
    },
    {
        name: 'a challenge with a key twice',
        script: { auth: { body: `{"nonce":"${NONCE}","nonce":"${NONCE}","extra-params":""}` } },
        code: 'ERR_KBS_MESSAGE',
        message: /twice/,
    },
    {
        name: 'a challenge that is no JSON',
        script: { auth: { body: '<html>' } },
        code: 'ERR_KBS_MESSAGE',
        message: /not JSON/,
    },
    {
        name: 'an answer larger than allowed',
        script: { auth: { body: Buffer.alloc(100_000, 0x20) } },
        code: 'ERR_HTTP_RESPONSE',
        message: /more than 65536/,
    },
    {
        name: 'an attestation without token',
        script: { attest: { body: {} } },
        code: 'ERR_KBS_MESSAGE',
        message: /token/,
    },
    {
        name: 'a resource for another key',
        script: { resource: () => ({ body: encryptTo(keys.publicKey, Buffer.from('x')) }) },
        code: 'ERR_JWE',
        message: /does not open/,
    },
    {
        name: 'a resource in the clear',
        script: { resource: { body: 'the secret' } },
        code: 'ERR_KBS_MESSAGE',
        message: /not JSON/,
    },
    {
        name: 'another protocol version',
        script: {
            auth: {
                status: 401,
                body: refusal(
                    'ProtocolVersion',
                    'KBS Client Protocol Version Mismatch: expect =0.5.0 while the request is 0.4.0',
                ),
            },
        },
        code: 'ERR_KBS_VERSION',
        message: /0\.5\.0/,
    },
    {
        name: 'evidence refused (401, as the reference does)',
        script: { attest: { status: 401, body: refusal('AttestationError') } },
        code: 'ERR_KBS_ATTESTATION',
        message: /because/,
    },
    {
        name: 'evidence refused (403)',
        script: { attest: { status: 403, body: refusal('AttestationError') } },
        code: 'ERR_KBS_ATTESTATION',
        message: /because/,
    },
    {
        name: 'denied (401, as the reference does)',
        script: { resource: { status: 401, body: refusal('PolicyDeny') } },
        code: 'ERR_KBS_DENIED',
        message: /because/,
    },
    {
        name: 'denied (403)',
        script: { resource: { status: 403, body: { ...refusal('PolicyDeny'), correlation: 'c0ffee' } } },
        code: 'ERR_KBS_DENIED',
        message: /c0ffee/,
    },
    {
        name: 'no such resource',
        script: { resource: { status: 404, body: refusal('PluginInternalError') } },
        code: 'ERR_KBS_NOT_FOUND',
        message: /404/,
    },
    {
        name: 'the session has gone',
        script: { resource: { status: 401, body: refusal('TokenNotFound') } },
        code: 'ERR_KBS_SESSION',
        message: /401/,
    },
    {
        name: 'too many requests',
        script: { auth: { status: 429, body: 'slow down' } },
        code: 'ERR_KBS_BUSY',
        message: /429/,
    },
    { name: 'a failure', script: { auth: { status: 500, body: 'oops' } }, code: 'ERR_KBS_SERVER', message: /500/ },
    {
        name: 'a proxy’s page',
        script: { auth: { status: 418, body: '<h1>' } },
        code: 'ERR_KBS_MESSAGE',
        message: /418/,
    },
] as { name: string; script: Script; code: string; message: RegExp }[])
    test(`refused: ${name}`, async (t) =>
        void (await t.throwsAsync(fetchFrom(await serve(t, script), { pins: [pin] }), { code, message })))

for (const { name, code, passes } of [
    { name: 'ERR_KBS_DENIED', code: { status: 403, body: refusal('PolicyDeny') }, passes: false },
    { name: 'ERR_KBS_BUSY', code: { status: 503, body: '' }, passes: true },
    { name: 'ERR_KBS_SERVER', code: { status: 502, body: '' }, passes: true },
])
    test(`${name} ${passes ? 'can pass' : 'is final'}`, async (t) => {
        const error = await t.throwsAsync<AttestError>(fetchFrom(await serve(t, { resource: code }), { pins: [pin] }), {
            code: name,
        })
        t.is(error?.passes, passes)
    })

test('a server that accepts and says nothing', async (t) => {
    const url = `https://${await listen(
        t,
        createServer({ cert, key }, () => undefined),
    )}`
    await t.throwsAsync(fetchFrom(url, { pins: [pin] }, silent, 300), { code: 'ERR_INTERRUPTED', message: /0\.3 s/ })
})

test('a server that breaks off in the middle of an answer', async (t) => {
    const url = `https://${await listen(
        t,
        createServer({ cert, key }, (_request, response) => {
            response.writeHead(200, { 'content-length': '1000' })
            response.write('{')
            setTimeout(() => response.destroy(), 20)
        }),
    )}`
    await t.throwsAsync(fetchFrom(url, { pins: [pin] }), { code: 'ERR_HTTP_CONNECT' })
})

test('nobody listens', async (t) => {
    const error = await t.throwsAsync<AttestError>(fetchFrom('https://127.0.0.1:1', { pins: [pin] }), {
        code: 'ERR_HTTP_CONNECT',
    })
    t.true(error?.passes)
})

test('plain http on loopback, where the anchor says so', async (t) => {
    const url = `http://${await listen(t, createPlain(scripted({})))}`
    t.is(await fetchFrom(url, null), 'the secret')
})

test('a clock that is far off is worth a line', async (t) => {
    const lines: string[] = []
    const log = { ...silent, warn: (message: string) => void lines.push(message) }
    await fetchFrom(
        await serve(t, {
            auth: { headers: { 'set-cookie': 'kbs-session-id=a', date: 'Thu, 01 Jan 2015 00:00:00 GMT' } },
        }),
        { pins: [pin] },
        log,
    )
    t.is(lines.length, 1)
    t.regex(lines[0] ?? '', /clock/)
})

const versioned = (version: string) => (teeKey: KeyObject) => ({
    headers: { 'resource-version': version },
    body: encryptTo(teeKey, Buffer.from('the secret')),
})

for (const { name, resource, wanted, result } of [
    { name: 'the one that was asked for', resource: versioned('3'), wanted: 3, result: null },
    { name: 'none was asked for', resource: versioned('3'), wanted: undefined, result: null },
    { name: 'another one', resource: versioned('4'), wanted: 3, result: 'ERR_KBS_VERSION_RETIRED' },
    { name: 'a broker that counts none', resource: {}, wanted: 3, result: 'ERR_KBS_VERSION_RETIRED' },
    { name: 'no number', resource: versioned('three'), wanted: undefined, result: 'ERR_KBS_MESSAGE' },
    {
        name: 'refused by name, whatever the status',
        resource: { status: 401, body: refusal('VersionRetired') },
        wanted: 3,
        result: 'ERR_KBS_VERSION_RETIRED',
    },
])
    test(`version of a resource: ${name}`, async (t) => {
        const seen: string[] = []
        const url = await serve(t, { resource }, seen)
        const asked = fetchFrom(url, { pins: [pin] }, silent, 2000, wanted)
        if (result === null) t.is(await asked, 'the secret')
        else {
            const error = await t.throwsAsync<AttestError>(asked, { code: result })
            t.is(error.exit, 1)
            if (result === 'ERR_KBS_VERSION_RETIRED') t.regex(error.hint ?? '', /luks rebind/)
        }
        t.regex(seen.at(-1) ?? '', wanted === undefined ? /use=luks-key / : /use=luks-key&version=3 /)
    })
