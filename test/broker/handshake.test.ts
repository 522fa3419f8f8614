// The handshake at a broker's door: real TLS, really signed reports, and everything that can be wrong with them.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, randomBytes, verify } from 'node:crypto'
import test from 'ava'
import type { Evidence } from '#drivers/driver.ts'
import { ERROR_TYPE_PREFIX } from '#kbs/messages.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { snp } from '#plugins/snp/index.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'
import { AUTH, BUILD, cookieOf, filled, proof, rig, teeKey } from './rig.ts'

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
    t.deepEqual(claims['ear.verifier-id'], { developer: 'guest-attest', build: BUILD })
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

test('evidence of another handshake is refused before anything of it is verified', async (t) => {
    const asked: Evidence[] = []
    const verifier: Plugin['verifier'] = async (trust) => {
        const real = snpVerifier(trust)
        return {
            ...real,
            authenticate(evidence, at, checks) {
                asked.push(evidence)
                return real.authenticate(evidence, at, checks)
            },
        }
    }
    const { ask, vendor } = await rig(t, { plugin: { ...snp, verifier } })
    const { jwk } = teeKey()
    for (const mine of [false, true]) {
        const challenge = await ask('POST', '/kbs/v0/auth', AUTH)
        const nonce = challenge.json.nonce as string
        const answered = proof(vendor, mine ? nonce : randomBytes(32).toString('base64'), jwk)
        const body = { ...answered, 'runtime-data': { ...answered['runtime-data'], nonce } }
        const answer = await ask('POST', '/kbs/v0/attest', body, { cookie: cookieOf(challenge) })
        t.is(answer.status, mine ? 200 : 403, answer.body.toString())
        t.is(asked.length, mine ? 1 : 0)
    }
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
