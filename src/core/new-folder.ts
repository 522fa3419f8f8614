// Folders that appear whole or not at all: emulated vendors keep their keys in one.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { toHex } from './bytes.ts'
import { errnoOf } from './errors.ts'
import { createFile, fileError, syncFolder } from './files.ts'

/** A file by its path in the folder, whose own folder is one of `folders`. */
export interface NewFile {
    readonly path: string
    readonly bytes: Uint8Array | string
    readonly mode: number
}

/**
 * Makes a folder with these files in place of none or of an empty one, and the folders above it.
 * @param folders those in it, with their modes
 * @param title what errors call it
 * @returns false where a folder with files has appeared there meanwhile
 * @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE
 */
export function writeNewFolder(
    folder: string,
    folders: Readonly<Record<string, number>>,
    files: readonly NewFile[],
    title: string,
): boolean {
    const temporary = `${folder}.new-${toHex(randomBytes(6))}`
    try {
        mkdirSync(dirname(folder), { recursive: true })
        mkdirSync(temporary, { mode: 0o755 })
        for (const [name, mode] of Object.entries(folders)) mkdirSync(join(temporary, name), { mode })
        for (const { path, bytes, mode } of files) createFile(join(temporary, path), bytes, mode)
        renameSync(temporary, folder)
        syncFolder(dirname(folder))
        return true
    } catch (cause) {
        rmSync(temporary, { recursive: true, force: true })
        if (errnoOf(cause) === 'ENOTEMPTY' || errnoOf(cause) === 'EEXIST') return false
        throw fileError(title, cause)
    }
}

/** The names in a folder; none where there is no such folder. @throws AttestError ERR_FILE_KIND, ERR_FILE */
export function namesIn(folder: string, title: string): string[] {
    try {
        return readdirSync(folder)
    } catch (cause) {
        if (errnoOf(cause) === 'ENOENT') return []
        throw fileError(title, cause)
    }
}
