// The vendor and the chip of an emulated guest, and the folder that keeps both (`emulate --trust-dir`): emulators with
// one folder live on one chip, whose certificates a verifier that trusts its root accepts.
//   ark.pem ask.pem vcek.pem crl.der    what a verifier needs
//   private/                            the keys, and what makes the chip (version 1 of this format)
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { join, resolve } from 'node:path'
import * as z from 'zod/mini'
import { fromHex, toHex } from '#core/bytes.ts'
import { DAY_MS } from '#core/dates.ts'
import { coreError } from '#core/errors.ts'
import { readInput, writeFileAtomic } from '#core/files.ts'
import { parseJson } from '#core/json.ts'
import { certificatePem } from '#core/mint.ts'
import { namesIn, writeNewFolder } from '#core/new-folder.ts'
import { shape } from '#core/schema.ts'
import { parseRevocationList } from '#core/x509.ts'
import { GENERATIONS, type GenerationName, isGeneration } from '../generations.ts'
import type { VendorCertificates, VendorKeys } from '../mint.ts'
import { PRODUCT_LINES } from '../tcb.ts'

export interface EmulatedVendor {
    readonly generation: GenerationName
    /** CHIP_ID: 64 bytes, of which Turin uses 8. */
    readonly chipId: Buffer
    /** What the chip derives the keys of its guests from. */
    readonly secret: Buffer
    /** The VCEK. */
    readonly signingKey: KeyObject
    readonly certificates: VendorCertificates
}

export interface VendorOptions {
    /** Absent: a new vendor, which is not written anywhere. */
    readonly folder?: string | undefined
    /** Absent: that of the folder, or Milan. */
    readonly generation?: string | undefined
    readonly now: Date
    readonly progress: (text: string) => void
}

const DEFAULT_GENERATION: GenerationName = 'milan'

const CHIP_FILE = 'private/chip.json'
const KEY_FILES = { ark: 'private/ark.key', ask: 'private/ask.key', vcek: 'private/vcek.key' } as const
const CERTIFICATE_FILES = { ark: 'ark.pem', ask: 'ask.pem', vcek: 'vcek.pem' } as const
const LIST_FILE = 'crl.der'

/** A revocation list that holds for less than this is made anew. */
const RENEW_MS = 30 * DAY_MS

const CHIP = z.strictObject({
    version: z.literal(1),
    generation: z.enum(Object.keys(GENERATIONS) as [GenerationName, ...GenerationName[]]),
    chipId: z.string(),
    secret: z.string(),
})

/** @throws AttestError ERR_USAGE, ERR_FILE, ERR_JSON */
export async function openVendor(options: VendorOptions): Promise<EmulatedVendor> {
    const { generation } = options
    if (generation !== undefined && !isGeneration(generation))
        throw coreError(
            'ERR_USAGE',
            `--generation: expected one of ${Object.keys(GENERATIONS).join(', ')}, got ${JSON.stringify(generation)}`,
        )
    const folder = options.folder === undefined ? undefined : resolve(options.folder)
    const found = folder === undefined ? null : await readVendor(folder, options)
    if (found) return found
    const made = await makeVendor(generation ?? DEFAULT_GENERATION, options)
    if (folder === undefined) return made.vendor
    if (writeVendor(folder, made)) return made.vendor
    // Another emulator was faster: its vendor is the one of this folder.
    const other = await readVendor(folder, options)
    if (other) return other
    throw notOurs(folder)
}

interface MadeVendor {
    readonly vendor: EmulatedVendor
    readonly keys: VendorKeys
    readonly list: Buffer
}

async function makeVendor(generation: GenerationName, { now, progress }: VendorOptions): Promise<MadeVendor> {
    progress('making the keys of an emulated vendor (two of RSA-4096)')
    const { generateVendorKeys, mintChain, mintList } = await import('../mint.ts')
    const row = GENERATIONS[generation]
    const keys = await generateVendorKeys()
    const chipId = Buffer.alloc(64)
    randomBytes(PRODUCT_LINES[row.line].chipIdSize).copy(chipId)
    const certificates = await mintChain(row, keys, chipId, now)
    const vendor = { generation, chipId, secret: randomBytes(32), signingKey: keys.vcek, certificates }
    return { vendor, keys, list: await mintList(row, keys, now) }
}

// Null: no such folder, or an empty one.
async function readVendor(folder: string, { generation, now }: VendorOptions): Promise<EmulatedVendor | null> {
    const names = namesIn(folder, `--trust-dir ${folder}`)
    if (names.length === 0) return null
    if (!names.includes('private')) throw notOurs(folder)
    const read = (name: string) => readInput(join(folder, name))
    const chip = shape(CHIP, parseJson(read(CHIP_FILE), { title: join(folder, CHIP_FILE) }), join(folder, CHIP_FILE))
    if (generation !== undefined && generation !== chip.generation)
        throw coreError('ERR_USAGE', `--generation ${generation}: the chip of ${folder} is a ${chip.generation}`, {
            hint: 'another generation needs a folder of its own',
        })
    const key = (role: keyof VendorKeys) => createPrivateKey(read(KEY_FILES[role]))
    const certificate = (role: keyof VendorCertificates) => new X509Certificate(read(CERTIFICATE_FILES[role])).raw
    const list = parseRevocationList(read(LIST_FILE), join(folder, LIST_FILE))
    if ((list.nextUpdate?.getTime() ?? 0) < now.getTime() + RENEW_MS) {
        const { mintList } = await import('../mint.ts')
        const keys = { ark: key('ark'), ask: key('ask'), vcek: key('vcek') }
        writeFileAtomic(join(folder, LIST_FILE), await mintList(GENERATIONS[chip.generation], keys, now), 0o644)
    }
    return {
        generation: chip.generation,
        chipId: fromHex(chip.chipId, 'chipId', 64),
        secret: fromHex(chip.secret, 'secret', 32),
        signingKey: key('vcek'),
        certificates: { ark: certificate('ark'), ask: certificate('ask'), vcek: certificate('vcek') },
    }
}

// False where somebody else's has appeared.
function writeVendor(folder: string, { vendor, keys, list }: MadeVendor): boolean {
    const { generation, chipId, secret, certificates } = vendor
    const chip = { version: 1, generation, chipId: toHex(chipId), secret: toHex(secret) }
    const roles = ['ark', 'ask', 'vcek'] as const
    const files = [
        ...roles.flatMap((role) => [
            { path: KEY_FILES[role], bytes: keys[role].export({ type: 'pkcs8', format: 'pem' }), mode: 0o600 },
            { path: CERTIFICATE_FILES[role], bytes: certificatePem(certificates[role]), mode: 0o644 },
        ]),
        { path: LIST_FILE, bytes: list, mode: 0o644 },
        { path: CHIP_FILE, bytes: `${JSON.stringify(chip)}\n`, mode: 0o600 },
    ]
    return writeNewFolder(folder, { private: 0o700 }, files, `--trust-dir ${folder}`)
}

const notOurs = (folder: string) =>
    coreError('ERR_USAGE', `--trust-dir ${folder}: holds other files, and no emulated vendor`, {
        hint: 'name a folder that is empty or does not exist yet',
    })
