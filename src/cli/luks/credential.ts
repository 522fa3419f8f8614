// A credential on the command line: its file, and what it is used at.
// SPDX-License-Identifier: Apache-2.0

import { wipe } from '#core/bytes.ts'
import { readInput } from '#core/files.ts'
import { type Credential, parseCredential } from '#kbs/credential.ts'
import { type Enrolling, enrolling } from '#kbs/enroll.ts'
import { requireAnchor } from '#unlock/anchors.ts'
import type { ReleaseDeps } from '#unlock/release.ts'
import type { Target } from './target.ts'

/** At the first broker of a target: the others have their keys from it. @throws AttestError ERR_UNLOCK_NOT_ANCHORED, ERR_UNLOCK_PATH */
export function enrollAt({ servers, path }: Target, deps: ReleaseDeps, credential: Credential): Enrolling {
    const [server = ''] = servers
    const { origin, trust } = requireAnchor(deps.anchors, server, path)
    const { requestTimeoutMs, deadlineMs, dial } = deps
    return enrolling({ origin, trust }, credential, { signal: AbortSignal.timeout(deadlineMs), requestTimeoutMs, dial })
}

/** @throws AttestError ERR_KBS_CREDENTIAL_FILE, ERR_NOT_FOUND_FILE */
export function readCredential(file: string): Credential {
    const text = readInput(file, 1024)
    try {
        return parseCredential(text, file)
    } finally {
        wipe(text)
    }
}
