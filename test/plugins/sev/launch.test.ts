// A launch from both sides: what its owner makes, an emulated processor opens, and the other way; and what is refused.
// SPDX-License-Identifier: Apache-2.0

import { hash, randomBytes } from 'node:crypto'
import test from 'ava'
import { Checks } from '#core/checks.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'
import { parseReport, verifyReport } from '#plugins/sev/aeb/report.ts'
import { parseAmdCertificate } from '#plugins/sev/chain/amd-certs.ts'
import { CHAIN_CHECKS, readChain, verifyChain } from '#plugins/sev/chain/chain.ts'
import type { FirmwareVersion } from '#plugins/sev/chain/firmware.ts'
import { EmulatedLaunch } from '#plugins/sev/emulated/processor.ts'
import {
    type LaunchClaim,
    type LaunchExpectation,
    openLaunch,
    packSecrets,
    validateLaunch,
} from '#plugins/sev/launch/launch.ts'
import { encodeSecretTable, type LaunchSecret, parseSecretTable, USUAL_AREA } from '#plugins/sev/launch/secret-table.ts'
import { newSession } from '#plugins/sev/launch/session.ts'
import { mintPlatform } from '#plugins/sev/mint.ts'
import { FIRMWARE, flipped, minted } from './minted.ts'

const { keys, certificates } = await minted()
const files = readChain(Object.entries(certificates).map(([name, bytes]) => ({ name, bytes })))
const trust = { roots: [parseAmdCertificate(certificates.ark)] }

const CONTENT = randomBytes(4096)
const DIGEST = hash('sha256', CONTENT, 'buffer')
const SECRETS = [{ guid: DISK_GUID, data: Buffer.from('correct horse\0') }]

function launched({ policy = 3, firmware = FIRMWARE as { apiMajor: number; apiMinor: number; buildId: number } } = {}) {
    const owner = openLaunch(files, trust, policy, { es: false })
    const processor = new EmulatedLaunch(keys, firmware, { godh: owner.godh, session: owner.session, policy })
    processor.update(CONTENT)
    const claim: LaunchClaim = { ...firmware, policy, measurement: processor.measure() }
    const expected: LaunchExpectation = { es: false, policy, digests: [Buffer.alloc(32), DIGEST] }
    return { owner, processor, claim, expected }
}

for (const policy of [3, 7, 0xf, 0x3f, 0x3701_0003])
    test(`session, measurement, secrets, report: policy 0x${policy.toString(16)}`, (t) => {
        const { owner, processor, claim, expected } = launched({ policy })
        const launch = validateLaunch(owner, claim, expected)
        t.deepEqual(launch.digest, DIGEST)
        t.is(processor.state, 'launch-secret')
        t.deepEqual(processor.measure(), claim.measurement)
        const table = processor.inject(packSecrets(owner, launch, SECRETS, USUAL_AREA))
        t.deepEqual(
            parseSecretTable(table).map(({ guid, data }) => [guid, data.toString()]),
            [[DISK_GUID, 'correct horse\0']],
        )
        processor.finish()
        const mnonce = randomBytes(16)
        const { pek } = verifyChain(files, trust, new Checks(CHAIN_CHECKS))
        const report = verifyReport(processor.report(mnonce), pek)
        t.deepEqual([report.mnonce, report.launchDigest, report.policy], [mnonce, DIGEST, policy])
    })

test('every launch has keys of its own', (t) => {
    const pdh = keys.pdh
    const sessions = [1, 2].map(() => openLaunch(files, trust, 3, { es: false }))
    const parts = sessions.flatMap(({ godh, session, tek, tik }) =>
        [godh, session, tek, tik].map((b) => b.toString('hex')),
    )
    t.is(new Set(parts).size, 8)
    const [first, second] = sessions
    t.throws(
        () =>
            new EmulatedLaunch({ ...keys, pdh }, FIRMWARE, {
                godh: first?.godh ?? pdhBytes(),
                session: second?.session ?? pdhBytes(),
                policy: 3,
            }),
        { code: 'ERR_SEV_SESSION' },
    )
})

test('a packet opens in its own launch alone', (t) => {
    const [one, two] = [launched(), launched()]
    const packet = packSecrets(one.owner, validateLaunch(one.owner, one.claim, one.expected), SECRETS, USUAL_AREA)
    t.throws(() => two.processor.inject(packet), { code: 'ERR_SEV_PACKET' })
    for (const broken of [
        { ...packet, header: flipped(packet.header, 8 * 4) },
        { ...packet, header: flipped(packet.header, 8 * 20) },
        { ...packet, header: flipped(packet.header, 0) },
        { ...packet, payload: flipped(packet.payload, 100) },
        { ...packet, payload: packet.payload.subarray(16) },
        { ...packet, payload: packet.payload.subarray(1) },
        { ...packet, payload: Buffer.alloc(0) },
    ])
        t.throws(() => one.processor.inject(broken), { code: 'ERR_SEV_PACKET' })
    t.throws(() => one.processor.inject({ ...packet, header: packet.header.subarray(1) }), { code: 'ERR_LENGTH' })
    t.truthy(one.processor.inject(packet))
})

test('a session is for one platform and one policy', async (t) => {
    const stranger = await minted()
    const { godh, session } = newSession(files.pdh?.publicKey ?? keys.pdh, 3)
    const start = (own: typeof keys, bytes: Buffer, policy: number) => () =>
        new EmulatedLaunch(own, FIRMWARE, { godh, session: bytes, policy })
    t.notThrows(start(keys, session, 3))
    t.throws(start(stranger.keys, session, 3), { code: 'ERR_SEV_SESSION' })
    t.throws(start(keys, session, 1), { code: 'ERR_SEV_SESSION' })
    for (const bit of [0, 16 * 8, 48 * 8, 64 * 8, 96 * 8])
        t.throws(start(keys, flipped(session, bit), 3), { code: 'ERR_SEV_SESSION' }, `bit ${bit}`)
    t.throws(start(keys, session.subarray(1), 3), { code: 'ERR_LENGTH' })
    const wants = newSession(files.pdh?.publicKey ?? keys.pdh, 0x3801_0003)
    t.throws(() => new EmulatedLaunch(keys, FIRMWARE, { ...wants, policy: 0x3801_0003 }), { code: 'ERR_SEV_API' })
})

for (const { name, code, change } of [
    { name: 'another guest', code: 'ERR_SEV_MEASUREMENT', change: { expected: { digests: [Buffer.alloc(32)] } } },
    { name: 'nothing expected', code: 'ERR_SEV_MEASUREMENT', change: { expected: { digests: [] } } },
    { name: 'another build', code: 'ERR_SEV_MEASUREMENT', change: { claim: { buildId: 22 } } },
    { name: 'another API', code: 'ERR_SEV_MEASUREMENT', change: { claim: { apiMinor: 56 } } },
    { name: 'another policy than the session’s', code: 'ERR_SEV_MEASUREMENT', change: { claim: { policy: 7 } } },
    {
        name: 'another policy on both sides',
        code: 'ERR_SEV_MEASUREMENT',
        change: { claim: { policy: 7 }, expected: { policy: 7 } },
    },
    { name: 'no ES', code: 'ERR_SEV_GUEST_POLICY_WEAK', change: { expected: { es: true } } },
    {
        name: 'no NOKS',
        code: 'ERR_SEV_GUEST_POLICY_WEAK',
        change: { claim: { policy: 1 }, expected: { policy: 1 } },
    },
    {
        name: 'no NODBG',
        code: 'ERR_SEV_GUEST_POLICY_WEAK',
        change: { claim: { policy: 2 }, expected: { policy: 2 } },
    },
    {
        name: 'reserved bits',
        code: 'ERR_SEV_GUEST_POLICY',
        change: { claim: { policy: 0x43 }, expected: { policy: 0x43 } },
    },
    { name: 'API 0.16', code: 'ERR_SEV_API', change: { claim: { apiMajor: 0, apiMinor: 16 } } },
    { name: 'API 1.256', code: 'ERR_SEV_API', change: { claim: { apiMinor: 256 } } },
    {
        name: 'a build that is too old',
        code: 'ERR_SEV_API',
        change: { expected: { leastFirmware: { apiMajor: 1, apiMinor: 55, buildId: 22 } } },
    },
    {
        name: 'an API that is too old',
        code: 'ERR_SEV_API',
        change: { expected: { leastFirmware: { apiMajor: 1, apiMinor: 56, buildId: 0 } } },
    },
    { name: '47 bytes', code: 'ERR_LENGTH', change: { claim: { measurement: Buffer.alloc(47) } } },
    { name: '49 bytes', code: 'ERR_LENGTH', change: { claim: { measurement: Buffer.alloc(49) } } },
] as readonly { name: string; code: string; change: { claim?: object; expected?: object } }[])
    test(`refused: ${name}`, (t) => {
        const { owner, claim, expected } = launched()
        t.throws(() => validateLaunch(owner, { ...claim, ...change.claim }, { ...expected, ...change.expected }), {
            code,
        })
    })

test('refused: any bit of the measurement', (t) => {
    const { owner, claim, expected } = launched()
    for (let bit = 0; bit < 48 * 8; bit++) {
        const measurement = flipped(claim.measurement, bit)
        t.throws(() => validateLaunch(owner, { ...claim, measurement }, expected), { code: 'ERR_SEV_MEASUREMENT' })
    }
})

for (const { name, code, policy, es } of [
    { name: 'no NODBG', code: 'ERR_SEV_GUEST_POLICY_WEAK', policy: 2, es: false },
    { name: 'no ES', code: 'ERR_SEV_GUEST_POLICY_WEAK', policy: 3, es: true },
    { name: 'reserved bits', code: 'ERR_SEV_GUEST_POLICY', policy: 0x8003, es: false },
    { name: 'no word', code: 'ERR_SEV_GUEST_POLICY', policy: 2 ** 32 + 3, es: false },
    { name: 'a fraction', code: 'ERR_SEV_GUEST_POLICY', policy: 3.5, es: false },
])
    test(`no session: ${name}`, (t) => {
        t.throws(() => openLaunch(files, trust, policy, { es }), { code })
    })

const api = (apiMajor: number, apiMinor: number): FirmwareVersion => ({ apiMajor, apiMinor, buildId: 0 })

// FIRMWARE is 1.55 build 21; certificates have no build.
for (const { name, pek = FIRMWARE, pdh = FIRMWARE, least, says } of [
    { name: 'of the firmware that it has', least: FIRMWARE },
    { name: 'whatever the build', least: { ...FIRMWARE, buildId: 255 } },
    { name: 'of API 0.17, which is what is asked unless told', pek: api(0, 17), pdh: api(0, 17) },
    { name: 'a PDH of 0.16', pdh: api(0, 16), says: /made by firmware 0\.16, expected at least 0\.17/ },
    { name: 'a PEK of 0.16', pek: api(0, 16), says: /made by firmware 0\.16, expected at least 0\.17/ },
    { name: 'a PDH of before', pdh: api(1, 54), least: FIRMWARE, says: /1\.54, expected at least 1\.55/ },
    { name: 'a PEK of before', pek: api(0, 255), least: FIRMWARE, says: /0\.255, expected at least 1\.55/ },
    { name: 'a later API than they have', least: api(1, 56), says: /1\.55, expected at least 1\.56/ },
] as { name: string; pek?: FirmwareVersion; pdh?: FirmwareVersion; least?: FirmwareVersion; says?: RegExp }[])
    test(`the keys of a platform: ${name}`, (t) => {
        const made = (version: FirmwareVersion) => mintPlatform(keys, version)
        const others = { pek: made(pek).pek, pdh: made(pdh).pdh }
        const named = Object.entries(others).map(([file, bytes]) => ({ name: file, bytes }))
        const open = () =>
            openLaunch({ ...files, ...readChain(named) }, trust, 3, {
                es: false,
                ...(least ? { leastFirmware: least } : {}),
            })
        if (says) t.throws(open, { code: 'ERR_SEV_API', message: says })
        else t.notThrows(open)
    })

test('no session: no PDH', (t) => {
    const { pdh: _, ...rest } = files
    t.throws(() => openLaunch(rest, trust, 3, { es: false }), {
        code: 'ERR_SEV_CERTIFICATE',
        message: /PDH is missing/,
    })
})

test('the keys that are told are wiped with the launch', (t) => {
    const { processor } = launched()
    processor.finish()
    t.throws(() => processor.update(CONTENT), { instanceOf: TypeError })
    t.is(processor.state, 'running')
})

const entry = (guid: string, size = 8): LaunchSecret => ({ guid, data: Buffer.alloc(size, 0x61) })
const guidOf = (n: number): string => `10000000-0000-0000-0000-${n.toString(16).padStart(12, '0')}`

for (const { name, secrets, area = USUAL_AREA, says } of [
    { name: 'the null GUID', secrets: [entry('00000000-0000-0000-0000-000000000000')], says: /null GUID/ },
    { name: 'the table’s GUID', secrets: [entry('1e74f542-71dd-4d66-963e-ef4287ff173b')], says: /of the table itself/ },
    { name: 'one twice', secrets: [entry(DISK_GUID), entry(DISK_GUID.toUpperCase())], says: /stands twice/ },
    { name: 'too large by a byte', secrets: [entry(DISK_GUID, 3033)], says: /need 3088 bytes, .* room for 3072/ },
    { name: 'no area', secrets: [entry(DISK_GUID)], area: 0, says: /no area for secrets/ },
    { name: 'too large for any', secrets: [entry(DISK_GUID, 16_345)], area: 1 << 20, says: /room for 16384/ },
    { name: '65', secrets: Array.from({ length: 65 }, (_, n) => entry(guidOf(n), 0)), says: /Linux shows 64/ },
] as readonly { name: string; secrets: LaunchSecret[]; area?: number; says: RegExp }[])
    test(`secrets refused: ${name}`, (t) => {
        t.throws(() => encodeSecretTable(secrets, area), { code: 'ERR_SEV_SECRET', message: says })
    })

test('secrets refused: none', (t) => {
    const { owner, claim, expected } = launched()
    const launch = validateLaunch(owner, claim, expected)
    t.throws(() => packSecrets(owner, launch, [], USUAL_AREA), {
        code: 'ERR_SEV_SECRET',
        message: /no secret was given/,
    })
})

test('secrets: what just fits', (t) => {
    t.is(encodeSecretTable([entry(DISK_GUID, 3032)], USUAL_AREA).length, 3072)
    const many = Array.from({ length: 64 }, (_, n) => entry(guidOf(n), n))
    const table = encodeSecretTable(many, MAX_SECRET_AREA)
    t.is(table.length % 16, 0)
    t.deepEqual(
        parseSecretTable(table).map(({ guid, data }) => [guid, data.length]),
        many.map(({ guid, data }) => [guid, data.length]),
    )
})

const GOOD = encodeSecretTable([entry(DISK_GUID), entry(guidOf(1), 0)], USUAL_AREA)
const LENGTH = GOOD.readUInt32LE(16)

function changed(change: (table: Buffer) => void): Buffer {
    const table = Buffer.from(GOOD)
    change(table)
    return table
}

for (const { name, table } of [
    { name: 'nothing', table: Buffer.alloc(0) },
    { name: 'another GUID', table: changed((b) => b.fill(0, 0, 16)) },
    { name: 'a length below the head', table: changed((b) => b.writeUInt32LE(19, 16)) },
    { name: 'a length beyond the end', table: changed((b) => b.writeUInt32LE(b.length + 1, 16)) },
    { name: 'an entry below its head', table: changed((b) => b.writeUInt32LE(19, 36)) },
    { name: 'an entry beyond the table', table: changed((b) => b.writeUInt32LE(LENGTH, 36)) },
    { name: 'an entry of 4 GiB', table: changed((b) => b.writeUInt32LE(0xffff_ffff, 36)) },
    { name: 'one GUID twice', table: changed((b) => b.copy(b, 48, 20, 36)) },
])
    test(`table refused: ${name}`, (t) => {
        t.throws(() => parseSecretTable(table), { code: 'ERR_SEV_SECRET_TABLE' })
    })

test('table: an entry that was wiped is none; padding that was counted is none', (t) => {
    t.is(parseSecretTable(changed((b) => b.fill(0, 20, 36))).length, 1)
    t.is(parseSecretTable(changed((b) => b.writeUInt32LE(LENGTH + 8, 16))).length, 2)
})

test('report: any bit', (t) => {
    const { processor } = launched()
    processor.finish()
    const report = processor.report(Buffer.alloc(16, 7))
    const pek = files.pek?.publicKey ?? keys.pek
    t.notThrows(() => verifyReport(report, pek))
    for (let bit = 0; bit < report.length * 8; bit += 3)
        t.throws(() => verifyReport(flipped(report, bit), pek), { name: 'AttestError' }, `bit ${bit}`)
    t.throws(() => verifyReport(report, files.cek?.publicKey ?? keys.cek), { code: 'ERR_SEV_SIGNATURE' })
    t.throws(() => parseReport(report.subarray(1)), { code: 'ERR_LENGTH' })
})

function pdhBytes(): Buffer {
    return certificates.pdh
}
