// What a registration comes to: the digests of every launch that it accepts.
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomBytes } from 'node:crypto'
import test from 'ava'
import { toBase64, toHex } from '#core/bytes.ts'
import { hashCmdline, hashTable, NO_INITRD } from '#core/launch/kernel-hashes.ts'
import { readFirmware, resetAddress } from '#core/launch/ovmf.ts'
import { signature } from '#core/launch/vcpu.ts'
import { stateOf, vmsaPages } from '#core/launch/vmsa.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import { CLIENT_GUID } from '#plugins/sev/client-secret.ts'
import { parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { sevLaunch } from '#plugins/sev/launch-service.ts'
import { minted } from './minted.ts'
import { MILAN, makeFirmware } from './rig.ts'

const IMAGE = makeFirmware()
const GENOA = { family: 25, model: 17, stepping: 0 } as const
const GUID = '5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e'

const sha256 = (...parts: readonly Uint8Array[]): string => {
    const hash = createHash('sha256')
    for (const part of parts) hash.update(part)
    return hash.digest('hex')
}

const pages = (cpu: typeof MILAN | typeof GENOA, profile: 'kvm-legacy' | 'kvm-init2', count: number) =>
    vmsaPages(stateOf(profile, signature(cpu)), resetAddress(readFirmware(IMAGE, 'image')), count)

const base = (changed: object) => ({
    policy: 15,
    firmware: toBase64(IMAGE),
    'cpu-count': 2,
    secrets: [{ guid: GUID, data: toBase64(Buffer.from('a key')) }],
    ...changed,
})

const digestsOf = (changed: object) => sevLaunch.register(base(changed), null).terms['digests']

test('each processor, prepared in each way', (t) => {
    t.deepEqual(digestsOf({ cpus: [MILAN, GENOA], profiles: ['kvm-legacy', 'kvm-init2'] }), [
        sha256(IMAGE, ...pages(MILAN, 'kvm-legacy', 2)),
        sha256(IMAGE, ...pages(MILAN, 'kvm-init2', 2)),
        sha256(IMAGE, ...pages(GENOA, 'kvm-legacy', 2)),
        sha256(IMAGE, ...pages(GENOA, 'kvm-init2', 2)),
    ])
})

test('pages that somebody else made', (t) => {
    const own = pages(GENOA, 'kvm-legacy', 3)
    const vmsa = own.slice(0, 2).map(toBase64)
    t.deepEqual(digestsOf({ 'cpu-count': 3, vmsa }), [sha256(IMAGE, ...own)])
    t.throws(() => digestsOf({ 'cpu-count': 3, vmsa: vmsa.slice(0, 1) }), { code: 'ERR_VMSA' })
    t.throws(() => digestsOf({ vmsa, cpus: [MILAN] }), { code: 'ERR_SEV_LAUNCH', message: /neither cpus nor profiles/ })
    t.throws(() => digestsOf({ vmsa: ['AAAA', 'AAAA'] }), { code: 'ERR_VMSA' })
})

test('a kernel by its hashes', (t) => {
    const [kernel, initrd] = [randomBytes(32), randomBytes(32)]
    const processors = { cpus: [MILAN], profiles: ['kvm-legacy'] }
    const measured = (hashes: Parameters<typeof hashTable>[0]) => [
        sha256(IMAGE, hashTable(hashes), ...pages(MILAN, 'kvm-legacy', 2)),
    ]
    t.deepEqual(
        digestsOf({ ...processors, 'kernel-hash': toHex(kernel) }),
        measured({ kernel, initrd: NO_INITRD, cmdline: hashCmdline('') }),
    )
    const cmdline = hashCmdline('root=/dev/sda')
    const all = { 'kernel-hash': toHex(kernel), 'initrd-hash': toHex(initrd), 'cmdline-hash': toHex(cmdline) }
    t.deepEqual(digestsOf({ ...processors, ...all }), measured({ kernel, initrd, cmdline }))
    t.throws(() => digestsOf({ ...processors, 'initrd-hash': toHex(initrd) }), {
        message: /nothing without kernel-hash/,
    })
})

test('the table of secrets is what is sealed', (t) => {
    const { secrets } = sevLaunch.register(base({ cpus: [MILAN], profiles: ['kvm-legacy'] }), null)
    t.deepEqual(
        parseSecretTable(secrets).map(({ guid, data }) => [guid, data.toString()]),
        [[GUID, 'a key']],
    )
})

for (const { asked, least } of [
    { asked: {}, least: [0, 17, 0] },
    { asked: { 'min-api-major': 1 }, least: [1, 0, 0] },
    { asked: { 'min-api-major': 1, 'min-api-minor': 55 }, least: [1, 55, 0] },
    { asked: { 'min-api-major': 1, 'min-api-minor': 55, 'min-build-id': 21 }, least: [1, 55, 21] },
    { asked: { 'min-api-major': 1, 'min-api-minor': 0, 'min-build-id': 21 }, least: [1, 0, 21] },
])
    test(`the least firmware of ${JSON.stringify(asked)}`, (t) => {
        const { terms } = sevLaunch.register(base({ cpus: [MILAN], profiles: ['kvm-legacy'], ...asked }), null)
        const [apiMajor, apiMinor, buildId] = least
        t.deepEqual(terms['least'], { apiMajor, apiMinor, buildId })
    })

const secret = (guid: string) => ({ guid, data: 'AAAA' })

/** What a guest that gets a key trusts. */
const BROKER = { url: 'https://kbs.example', pins: [`sha256/${'A'.repeat(43)}=`], allowPaths: ['web/*/*'] }

for (const { name, changed, broker = null, code, says = /./ } of [
    { name: 'a policy without NOKS', changed: { policy: 5 }, code: 'ERR_SEV_GUEST_POLICY_WEAK' },
    { name: 'a policy without NODBG', changed: { policy: 6 }, code: 'ERR_SEV_GUEST_POLICY_WEAK' },
    { name: 'processors, and no ES', changed: { policy: 3 }, code: 'ERR_SEV_GUEST_POLICY_WEAK', says: /ES/ },
    {
        name: 'no ES, and nobody said so',
        changed: { policy: 11, 'cpu-count': undefined, cpus: undefined, profiles: undefined },
        code: 'ERR_SEV_GUEST_POLICY_WEAK',
        says: /nothing of the processors/,
    },
    ...[
        { policy: 0x7, says: /no NOSEND .*the host can read its memory/ },
        { policy: 0x17, says: /no NOSEND .*the host can read its memory/ },
        { policy: 0x27, says: /no NOSEND .*the key of one of AMD’s chips/ },
    ].map(({ policy, says }) => ({
        name: `the policy 0x${policy.toString(16)}, which lets it be sent, and nobody said so`,
        changed: { policy },
        code: 'ERR_SEV_GUEST_POLICY_WEAK',
        says,
    })),
    { name: 'reserved bits', changed: { policy: 0x47 }, code: 'ERR_SEV_GUEST_POLICY' },
    { name: 'one GUID twice', changed: { secrets: [secret(DISK_GUID), secret(DISK_GUID)] }, code: 'ERR_SEV_SECRET' },
    {
        name: 'the null GUID',
        changed: { secrets: [secret('00000000-0000-0000-0000-000000000000')] },
        code: 'ERR_SEV_SECRET',
    },
    {
        name: 'more than the firmware has room for',
        changed: { secrets: [{ type: 'luks-passphrase', passphrase: 'x'.repeat(4000) }] },
        code: 'ERR_SEV_SECRET',
        says: /room for 3072/,
    },
    { name: 'two sources of digests', changed: { 'launch-digests': ['ab'.repeat(32)] }, code: 'ERR_SEV_LAUNCH' },
    { name: 'no source of digests', changed: { firmware: undefined }, code: 'ERR_SEV_LAUNCH' },
    { name: 'no number of processors', changed: { 'cpu-count': undefined }, code: 'ERR_SEV_LAUNCH' },
    { name: 'no processors', changed: { cpus: undefined }, code: 'ERR_SEV_LAUNCH' },
    { name: 'a build of any API', changed: { 'min-build-id': 255 }, code: 'ERR_SEV_LAUNCH', says: /min-api-major/ },
    { name: 'a minor of any API', changed: { 'min-api-minor': 55 }, code: 'ERR_SEV_LAUNCH', says: /min-api-major/ },
    {
        name: 'a build of any minor',
        changed: { 'min-api-major': 1, 'min-build-id': 21 },
        code: 'ERR_SEV_LAUNCH',
        says: /min-build-id is nothing without min-api-minor/,
    },
    { name: 'an API of 0.0', changed: { 'min-api-major': 0 }, code: 'ERR_SEV_API' },
    { name: 'an API before 0.17', changed: { 'min-api-major': 0, 'min-api-minor': 16 }, code: 'ERR_SEV_API' },
    { name: 'a root that is none', changed: { 'insecure-trust-roots': ['AAAA'] }, code: 'ERR_SEV_CERTIFICATE' },
    {
        name: 'no room for a key beside them',
        changed: { secrets: [{ type: 'luks-passphrase', passphrase: 'x'.repeat(2900) }] },
        broker: BROKER,
        code: 'ERR_SEV_SECRET',
        says: /room for 3072/,
    },
    {
        name: 'a secret of the owner in the place of the key',
        changed: { secrets: [secret(CLIENT_GUID)] },
        broker: BROKER,
        code: 'ERR_SEV_SECRET',
    },
    { name: 'no secrets, and no key', changed: { secrets: undefined }, code: 'ERR_SEV_SECRET', says: /no secret was/ },
] as { name: string; changed: object; broker?: typeof BROKER; code: string; says?: RegExp }[])
    test(`not registered: ${name}`, (t) => {
        const body = base({ cpus: [MILAN], profiles: ['kvm-legacy'], ...changed })
        t.throws(() => sevLaunch.register(body, broker), { code, message: says })
    })

test('the certificates of chips that the owner has: a host’s request finds its own, and reads no other', async (t) => {
    const platforms = await Promise.all([minted(), minted(), minted()])
    const register = (ceks: readonly Buffer[]) =>
        sevLaunch.register(
            base({
                cpus: [MILAN],
                profiles: ['kvm-legacy'],
                ceks: ceks.map(toBase64),
                'insecure-trust-roots': platforms.map(({ certificates }) => toBase64(certificates.ark)),
            }),
            null,
        ).terms
    const terms = register(platforms.slice(0, 2).map(({ certificates }) => certificates.cek))
    const ceks = terms['ceks'] as Record<string, string>
    const open = ({ certificates: c }: (typeof platforms)[number], known: object = ceks) =>
        sevLaunch.open(
            { ...terms, ceks: known },
            {
                pdh: toBase64(c.pdh),
                'cert-chain': toBase64(Buffer.concat([c.pek, c.oca, c.unsignedCek, c.ask, c.ark])),
            },
        )
    for (const platform of platforms.slice(0, 2)) {
        const chip = String(open(platform).platform['chip'])
        const others = Object.keys(ceks).filter((one) => one !== chip)
        t.is(others.length, 1)
        t.notThrows(() => open(platform, { ...ceks, ...Object.fromEntries(others.map((one) => [one, 'AAAA'])) }))
        t.throws(() => open(platform, { ...ceks, [chip]: 'AAAA' }), { code: 'ERR_SEV_CERTIFICATE' })
    }
    for (const platform of platforms.slice(2))
        t.throws(() => open(platform), { code: 'ERR_SEV_CEK_UNSIGNED' }, 'nobody has its certificate')
    for (const other of ['pek', 'ask', 'ark'] as const)
        t.throws(() => register(platforms.map(({ certificates }) => certificates[other])), {
            code: 'ERR_SEV_CERTIFICATE',
            message: /^ceks: /,
        })
})
