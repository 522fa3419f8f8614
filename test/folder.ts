// Temporary folders of tests and benchmarks.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Whatever runs something when it ends: a test, or a stack of things to put away. */
export interface Ending {
    teardown(end: () => unknown): void
}

/** A folder that goes when the test ends. */
export function temporaryFolder(ending: Ending): string {
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-'))
    ending.teardown(() => rmSync(folder, { recursive: true, force: true }))
    return folder
}
