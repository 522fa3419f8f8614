// A file that must hold evidence, beside what a command is about: what it holds instead is a mistake of whoever named it.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { MAX_EVIDENCE_BYTES, type Recognised, recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { PLUGINS } from '#plugins.ts'

/** The bytes, and what they are: nothing of it is verified. @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE, ERR_FILE */
export async function readEvidenceFile(path: string): Promise<Recognised & { readonly bytes: Buffer }> {
    const bytes = readInput(path, MAX_EVIDENCE_BYTES)
    const verifiers = await Promise.all(PLUGINS.map((plugin) => plugin.verifier(STRICT_TRUST)))
    try {
        return { ...recognise(bytes, verifiers), bytes }
    } catch (cause) {
        if (!(cause instanceof AttestError)) throw cause
        throw coreError('ERR_USAGE', `${path}: ${cause.message}`, { cause, hint: cause.hint })
    }
}
