// The options that name the certificates of a platform, shared by the commands that judge one.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import { sevOwner } from '#plugins.ts'
import { many } from '../command.ts'
import { requireNewFile } from '../options/new-file.ts'
import { note } from '../term.ts'
import { askCek, CHIP_ID_SIZE } from './cek.ts'
import { readCertificate } from './certificate.ts'
import { readBlob, readSized } from './inputs.ts'

export const PLATFORM_OPTIONS = {
    'cert-chain': many(
        'certificates in any order: the host’s cert-chain (PEK, OCA, CEK), an export of sevctl, AMD’s ask_ark; raw or base64; may be repeated',
    ),
    cek: { type: 'string', describe: 'the chip’s certificate with AMD’s signature: hosts export it without' },
    'chip-id': { type: 'string', describe: 'or the chip’s id (hex, b64:… or @FILE): AMD’s service is asked for it' },
    'save-cek': { type: 'string', describe: 'keep what that service answers in this new file, for --cek' },
    'cek-service': { type: 'string', describe: 'another service that answers like AMD’s' },
    owner: { type: 'string', describe: 'the certificate (OCA) of whoever must own the platform' },
    'trust-root': many('trust this ARK instead of AMD’s: an emulator’s, a laboratory’s'),
} as const

interface NamedBytes {
    readonly name: string
    readonly bytes: Buffer
}

export interface PlatformArgs {
    readonly pdh?: string | undefined
    readonly certChain: readonly string[]
    readonly cek?: string | undefined
    readonly chipId?: string | undefined
    readonly saveCek?: string | undefined
    readonly cekService?: string | undefined
    readonly owner?: string | undefined
    readonly trustRoot: readonly string[]
}

/**
 * The certificates that were named, or that evidence brought, and what they are judged by.
 * @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE, ERR_SEV_CERTIFICATE, what askCek throws
 */
export async function readPlatform(args: PlatformArgs, brought: readonly NamedBytes[] = []) {
    const { readChain } = await sevOwner()
    const { pdh, certChain, cek, chipId, saveCek, cekService, owner, trustRoot } = args
    if (saveCek !== undefined && chipId === undefined)
        throw coreError('ERR_USAGE', '--save-cek keeps what --chip-id asks for')
    if (saveCek !== undefined) requireNewFile(saveCek, '--save-cek')
    const id = chipId === undefined ? undefined : readSized(chipId, '--chip-id', CHIP_ID_SIZE)
    const named = [
        ...(cek === undefined ? [] : [{ name: cek, bytes: await readCertificate(cek, '--cek', 'cek') }]),
        ...(pdh === undefined ? [] : [{ name: pdh, bytes: await readCertificate(pdh, '--pdh', 'pdh') }]),
        ...certChain.map((name) => ({ name, bytes: readBlob(name) })),
    ]
    const blobs = [...named, ...brought]
    if (blobs.length === 0) throw coreError('ERR_USAGE', 'no certificate was named: --cert-chain')
    const certificateOf = async (name: string, option: string, kind: 'ark' | 'oca') =>
        readChain([{ name, bytes: await readCertificate(name, option, kind) }])
    const anchors = await Promise.all(trustRoot.map((name) => certificateOf(name, '--trust-root', 'ark')))
    const roots = anchors.flatMap(({ ark }) => ark ?? [])
    const { oca } = owner === undefined ? {} : await certificateOf(owner, '--owner', 'oca')
    readChain(blobs) // whatever is wrong with them is said before anybody is asked
    const fetched = id ? [{ name: cekService ?? 'AMD’s service', bytes: await askCek(id, cekService) }] : []
    const files = readChain([...fetched, ...blobs])
    if (saveCek !== undefined && fetched[0]) {
        createFile(saveCek, fetched[0].bytes, 0o644)
        note(`the chip’s certificate is in ${saveCek}`)
    }
    return { files, trust: { ...(roots.length > 0 ? { roots } : {}), ...(oca ? { owner: oca } : {}) } }
}
