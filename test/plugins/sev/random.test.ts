// Whatever the bytes, nothing crashes: certificates of platforms and of AMD, minted and real, sessions, measurements,
// packets, tables, reports and pages of processors are refused with a code, or they are what they say.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, diffieHellman, randomBytes, randomInt } from 'node:crypto'
import test from 'ava'
import { secret } from '#core/bytes.ts'
import { Checks } from '#core/checks.ts'
import { AttestError } from '#core/errors.ts'
import { vmsaPages } from '#core/launch/vmsa.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import { verifyReport } from '#plugins/sev/aeb/report.ts'
import { parseAmdCertificate } from '#plugins/sev/chain/amd-certs.ts'
import { CERT_SIZE, parseCertificate } from '#plugins/sev/chain/certs.ts'
import { CHAIN_CHECKS, readChain, verifyChain } from '#plugins/sev/chain/chain.ts'
import { validateLaunch } from '#plugins/sev/launch/launch.ts'
import { openPacket, sealPacket } from '#plugins/sev/launch/packet.ts'
import { encodeSecretTable, parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { newSession, unwrapKeys } from '#plugins/sev/launch/session.ts'
import { sevEsMeasure } from '#plugins/sev/measure.ts'
import { vectors } from '../../machine.ts'
import { fixture } from './manifest.ts'
import { FIRMWARE, flipped, minted } from './minted.ts'
import { makeFirmware } from './rig.ts'

const TIMES = 10_000

interface Kind {
    readonly name: string
    readonly good: () => Buffer
    readonly use: (bytes: Buffer, i: number) => unknown
    /** Most of what is mangled is refused: its bytes are all signed or counted. */
    readonly mostly?: boolean
}

const { keys, certificates } = await minted()
const trust = { roots: [parseAmdCertificate(certificates.ark)] }
const tk = { tek: secret(randomBytes(16)), tik: secret(randomBytes(16)) }
const table = encodeSecretTable([{ guid: DISK_GUID, data: randomBytes(40) }], 3072)
const measure = randomBytes(32)
const packet = sealPacket(tk, measure, table)
const chain = readChain(Object.entries(certificates).map(([name, bytes]) => ({ name, bytes })))
const { godh, session } = newSession(createPublicKey(keys.pdh), 3)
const shared = diffieHellman({ privateKey: keys.pdh, publicKey: parseCertificate(godh, 'PDH').publicKey })
const REAL = vectors('sev/fixtures/sev-certs').met
    ? ['naples', 'rome'].flatMap((line) =>
          ['pdh', 'pek', 'oca', 'cek', 'ask', 'ark'].map((name) => fixture(`fixtures/sev-certs/${line}/${name}.cert`)),
      )
    : []
const whole = [...Object.values(certificates), ...REAL]
const amd = whole.filter(({ length }) => length !== CERT_SIZE)
const signed = readChain(REAL.slice(0, 6).map((bytes) => ({ name: 'real', bytes })))
const pages = vmsaPages({ profile: 'kvm-legacy', signature: 0xa00f11, features: 0n }, 0x80b004, 2)
const firmware = { name: 'fw', bytes: makeFirmware() }

for (const { name, good, use, mostly = true } of [
    {
        name: 'certificates and chains',
        good: () => whole[randomInt(whole.length)] ?? Buffer.alloc(0),
        use: (bytes: Buffer, i: number) => {
            const found = readChain([{ name: 'it', bytes }])
            // To verify one takes as long as to read fifty.
            if (i % 50 === 0) verifyChain({ ...chain, ...found }, trust, new Checks(CHAIN_CHECKS))
            if (i % 50 === 1) verifyChain({ ...signed, ...found }, {}, new Checks(CHAIN_CHECKS))
        },
    },
    {
        name: 'chains, each certificate behind the other',
        good: () => Buffer.concat(whole.filter(() => randomInt(2) === 0)),
        use: (bytes: Buffer) => readChain([{ name: 'it', bytes }]),
        mostly: false,
    },
    {
        name: 'certificates of AMD',
        good: () => amd[randomInt(amd.length)] ?? Buffer.alloc(0),
        use: (bytes: Buffer) => parseAmdCertificate(bytes),
        mostly: false,
    },
    {
        name: 'pages of processors',
        good: () => pages[randomInt(2)] ?? Buffer.alloc(0),
        use: (bytes: Buffer) =>
            sevEsMeasure.measure({ firmware, vmm: 'QEMU', vmsa: [{ name: 'page', bytes }] } as never),
        mostly: false,
    },
    {
        name: 'sessions',
        good: () => session,
        use: (bytes: Buffer) => unwrapKeys(bytes, shared, 3),
    },
    {
        name: 'measurements',
        good: () => Buffer.alloc(48),
        use: (measurement: Buffer) =>
            validateLaunch(tk, { ...FIRMWARE, policy: 3, measurement }, { es: false, policy: 3, digests: [measure] }),
    },
    {
        name: 'packet heads',
        good: () => packet.header,
        use: (header: Buffer) => openPacket(tk, measure, { ...packet, header }),
    },
    {
        name: 'packets',
        good: () => packet.payload,
        use: (payload: Buffer) => openPacket(tk, measure, { ...packet, payload }),
    },
    { name: 'tables', good: () => table, use: parseSecretTable },
    { name: 'reports', good: () => randomBytes(208), use: (bytes: Buffer) => verifyReport(bytes, keys.pek) },
] as readonly Kind[])
    test(`${TIMES} random ${name}`, (t) => {
        let refused = 0
        for (let i = 0; i < TIMES; i++) {
            const bytes = mangled(good())
            try {
                use(bytes, i)
            } catch (error) {
                if (!(error instanceof AttestError)) return t.fail(`${bytes.toString('hex')}: ${error}`)
                refused++
            }
        }
        t.true(refused > (mostly ? TIMES / 2 : 0), `${refused} were refused`)
    })

/** Bits, words and lengths that are not what they were; now and then nothing is. */
function mangled(good: Buffer): Buffer {
    const kind = good.length === 0 ? 0 : randomInt(6)
    if (kind === 0) return randomBytes(randomInt(300))
    if (kind === 1) return randomBytes(good.length)
    if (kind === 2) return good.subarray(0, randomInt(good.length + 1))
    if (kind === 3) return Buffer.concat([good, randomBytes(randomInt(1, 40))])
    let out = good
    for (let flips = randomInt(1, 5); flips > 0; flips--) out = flipped(out, randomInt(good.length * 8))
    if (kind === 4 && out.length >= 4) out.writeUInt32LE(randomInt(2 ** 32), randomInt(out.length - 3))
    return out
}
