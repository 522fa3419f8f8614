// The proof of possession as bytes and JSON, what is injected for it, and whatever else somebody sends.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import test from 'ava'
import { secret } from '#core/bytes.ts'
import { Checks } from '#core/checks.ts'
import { AttestError } from '#core/errors.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import type { LaunchedGuest } from '#evidence/launch.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { CLIENT_GUID, formatClient, parseClient } from '#plugins/sev/client-secret.ts'
import { fromJson, toKbs } from '#plugins/sev/kbs-evidence.ts'
import { withClient } from '#plugins/sev/launch/client-entry.ts'
import { encodeSecretTable, parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { parsePossession, provePossession } from '#plugins/sev/possession.ts'
import { sevVerifier } from '#plugins/sev/verifier.ts'

const ID = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex')
const key = () => secret(Buffer.alloc(32, 0x11))
const DATA = Buffer.concat([Buffer.alloc(48, 0x22), Buffer.alloc(16)])

const BROKER = { url: 'https://kbs.example:8443', pins: [`sha256/${'A'.repeat(43)}=`], allowPaths: ['web/*/*'] }

const launched: LaunchedGuest = {
    id: ID.toString('base64url'),
    vm: '7c9e6679-7425-40de-944b-e07fc1f90ae7',
    terms: { roots: null, chips: ['ab'.repeat(32)], least: { apiMajor: 1, apiMinor: 55, buildId: 0 } },
    platform: { productLine: 'Milan', chip: 'ab'.repeat(32), owner: 'cd'.repeat(32), fingerprint: 'ef'.repeat(32) },
    measured: { digest: '22'.repeat(32), apiMajor: 1, apiMinor: 55, buildId: 21, policy: 15 },
    time: '2026-11-20T12:00:00.000Z',
    expires: '2026-12-20T12:00:00.000Z',
    allowPaths: ['web/*/*'],
    withKey: (use) => use(key()),
}
const verifier = sevVerifier({
    ...STRICT_TRUST,
    launches: { find: (id) => (id === launched.id ? launched : null) },
})
const judge = (report: Buffer, by = verifier) =>
    by.authenticate({ tee: 'sev', report }, new Date(), new Checks(by.checkNames.authentic))

// Python's hmac and hashlib: RFC 5869 by hand.
const KNOWN = 'bd076cc352d15a9d6825035e87de1c5ed944bb23de5839925a76edea448ee3d5616bd9b2a006eeac2a992c7775333f8b'

test('the known answer of another program', (t) => {
    const proof = provePossession(key(), ID, DATA)
    t.is(proof.length, 136)
    t.is(parsePossession(proof).mac.toString('hex'), KNOWN)
})

test('claims come from the record of the launch', (t) => {
    const { claims, measurement, guestId, customRoot, revocationChecked, reportData } = judge(
        provePossession(key(), ID, DATA),
    )
    t.is(measurement, '22'.repeat(32))
    t.is(guestId, launched.id)
    t.false(customRoot)
    t.true(revocationChecked, 'its owner named the chips')
    t.deepEqual(reportData, DATA)
    t.like(claims, {
        guest: launched.vm,
        api: { major: 1, minor: 55, build: 21 },
        policy: { noDebug: true, noKeySharing: true, es: true, noSend: true, domain: false },
        platform: { productLine: 'Milan' },
    })
})

test('a policy is what it passes', (t) => {
    const guest = judge(provePossession(key(), ID, DATA))
    const text = verifier.writePolicy(guest)
    t.regex(text, /measurements = \["2222/)
    const policy = verifier.readPolicy(
        { measurements: ['22'.repeat(32)], minimumApi: { major: 1, minor: 54 } },
        'policy',
    )
    t.notThrows(() => verifier.appraise(guest, policy, new Checks(verifier.checkNames.appraisal)))
    for (const [members, code] of [
        [{ minimumApi: { major: 1, minor: 55, build: 22 } }, 'ERR_SEV_POLICY_API'],
        [{ minimumApi: { major: 2, minor: 0 } }, 'ERR_SEV_POLICY_API'],
        [{ chips: ['ba'.repeat(32)] }, 'ERR_SEV_POLICY_CHIP'],
        [{ guests: ['7c9e6679-7425-40de-944b-e07fc1f90ae8'] }, 'ERR_SEV_POLICY_GUEST'],
        [{ measurements: ['23'.repeat(32)] }, 'ERR_SEV_POLICY_MEASUREMENT'],
    ] as const)
        t.throws(
            () =>
                verifier.appraise(
                    guest,
                    verifier.readPolicy(members, 'policy'),
                    new Checks(verifier.checkNames.appraisal),
                ),
            { code },
        )
    t.throws(() => verifier.readPolicy({ chip: [] }, 'policy'), { code: 'ERR_SEV_POLICY_FILE' })
})

test('any bit that is changed', (t) => {
    const proof = provePossession(key(), ID, DATA)
    for (let bit = 0; bit < proof.length * 8; bit++) {
        const copy = Buffer.from(proof)
        copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
        t.throws(() => judge(copy), { instanceOf: AttestError }, `bit ${bit}`)
    }
})

test('nobody but the broker can tell', (t) => {
    const proof = provePossession(key(), ID, DATA)
    t.throws(() => judge(proof, sevVerifier(STRICT_TRUST)), { code: 'ERR_SEV_POSSESSION_KEY' })
    t.is(verifier.describe({ tee: 'sev', report: proof })[0]?.value, launched.id)
})

test('bytes and JSON say the same', (t) => {
    const report = provePossession(key(), ID, DATA)
    const json = toKbs({ tee: 'sev', report })
    t.deepEqual(fromJson(json['sev-possession']).report, report)
    t.deepEqual(verifier.fromKbs(JSON.parse(JSON.stringify(json)))?.report, report)
    t.deepEqual(verifier.recognise(report)?.evidence.report, report)
    t.is(verifier.fromKbs({ quote: 'x' }), null)
    t.is(verifier.recognise(randomBytes(1184)), null)
    for (const changed of [{ hmac: 'AAAA' }, { 'launch-id': `${json['sev-possession']['launch-id']}A` }, { more: 1 }])
        t.throws(() => verifier.fromKbs({ 'sev-possession': { ...json['sev-possession'], ...changed } }), {
            code: 'ERR_SEV_POSSESSION',
        })
})

test('what is injected, and how the guest reads it', (t) => {
    const own = encodeSecretTable([{ guid: DISK_GUID, data: Buffer.from('a passphrase') }], 0xc00)
    const table = withClient(own, { id: ID.toString('base64url'), key: key(), broker: BROKER }, 0xc00)
    const [disk, client] = parseSecretTable(table)
    t.deepEqual([disk?.guid, disk?.data.toString()], [DISK_GUID, 'a passphrase'])
    t.is(client?.guid, CLIENT_GUID)
    const read = parseClient(client?.data as Buffer)
    t.deepEqual([read.launchId, Buffer.from(read.key), read.broker], [ID, Buffer.from(key()), BROKER])
    t.throws(() => withClient(own, { id: 'x', key: key(), broker: BROKER }, 0x40), { code: 'ERR_SEV_SECRET' })
})

test('10 000 other things', (t) => {
    const text = formatClient({ id: ID.toString('base64url'), key: key(), broker: BROKER })
    const orderly = (act: () => unknown): void => {
        try {
            act()
        } catch (error) {
            if (!(error instanceof AttestError)) throw error
        }
    }
    for (let round = 0; round < 10_000; round++) {
        const spoilt = Buffer.from(text.subarray(0, Math.random() < 0.3 ? Math.random() * text.length : text.length))
        if (spoilt.length > 0) spoilt[Math.floor(Math.random() * spoilt.length)] = Math.floor(Math.random() * 256)
        orderly(() => parseClient(spoilt))
        orderly(() => parseClient(randomBytes(round % 200)))
        const proof = Buffer.concat([Buffer.from('SEVPOP01'), randomBytes(round % 160)])
        orderly(() => verifier.recognise(proof))
        orderly(() => judge(proof))
    }
    t.pass()
})
