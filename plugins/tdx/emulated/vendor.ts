// The vendor and the platform of an emulated TD, and the folder that keeps both (`emulate --trust-dir`): emulators with
// one folder live on one platform, whose certificates a verifier that trusts its root accepts.
//   root.pem       what a verifier is told to trust
//   collateral/    and what it needs beside that: the revocation lists, and a bundle of everything
//   private/       the keys, certificates, and what makes the platform (version 1 of this format)
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey, type KeyObject, randomBytes } from 'node:crypto'
import { join, resolve } from 'node:path'
import * as z from 'zod/mini'
import { fromHex, toHex } from '#core/bytes.ts'
import { DAY_MS } from '#core/dates.ts'
import { coreError } from '#core/errors.ts'
import { readInput, writeFileAtomic } from '#core/files.ts'
import { parseJson } from '#core/json.ts'
import { certificatePem } from '#core/mint.ts'
import { type NewFile, namesIn, writeNewFolder } from '#core/new-folder.ts'
import { shape } from '#core/schema.ts'
import { parseCertificates, parseRevocationList } from '#core/x509.ts'
import type { MintedPlatform, VendorCertificates, VendorKeys } from '../mint/mint.ts'

export interface EmulatedVendor {
    readonly keys: VendorKeys
    readonly certificates: VendorCertificates
    readonly platform: MintedPlatform
    /** What the platform's TDX module makes the MACs of its reports with. */
    readonly secret: Buffer
}

export interface VendorOptions {
    /** Absent: a new vendor, which is not written anywhere. */
    readonly folder?: string | undefined
    readonly now: Date
    readonly progress: (text: string) => void
}

const ROLES = ['root', 'platform', 'tcbSigning', 'pck'] as const
const KEY_ROLES = [...ROLES, 'attestation'] as const

const ROOT_FILE = 'root.pem'
const BUNDLE_FILE = 'collateral/bundle.json'
const LIST_FILES = { root: 'collateral/root-crl.der', pck: 'collateral/pck-crl.der' } as const
const PLATFORM_FILE = 'private/platform.json'
const keyFile = (role: string) => `private/${role}.key`
const certificateFile = (role: string) => `private/${role}.pem`

/** Lists and statements that hold for less than this are made anew. */
const RENEW_MS = 30 * DAY_MS

const PLATFORM = z.strictObject({
    version: z.literal(1),
    ppid: z.string(),
    platformInstanceId: z.string(),
    secret: z.string(),
})

/** @throws AttestError ERR_USAGE, ERR_FILE, ERR_JSON, ERR_CERTIFICATE */
export async function openVendor(options: VendorOptions): Promise<EmulatedVendor> {
    const folder = options.folder === undefined ? undefined : resolve(options.folder)
    const found = folder === undefined ? null : await readVendor(folder, options)
    if (found) return found
    const made = await makeVendor(options)
    if (folder === undefined || (await writeVendor(folder, made, options.now))) return made
    // Another emulator was faster: its vendor is the one of this folder.
    const other = await readVendor(folder, options)
    if (other) return other
    throw notOurs(folder)
}

async function makeVendor({ now, progress }: VendorOptions): Promise<EmulatedVendor> {
    progress('making the keys of an emulated vendor')
    const { generateVendorKeys, mintChain } = await import('../mint/mint.ts')
    const platform = await platformOf(randomBytes(16), randomBytes(16))
    const keys = await generateVendorKeys()
    return { keys, certificates: await mintChain(keys, platform, now), platform, secret: randomBytes(32) }
}

async function platformOf(ppid: Buffer, platformInstanceId: Buffer): Promise<MintedPlatform> {
    const { DEFAULT_PLATFORM } = await import('../mint/mint.ts')
    return { ...DEFAULT_PLATFORM, ppid, platformInstanceId }
}

// Null: no such folder, or an empty one.
async function readVendor(folder: string, { now }: VendorOptions): Promise<EmulatedVendor | null> {
    const names = namesIn(folder, `--trust-dir ${folder}`)
    if (names.length === 0) return null
    if (!names.includes('private') || !names.includes(ROOT_FILE)) throw notOurs(folder)
    const path = (name: string) => join(folder, name)
    const file = path(PLATFORM_FILE)
    const row = shape(PLATFORM, parseJson(readInput(file), { title: file }), file)
    const vendor = {
        keys: byRole(KEY_ROLES, (role) => readKey(path(keyFile(role)))),
        certificates: byRole(ROLES, (role) => readCertificate(path(certificateFile(role)))),
        platform: await platformOf(fromHex(row.ppid, 'ppid', 16), fromHex(row.platformInstanceId, 'instance', 16)),
        secret: fromHex(row.secret, 'secret', 32),
    }
    // All of it was made at the same time.
    const { nextUpdate } = parseRevocationList(readInput(path(LIST_FILES.root)), path(LIST_FILES.root))
    if ((nextUpdate?.getTime() ?? 0) < now.getTime() + RENEW_MS)
        for (const { path: name, bytes, mode } of await collateral(vendor, now))
            writeFileAtomic(path(name), bytes, mode)
    return vendor
}

function readKey(path: string): KeyObject {
    const pem = readInput(path)
    try {
        return createPrivateKey(pem)
    } catch (cause) {
        throw coreError('ERR_FILE', `${path}: not a private key`, { cause })
    }
}

function readCertificate(path: string): Buffer {
    const [certificate] = parseCertificates(readInput(path), path)
    if (certificate) return certificate.der
    throw coreError('ERR_CERTIFICATE', `${path}: no certificate`)
}

async function writeVendor(folder: string, vendor: EmulatedVendor, now: Date): Promise<boolean> {
    const { keys, certificates, platform, secret } = vendor
    const row = {
        version: 1,
        ppid: toHex(platform.ppid),
        platformInstanceId: toHex(platform.platformInstanceId),
        secret: toHex(secret),
    }
    const files: NewFile[] = [
        { path: ROOT_FILE, bytes: certificatePem(certificates.root), mode: 0o644 },
        ...(await collateral(vendor, now)),
        ...KEY_ROLES.map((role) => ({
            path: keyFile(role),
            bytes: keys[role].export({ type: 'pkcs8', format: 'pem' }),
            mode: 0o600,
        })),
        ...ROLES.map((role) => ({
            path: certificateFile(role),
            bytes: certificatePem(certificates[role]),
            mode: 0o644,
        })),
        { path: PLATFORM_FILE, bytes: `${JSON.stringify(row)}\n`, mode: 0o600 },
    ]
    return writeNewFolder(folder, { private: 0o700, collateral: 0o755 }, files, `--trust-dir ${folder}`)
}

// What a verifier needs beside the root: the lists also as files of their own, in their usual form.
async function collateral({ keys, certificates, platform }: EmulatedVendor, now: Date): Promise<NewFile[]> {
    const { mintLists } = await import('../mint/mint.ts')
    const { bundle, qeIdentity, signStatement, tcbInfo } = await import('../mint/statements.ts')
    const lists = await mintLists(keys, now)
    const info = signStatement(tcbInfo(now, { platform }), keys.tcbSigning)
    const identity = signStatement(qeIdentity(now), keys.tcbSigning)
    const all = bundle(certificates, lists, info, identity)
    return [
        { path: BUNDLE_FILE, bytes: `${JSON.stringify(all, null, 4)}\n`, mode: 0o644 },
        { path: LIST_FILES.pck, bytes: lists.pck, mode: 0o644 },
        // The last one, because its age says whether to make them anew.
        { path: LIST_FILES.root, bytes: lists.root, mode: 0o644 },
    ]
}

const byRole = <R extends string, T>(roles: readonly R[], value: (role: R) => T): Record<R, T> =>
    Object.fromEntries(roles.map((role) => [role, value(role)])) as Record<R, T>

const notOurs = (folder: string) =>
    coreError('ERR_USAGE', `--trust-dir ${folder}: holds other files, and no emulated vendor of TDX`, {
        hint: 'name a folder that is empty or does not exist yet',
    })
