// What this plugin computes, computed once more by OpenSSL's program: the key agreement, the little-endian KDF, AES-CTR,
// HMAC, and the two kinds of signatures.
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { parseAmdCertificate } from '#plugins/sev/amd-certs.ts'
import { parseCertificate } from '#plugins/sev/certs.ts'
import { EmulatedLaunch } from '#plugins/sev/emulated/processor.ts'
import { deriveKey } from '#plugins/sev/kdf.ts'
import { launchMeasure } from '#plugins/sev/launch-measure.ts'
import { aesCtr, newSession, SESSION } from '#plugins/sev/session.ts'
import { run } from '../../cli/run.ts'
import { temporaryFolder } from '../../folder.ts'
import { programs } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { FIRMWARE, minted } from './minted.ts'

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
    const { nonce, wrappedKeys, wrapIv, wrapMac, policyMac } = SESSION.parse(session)
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
    t.is(await hmac(t, kik, wrappedKeys), hex(wrapMac))
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
        file(wrappedKeys),
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
    const [tik, digest, nonce] = [randomBytes(16), randomBytes(32), randomBytes(16)]
    const message = Buffer.concat([Buffer.from('040137150300013f', 'hex'), digest, nonce])
    t.is(await hmac(t, tik, message), hex(launchMeasure(tik, { ...FIRMWARE, policy: 0x3f01_0003, digest, nonce })))
})

possible('RSA-PSS: what AMD’s and our keys sign', async (t) => {
    const { body, signature } = parseAmdCertificate(certificates.ask)
    const options = [
        '-sigopt',
        'rsa_padding_mode:pss',
        '-sigopt',
        'rsa_pss_saltlen:48',
        '-sigopt',
        'rsa_mgf1_md:sha384',
    ]
    const key = file(pem(createPublicKey(keys.ark)))
    const value = file(Buffer.from(signature).reverse())
    const verdict = await openssl(t, 'dgst', '-sha384', ...options, '-verify', key, '-signature', value, file(body))
    t.regex(verdict.toString(), /Verified OK/)
})

possible('ECDSA: the report that a processor signs', async (t) => {
    const own = newSession(createPublicKey(keys.pdh), 3)
    const launch = new EmulatedLaunch(keys, FIRMWARE, { ...own, policy: 3 })
    launch.measure()
    launch.finish()
    const report = launch.report(randomBytes(16))
    const number = (at: number) => derInteger(Buffer.from(report.subarray(at, at + 48)).reverse())
    const content = Buffer.concat([number(0x40), number(0x40 + 72)])
    const key = file(pem(createPublicKey(createPrivateKey(pem(keys.pek)))))
    const value = file(Buffer.concat([Buffer.from([0x30, content.length]), content]))
    const verdict = await openssl(
        t,
        'dgst',
        '-sha256',
        '-verify',
        key,
        '-signature',
        value,
        file(report.subarray(0, 52)),
    )
    t.regex(verdict.toString(), /Verified OK/)
})

function derInteger(bytes: Buffer): Buffer {
    let start = 0
    while (bytes[start] === 0) start++
    const rest = bytes.subarray(start)
    const padded = (rest[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.alloc(1), rest]) : rest
    return Buffer.concat([Buffer.from([2, padded.length]), padded])
}
