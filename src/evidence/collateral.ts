// Certificates and revocation lists that an operator keeps in a folder, or in one file.
// SPDX-License-Identifier: Apache-2.0

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { coreError, errnoOf, messageOf } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { isRevocationList } from '#core/x509.ts'
import type { NamedBytes, Trust } from './verifier.ts'

const FILE_NAME = /\.(?:pem|crt|cer|der|crl)$/i

/**
 * PEM and DER files of a folder in the order of their names, or one file; told apart by what is in them.
 * @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE, ERR_CERTIFICATE
 */
export function readCollateral(path: string | undefined): Pick<Trust, 'certificates' | 'revocationLists'> {
    const files = path === undefined ? [] : filesOf(path)
    const lists = new Set(files.filter(({ name, bytes }) => isRevocationList(bytes, name)))
    return { certificates: files.filter((file) => !lists.has(file)), revocationLists: [...lists] }
}

function filesOf(path: string): NamedBytes[] {
    try {
        if (!statSync(path).isDirectory()) return [{ name: path, bytes: readInput(path) }]
        return readdirSync(path)
            .filter((name) => FILE_NAME.test(name))
            .toSorted()
            .map((name) => ({ name: join(path, name), bytes: readInput(join(path, name)) }))
    } catch (cause) {
        if (errnoOf(cause)?.startsWith('ERR_')) throw cause
        if (errnoOf(cause) === 'ENOENT') throw coreError('ERR_NOT_FOUND_FILE', `${path}: no such file or folder`)
        throw coreError('ERR_FILE', `${path}: ${messageOf(cause)}`, { cause })
    }
}
