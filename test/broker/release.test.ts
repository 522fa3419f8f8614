// A proven guest asks for resources: what it gets, what it is told, what is counted and recorded.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import test from 'ava'
import { openData } from '#broker/data.ts'
import { decryptWith } from '#core/jwe.ts'
import { ERROR_TYPE_PREFIX } from '#kbs/messages.ts'
import { clock, filled, POLICY, REFERENCE, records, rig } from './rig.ts'

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
        switches: ['insecureCustomRoot'],
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

test('repetitions at the same time count once, too', async (t) => {
    const broker = await filled(await rig(t))
    await broker.admin('PUT', '/v1/resources/web/files/one?maxReleases=1', Buffer.from('x'))
    const [one, two] = await Promise.all([broker.attest(), broker.attest()])
    const answers = await Promise.all([1, 2, 3].map(() => one.get('web/files/one')))
    t.deepEqual(
        answers.map(({ status }) => status),
        [200, 200, 200],
    )
    t.is((await two.get('web/files/one')).json.code, 'ERR_BROKER_DENIED_COUNT')
    const releases = (await records(broker)).filter(({ kind }) => kind === 'release')
    t.deepEqual(
        releases.map(({ data }) => data.repeats === null),
        [true, false, false],
    )
})

test('a resource that is replaced while it is asked for is released in one version or the other', async (t) => {
    const broker = await filled(await rig(t))
    const guest = await broker.attest()
    for (let i = 0; i < 10; i++) {
        const text = `version ${i}`
        const [answer] = await Promise.all([
            guest.get('web/files/key'),
            broker.admin('PUT', '/v1/resources/web/files/key', Buffer.from(text)),
        ])
        t.is(answer.status, 200)
        t.true([text, i === 0 ? 'a well known text' : `version ${i - 1}`].includes(guest.open(answer).toString()))
    }
})

test('stored rules and sets that are not valid any more deny, and can be put right', async (t) => {
    const first = await filled(await rig(t))
    await first.stop()
    const data = await openData(first.folder, { init: false, now: clock.now })
    const draft = (kind: 'policy-put' | 'reference-put', subject: string, text: string) =>
        data.ledger.append({ kind, subject, data: { text }, at: clock.now() })
    await draft('policy-put', 'main', POLICY.replace('principal.references', 'principal.renamed'))
    await draft('reference-put', 'web', REFERENCE.replace('[policy]', '[policy]\nrenamed = 1'))
    await data.close()
    const second = await rig(t, { folder: first.folder })
    t.true(second.log.some((line) => line.includes('the stored policies are not valid')))
    t.true(second.log.some((line) => line.includes('a stored reference set cannot be read')))
    const guest = await second.attest()
    t.is((await guest.get('web/files/key')).json.code, 'ERR_BROKER_DENIED_EVALUATION')
    t.is((await second.admin('PUT', '/v1/policies/main', POLICY)).status, 200)
    t.is((await guest.get('web/files/key')).json.code, 'ERR_BROKER_DENIED_REFERENCE')
    t.is((await second.admin('POST', '/v1/references', REFERENCE)).status, 200)
    t.is((await guest.get('web/files/key')).status, 200)
})

test('rules are in force, and out of it, with the answer to the administrator', async (t) => {
    const broker = await filled(await rig(t))
    const guest = await broker.attest()
    t.is((await broker.admin('PUT', '/v1/policies/more', 'forbid (principal, action, resource);')).status, 200)
    t.is((await guest.get('web/files/key')).status, 403)
    t.is((await broker.admin('DELETE', '/v1/policies/more')).status, 204)
    t.is((await guest.get('web/files/key')).status, 200)
})
