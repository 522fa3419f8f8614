// A certificate that an option names: another kind, or no certificate at all, is what was written wrong there.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, coreError, messageOf } from '#core/errors.ts'
import { sevOwner } from '#plugins.ts'
import { readBlob } from './inputs.ts'

const KINDS = {
    ark: { name: 'ARK', hint: 'a key of AMD’s, or of a root of your own' },
    cek: { name: 'CEK', hint: '`guest-attest sev chain verify --chip-id … --save-cek FILE` fetches it from AMD' },
    oca: { name: 'OCA', hint: 'the certificate of whoever owns the platform, of 2084 bytes' },
    pdh: { name: 'PDH', hint: 'what the host’s QEMU says as pdh, or `sevctl export`, of 2084 bytes' },
} as const

/** The bytes of a file. @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE */
export async function readCertificate(path: string, option: string, kind: keyof typeof KINDS): Promise<Buffer> {
    const { readChain } = await sevOwner()
    const bytes = readBlob(path)
    const { name, hint } = KINDS[kind]
    try {
        if (readChain([{ name: path, bytes }])[kind]) return bytes
    } catch (cause) {
        if (!(cause instanceof AttestError)) throw cause
        throw coreError('ERR_USAGE', `${option}: ${messageOf(cause)}`, {
            cause,
            hint,
        })
    }
    throw coreError('ERR_USAGE', `${option}: ${path} is no ${name}`, { hint })
}

/** A chip’s, with the signature that hosts export it without. @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE */
export async function readSignedCek(path: string): Promise<Buffer> {
    const { readChain } = await sevOwner()
    const bytes = await readCertificate(path, '--cek', 'cek')
    if (readChain([{ name: path, bytes }]).cek?.signatures.length) return bytes
    throw coreError('ERR_USAGE', `--cek: ${path} lacks AMD’s signature`, { hint: KINDS.cek.hint })
}
