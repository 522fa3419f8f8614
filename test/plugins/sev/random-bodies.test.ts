// Whatever an owner or a host writes into a body of the launch service, the answer is a registration, a session, a packet,
// or an error of this program's own.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes, randomInt } from 'node:crypto'
import test from 'ava'
import { type Secret, toBase64 } from '#core/bytes.ts'
import { AttestError } from '#core/errors.ts'
import { sevLaunch } from '#plugins/sev/launch-service.ts'
import { minted } from './minted.ts'
import { MILAN, makeFirmware } from './rig.ts'

const TIMES = 10_000

type Json = { readonly [name: string]: unknown }

const { certificates: c } = await minted()
const image = makeFirmware(0xc00, 4096)
const page = toBase64(Buffer.alloc(4096, 7))

const REGISTRATION: Json = {
    policy: 15,
    firmware: toBase64(image),
    'cpu-count': 2,
    cpus: [MILAN],
    profiles: ['kvm-legacy'],
    'insecure-trust-roots': [toBase64(c.ark)],
    secrets: [
        { type: 'luks-passphrase', passphrase: 'correct horse' },
        { guid: '5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e', data: 'AAAA' },
    ],
}

/** Members that a good registration has not, or not so. */
const MEMBERS: readonly (readonly [string, () => unknown])[] = [
    ['policy', () => randomInt(2 ** 32)],
    ['policy', () => randomInt(64)],
    ['firmware', () => undefined],
    ['firmware', () => toBase64(spoilt(image))],
    ['firmware', () => toBase64(randomBytes(randomInt(100)))],
    ['firmware-hashes', () => ['ab'.repeat(32)]],
    ['launch-digests', () => ['ab'.repeat(randomInt(40))]],
    ['kernel-hash', () => randomBytes(randomInt(2) * 32).toString('hex')],
    ['initrd-hash', () => 'cd'.repeat(32)],
    ['cmdline-hash', () => 'cd'.repeat(32)],
    ['cpu-count', () => randomInt(5)],
    ['cpus', () => [{ family: randomInt(300), model: randomInt(300), stepping: randomInt(20) }]],
    ['profiles', () => [['kvm-init2', 'ec2', 'gce', 'toString', ''][randomInt(5)]]],
    ['vmsa', () => [page, page].slice(randomInt(2))],
    ['secret-area', () => randomInt(0x5000)],
    ['secrets', () => [{ guid: guidText(), data: toBase64(randomBytes(1 + randomInt(4000))) }]],
    ['secrets', () => [{ type: 'luks-passphrase', passphrase: 'x'.repeat(randomInt(5000)) }]],
    ['min-api-major', () => randomInt(300)],
    ['min-api-minor', () => randomInt(300)],
    ['chips', () => ['ab'.repeat(32)]],
    ['ceks', () => [toBase64(spoilt(c.cek))]],
    ['cloud-cert', () => toBase64(spoilt(c.oca))],
    ['insecure-trust-roots', () => [toBase64(spoilt(c.ark))]],
    ['insecure-unmeasured-cpu-state', () => randomInt(2) === 0],
    ['insecure-migration', () => randomInt(2) === 0],
]

const STRANGE: readonly unknown[] = [
    ...[null, true, -1, 0.5, 2 ** 53, Number.NaN, '', 'x', 'AAAA', 'ab'.repeat(32), '\0', '~', 'x'.repeat(9000)],
    ...[[], {}, [[]], [null], ['AAAA'], { length: 3 }, [{ guid: 7, data: {} }], JSON.parse('{"__proto__": {"a": 1}}')],
]

const strange = (): unknown => STRANGE[randomInt(STRANGE.length)]

function guidText(): string {
    const text = randomBytes(16).toString('hex')
    const guid = text.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
    return [guid, guid.toUpperCase(), text, '00000000-0000-0000-0000-000000000000', guid.slice(1)][randomInt(5)] ?? ''
}

function spoilt(bytes: Buffer): Buffer {
    const copy = Buffer.from(bytes.subarray(0, randomInt(4) === 0 ? randomInt(bytes.length) : bytes.length))
    // What is read stands at the beginning, or at the end.
    const at = randomInt(2) === 0 ? randomInt(300) : Math.max(0, copy.length - 1 - randomInt(300))
    if (at < copy.length) copy[at] = randomInt(256)
    return copy
}

function changed(body: Json, members: readonly (readonly [string, () => unknown])[]): Json {
    const out: Record<string, unknown> = { ...body }
    for (let changes = randomInt(4); changes >= 0; changes--) {
        const [name, value] = members[randomInt(members.length)] ?? ['x', strange]
        out[name] = randomInt(4) === 0 ? strange() : value()
        if (randomInt(20) === 0) out[`more${randomInt(3)}`] = strange()
    }
    return out
}

const HOST: Json = { pdh: toBase64(c.pdh), 'cert-chain': toBase64(Buffer.concat([c.pek, c.oca, c.cek, c.ask])) }
const CLAIM: Json = {
    'api-major': 1,
    'api-minor': 55,
    'build-id': 21,
    policy: 15,
    measurement: toBase64(Buffer.alloc(48)),
}

const { terms, secrets } = sevLaunch.register(REGISTRATION, null)
const keys = randomBytes(32)

for (const { name, members, body, use } of [
    {
        name: 'registrations',
        members: MEMBERS,
        body: REGISTRATION,
        use: (said: unknown) =>
            sevLaunch.register(
                said,
                randomInt(2) === 0 ? null : { url: 'https://kbs.example', pins: ['sha256/x'], allowPaths: ['a/b/c'] },
            ),
    },
    {
        name: 'requests for a session',
        members: [
            ['pdh', () => toBase64(spoilt(c.pdh))],
            ['cert-chain', () => toBase64(spoilt(Buffer.concat([c.pek, c.oca, c.cek, c.ask])))],
            ['cek', () => toBase64(spoilt(c.cek))],
            ['cert-chain', () => toBase64(randomBytes(randomInt(5000)))],
        ] as const,
        body: HOST,
        use: (said: unknown) => sevLaunch.open(terms, said),
    },
    {
        name: 'requests for secrets',
        members: [
            ['api-major', () => randomInt(300)],
            ['api-minor', () => randomInt(300)],
            ['build-id', () => randomInt(300)],
            ['policy', () => randomInt(2 ** 32)],
            ['measurement', () => toBase64(randomBytes(randomInt(60)))],
        ] as const,
        body: CLAIM,
        use: (said: unknown) =>
            sevLaunch.validate(terms, { secrets, keys: Buffer.from(keys) as Secret, client: null }, said),
    },
])
    test(`${TIMES} random ${name}`, (t) => {
        const codes = new Map<string, number>()
        for (let i = 0; i < TIMES; i++) {
            const said = changed(body, members)
            let code = 'answered'
            try {
                use(said)
            } catch (error) {
                if (!(error instanceof AttestError)) return t.fail(`${JSON.stringify(said).slice(0, 3000)}: ${error}`)
                code = error.code
            }
            codes.set(code, (codes.get(code) ?? 0) + 1)
        }
        t.log([...codes].map(([code, count]) => `${count} ${code}`).join(', '))
        t.true(codes.size > 3)
    })
