// Enrolling with a credential: what it may do, once, until when; what it may not is refused and recorded.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import test from 'ava'
import { type CredentialAction, credentialHash, ENROLL_PREFIX, makeCredential } from '#kbs/credential.ts'
import { clock, filled, type Rig, type RigOptions, records, rig } from './rig.ts'

const HOUR = 3_600_000
const later = (ms = HOUR) => new Date(Date.now() + ms).toISOString()

const known = async (broker: Rig, changed: Record<string, unknown> = {}) => {
    const { secret } = makeCredential('ops')
    const may: CredentialAction[] = ['create', 'rotate']
    const body = {
        hash: credentialHash(secret).toString('hex'),
        allowPaths: ['web/disk/*'],
        may,
        expires: later(),
        maxUses: 10,
        ...changed,
    }
    const answer = await broker.adminJson('PUT', '/v1/credentials/ops', body)
    if (answer.status !== 200) throw new Error(answer.body.toString())
    const path = (of: string) => `${ENROLL_PREFIX}/resources/${of}`
    const send = (method: string, url: string, bytes: Buffer) =>
        broker.ask(method, url, bytes, { 'content-type': 'application/octet-stream' })
    return {
        secret,
        random: (of: string, by: Buffer = secret) => send('POST', `${path(of)}/random?credential=ops`, by),
        put: (of: string, ifVersion: number, key: Buffer = randomBytes(32)) =>
            send('PUT', `${path(of)}?credential=ops&ifVersion=${ifVersion}`, Buffer.concat([secret, key])),
        retire: (of: string) => send('POST', `${path(of)}/retire?credential=ops`, secret),
        as: (name: string, of: string) => send('POST', `${path(of)}/random?credential=${name}`, secret),
    }
}

const start = async (t: Parameters<typeof rig>[0], options: RigOptions = {}) => filled(await rig(t, options))

test('a key that nobody has seen is made where there is none, and reaches a proven guest alone', async (t) => {
    const broker = await start(t)
    const { random } = await known(broker)
    const answer = await random('web/disk/new')
    t.is(answer.status, 200, answer.body.toString())
    t.deepEqual(answer.json, { path: 'web/disk/new', version: 1 })
    const guest = await broker.attest()
    t.is(guest.open(await guest.get('web/disk/new', 'luks-key')).length, 32)
    const put = (await records(broker)).findLast(({ kind }) => kind === 'put')
    t.like(put, { subject: 'web/disk/new' })
    t.like(put?.data, { credential: 'ops', peer: '127.0.0.1', kind: 'luks-key', version: 1 })
    t.is(typeof put?.data.correlation, 'string')
})

test('a key of one’s own, the next version of it, and the end of the one before', async (t) => {
    const broker = await start(t)
    const { put, retire } = await known(broker)
    const keys = [randomBytes(32), randomBytes(32)]
    t.deepEqual((await put('web/disk/own', 0, Buffer.from(keys[0] as Buffer))).json, {
        path: 'web/disk/own',
        version: 1,
    })
    t.deepEqual((await put('web/disk/own', 1, Buffer.from(keys[1] as Buffer))).json, {
        path: 'web/disk/own',
        version: 2,
    })
    const guest = await broker.attest()
    t.deepEqual(guest.open(await guest.get('web/disk/own', 'luks-key&version=2')), keys[1])
    const { store } = broker.serving.broker.data
    t.truthy(await store.resource('web/disk/own', 1))
    t.is((await retire('web/disk/own')).status, 200)
    t.is(await store.resource('web/disk/own', 1), null, 'its bytes are gone from the database')
    t.deepEqual(guest.open(await guest.get('web/disk/own', 'luks-key&version=2')), keys[1])
    t.like((await records(broker)).findLast(({ kind }) => kind === 'retire')?.data, { before: 2, credential: 'ops' })
})

for (const { name, changed = {}, act, code, status = 403 } of [
    { name: 'a path that is there', act: 'random', path: 'web/disk/root', code: 'ERR_KBS_EXISTS', status: 409 },
    { name: 'another path', act: 'random', path: 'web/files/new', code: 'ERR_KBS_CREDENTIAL' },
    { name: 'rotation alone', changed: { may: ['rotate'] }, act: 'random', code: 'ERR_KBS_CREDENTIAL' },
    { name: 'creation alone', changed: { may: ['create'] }, act: 'rotate', code: 'ERR_KBS_CREDENTIAL' },
    { name: 'creation alone, retiring', changed: { may: ['create'] }, act: 'retire', code: 'ERR_KBS_CREDENTIAL' },
    { name: 'a version that is not current', act: 'rotate-2', code: 'ERR_KBS_CHANGED', status: 409 },
    {
        name: 'what is no disk key',
        changed: { allowPaths: ['web/files/*'] },
        act: 'rotate-text',
        code: 'ERR_KBS_RESOURCE',
    },
    { name: 'typed text for a key', act: 'text', code: 'ERR_BROKER_REQUEST', status: 400 },
] as { name: string; changed?: Record<string, unknown>; act: string; path?: string; code: string; status?: number }[])
    test(`refused and recorded: ${name}`, async (t) => {
        const broker = await start(t)
        const credential = await known(broker, changed)
        const before = (await records(broker)).length
        const acts: Record<string, () => ReturnType<Rig['ask']>> = {
            random: () =>
                credential.random(
                    name === 'another path'
                        ? 'web/files/new'
                        : name === 'a path that is there'
                          ? 'web/disk/root'
                          : 'web/disk/new',
                ),
            rotate: () => credential.put('web/disk/root', 1),
            'rotate-2': () => credential.put('web/disk/root', 2),
            'rotate-text': () => credential.put('web/files/key', 1),
            retire: () => credential.retire('web/disk/root'),
            text: () => credential.put('web/disk/new', 0, Buffer.alloc(32, 'x')),
        }
        const answer = await acts[act]?.()
        t.is(answer?.status, status, answer?.body.toString())
        t.is(answer?.json.code, code)
        const added = (await records(broker)).slice(before)
        t.deepEqual(
            added.map(({ kind }) => kind),
            ['denial'],
        )
        t.like(added[0]?.data, { code, credential: 'ops', correlation: answer?.json.correlation })
        const entry = (await broker.admin('GET', '/v1/credentials')).json[0]
        t.is(entry.uses, 0)
    })

test('a wrong secret and an unknown name are told apart by nobody, and recorded by nobody', async (t) => {
    const broker = await start(t)
    const { random, as } = await known(broker)
    const before = (await records(broker)).length
    const answers = [await random('web/disk/new', randomBytes(32)), await as('other', 'web/disk/new')]
    for (const { status, json } of answers) {
        t.is(status, 403)
        t.is(json.code, 'ERR_KBS_CREDENTIAL')
        t.is(json.detail, answers[0]?.json.detail)
    }
    t.is((await records(broker)).length, before)
})

test('it ends: by its time, by its uses, by its removal', async (t) => {
    let now = Date.now()
    const broker = await start(t, { serve: { clock: { ...clock, now: () => new Date(now) } } })
    const { random } = await known(broker, { maxUses: 2 })
    t.is((await random('web/disk/a')).status, 200)
    const many = await Promise.all(['b', 'c', 'd'].map((tag) => random(`web/disk/${tag}`)))
    t.is(many.filter(({ status }) => status === 200).length, 1, 'also to many at once')
    t.regex((await random('web/disk/e')).json.detail, /used 2 times, as often as it may be/)
    now += 2 * HOUR
    t.regex((await random('web/disk/e')).json.detail, /it expired at/)
    t.is((await broker.admin('DELETE', '/v1/credentials/ops')).status, 204)
    t.regex((await random('web/disk/e')).json.detail, /there is no credential/)
})

test('only the hash is stored, and it lasts longer than the broker', async (t) => {
    const broker = await start(t)
    const { random, secret } = await known(broker)
    await random('web/disk/a')
    const all = `${broker.log.join('\n')}${JSON.stringify(await records(broker))}`
    for (const form of ['hex', 'base64', 'base64url', 'latin1'] as const) t.false(all.includes(secret.toString(form)))
    const listed = (await broker.admin('GET', '/v1/credentials')).json
    t.like(listed[0], { name: 'ops', uses: 1, maxUses: 10, may: ['create', 'rotate'] })
    t.is(listed[0].hash, undefined)
    await broker.stop()
    const again = await rig(t, { folder: broker.folder })
    const of = `${ENROLL_PREFIX}/resources/web/disk/b/random?credential=ops`
    t.is((await again.ask('POST', of, secret, { 'content-type': 'application/octet-stream' })).status, 200)
})

for (const { name, changed } of [
    { name: 'no pattern', changed: { allowPaths: ['web'] } },
    { name: 'a time that is past', changed: { expires: later(-HOUR) } },
    { name: 'a time that is far', changed: { expires: later(100 * 24 * HOUR) } },
    { name: 'no time', changed: { expires: 'soon' } },
    { name: 'nothing that it may', changed: { may: [] } },
    { name: 'another thing that it may', changed: { may: ['read'] } },
    { name: 'no hash', changed: { hash: 'x' } },
    { name: 'no uses', changed: { maxUses: 0 } },
])
    test(`not accepted: ${name}`, async (t) => {
        const broker = await rig(t)
        await t.throwsAsync(known(broker, changed))
        t.deepEqual((await broker.admin('GET', '/v1/credentials')).json, [])
    })

test('a body of another size, and one that is no bytes', async (t) => {
    const broker = await start(t)
    const { secret } = await known(broker)
    const url = `${ENROLL_PREFIX}/resources/web/disk/new/random?credential=ops`
    const bytes = { 'content-type': 'application/octet-stream' }
    t.is((await broker.ask('POST', url, Buffer.concat([secret, secret]), bytes)).status, 400)
    t.is((await broker.ask('POST', url, secret.subarray(1), bytes)).status, 400)
    t.is((await broker.ask('POST', url, { secret: 'x' })).status, 415)
    t.is((await broker.ask('GET', url)).status, 404)
})
