// Proof of possession: a guest of SEV that was launched proves itself with the key of that launch, to the broker that made
// it, and gets what its rules permit. Nobody else does, and the key ends.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'ava'
import { runtimeDigest } from '#evidence/binding.ts'
import { padReportData } from '#evidence/judge.ts'
import { parseResourcePath } from '#kbs/messages.ts'
import { KEYRING_NAME } from '#plugins/sev/client.ts'
import { CLIENT_GUID, parseClient } from '#plugins/sev/client-secret.ts'
import { sevDriver } from '#plugins/sev/driver.ts'
import { sev } from '#plugins/sev/index.ts'
import { LAUNCHED } from '#plugins.ts'
import { PASSPHRASE, SHOWN } from './launch-rig.ts'
import {
    attested,
    handshake,
    launcher,
    type Machine,
    machine,
    open,
    POLICY,
    register,
    run,
    withKeyring,
} from './possession-rig.ts'
import { type Rig, records, rig, teeKey } from './rig.ts'

const KEY = parseResourcePath('web/files/key')
const OTHER = parseResourcePath('web/files/other')

const RULE = `
@id("web")
@insecureCustomRoot
@insecureNoRevocation
permit (principal, action == Action::"release", resource)
when { principal.references.contains("web") && resource.repository == "web" && principal has sev && principal.sev.policy.es };
`

const reference = (digest: string, more = '') => `
name = "web"
tee = "sev"
coverage = "firmware+kernel+initrd+cmdline"
[policy]
measurements = ["${digest}"]
${more}`

/** A broker with a resource for its guest. */
async function world(t: Parameters<typeof launcher>[0], changed: object = {}, rule = RULE, more = '') {
    const broker = await launcher(t)
    const { uuid, answer } = await register(broker, changed)
    if (answer.status !== 200) throw new Error(answer.body.toString())
    const known = await broker.admin('POST', '/v1/references', reference(answer.json.terms.digests[0], more))
    if (known.status >= 300) throw new Error(known.body.toString())
    const ruled = await broker.admin('PUT', '/v1/policies/main', rule)
    if (ruled.status !== 200) throw new Error(ruled.body.toString())
    await broker.admin('PUT', '/v1/resources/web/files/key', Buffer.from('a well known text'))
    return { ...broker, uuid, show: async () => (await broker.admin('GET', `/v1/vm/${uuid}`)).json }
}

const get = async (guest: Machine, path = KEY): Promise<string> => {
    using session = await attested(guest)
    return (await session.resource(path)).bytes.toString()
}

const clientIn = ({ secrets }: Machine) => parseClient(secrets.get(CLIENT_GUID) ?? Buffer.alloc(0))

test('owner, host, guest, broker: what the rules permit', async (t) => {
    const broker = await world(t)
    const guest = await run(await open(broker, broker.uuid))
    t.is(guest.secrets.size, 2, 'the secrets of the owner are there as well')
    t.is(await get(guest), 'a well known text')
    const { client } = await broker.show()
    t.is(client.id, clientIn(guest).launchId.toString('base64url'))
    t.is(client.digest, undefined)
    const { url, pins, allowPaths } = clientIn(guest).broker
    t.deepEqual(
        { url, pins, allowPaths },
        { url: broker.serving.url, pins: [broker.serving.pin], allowPaths: ['web/*/*'] },
    )
    t.is((await handshake(broker, guest, (m) => m, 'sev-es')).status, 200)
})

test('a guest that gets a key and nothing else', async (t) => {
    const broker = await world(t, { secrets: undefined })
    const guest = await run(await open(broker, broker.uuid))
    t.deepEqual([...guest.secrets.keys()], [CLIENT_GUID])
    t.is(await get(guest), 'a well known text')
})

test('neither key nor passphrase stands in the audit log, in an answer or in the database', async (t) => {
    const broker = await world(t)
    const guest = await run(await open(broker, broker.uuid))
    const { key } = clientIn(guest)
    const text = JSON.stringify([await records(broker), await broker.show(), broker.log])
    for (const encoding of ['hex', 'base64', 'base64url'] as const) t.false(text.includes(key.toString(encoding)))
    await broker.stop()
    const database = readFileSync(join(broker.folder, 'broker.db'))
    for (const bytes of [key, PASSPHRASE, key.toString('base64url')]) t.false(database.includes(bytes))
})

test('explained: what it proves, and the published attacks that it is open to', async (t) => {
    const broker = await world(t)
    const guest = await (await run(await open(broker, broker.uuid))).guest()
    const evidence = await guest.evidence?.(Buffer.alloc(64, 1))
    const { json } = await broker.admin('POST', '/v1/explain/web/files/key', evidence?.report ?? Buffer.alloc(0))
    t.true(json.releases, JSON.stringify(json))
    t.deepEqual(
        json.evidence.weaknesses.map(({ name }: { name: string }) => name),
        ['One Glitch to Rule Them All', 'invalid curve points', 'undeSErVed trust', 'SEVered'],
    )
})

test('a swapped tee-pubkey', async (t) => {
    const broker = await world(t)
    const guest = await run(await open(broker, broker.uuid))
    // Whoever stands between puts a key of its own there, and the report data that goes with it.
    const { jwk: own } = teeKey()
    const changed = await handshake(broker, guest, (message) => {
        const { nonce } = message['runtime-data']
        const digest = padReportData(runtimeDigest({ nonce, teePubkey: own, additionalEvidence: '' }))
        const { 'sev-possession': proof } = message['tee-evidence'].primary_evidence
        return {
            ...message,
            'runtime-data': { nonce, 'tee-pubkey': own },
            'tee-evidence': {
                ...message['tee-evidence'],
                primary_evidence: { 'sev-possession': { ...proof, 'report-data': digest.toString('base64') } },
            },
        }
    })
    t.is(changed.status, 403)
    t.regex(changed.json.detail, /not made with the key of the launch/)
    const bare = await handshake(broker, guest, (message) => ({
        ...message,
        'runtime-data': { ...message['runtime-data'], 'tee-pubkey': own },
    }))
    t.is(bare.status, 403)
    t.regex(bare.json.detail, /other report data than this handshake/)
})

test('a replay', async (t) => {
    const broker = await world(t)
    const guest = await run(await open(broker, broker.uuid))
    let seen: unknown
    const good = await handshake(broker, guest, (message) => {
        seen = message
        return message
    })
    t.is(good.status, 200)
    const again = await handshake(broker, guest, () => seen)
    t.is(again.status, 401)
    const proof = (seen as { 'tee-evidence': object })['tee-evidence']
    const mixed = await handshake(broker, guest, (message) => ({ ...message, 'tee-evidence': proof }))
    t.is(mixed.status, 403)
    t.regex(mixed.json.detail, /other report data than this handshake/)
})

test('the key of another launch', async (t) => {
    const broker = await world(t)
    const first = await run(await open(broker, broker.uuid))
    const { uuid } = await register(broker)
    const second = await run(await open(broker, uuid))
    t.is((await handshake(broker, second)).status, 200)
    const idOf = (guest: Machine) => clientIn(guest).launchId.toString('base64url')
    const borrowed = await handshake(broker, second, (message) => {
        const { 'sev-possession': proof } = message['tee-evidence'].primary_evidence
        const claimed = { ...proof, 'launch-id': idOf(first) }
        return {
            ...message,
            'tee-evidence': { primary_evidence: { 'sev-possession': claimed }, additional_evidence: '' },
        }
    })
    t.is(borrowed.status, 403)
    t.regex(borrowed.json.detail, /not made with the key of the launch/)
    const strange = JSON.parse((second.secrets.get(CLIENT_GUID) as Buffer).toString())
    strange.launch = Buffer.alloc(16, 7).toString('base64url')
    const nobody = await handshake(broker, machine(new Map([[CLIENT_GUID, Buffer.from(JSON.stringify(strange))]])))
    t.is(nobody.status, 403)
    t.regex(nobody.json.detail, /no launch of this broker/)
})

test('two open launches of one guest: each has a key of its own, and the last that is validated counts', async (t) => {
    const broker = await world(t)
    const [first, second] = [await open(broker, broker.uuid), await open(broker, broker.uuid)]
    const earlier = await run(first)
    using session = await attested(earlier)
    t.is((await session.resource(KEY)).bytes.toString(), 'a well known text')
    t.is((await handshake(broker, earlier)).status, 200, 'a launch that is open ends no key')
    const later = await run(second)
    t.false(clientIn(later).key.equals(clientIn(earlier).key))
    t.is((await handshake(broker, earlier)).status, 403)
    await t.throwsAsync(session.resource(KEY), { code: 'ERR_KBS_DENIED' }, 'nor does a session outlive its key')
    t.is(await get(later), 'a well known text')
    const store = broker.serving.broker.data.store
    t.is(await store.resource(`client:${first.id}`, 1), null)
    t.truthy(await store.resource(`client:${second.id}`, 1))
})

test('two volumes, the first attempt fails: the key is there for the next, and after the root was switched', async (t) => {
    const broker = await world(t)
    const guest = await run(await open(broker, broker.uuid))
    await t.throwsAsync(get(guest, OTHER), { code: 'ERR_KBS_NOT_FOUND' })
    t.is(await get(guest), 'a well known text')
    await broker.admin('PUT', '/v1/resources/web/files/other', Buffer.from('another text'))
    t.is(await get(guest, OTHER), 'another text')
    t.is((await guest.guest()).handOver?.(), CLIENT_GUID)
    t.false(guest.secrets.has(CLIENT_GUID))
    t.deepEqual([...guest.keys.keys()], [KEYRING_NAME])
    t.is(await get(guest), 'a well known text')
    t.is((await guest.guest()).handOver?.(), null, 'once')
})

test('what cannot be kept is not wiped', async (t) => {
    const broker = await world(t)
    const own = await run(await open(broker, broker.uuid))
    const put = () => {
        throw new Error('no keyrings')
    }
    const guest = await sevDriver.open(withKeyring(own.doors, { put }))
    t.throws(() => guest?.handOver?.(), { message: 'no keyrings' })
    t.true(own.secrets.has(CLIENT_GUID))
})

for (const { name, end, outcome } of [
    {
        name: 'it expires',
        end: async (broker: Awaited<ReturnType<typeof world>>) => broker.later(61_000),
        outcome: null,
    },
    {
        name: 'its owner ends it',
        end: async ({ admin, uuid }: Awaited<ReturnType<typeof world>>) => admin('POST', `/v1/vm/${uuid}/revoke`),
        outcome: 'revoked',
    },
    {
        name: 'its owner forgets the guest',
        end: async ({ admin, uuid }: Awaited<ReturnType<typeof world>>) => admin('DELETE', `/v1/vm/${uuid}`),
        outcome: 'removed',
    },
])
    test(`the end of a key: ${name}`, async (t) => {
        const broker = await world(t, { 'client-seconds': 60 })
        const launch = await open(broker, broker.uuid)
        const guest = await run(launch)
        using session = await attested(guest)
        await end(broker)
        const late = await handshake(broker, guest)
        t.is(late.status, 403)
        t.regex(late.json.detail, /no launch of this broker has that launch id, or its key has ended/)
        await t.throwsAsync(session.resource(KEY), {
            code: 'ERR_KBS_DENIED',
            message: /what this guest has proved itself with does not count any more/,
        })
        const [denial] = (await records(broker)).filter(({ kind }) => kind === 'denial').map(({ data }) => data)
        t.is(denial.code, 'ERR_BROKER_DENIED_ENDED')
        t.deepEqual(denial.findings, ['insecureCustomRoot', 'insecureNoRevocation'])
        if (outcome === null)
            await broker.ask('POST', `/v1/vm/${broker.uuid}/launch`, { pdh: 'AAAA', 'cert-chain': 'AAAA' }, SHOWN)
        const ended = (await records(broker)).filter(({ kind }) => kind === 'client-end').map(({ data }) => data)
        t.deepEqual(ended, [{ id: launch.id, outcome: outcome ?? 'expired' }])
        t.is(await broker.serving.broker.data.store.resource(`client:${launch.id}`, 1), null)
        const again = await broker.admin('POST', `/v1/vm/${broker.uuid}/revoke`)
        t.is(again.status, 404)
    })

test('a key whose time was over once: a clock that is put back gives it no more', async (t) => {
    const broker = await world(t, { 'client-seconds': 60 })
    const launch = await open(broker, broker.uuid)
    const guest = await run(launch)
    using session = await attested(guest)
    broker.later(61_000)
    t.is((await handshake(broker, guest)).status, 403)
    broker.later(-61_000)
    t.is((await handshake(broker, guest)).status, 403)
    await t.throwsAsync(session.resource(KEY), { code: 'ERR_KBS_DENIED' })
    const ended = (await records(broker)).filter(({ kind }) => kind === 'client-end').map(({ data }) => data)
    t.deepEqual(ended, [{ id: launch.id, outcome: 'expired' }])
    await broker.stop()
    const next = await launcher(t, broker.folder)
    t.is((await handshake(next, guest)).status, 403)
})

test('a key whose time is over when the broker starts again is erased', async (t) => {
    const broker = await world(t, { 'client-seconds': 60 })
    const launch = await open(broker, broker.uuid)
    await run(launch)
    await broker.stop()
    const next = await launcher(t, broker.folder, 61_000)
    const { state, store } = next.serving.broker.data
    t.is(state.vms.get(broker.uuid)?.client, null)
    t.is(await store.resource(`client:${launch.id}`, 1), null)
})

test('the broker ends and starts again', async (t) => {
    const broker = await world(t)
    const guest = await run(await open(broker, broker.uuid))
    await broker.stop()
    const next = await launcher(t, broker.folder)
    t.is((await handshake(next, guest)).status, 200)
    await next.stop()
    // A row that somebody exchanged proves nobody.
    const db = new DatabaseSync(join(broker.folder, 'broker.db'))
    db.exec("UPDATE resources SET sealed = zeroblob(60) WHERE path LIKE 'client:%'")
    db.close()
    const last = await launcher(t, broker.folder)
    const failed = await handshake(last, guest)
    t.is(failed.status, 500, 'the broker’s own fault is no word on the guest')
    t.is(failed.json.code, 'ERR_KBS_SERVER')
    t.notRegex(failed.body.toString(), /client:/)
    t.regex(JSON.stringify(last.log), /client:.* is not the row that the audit log recorded/)
})

/** A registration that names no processors. */
const WITHOUT_ES = {
    'cpu-count': undefined,
    cpus: undefined,
    profiles: undefined,
    'insecure-unmeasured-cpu-state': true,
}

for (const { name, changed, rule, more, denied } of [
    {
        name: 'without ES: the policy of the set says so',
        changed: { policy: 11, ...WITHOUT_ES },
        rule: RULE.replace(' && principal has sev && principal.sev.policy.es', ''),
        more: '',
        denied: 'ERR_BROKER_DENIED_REFERENCE',
    },
    {
        name: 'without ES: and the rule does not',
        changed: { policy: 11, ...WITHOUT_ES },
        rule: RULE.replace(' && principal has sev && principal.sev.policy.es', ''),
        more: 'unmeasuredCpuState = true',
        denied: 'ERR_BROKER_DENIED_FLOOR',
    },
    {
        name: 'without NOSEND',
        changed: { policy: 7, 'insecure-migration': true },
        rule: RULE,
        more: 'migration = true',
        denied: 'ERR_BROKER_DENIED_FLOOR',
    },
    {
        name: 'any chip, and nobody said so',
        changed: {},
        rule: RULE.replace('@insecureNoRevocation', ''),
        more: '',
        denied: 'ERR_BROKER_DENIED_FLOOR',
    },
    {
        name: 'firmware that is too old',
        changed: {},
        rule: RULE,
        more: 'minimumApi = { major = 200, minor = 0 }',
        denied: 'ERR_BROKER_DENIED_REFERENCE',
    },
])
    test(`denied: ${name}`, async (t) => {
        const broker = await world(t, changed, rule, more)
        const guest = await run(await open(broker, broker.uuid))
        await t.throwsAsync(get(guest), { code: 'ERR_KBS_DENIED' })
        const [denial] = (await records(broker)).filter(({ kind }) => kind === 'denial').map(({ data }) => data)
        t.is(denial.code, denied, JSON.stringify(denial))
    })

test('what it was not registered for, whatever the rules permit', async (t) => {
    const rule = RULE.replace(' && resource.repository == "web"', '')
    const broker = await world(t, {}, rule)
    await broker.admin('PUT', '/v1/resources/payroll/files/key', Buffer.from('a text of others'))
    const guest = await run(await open(broker, broker.uuid))
    t.is(await get(guest), 'a well known text')
    await t.throwsAsync(get(guest, parseResourcePath('payroll/files/key')), {
        code: 'ERR_KBS_DENIED',
        message: /the owner of this guest has not registered it for this resource/,
    })
    const [denial] = (await records(broker)).filter(({ kind }) => kind === 'denial').map(({ data }) => data)
    t.is(denial.code, 'ERR_BROKER_DENIED_PATH')
    t.is(denial.reason, 'its owner registered it for web/*/*')
    const evidence = await (await guest.guest()).evidence?.(Buffer.alloc(64, 1))
    const explained = await broker.admin('POST', '/v1/explain/payroll/files/key', evidence?.report ?? Buffer.alloc(0))
    t.false(explained.json.releases)
})

test('with the switches, a guest without ES', async (t) => {
    const changed = { policy: 3, 'insecure-migration': true, ...WITHOUT_ES }
    const rule = RULE.replace(' && principal has sev && principal.sev.policy.es', '').replace(
        '@insecureCustomRoot',
        '@insecureCustomRoot\n@insecureUnmeasuredCpuState\n@insecureMigration',
    )
    const broker = await world(t, changed, rule, 'unmeasuredCpuState = true\nmigration = true')
    const guest = await run(await open(broker, broker.uuid))
    t.is(await get(guest), 'a well known text')
})

test('a broker that guests could not know by its key launches none of these', async (t) => {
    const broker = await rig(t, { serve: { launched: LAUNCHED, plugins: [sev], roots: [], insecureHttp: true } })
    const { answer } = await register({ ...broker, serving: { ...broker.serving, url: 'https://kbs.example' } })
    t.is(answer.status, 400)
    t.is(answer.json.code, 'ERR_BROKER_LAUNCH', answer.body.toString())
})

for (const { name, changed, code, says = /./ } of [
    { name: 'no paths', changed: { 'broker-allow-paths': undefined }, code: 'ERR_BROKER_REQUEST' },
    {
        name: 'no token for its host',
        changed: { 'host-token-hash': undefined },
        code: 'ERR_BROKER_REQUEST',
        says: /who knows the UUID could launch the guest/,
    },
    { name: 'no address', changed: { 'broker-url': undefined }, code: 'ERR_BROKER_REQUEST' },
    {
        name: 'how long a key lasts, and none is made',
        changed: { 'broker-url': undefined, 'broker-allow-paths': undefined, 'client-seconds': 60 },
        code: 'ERR_BROKER_REQUEST',
    },
    { name: 'plain http', changed: { 'broker-url': 'http://127.0.0.1:1' }, code: 'ERR_URL' },
    { name: 'a path', changed: { 'broker-url': 'https://kbs.example/path' }, code: 'ERR_URL' },
])
    test(`not registered: ${name}`, async (t) => {
        const broker: Rig = await launcher(t)
        const { answer } = await register(broker, { policy: POLICY, ...changed })
        t.true(answer.status >= 400)
        t.is(answer.json.code, code, answer.body.toString())
        t.regex(answer.json.detail, says)
    })
