// A guest and an administrator at a broker's doors: real TLS, a real unix socket, really signed reports.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, randomBytes, verify } from 'node:crypto'
import { existsSync } from 'node:fs'
import { request } from 'node:https'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import test from 'ava'
import { jcs } from '#core/jcs.ts'
import { decryptWith } from '#core/jwe.ts'
import { ERROR_TYPE_PREFIX } from '#kbs/messages.ts'
import { AUTH, cookieOf, POLICY, proof, REFERENCE, type Rig, rig, teeKey } from './rig.ts'

async function filled(broker: Rig): Promise<Rig> {
    await broker.admin('POST', '/v1/references', REFERENCE)
    await broker.admin('PUT', '/v1/policies/main', POLICY)
    await broker.admin('POST', '/v1/resources/web/disk/root/random')
    await broker.admin('PUT', '/v1/resources/web/files/key', Buffer.from('a well known text'))
    return broker
}

async function records({ admin }: Rig) {
    const { json } = await admin('GET', '/v1/audit')
    return (json as { kind: string; subject: string; data: string }[]).map((r) => ({ ...r, data: JSON.parse(r.data) }))
}

test('a key that nobody has seen reaches the guest that the rules name, once it is recorded', async (t) => {
    const broker = await filled(await rig(t))
    const guest = await broker.attest()
    const answer = await guest.get('web/disk/root', 'luks-key')
    t.is(answer.status, 200, answer.body.toString())
    t.is(guest.open(answer).length, 32)
    t.deepEqual(Object.keys(answer.json), ['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag'])
    t.is(answer.headers['content-type'], 'application/json; charset=utf-8')
    t.is(answer.headers['cache-control'], 'no-store')
    const release = (await records(broker)).at(-1)
    t.is(release?.kind, 'release')
    t.is(release?.subject, 'web/disk/root')
    t.like(release?.data, {
        rule: 'web-disks',
        version: 1,
        repeats: null,
        kind: 'luks-key',
        use: 'luks-key',
        references: ['web'],
        let: ['insecureCustomRoot'],
        tee: 'snp',
        guestId: '33'.repeat(32),
        measurement: '22'.repeat(48),
        peer: '127.0.0.1',
    })
})

test('an opaque resource comes as it was put, and a new version replaces it', async (t) => {
    const { admin, attest } = await filled(await rig(t))
    for (const bytes of [randomBytes(5000), randomBytes(1)]) {
        t.is((await admin('PUT', '/v1/resources/web/files/key', Buffer.from(bytes))).status, 200)
        const guest = await attest()
        t.deepEqual(guest.open(await guest.get('web/files/key')), bytes)
    }
})

test('the challenge: 32 new bytes, and a cookie for this path alone', async (t) => {
    const { ask } = await rig(t)
    const answers = await Promise.all([1, 2].map(() => ask('POST', '/kbs/v0/auth', AUTH)))
    const nonces = answers.map(({ json }) => json.nonce as string)
    for (const nonce of nonces) t.is(Buffer.from(nonce, 'base64').length, 32)
    t.not(nonces[0], nonces[1])
    t.deepEqual(Object.keys(answers[0]?.json), ['nonce', 'extra-params'])
    t.regex(
        answers[0]?.headers['set-cookie']?.[0] ?? '',
        /^kbs-session-id=[\w-]+; Path=\/kbs\/v0; HttpOnly; Secure; SameSite=Strict; Max-Age=300; Expires=\w{3}, .* GMT$/,
    )
})

test('the token: signed, short, and honest', async (t) => {
    const { attest, serving } = await filled(await rig(t))
    const { token } = await attest()
    const [header = '', payload = '', signature = ''] = token.split('.')
    const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
    t.deepEqual(read(header), { alg: 'ES256', typ: 'JWT' })
    const key = createPublicKey(serving.broker.data.tokenKey)
    t.true(
        verify(
            'sha256',
            Buffer.from(`${header}.${payload}`),
            { key, dsaEncoding: 'ieee-p1363' },
            Buffer.from(signature, 'base64url'),
        ),
    )
    const claims = read(payload)
    t.is(claims.exp - claims.iat, 300)
    t.is(claims.submods.cpu0['ear.status'], 'none', 'a custom root vouches: nothing is affirmed')
    const evidence = claims.submods.cpu0['ear.veraison.annotated-evidence']
    t.is(evidence.snp.measurement, '22'.repeat(48))
    t.is(evidence.runtime_data_claims['tee-pubkey'].crv, 'P-256')
})

// What is wrong with a message of the handshake.
const { jwk: JWK } = teeKey()
for (const { name, path, body, status, type, code, detail } of [
    {
        name: 'another version',
        path: 'auth',
        body: { ...AUTH, version: '0.3.0' },
        status: 400,
        type: 'AttestationError',
        code: 'ERR_KBS_VERSION',
        detail: /Protocol Version Mismatch: expect =0\.4\.0 while the request is "0\.3\.0"/,
    },
    {
        name: 'another technology',
        path: 'auth',
        body: { ...AUTH, tee: 'sgx' },
        status: 400,
        type: 'AttestationError',
        code: 'ERR_KBS_TEE',
        detail: /"sgx" is not supported here, expected one of snp/,
    },
    {
        name: 'no technology',
        path: 'auth',
        body: { version: '0.4.0', 'extra-params': '' },
        status: 400,
        type: 'SerdeError',
        code: 'ERR_KBS_MESSAGE',
        detail: /^body: tee: /,
    },
    {
        name: 'a key that stands twice',
        path: 'auth',
        body: '{"version":"0.4.0","tee":"snp","tee":"tdx","extra-params":""}',
        status: 400,
        type: 'SerdeError',
        code: 'ERR_JSON',
        detail: /the key "tee" stands twice/,
    },
    { name: 'no JSON', path: 'auth', body: '{', status: 400, type: 'SerdeError', code: 'ERR_JSON', detail: /not JSON/ },
    { name: 'nothing', path: 'auth', body: '', status: 400, type: 'SerdeError', code: 'ERR_JSON', detail: /not JSON/ },
    {
        name: 'too much for /auth',
        path: 'auth',
        body: { ...AUTH, 'extra-params': 'x'.repeat(70_000) },
        status: 413,
        type: 'PayloadTooLarge',
        code: 'ERR_KBS_MESSAGE',
        detail: /too large/,
    },
    {
        name: 'an attestation without a session',
        path: 'attest',
        body: {},
        status: 401,
        type: 'TokenNotFound',
        code: 'ERR_KBS_SESSION',
        detail: /no such session/,
    },
] as const)
    test(`refused: ${name}`, async (t) => {
        const { ask } = await rig(t)
        const answer = await ask('POST', `/kbs/v0/${path}`, body)
        t.is(answer.status, status, answer.body.toString())
        t.is(answer.json.type, `${ERROR_TYPE_PREFIX}${type}`)
        t.is(answer.json.code, code)
        t.regex(answer.json.detail, detail)
        t.regex(answer.json.correlation, /^[0-9a-f]{16}$/)
        t.regex(String(answer.headers['content-type']), /^application\/json/)
    })

type Proof = ReturnType<typeof proof>

for (const { name, change, status, code, detail } of [
    {
        name: 'another nonce',
        change: (p: Proof) => ({
            ...p,
            'runtime-data': { ...p['runtime-data'], nonce: randomBytes(32).toString('base64') },
        }),
        status: 401,
        code: 'ERR_KBS_SESSION',
        detail: /not the challenge of this session/,
    },
    {
        name: 'another key than the one that was proved',
        change: (p: Proof) => ({ ...p, 'runtime-data': { ...p['runtime-data'], 'tee-pubkey': JWK } }),
        status: 403,
        code: 'ERR_KBS_BINDING',
        detail: /other report data/,
    },
    {
        name: 'a key that is no point',
        change: (p: Proof) => ({ ...p, 'runtime-data': { ...p['runtime-data'], 'tee-pubkey': { ...JWK, y: JWK.x } } }),
        status: 400,
        code: 'ERR_JWE',
        detail: /not a point on P-256/,
    },
    {
        name: 'a key on another curve',
        change: (p: Proof) => ({
            ...p,
            'runtime-data': { ...p['runtime-data'], 'tee-pubkey': { ...JWK, crv: 'P-384' } },
        }),
        status: 400,
        code: 'ERR_KBS_MESSAGE',
        detail: /^body: runtime-data\.tee-pubkey\.crv: /,
    },
    {
        name: 'a key with a member more',
        change: (p: Proof) => ({ ...p, 'runtime-data': { ...p['runtime-data'], 'tee-pubkey': { ...JWK, kid: 'x' } } }),
        status: 400,
        code: 'ERR_KBS_MESSAGE',
        detail: /kid/,
    },
    {
        name: 'evidence of further devices',
        change: (p: Proof) => ({
            ...p,
            'tee-evidence': { ...p['tee-evidence'], additional_evidence: '{"nvidia":{}}' },
        }),
        status: 400,
        code: 'ERR_KBS_ADDITIONAL_EVIDENCE',
        detail: /further devices is not supported/,
    },
    {
        name: 'init-data',
        change: (p: Proof) => ({ ...p, 'init-data': { format: 'toml', body: 'x' } }),
        status: 400,
        code: 'ERR_KBS_MESSAGE',
        detail: /^init-data must be null/,
    },
    {
        name: 'no evidence',
        change: (p: Proof) => ({ ...p, 'tee-evidence': { primary_evidence: {}, additional_evidence: '' } }),
        status: 400,
        code: 'ERR_KBS_MESSAGE',
        detail: /is not evidence of snp/,
    },
    {
        name: 'malformed evidence',
        change: (p: Proof) => ({
            ...p,
            'tee-evidence': { primary_evidence: { attestation_report: { version: 3 } }, additional_evidence: '' },
        }),
        status: 400,
        code: 'ERR_KBS_MESSAGE',
        detail: /attestation_report\.guest_svn/,
    },
    {
        name: 'a report that nobody signed',
        change: (p: Proof) => flipped(p),
        status: 403,
        code: 'ERR_SNP_SIGNATURE',
        detail: /not accepted as authentic/,
    },
    {
        name: 'a member that nobody knows',
        change: (p: Proof) => ({ ...p, more: 1 }),
        status: 400,
        code: 'ERR_KBS_MESSAGE',
        detail: /more/,
    },
] as const)
    test(`a proof is refused, and its challenge is used up: ${name}`, async (t) => {
        const { ask, vendor } = await rig(t)
        const challenge = await ask('POST', '/kbs/v0/auth', AUTH)
        const good = proof(vendor, challenge.json.nonce, teeKey().jwk)
        const answer = await ask('POST', '/kbs/v0/attest', change(good), { cookie: cookieOf(challenge) })
        t.is(answer.status, status, answer.body.toString())
        t.is(answer.json.code, code)
        t.regex(answer.json.detail, detail)
        t.is(answer.headers['set-cookie'], undefined)
        const again = await ask('POST', '/kbs/v0/attest', good, { cookie: cookieOf(challenge) })
        t.is(again.status, 401)
        t.regex(again.json.detail, /used already/)
    })

function flipped(good: Proof) {
    const primary = structuredClone(good['tee-evidence'].primary_evidence) as {
        attestation_report: { host_data: number[] }
    }
    primary.attestation_report.host_data[0] = 1
    return { ...good, 'tee-evidence': { ...good['tee-evidence'], primary_evidence: primary } }
}

test('evidence of 4 MiB is read, and more is not', async (t) => {
    const { ask } = await rig(t)
    for (const [size, status] of [
        [4 * 1024 * 1024 - 20, 400],
        [4 * 1024 * 1024 + 1, 413],
    ] as const) {
        const challenge = await ask('POST', '/kbs/v0/auth', AUTH)
        const answer = await ask('POST', '/kbs/v0/attest', `{"x":"${'y'.repeat(size - 8)}"}`, {
            cookie: cookieOf(challenge),
        })
        t.is(answer.status, status)
    }
})

test('evidence of an older handshake is a replay', async (t) => {
    const { ask, vendor } = await rig(t)
    const [first, second] = await Promise.all([1, 2].map(() => ask('POST', '/kbs/v0/auth', AUTH)))
    const { jwk } = teeKey()
    const old = proof(vendor, first?.json.nonce, jwk)
    const replayed = { ...old, 'runtime-data': { ...old['runtime-data'], nonce: second?.json.nonce } }
    const answer = await ask('POST', '/kbs/v0/attest', replayed, { cookie: second ? cookieOf(second) : '' })
    t.is(answer.status, 403)
    t.is(answer.json.code, 'ERR_KBS_BINDING')
})

test('what is released opens for the key that was proved, and for no other', async (t) => {
    const { attest } = await filled(await rig(t))
    const [one, two] = await Promise.all([attest(), attest()])
    const answer = await one.get('web/disk/root', 'luks-key')
    t.is(one.open(answer).length, 32)
    t.throws(() => decryptWith(two.key, answer.json), { code: 'ERR_JWE' })
})

for (const { name, path, use, status, type, code } of [
    {
        name: 'a resource that does not exist',
        path: 'web/disk/none',
        use: undefined,
        status: 404,
        type: 'PluginInternalError',
        code: 'ERR_KBS_NOT_FOUND',
    },
    {
        name: 'a disk key without asking for one',
        path: 'web/disk/root',
        use: undefined,
        status: 403,
        type: 'PolicyDeny',
        code: 'ERR_KBS_RESOURCE',
    },
    {
        name: 'a text, asking for a disk key',
        path: 'web/files/key',
        use: 'luks-key',
        status: 403,
        type: 'PolicyDeny',
        code: 'ERR_KBS_RESOURCE',
    },
    {
        name: 'a use that nobody knows',
        path: 'web/files/key',
        use: 'other',
        status: 400,
        type: 'SerdeError',
        code: 'ERR_KBS_MESSAGE',
    },
    {
        name: 'a path of two names',
        path: 'web/files',
        use: undefined,
        status: 400,
        type: 'InvalidRequestPath',
        code: 'ERR_KBS_URI',
    },
    {
        name: 'a path that climbs',
        path: 'web/%2e%2e/key',
        use: undefined,
        status: 400,
        type: 'InvalidRequestPath',
        code: 'ERR_KBS_URI',
    },
    {
        name: 'what the rules do not name',
        path: 'other/files/key',
        use: undefined,
        status: 403,
        type: 'PolicyDeny',
        code: 'ERR_BROKER_DENIED_POLICY',
    },
])
    test(`not released: ${name}`, async (t) => {
        const broker = await filled(await rig(t))
        await broker.admin('PUT', '/v1/resources/other/files/key', Buffer.from('x'))
        const guest = await broker.attest()
        const answer = await guest.get(path, use)
        t.is(answer.status, status, answer.body.toString())
        t.is(answer.json.type, `${ERROR_TYPE_PREFIX}${type}`)
        t.is(answer.json.code, code)
        if (status === 400) return
        const denial = (await records(broker)).at(-1)
        t.is(denial?.kind, 'denial')
        t.is(denial?.data.code, code)
        t.is(denial?.data.correlation, answer.json.correlation, 'the guest and the log name the same request')
    })

test('a denial names the guest’s own value, and the log what was expected', async (t) => {
    const broker = await filled(await rig(t))
    const guest = await broker.attest({ measurement: Buffer.alloc(48, 7) })
    const answer = await guest.get('web/disk/root', 'luks-key')
    t.is(answer.status, 403)
    t.is(answer.json.code, 'ERR_BROKER_DENIED_REFERENCE')
    t.true(answer.json.detail.includes(`measurement "${'07'.repeat(48)}"`), answer.json.detail)
    t.false(answer.body.includes('22'.repeat(48)))
    const denial = (await records(broker)).at(-1)
    t.deepEqual(denial?.data.mismatches, [{ reference: 'web', check: 'measurement' }])
})

test('an empty broker releases nothing', async (t) => {
    const { admin, attest } = await rig(t)
    await admin('POST', '/v1/resources/web/disk/root/random')
    const answer = await (await attest()).get('web/disk/root', 'luks-key')
    t.is(answer.status, 403)
})

test('tokens are refused by name, and HEAD is nothing', async (t) => {
    const { ask, attest } = await filled(await rig(t))
    const { cookie, token } = await attest()
    const path = '/kbs/v0/resource/web/files/key'
    const bearer = await ask('GET', path, undefined, { cookie, authorization: `Bearer ${token}` })
    t.is(bearer.status, 401)
    t.regex(bearer.json.detail, /Authorization.*not accepted/)
    t.is((await ask('HEAD', path, undefined, { cookie })).status, 404)
    t.is((await ask('POST', path, undefined, { cookie })).status, 404)
    t.is((await ask('GET', path)).status, 401)
})

test('what is bounded is released so often, also to many at once, and a repetition counts once', async (t) => {
    const broker = await filled(await rig(t))
    await broker.admin('PUT', '/v1/resources/web/files/three?maxReleases=3', Buffer.from('x'))
    const guests = await Promise.all(Array.from({ length: 8 }, () => broker.attest()))
    const first = await Promise.all(guests.map((guest) => guest.get('web/files/three')))
    t.is(first.filter(({ status }) => status === 200).length, 3)
    for (const { status, json } of first.filter(({ status }) => status !== 200)) {
        t.is(status, 403)
        t.is(json.code, 'ERR_BROKER_DENIED_COUNT')
    }
    const again = await Promise.all(guests.map((guest) => guest.get('web/files/three')))
    t.deepEqual(
        again.map(({ status }) => status),
        first.map(({ status }) => status),
    )
    const entry = (await broker.admin('GET', '/v1/resources')).json.find(
        (r: { path: string }) => r.path === 'web/files/three',
    )
    t.is(entry.releases, 3)
    await broker.admin('PUT', '/v1/resources/web/files/three', Buffer.from('y'))
    t.is((await guests[0]?.get('web/files/three'))?.status, 200, 'a new version counts anew')
})

test('@maxReleases counts what a rule gave of a path', async (t) => {
    const broker = await filled(await rig(t))
    await broker.admin('PUT', '/v1/policies/main', POLICY.replace('@insecure', '@maxReleases("1")\n@insecure'))
    const [one, two] = await Promise.all([broker.attest(), broker.attest()])
    t.is((await one.get('web/files/key')).status, 200)
    t.is((await one.get('web/files/key')).status, 200)
    t.is((await two.get('web/files/key')).json.code, 'ERR_BROKER_DENIED_COUNT')
    t.is((await two.get('web/disk/root', 'luks-key')).status, 200, 'another path has a count of its own')
})

test('too many requests from one address are told when to come back', async (t) => {
    const { ask } = await rig(t, { settings: { ratePerMinute: 3 } })
    const answers = []
    for (let i = 0; i < 4; i++) answers.push(await ask('POST', '/kbs/v0/auth', AUTH))
    t.deepEqual(
        answers.map(({ status }) => status),
        [200, 200, 200, 429],
    )
    t.regex(String(answers[3]?.headers['retry-after']), /^\d+$/)
    t.is(answers[3]?.json.code, 'ERR_KBS_BUSY')
})

test('where no session fits, the guest keeps its challenge', async (t) => {
    const { ask, attest, vendor } = await rig(t, { settings: { maxSessions: 1 } })
    await attest()
    const challenge = await ask('POST', '/kbs/v0/auth', AUTH)
    const message = proof(vendor, challenge.json.nonce, teeKey().jwk)
    for (let i = 0; i < 2; i++) {
        const answer = await ask('POST', '/kbs/v0/attest', message, { cookie: cookieOf(challenge) })
        t.is(answer.status, 429)
        t.truthy(answer.headers['retry-after'])
    }
})

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
        ['/healthz', '/kbs/v0/attest', '/kbs/v0/auth', '/kbs/v0/resource/{repository}/{type}/{tag}', '/metrics'],
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

test('while the database cannot be written nothing is released, and health says so', async (t) => {
    const broker = await filled(await rig(t))
    const guest = await broker.attest()
    const { store } = broker.serving.broker.data
    const { commit } = store
    store.commit = async () => {
        throw Object.assign(new Error('disk full'))
    }
    t.is((await guest.get('web/files/key')).status, 500)
    t.is((await broker.ask('GET', '/healthz')).status, 503)
    store.commit = commit
    t.is((await guest.get('web/files/key')).status, 200)
    t.is((await broker.ask('GET', '/healthz')).status, 200)
})

test('no secret reaches the log', async (t) => {
    const broker = await rig(t)
    const secret = randomBytes(40)
    await broker.admin('POST', '/v1/references', REFERENCE)
    await broker.admin('PUT', '/v1/policies/main', POLICY)
    await broker.admin('PUT', '/v1/resources/web/files/key', Buffer.from(secret))
    const guest = await broker.attest()
    await guest.get('web/files/key')
    await guest.get('web/files/none')
    const all = `${broker.log.join('\n')}${JSON.stringify(await records(broker))}`
    for (const form of [secret.toString('hex'), secret.toString('base64').slice(0, 20), secret.toString('latin1')])
        t.false(all.includes(form))
    t.false(all.includes(guest.cookie.split('=')[1] ?? '?'), 'a session is named, its cookie is not')
    t.true(broker.log.some((line) => line.includes('released')))
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

test('the runtime data of the session are what the peer hashes', (t) => {
    // RFC 8785: the members of the key in their order, whatever order they came in.
    t.is(
        jcs({ y: JWK.y, x: JWK.x, kty: 'EC', crv: 'P-256', alg: JWK.alg }),
        `{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"${JWK.x}","y":"${JWK.y}"}`,
    )
})
