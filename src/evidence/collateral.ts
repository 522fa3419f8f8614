// Roots, certificates, revocation lists and the vendor's signed statements that an operator keeps in files: read and parsed before anything is judged, so
// that a file that is none of them is a mistake of whoever named it, and no verdict on evidence.
// SPDX-License-Identifier: Apache-2.0

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { AttestError, messageOf } from '#core/errors.ts'
import { fileError, readFolder, readInput } from '#core/files.ts'
import { isRevocationList, parseCertificates, parseRevocationList } from '#core/x509.ts'
import { evidenceError } from './errors.ts'
import type { NamedBytes, Trust, Verifier } from './verifier.ts'

/** RFC 8259 §2. */
const JSON_SPACE = Buffer.from(' \t\n\r')

const FILE_NAME = /\.(?:pem|crt|cer|der|crl|json)$/i

export type Collateral = Pick<Trust, 'certificates' | 'revocationLists' | 'statements'>

/**
 * PEM, DER and JSON files of a folder in the order of their names, or one file; told apart by what is in them.
 * @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE, ERR_EVIDENCE_TRUST
 */
export function readCollateral(path: string | undefined): Collateral {
    return sortCollateral(path === undefined ? [] : collateralFiles(path).map(readNamed))
}

/**
 * What can be read of a path, for whoever replaces files there: what is broken must not keep away its own successor. To
 * judge by, there is `readCollateral`.
 * @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE
 */
export function readableCollateral(path: string): Collateral {
    const read = (name: string): NamedBytes[] => {
        try {
            const file = readNamed(name)
            sortCollateral([file])
            return [file]
        } catch (error) {
            if (error instanceof AttestError) return []
            throw error
        }
    }
    return sortCollateral(collateralFiles(path).flatMap(read))
}

const readNamed = (name: string): NamedBytes => ({ name, bytes: readInput(name) })

/** Tells files apart by what is in them. @throws AttestError ERR_EVIDENCE_TRUST */
export function sortCollateral(files: readonly NamedBytes[]): Collateral {
    const statements = files.filter(isJson)
    const others = files.filter((file) => !isJson(file))
    const lists = new Set(others.filter((file) => expect(file, 'a certificate or a revocation list', isList)))
    return { certificates: others.filter((file) => !lists.has(file)), revocationLists: [...lists], statements }
}

/** The files that `readCollateral` reads. @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE */
export function collateralFiles(path: string): string[] {
    if (!isFolder(path)) return [path]
    return readFolder(path)
        .filter((name) => FILE_NAME.test(name))
        .map((name) => join(path, name))
}

/** A file of one certificate (DER) or several (PEM). @throws AttestError as `readCollateral` */
export function readCertificates(path: string): NamedBytes {
    const file = { name: path, bytes: readInput(path) }
    expect(file, 'a certificate', ({ bytes, name }) => parseCertificates(bytes, name))
    return file
}

/** Each file must be a root of one of the technologies. @throws AttestError ERR_EVIDENCE_TRUST */
export function checkRoots(roots: readonly NamedBytes[], verifiers: readonly Verifier[]): void {
    for (const root of roots) {
        if (verifiers.some((verifier) => verifier.takesRoot(root))) continue
        const names = parseCertificates(root.bytes, root.name).map(({ subjectCn }) => subjectCn)
        throw evidenceError('ERR_EVIDENCE_TRUST', `${root.name}: ${names.join(', ')} is no root that may vouch`, {
            hint: `expected: ${verifiers.map(({ roots }) => roots).join(', or ')}`,
        })
    }
}

// The plugin that knows the statement reads it; here it is told apart from certificates alone.
const isJson = ({ bytes }: NamedBytes): boolean => bytes.find((byte) => !JSON_SPACE.includes(byte)) === 0x7b

function isList({ bytes, name }: NamedBytes): boolean {
    const is = isRevocationList(bytes, name)
    if (is) parseRevocationList(bytes, name)
    else parseCertificates(bytes, name)
    return is
}

function expect<T>(file: NamedBytes, what: string, read: (file: NamedBytes) => T): T {
    try {
        return read(file)
    } catch (cause) {
        if (!(cause instanceof AttestError)) throw cause
        const got = file.bytes.length === 0 ? `${file.name}: an empty file` : messageOf(cause)
        throw evidenceError('ERR_EVIDENCE_TRUST', `${got}; expected ${what}, as PEM or DER`, { cause })
    }
}

function isFolder(path: string): boolean {
    try {
        return statSync(path).isDirectory()
    } catch (cause) {
        throw fileError(path, cause)
    }
}
