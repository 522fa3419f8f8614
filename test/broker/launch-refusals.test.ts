// Refusals of the launch service, each with what is told to whom: the owner is told what is wrong, a host no more than no;
// what a host was refused for, its owner sees.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { toBase64 } from '#core/bytes.ts'
import { DISK_GUID, LAUNCH_KEY_GUID } from '#core/secret-names.ts'
import { mintPlatform } from '#plugins/sev/mint.ts'
import { LAUNCHED } from '#plugins.ts'
import { makeFirmware } from '#test/plugins/sev/rig.ts'
import { minted } from '../plugins/sev/minted.ts'
import { capabilities, claim, newUuid, registration, started, thePlatform } from './launch-rig.ts'
import { type Rig, records, rig } from './rig.ts'

const platform = await thePlatform()
const stranger = await minted()
const { pdh, pek, oca, cek, ask, ark } = platform.certificates

const secret = (guid: string, size = 3) => ({ guid, data: toBase64(Buffer.alloc(size, 1)) })
const firmware = (area: number) => toBase64(makeFirmware(area))

/** What an owner is told: everything. */
const OWNER: readonly (readonly [name: string, changed: object, code: string, says: RegExp])[] = [
    [
        'one GUID in two cases',
        { secrets: [secret(DISK_GUID), secret(DISK_GUID.toUpperCase())] },
        'ERR_SEV_SECRET',
        /stands twice/,
    ],
    [
        'a passphrase, and its GUID',
        { secrets: [{ type: 'luks-passphrase', passphrase: 'x' }, secret(DISK_GUID)] },
        'ERR_SEV_SECRET',
        /stands twice/,
    ],
    ['the null GUID', { secrets: [secret('00000000-0000-0000-0000-000000000000')] }, 'ERR_SEV_SECRET', /null GUID/],
    [
        'the GUID of the table',
        { secrets: [secret('1e74f542-71dd-4d66-963e-ef4287ff173b')] },
        'ERR_SEV_SECRET',
        /of the table itself/,
    ],
    ['the key of a launch', { secrets: [secret(LAUNCH_KEY_GUID.toUpperCase())] }, 'ERR_SEV_SECRET', /nobody gives it/],
    ['no GUID', { secrets: [secret('luks-key')] }, 'ERR_ENCODING', /luks-key/],
    ['a byte too much for the firmware', { secrets: [secret(DISK_GUID, 3033)] }, 'ERR_SEV_SECRET', /room for 3072/],
    ['a firmware with little room', { firmware: firmware(64) }, 'ERR_SEV_SECRET', /room for 64/],
    ['a firmware without room', { firmware: firmware(0) }, 'ERR_SEV_SECRET', /no area for secrets/],
    ['neither NODBG nor NOKS', { policy: 4 }, 'ERR_SEV_GUEST_POLICY_WEAK', /NODBG/],
    ['no NODBG', { policy: 6 }, 'ERR_SEV_GUEST_POLICY_WEAK', /NODBG/],
    ['no NOKS', { policy: 5 }, 'ERR_SEV_GUEST_POLICY_WEAK', /NOKS/],
    ['processors, and no ES', { policy: 3 }, 'ERR_SEV_GUEST_POLICY_WEAK', /ES/],
    ['least firmware before 0.17', { 'min-api-major': 0, 'min-api-minor': 16 }, 'ERR_SEV_API', /0\.17/],
    [
        'a page of 4095 bytes',
        { cpus: undefined, profiles: undefined, vmsa: [4095, 4096].map((size) => toBase64(Buffer.alloc(size))) },
        'ERR_VMSA',
        /4095/,
    ],
    ['a hash of 31 bytes', { 'kernel-hash': 'ab'.repeat(31) }, 'ERR_KBS_MESSAGE', /32 bytes/],
    [
        'a firmware that is none',
        { firmware: toBase64(Buffer.alloc(4096)) },
        'ERR_FIRMWARE_LACKS',
        /no SEV-ES reset block/,
    ],
    [
        'half an OCA',
        { 'cloud-cert': toBase64(oca.subarray(0, 1000)) },
        'ERR_SEV_CERTIFICATE',
        /OCA has 1000 bytes, expected 2084/,
    ],
]

for (const [name, changed, code, says] of OWNER)
    test(`an owner is told: ${name}`, async (t) => {
        const broker = await rig(t, { serve: { launched: LAUNCHED } })
        const uuid = newUuid()
        const { status, json } = await broker.adminJson('POST', `/v1/vm/${uuid}`, registration(platform, changed))
        t.is(status, 400, JSON.stringify(json))
        t.is(json.code, code, json.detail)
        t.regex(json.detail, says)
        const asked = await broker.ask('POST', `/v1/vm/${uuid}/launch`, capabilities(platform))
        t.is(asked.status, 403, 'and for its host there is no such guest')
    })

const chain = (...certificates: readonly Buffer[]) => toBase64(Buffer.concat(certificates))
const whole = [pek, oca, cek, ask, ark] as const
const theirs = stranger.certificates

/** What a host sends for a session; null: it is of no form, and nobody's guest is touched. */
const LAUNCHES: readonly (readonly [name: string, changed: object, owner: string | null])[] = [
    ['half a PDH', { pdh: toBase64(pdh.subarray(0, 2083)) }, 'ERR_SEV_CERTIFICATE'],
    ['a PDH and a byte', { pdh: toBase64(Buffer.concat([pdh, Buffer.of(0)])) }, 'ERR_SEV_CERTIFICATE'],
    ['a PEK for a PDH', { pdh: toBase64(pek) }, 'ERR_SEV_CERTIFICATE'],
    ['the PDH of another platform', { pdh: toBase64(theirs.pdh) }, 'ERR_SEV_CHAIN'],
    [
        'the chain of another vendor',
        { pdh: toBase64(theirs.pdh), 'cert-chain': chain(theirs.pek, theirs.oca, theirs.cek, theirs.ask, theirs.ark) },
        'ERR_SEV_ROOT',
    ],
    ['two platforms', { 'cert-chain': chain(...whole, theirs.pek) }, 'ERR_SEV_CERTIFICATE'],
    ['no PEK', { 'cert-chain': chain(oca, cek, ask, ark) }, 'ERR_SEV_CERTIFICATE'],
    ['half a chain', { 'cert-chain': chain(...whole).slice(0, 8000) }, 'ERR_SEV_CERTIFICATE'],
    [
        'the chip’s certificate without signature',
        { 'cert-chain': chain(pek, oca, platform.certificates.unsignedCek, ask, ark) },
        'ERR_SEV_CEK_UNSIGNED',
    ],
    ['the certificate of another chip', { cek: toBase64(theirs.cek) }, 'ERR_SEV_CERTIFICATE'],
    ['no base64', { pdh: '~'.repeat(2784) }, 'ERR_ENCODING'],
    ['no PDH', { pdh: undefined }, null],
    ['a number', { pdh: 7 }, null],
    ['an empty chain', { 'cert-chain': '' }, null],
    ['a chain without end', { 'cert-chain': 'A'.repeat(100_000) }, null],
]

/** With the secrets: what ends the launch, and what is of no form. */
const CLAIMS: readonly (readonly [name: string, changed: object, owner: string | null])[] = [
    ['another measurement', { measurement: toBase64(Buffer.alloc(48, 1)) }, 'ERR_SEV_MEASUREMENT'],
    ['a measurement of 47 bytes', { measurement: toBase64(Buffer.alloc(47)) }, 'ERR_LENGTH'],
    ['no base64', { measurement: '~'.repeat(64) }, 'ERR_ENCODING'],
    ['a policy without NOKS', { policy: 5 }, 'ERR_SEV_MEASUREMENT'],
    ['a policy without ES', { policy: 3 }, 'ERR_SEV_MEASUREMENT'],
    ['firmware of API 0.16', { 'api-major': 0, 'api-minor': 16 }, 'ERR_SEV_API'],
    ['an API of 256', { 'api-major': 256 }, null],
    ['no build', { 'build-id': undefined }, null],
    ['no measurement', { measurement: '' }, null],
    ['a measurement without end', { measurement: 'A'.repeat(4000) }, null],
]

async function guestOf(broker: Rig, changed: object = {}): Promise<string> {
    const at = `/v1/vm/${newUuid()}`
    const { status, body } = await broker.adminJson('POST', at, registration(platform, changed))
    if (status !== 200) throw new Error(body.toString())
    return at
}

const NO = { code: 'ERR_BROKER_LAUNCH_DENIED', detail: 'the launch is denied: its owner can see why' }

for (const [name, changed, owner] of LAUNCHES)
    test(`a host that asks for a session is told no: ${name}`, async (t) => {
        const broker = await rig(t, { serve: { launched: LAUNCHED } })
        const at = await guestOf(broker)
        const { status, json } = await broker.ask('POST', `${at}/launch`, { ...capabilities(platform), ...changed })
        t.true(owner === null ? [400, 413].includes(status) : status === 403, JSON.stringify(json))
        if (owner !== null) t.like(json, NO)
        const { lastRefusal, launches } = (await broker.admin('GET', at)).json
        t.is(lastRefusal?.code ?? null, owner, JSON.stringify(lastRefusal))
        t.deepEqual(launches, [])
        t.is((await broker.ask('POST', `${at}/launch`, capabilities(platform))).status, 200, 'another may')
    })

for (const [name, changed, owner] of CLAIMS)
    test(`a host that asks for secrets is told no: ${name}`, async (t) => {
        const broker = await rig(t, { serve: { launched: LAUNCHED } })
        const at = await guestOf(broker)
        const session = await broker.ask('POST', `${at}/launch`, capabilities(platform))
        const good = claim(started(platform, session), session.json['launch-id'])
        const { status, json } = await broker.ask('POST', `${at}/validate`, { ...good, ...changed })
        t.is(status, owner === null ? 400 : 403, JSON.stringify(json))
        if (owner !== null) t.like(json, NO)
        const ends = (await records(broker)).filter(({ kind }) => kind === 'launch-end').map(({ data }) => data)
        t.deepEqual(
            ends.map(({ outcome, code }) => ({ outcome, code })),
            owner === null ? [] : [{ outcome: 'denied', code: owner }],
        )
        const again = await broker.ask('POST', `${at}/validate`, good)
        t.is(again.status, owner === null ? 200 : 403, 'what is of no form touches no launch; what is wrong ends it')
    })

// Firmware that was put back to API 1.55, build 21, after a later one made the keys of its platform.
const later = { ...platform, certificates: mintPlatform(platform.keys, { apiMajor: 2, apiMinor: 0, buildId: 0 }) }

for (const { least, accepted } of [
    { least: { 'min-api-major': 1, 'min-api-minor': 55, 'min-build-id': 21 }, accepted: true },
    { least: { 'min-api-major': 1 }, accepted: true },
    { least: { 'min-api-major': 1, 'min-api-minor': 55, 'min-build-id': 22 }, accepted: false },
    { least: { 'min-api-major': 1, 'min-api-minor': 56 }, accepted: false },
    { least: { 'min-api-major': 2 }, accepted: false },
])
    test(`the least firmware: ${JSON.stringify(least)}`, async (t) => {
        const broker = await rig(t, { serve: { launched: LAUNCHED } })
        const at = await guestOf(broker, least)
        const session = await broker.ask('POST', `${at}/launch`, capabilities(later))
        const good = claim(started(later, session), session.json['launch-id'])
        t.is((await broker.ask('POST', `${at}/validate`, good)).status, accepted ? 200 : 403)
        const [end] = (await records(broker)).filter(({ kind }) => kind === 'launch-end').map(({ data }) => data)
        t.is(end.code, accepted ? null : 'ERR_SEV_API')
    })
