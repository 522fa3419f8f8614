// The launch service: a session for a platform, secrets for the launch that is the one that is expected, and nothing for any
// other. A host learns that it was refused; its owner learns why.
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'ava'
import { toBase64 } from '#core/bytes.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import { encodeAebEvidence } from '#plugins/sev/aeb/evidence.ts'
import { mintPlatform } from '#plugins/sev/mint.ts'
import { LAUNCHED } from '#plugins.ts'
import { FIRMWARE } from '#test/plugins/sev/minted.ts'
import { makeFirmware } from '#test/plugins/sev/rig.ts'
import { guestAttest } from '../cli/run.ts'
import {
    capabilities,
    claim,
    IMAGE,
    injected,
    newUuid,
    PASSPHRASE,
    registration,
    started,
    thePlatform,
} from './launch-rig.ts'
import { movable, type Rig, records, rig } from './rig.ts'

type Context = Parameters<typeof rig>[0]

/** A broker, with a guest that is registered. */
async function registered(t: Context, changed: object = {}) {
    const platform = await thePlatform()
    const { clock, later } = movable()
    const broker = await rig(t, { serve: { launched: LAUNCHED, clock } })
    const uuid = newUuid()
    const at = `/v1/vm/${uuid}`
    const answer = await broker.adminJson('POST', at, registration(platform, changed))
    if (answer.status !== 200) throw new Error(answer.body.toString())
    return {
        ...broker,
        platform,
        uuid,
        at,
        answer,
        later,
        launch: (headers?: Record<string, string>) =>
            broker.ask('POST', `${at}/launch`, capabilities(platform), headers),
        validate: (body: unknown, headers?: Record<string, string>) =>
            broker.ask('POST', `${at}/validate`, body, headers),
        show: async () => (await broker.admin('GET', at)).json,
    }
}

const ends = async (broker: Rig) =>
    (await records(broker)).filter(({ kind }) => kind === 'launch-end').map(({ data }) => data)

test('owner, host, guest', async (t) => {
    const broker = await registered(t)
    const session = await broker.launch()
    t.is(session.status, 200, session.body.toString())
    t.deepEqual(
        Object.keys(session.json).toSorted((a, b) => a.localeCompare(b)),
        ['launch-id', 'owner-cert', 'policy', 'session'],
    )
    const guest = started(broker.platform, session)
    const answer = await broker.validate(claim(guest, session.json['launch-id']))
    t.is(answer.status, 200, answer.body.toString())
    t.is(answer.json['secret-table'], answer.json['secret-payload'])
    t.deepEqual(injected(guest, answer), [[DISK_GUID, PASSPHRASE]])

    const again = await broker.validate(claim(guest, session.json['launch-id']))
    t.is(again.status, 403, 'a launch is answered once')
    t.is((await broker.launch()).status, 403, 'one launch, unless more are allowed')
    const { validated, launches, lastRefusal } = await broker.show()
    t.is(validated, 1)
    t.is(launches[0].end.outcome, 'validated')
    t.regex(launches[0].platform.chip, /^[0-9a-f]{64}$/)
    t.regex(lastRefusal.detail, /1 launches were validated/)
})

test('nothing that is secret stands in the audit log, in an answer or in the database', async (t) => {
    const broker = await registered(t)
    const session = await broker.launch()
    const guest = started(broker.platform, session)
    const all = JSON.stringify([await records(broker), await broker.show(), broker.answer.json, broker.log])
    for (const form of [
        PASSPHRASE,
        Buffer.from(PASSPHRASE).toString('base64'),
        Buffer.from(PASSPHRASE).toString('hex'),
    ])
        t.false(all.includes(form))
    const row = await broker.serving.broker.data.store.resource(`launch:${session.json['launch-id']}`, 1)
    t.truthy(row, 'the keys are there, sealed')
    t.is((await broker.validate(claim(guest))).status, 200)
    t.is(await broker.serving.broker.data.store.resource(`launch:${session.json['launch-id']}`, 1), null)
    await broker.stop()
    t.false(readFileSync(join(broker.folder, 'broker.db')).includes(PASSPHRASE))
})

test('what is denied looks the same to a host, whatever it was', async (t) => {
    const broker = await registered(t, { 'host-token-hash': createHash('sha256').update('sesame').digest('hex') })
    const token = { authorization: 'Bearer sesame' }
    const refusals = [
        await broker.ask('POST', `/v1/vm/${newUuid()}/launch`, capabilities(broker.platform), token),
        await broker.launch(),
        await broker.launch({ authorization: 'Bearer other' }),
        await broker.ask('POST', `${broker.at}/launch`, { pdh: 'AAAA', 'cert-chain': 'AAAA' }, token),
        await broker.validate(claim(started(broker.platform, await broker.launch(token)), 'other'), token),
    ]
    for (const { status, json } of refusals) {
        t.is(status, 403)
        t.is(json.code, 'ERR_BROKER_LAUNCH_DENIED')
        t.deepEqual({ ...json, correlation: '' }, { ...refusals[0]?.json, correlation: '' })
    }
    t.regex((await broker.show()).lastRefusal.detail, /no launch of that id is open/)
})

test('those who show no token tell the owner nothing, and fill no log', async (t) => {
    const broker = await registered(t, { 'host-token-hash': createHash('sha256').update('sesame').digest('hex') })
    const token = { authorization: 'Bearer sesame' }
    const spoilt = { pdh: 'AAAA', 'cert-chain': 'AAAA' }
    await broker.ask('POST', `${broker.at}/launch`, spoilt, token)
    const { lastRefusal } = await broker.show()
    for (let i = 0; i < 50; i++) {
        const at = i % 2 ? broker.at : `/v1/vm/${newUuid()}`
        await broker.ask('POST', `${at}/launch`, spoilt, i % 3 ? undefined : { authorization: 'Bearer other' })
    }
    t.deepEqual((await broker.show()).lastRefusal, lastRefusal)
    const lines = () => broker.log.filter((line) => /a launch is denied|refused/.test(line)).length
    t.true(lines() <= 61, `${lines()} lines`)
    const before = lines()
    await broker.ask('POST', `${broker.at}/launch`, spoilt, token)
    t.is(lines(), before + 1, 'its own host is heard all the same')
    broker.serving.broker.noise.flush()
    const noise = (await records(broker)).filter(({ kind }) => kind === 'noise').map(({ data }) => data)
    t.is(noise.at(-1).counts.ERR_BROKER_LAUNCH, 50)
})

test('who shows no token waits for nobody, and makes the broker write nothing', async (t) => {
    const broker = await registered(t, { 'host-token-hash': createHash('sha256').update('sesame').digest('hex') })
    const token = { authorization: 'Bearer sesame' }
    await broker.launch(token)
    broker.later(601_000)
    const { promise, resolve } = Promise.withResolvers<void>()
    const busy = broker.serving.broker.change(() => promise)
    for (const at of [broker.at, `/v1/vm/${newUuid()}`])
        t.is((await broker.ask('POST', `${at}/launch`, capabilities(broker.platform))).status, 403)
    resolve()
    await busy
    t.deepEqual(await ends(broker), [])
    t.is((await broker.launch(token)).status, 200)
    t.deepEqual(
        (await ends(broker)).map(({ outcome }) => outcome),
        ['expired'],
    )
})

for (const { name, spoil, code } of [
    {
        name: 'another firmware',
        spoil: { image: makeFirmware() },
        code: 'ERR_SEV_MEASUREMENT',
    },
    { name: 'another policy', spoil: { body: { policy: 3 } }, code: 'ERR_SEV_MEASUREMENT' },
    { name: 'another build', spoil: { body: { 'build-id': 1 } }, code: 'ERR_SEV_MEASUREMENT' },
    { name: 'a firmware that is too old', spoil: { body: { 'api-major': 0, 'api-minor': 16 } }, code: 'ERR_SEV_API' },
    { name: 'a measurement of another length', spoil: { body: { measurement: 'AAAA' } }, code: 'ERR_LENGTH' },
] satisfies { name: string; spoil: { image?: Buffer; body?: object }; code: string }[])
    test(`${name} ends the launch`, async (t) => {
        const broker = await registered(t)
        const session = await broker.launch()
        const guest = started(broker.platform, session, spoil.image ?? IMAGE)
        const bad = await broker.validate({ ...claim(guest), ...spoil.body })
        t.is(bad.status, 403)
        t.is(bad.json.code, 'ERR_BROKER_LAUNCH_DENIED')
        t.is((await broker.validate(claim(guest))).status, 403, 'there is no second try')
        t.like((await ends(broker))[0], { outcome: 'denied', code })
    })

test('a measurement of one launch says nothing of another', async (t) => {
    const broker = await registered(t)
    const [first, second] = [await broker.launch(), await broker.launch()]
    t.not(first.json.session, second.json.session)
    const guest = started(broker.platform, first)
    t.is((await broker.validate(claim(guest))).status, 403, 'two are open, and none was named')
    t.is((await broker.validate(claim(guest, second.json['launch-id']))).status, 403)
    t.is((await broker.validate(claim(guest, first.json['launch-id']))).status, 200, 'the first was not touched')
})

test('as many are open as are allowed, and each ends by itself', async (t) => {
    const broker = await registered(t, { 'max-open': 2, 'launch-seconds': 30 })
    const first = await broker.launch()
    t.is((await broker.launch()).status, 200)
    t.is((await broker.launch()).status, 403)
    const guest = started(broker.platform, first)
    broker.later(31_000)
    t.is((await broker.validate(claim(guest, first.json['launch-id']))).status, 403)
    t.is((await broker.launch()).status, 200)
    t.deepEqual(
        (await ends(broker)).map(({ outcome }) => outcome),
        ['expired', 'expired'],
    )
})

test('beyond a number, the owner confirms each', async (t) => {
    const broker = await registered(t, { 'max-launches': 3, 'confirm-after': 1 })
    const run = async () => {
        const session = await broker.launch()
        const guest = started(broker.platform, session)
        return {
            guest,
            id: session.json['launch-id'],
            ask: () => broker.validate(claim(guest, session.json['launch-id'])),
        }
    }
    t.is((await (await run()).ask()).status, 200)
    const second = await run()
    t.is((await second.ask()).status, 403)
    t.regex((await broker.show()).lastRefusal.detail, /waits for its owner/)
    t.is((await broker.admin('POST', `${broker.at}/confirm`)).status, 200)
    t.is((await second.ask()).status, 200, 'the launch had not ended')
    t.is((await (await run()).ask()).status, 403)
})

test('however many ask at once, as many are answered as may be', async (t) => {
    const broker = await registered(t, { 'max-launches': 2 })
    const sessions = await Promise.all([1, 2, 3, 4].map(() => broker.launch()))
    const answers = await Promise.all(
        sessions.map((one) => broker.validate(claim(started(broker.platform, one), one.json['launch-id']))),
    )
    t.deepEqual(
        answers.map(({ status }) => status).toSorted((a, b) => a - b),
        [200, 200, 403, 403],
    )
})

test('what is forgotten is launched no more', async (t) => {
    const broker = await registered(t)
    const session = await broker.launch()
    t.is((await broker.admin('DELETE', broker.at)).status, 204)
    t.is((await broker.validate(claim(started(broker.platform, session)))).status, 403)
    t.is(await broker.serving.broker.data.store.resource(`vm:${broker.uuid}`, 1), null)
    t.is((await broker.admin('GET', broker.at)).status, 404)
})

test('an owner is told which published attacks a guest is open to', async (t) => {
    const any = await registered(t)
    t.regex(any.answer.json.weaknesses.join('\n'), /^One Glitch to Rule Them All \(2021-08-10, arXiv:2108\.04575\): /m)
    t.deepEqual((await any.show()).weaknesses, any.answer.json.weaknesses)
    const { answer } = await registered(t, { chips: ['ab'.repeat(32)] })
    t.regex(answer.json.weaknesses.join('\n'), /^One Glitch .*the owner of a platform has it in hand/m)
    t.regex(answer.json.weaknesses.join('\n'), /^SEVered \(2018-05-24, /m)
})

test('platforms: a chip by its name, the owner’s copy of its certificate', async (t) => {
    const { certificates: c } = await thePlatform()
    const strange = await registered(t, { chips: ['ab'.repeat(32)] })
    t.is((await strange.launch()).status, 403)
    t.is((await strange.show()).lastRefusal.code, 'ERR_SEV_CHIP')
    const exported = {
        pdh: toBase64(c.pdh),
        'cert-chain': toBase64(Buffer.concat([c.pek, c.oca, c.unsignedCek, c.ask])),
    }
    t.is((await strange.ask('POST', `${strange.at}/launch`, exported)).status, 403)
    t.is((await strange.show()).lastRefusal.code, 'ERR_SEV_CEK_UNSIGNED')
    const known = await registered(t, { ceks: [toBase64(c.cek)], 'cloud-cert': toBase64(c.oca) })
    t.is((await known.ask('POST', `${known.at}/launch`, exported)).status, 200)
    const cek = await registered(t)
    t.is((await cek.ask('POST', `${cek.at}/launch`, { ...exported, cek: toBase64(c.cek) })).status, 200)
})

test('a host that AMD knows nothing of', async (t) => {
    const broker = await registered(t, { 'insecure-trust-roots': undefined })
    t.is((await broker.launch()).status, 403)
    t.is((await broker.show()).lastRefusal.code, 'ERR_SEV_ROOT')
})

test('a host whose keys were made by older firmware than is asked for', async (t) => {
    const { keys } = await thePlatform()
    const old = { keys, certificates: mintPlatform(keys, { ...FIRMWARE, apiMajor: 0, apiMinor: 24 }) }
    const least = { 'min-api-major': 1, 'min-api-minor': 55, 'min-build-id': 21 }
    for (const { asked, platform, status } of [
        { asked: least, platform: old, status: 403 },
        { asked: least, platform: await thePlatform(), status: 200 },
        { asked: {}, platform: old, status: 200 },
    ]) {
        const broker = await registered(t, asked)
        t.is((await broker.ask('POST', `${broker.at}/launch`, capabilities(platform))).status, status)
        if (status === 403) t.like((await broker.show()).lastRefusal, { code: 'ERR_SEV_API' })
    }
})

for (const { name, changed, code, says } of [
    { name: 'a policy without NOKS', changed: { policy: 5 }, code: 'ERR_SEV_GUEST_POLICY_WEAK' },
    { name: 'no secrets', changed: { secrets: [] }, code: 'ERR_KBS_MESSAGE' },
    { name: 'a digest of another length', changed: { 'launch-digests': ['abcd'] }, code: 'ERR_KBS_MESSAGE' },
    { name: 'a member that nobody knows', changed: { polcy: 7 }, code: 'ERR_KBS_MESSAGE', says: /polcy/ },
    { name: 'another scheme', changed: { scheme: 'intel-tdx' }, code: 'ERR_KBS_MESSAGE' },
] as { name: string; changed: object; code: string; says?: RegExp }[])
    test(`not registered: ${name}`, async (t) => {
        const broker = await rig(t, { serve: { launched: LAUNCHED } })
        const body = registration(await thePlatform(), changed)
        const { status, json } = await broker.adminJson('POST', `/v1/vm/${newUuid()}`, body)
        t.is(status, 400, JSON.stringify(json))
        t.is(json.code, code)
        if (says) t.regex(json.detail, says)
        t.deepEqual((await broker.admin('GET', '/v1/vm')).json, [])
    })

test('secrets that were exchanged in the database go to nobody', async (t) => {
    const platform = await thePlatform()
    const broker = await registered(t)
    const other = newUuid()
    t.is((await broker.adminJson('POST', `/v1/vm/${other}`, registration(platform))).status, 200)
    const session = await broker.launch()
    await broker.stop()
    const db = new DatabaseSync(join(broker.folder, 'broker.db'))
    db.exec(`DELETE FROM resources WHERE path = 'vm:${broker.uuid}';
        UPDATE resources SET path = 'vm:${broker.uuid}' WHERE path = 'vm:${other}'`)
    db.close()
    const again = await rig(t, { folder: broker.folder, serve: { launched: LAUNCHED } })
    const answer = await again.ask('POST', `${broker.at}/validate`, claim(started(platform, session)))
    t.is(answer.status, 500)
    t.true(again.log.some((line) => /is not the row that the audit log recorded/.test(line)))
})

test('a firmware of 4 MiB', async (t) => {
    const broker = await registered(t, { firmware: toBase64(makeFirmware(0xc00, 4 * 1024 * 1024)) })
    t.is((await broker.launch()).status, 200)
})

test('one UUID, one guest', async (t) => {
    const broker = await registered(t)
    t.is((await broker.adminJson('POST', broker.at, registration(broker.platform))).status, 409)
    t.is((await broker.admin('POST', `${broker.at}/confirm`)).status, 400, 'there is nothing to confirm')
    t.is((await broker.adminJson('POST', '/v1/vm/web-1', registration(broker.platform))).status, 400)
})

test('plain SEV, by the hash of its firmware', async (t) => {
    const hash = createHash('sha256').update(IMAGE).digest('hex')
    const broker = await registered(t, {
        policy: 11,
        firmware: undefined,
        'firmware-hashes': [hash],
        'cpu-count': undefined,
        cpus: undefined,
        profiles: undefined,
        'insecure-unmeasured-cpu-state': true,
    })
    t.regex(broker.answer.json.weaknesses.join(), /nothing of its processors is measured/)
    const session = await broker.launch()
    const answer = await broker.validate(claim(started(broker.platform, session)))
    t.is(answer.status, 200)
})

test('what hosts say of a guest later is compared with what the broker knows of its launch', async (t) => {
    const broker = await registered(t)
    const { certificates: c } = broker.platform
    const file = (name: string, bytes: Buffer): string => {
        const path = join(broker.folder, name)
        writeFileSync(path, bytes)
        return path
    }
    const run = async (image = IMAGE) => {
        const guest = started(broker.platform, await broker.launch(), image)
        const { status } = await broker.validate(claim(guest))
        guest.finish()
        const report = guest.report(randomBytes(16))
        return { status, report, evidence: encodeAebEvidence({ report, cek: c.cek, pek: c.pek, oca: c.oca }, 'json') }
    }
    const roots = ['--trust-root', file('ark.cert', c.ark), '--cert-chain', file('ask.cert', c.ask)]
    const compare = async (evidence: Buffer) => {
        const shown = await guestAttest(['broker', 'launch', 'show', broker.uuid, '--json', '--data', broker.folder])
        t.is(shown.code, 0, shown.stderr)
        const words = [
            'sev',
            'report',
            'verify',
            file('evidence', evidence),
            ...roots,
            '--launch-record',
            '-',
            '--json',
        ]
        const { code, stdout } = await guestAttest(words, { input: shown.stdout })
        const { verdict, claims, checks } = JSON.parse(stdout)
        const { result } = checks.find(({ name }: { name: string }) => name === 'launch-record')
        return { code, verdict, result, trust: claims.trust }
    }
    const denied = await run(makeFirmware(0x800))
    t.is(denied.status, 403)
    const no = { code: 1, verdict: 'rejected', result: 'fail', trust: 'informational' }
    t.deepEqual(await compare(denied.evidence), no, 'no launch was validated yet')
    const good = await run()
    t.is(good.status, 200)
    const agrees = { code: 3, verdict: 'authentic', result: 'pass', trust: 'informational' }
    t.deepEqual(await compare(good.evidence), agrees, 'it is worth no more')
    t.deepEqual(await compare(denied.evidence), no, 'another guest')
})

test('the API is described, and the owner’s half is not on the public listener', async (t) => {
    const broker = await registered(t)
    const { json } = await broker.ask('GET', '/openapi.json')
    t.truthy(json.paths['/v1/vm/{uuid}/launch'].post.requestBody)
    t.truthy(json.paths['/v1/vm/{uuid}/validate'].post.responses['200'])
    t.falsy(json.paths['/v1/vm/{uuid}'])
    t.is((await broker.ask('POST', broker.at, registration(broker.platform))).status, 404)
    t.is((await broker.ask('GET', broker.at)).status, 404)
    const admin = (await broker.admin('GET', '/openapi.json')).json
    t.truthy(admin.paths['/v1/vm/{uuid}'].post.requestBody)
})
