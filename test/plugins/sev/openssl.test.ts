// What this plugin computes, computed once more by OpenSSL's program: the key agreement, the little-endian KDF, AES-CTR,
// HMAC, and the two kinds of signatures.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ALGORITHMS } from '#plugins/sev/chain/algorithms.ts'
import { parseAmdCertificate } from '#plugins/sev/chain/amd-certs.ts'
import { isSignedBy, parseCertificate } from '#plugins/sev/chain/certs.ts'
import { EmulatedLaunch } from '#plugins/sev/emulated/processor.ts'
import { deriveKey } from '#plugins/sev/launch/kdf.ts'
import { launchMeasure } from '#plugins/sev/launch/measurement.ts'
import { aesCtr, newSession, SESSION } from '#plugins/sev/launch/session.ts'
import { run } from '../../cli/run.ts'
import { temporaryFolder } from '../../folder.ts'
import { programs, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { fixture } from './manifest.ts'
import { FIRMWARE, flipped, minted } from './minted.ts'

const possible = needs(programs('openssl'))

// Before anything is declared: ava demands the rest at once.
const { keys, certificates } = await minted()
const folder = temporaryFolder({ teardown: test.after.always })

let files = 0
function file(bytes: Uint8Array | string): string {
    const path = join(folder, `${files++}`)
    writeFileSync(path, bytes)
    return path
}

const pem = (key: KeyObject): string =>
    key.type === 'private'
        ? key.export({ type: 'pkcs8', format: 'pem' }).toString()
        : key.export({ type: 'spki', format: 'pem' }).toString()

async function openssl(t: ExecutionContext, ...args: readonly string[]): Promise<Buffer> {
    const { code, stdout, stderr } = await run('openssl', args)
    t.is(code, 0, stderr)
    return Buffer.from(stdout, 'latin1')
}

const hmac = async (t: ExecutionContext, key: Uint8Array, data: Uint8Array): Promise<string> =>
    (await openssl(t, 'mac', '-digest', 'SHA256', '-macopt', `hexkey:${hex(key)}`, '-in', file(data), 'HMAC'))
        .toString()
        .trim()
        .toLowerCase()

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

possible('a session opens with the secret that OpenSSL agrees on', async (t) => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
    const { godh, session, tek, tik } = newSession(pair.publicKey, 3)
    const peer = parseCertificate(godh, 'PDH').publicKey
    const mine = file(pem(pair.privateKey))
    const shared = await openssl(t, 'pkeyutl', '-derive', '-inkey', mine, '-peerkey', file(pem(peer)))
    t.is(shared.length, 48)
    // The KDF, spelled out: a counter and a length of four bytes each, the low one first.
    const { nonce, wrapTk, wrapIv, wrapMac, policyMac } = SESSION.parse(session)
    const kdf = async (key: Buffer, label: string, context: Buffer) => {
        const input = Buffer.concat([
            Buffer.from('01000000', 'hex'),
            Buffer.from(`${label}\0`),
            context,
            Buffer.from('80000000', 'hex'),
        ])
        return Buffer.from(await hmac(t, key, input), 'hex').subarray(0, 16)
    }
    const master = await kdf(shared, 'sev-master-secret', nonce)
    t.is(hex(master), hex(deriveKey(shared, 'sev-master-secret', nonce)))
    const kek = await kdf(master, 'sev-kek', Buffer.alloc(0))
    const kik = await kdf(master, 'sev-kik', Buffer.alloc(0))
    t.is(await hmac(t, kik, wrapTk), hex(wrapMac))
    const opened = await openssl(
        t,
        'enc',
        '-d',
        '-aes-128-ctr',
        '-K',
        hex(kek),
        '-iv',
        hex(wrapIv),
        '-in',
        file(wrapTk),
    )
    t.is(hex(opened), hex(tek) + hex(tik))
    t.is(await hmac(t, tik, Buffer.from('03000000', 'hex')), hex(policyMac))
})

possible('the counter of AES-CTR is the whole IV', async (t) => {
    const [key, data] = [randomBytes(16), randomBytes(100)]
    const iv = Buffer.alloc(16, 0xff) // which the second block carries over
    t.is(
        hex(await openssl(t, 'enc', '-aes-128-ctr', '-K', hex(key), '-iv', hex(iv), '-in', file(data))),
        hex(aesCtr(key, iv, data)),
    )
})

possible('a launch measurement', async (t) => {
    const [tik, launchDigest, mnonce] = [randomBytes(16), randomBytes(32), randomBytes(16)]
    const message = Buffer.concat([Buffer.from('040137150300013f', 'hex'), launchDigest, mnonce])
    const measured = { ...FIRMWARE, policy: 0x3f01_0003, launchDigest, mnonce }
    t.is(await hmac(t, tik, message), hex(launchMeasure(tik, measured)))
})

/** Whether OpenSSL's program finds this signature good; it is given as the certificate has it. */
async function verdict(
    t: ExecutionContext,
    { key, body, field, digest }: { key: KeyObject; body: Uint8Array; field: Buffer; digest: 'sha256' | 'sha384' },
): Promise<boolean> {
    const { modulusLength } = key.asymmetricKeyDetails ?? {}
    const value = modulusLength
        ? Buffer.from(field.subarray(0, modulusLength / 8)).reverse()
        : derSignature(field.subarray(0, 48), field.subarray(72, 72 + 48))
    const salt = ['rsa_padding_mode:pss', `rsa_pss_saltlen:${digest.slice(3) === '384' ? 48 : 32}`]
    const { code, stdout, stderr } = await run('openssl', [
        ...['dgst', `-${digest}`, '-verify', file(pem(key)), '-signature', file(value)],
        ...(modulusLength ? [...salt, `rsa_mgf1_md:${digest}`].flatMap((option) => ['-sigopt', option]) : []),
        file(body),
    ])
    t.is(/^Verified OK/.test(stdout), code === 0, stderr)
    return code === 0
}

possible('RSA-PSS: what AMD’s and our keys sign', async (t) => {
    const { body, signature } = parseAmdCertificate(certificates.ask)
    const made = { key: createPublicKey(keys.ark), body, field: signature, digest: 'sha384' } as const
    t.true(await verdict(t, made))
    t.false(await verdict(t, { ...made, body: flipped(body, 800) }))
})

for (const line of ['naples', 'rome', 'milan', 'genoa', 'turin'])
    needs(programs('openssl'), vectors('sev/fixtures/sev-certs'))(`AMD’s own signatures: ${line}`, async (t) => {
        const [ark, ask] = ['ark', 'ask'].map((name) => parseAmdCertificate(real(line, name)))
        if (!ark || !ask) return t.fail()
        for (const { body, signature: field } of [ark, ask]) {
            const issued = { key: ark.publicKey, body, field, digest: DIGESTS[ark.bits] ?? 'sha256' }
            t.true(await verdict(t, issued))
            t.false(await verdict(t, { ...issued, digest: issued.digest === 'sha256' ? 'sha384' : 'sha256' }))
        }
    })

for (const line of ['naples', 'rome'])
    needs(programs('openssl'), vectors('sev/fixtures/sev-certs'))(`a real platform’s P-384: ${line}`, async (t) => {
        const ask = parseAmdCertificate(real(line, 'ask'))
        const [cek, pek, oca, pdh] = ['cek', 'pek', 'oca', 'pdh'].map((name) => parseCertificate(real(line, name)))
        if (!cek || !pek || !oca || !pdh) return t.fail()
        for (const { of, by, key } of [
            { of: cek, by: 'ASK', key: ask.publicKey },
            { of: pek, by: 'CEK', key: cek.publicKey },
            { of: pek, by: 'OCA', key: oca.publicKey },
            { of: pdh, by: 'PEK', key: pek.publicKey },
            { of: oca, by: 'OCA', key: oca.publicKey },
        ] as const) {
            const found = of.signatures.find(({ usage }) => usage === by)
            if (!found) return t.fail(`${of.usage} has no signature of ${by}`)
            const digest = ALGORITHMS[found.algorithm].hash
            if (!digest) return t.fail(found.algorithm)
            const { body } = of
            t.true(await verdict(t, { key, body, field: found.value, digest }), `${by} → ${of.usage}`)
            t.true(isSignedBy(of, by, key))
        }
    })

possible('ECDSA: the report that a processor signs', async (t) => {
    const own = newSession(createPublicKey(keys.pdh), 3)
    const launch = new EmulatedLaunch(keys, FIRMWARE, { ...own, policy: 3 })
    launch.measure()
    launch.finish()
    const report = launch.report(randomBytes(16))
    const made = { key: createPublicKey(keys.pek), body: report.subarray(0, 52), digest: 'sha256' } as const
    t.true(await verdict(t, { ...made, field: report.subarray(0x40) }))
})

const DIGESTS: Readonly<Record<number, 'sha256' | 'sha384'>> = { 2048: 'sha256', 4096: 'sha384' }

const real = (line: string, name: string): Buffer => fixture(`fixtures/sev-certs/${line}/${name}.cert`)

/** Of two numbers, little-endian. */
function derSignature(...numbers: readonly Buffer[]): Buffer {
    const content = Buffer.concat(numbers.map((number) => derInteger(Buffer.from(number).reverse())))
    return Buffer.concat([Buffer.from([0x30, content.length]), content])
}

function derInteger(bytes: Buffer): Buffer {
    let start = 0
    while (bytes[start] === 0) start++
    const rest = bytes.subarray(start)
    const padded = (rest[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.alloc(1), rest]) : rest
    return Buffer.concat([Buffer.from([2, padded.length]), padded])
}
