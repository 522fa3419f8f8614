// A folder of collateral: plain files that `readCollateral` reads and everybody may read, each replaced as a whole. What is
// in it is signed, and was verified before it came here.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { equalBytes } from '#core/bytes.ts'
import { coreError, errnoOf } from '#core/errors.ts'
import { makeFolder, writeFileAtomic } from '#core/files.ts'
import { type Collateral, readableCollateral, sortCollateral } from './collateral.ts'
import type { CollateralFile } from './collateral-service.ts'

const NOTHING: Collateral = { certificates: [], revocationLists: [], statements: [] }

/**
 * What can be read of what is there; nothing where there is no such folder. It is for those who replace it: to judge by,
 * there is `readCollateral`, which refuses a folder with a file that cannot be read.
 * @throws AttestError ERR_FILE_KIND, ERR_FILE
 */
export function readCollateralFolder(folder: string): Collateral {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === false)
        throw coreError('ERR_FILE_KIND', `${folder}: a file stands where a folder was expected`)
    try {
        return readableCollateral(folder)
    } catch (error) {
        if (errnoOf(error) === 'ERR_NOT_FOUND_FILE') return NOTHING
        throw error
    }
}

/**
 * Writes them in their order: a reader between two of them has certificates before what they vouch for. What is there
 * already is not written again, and nothing is where one of them is not what `readCollateral` reads.
 * @returns the names of those that are new
 * @throws AttestError ERR_FILE_KIND, ERR_FILE, ERR_EVIDENCE_TRUST
 */
export function writeCollateralFolder(folder: string, files: readonly CollateralFile[]): string[] {
    sortCollateral(files)
    makeFolder(folder, 0o755)
    const changed = files.filter(({ name, bytes }) => !isThere(join(folder, name), bytes))
    for (const { name, bytes } of changed) writeFileAtomic(join(folder, name), bytes, 0o644)
    return changed.map(({ name }) => name)
}

function isThere(path: string, bytes: Buffer): boolean {
    try {
        return equalBytes(readFileSync(path), bytes)
    } catch {
        return false
    }
}
