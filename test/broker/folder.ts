// Temporary folders of broker tests.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A folder that goes when the test ends. */
export function temporaryFolder(t: { teardown(end: () => unknown): void }): string {
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    return folder
}
