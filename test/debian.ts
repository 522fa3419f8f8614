// Files of Debian packages: installed, unpacked by peers/install.sh, or unpacked (dpkg-deb -x) into the folders that
// GUEST_ATTEST_DEBIAN names. Which of several is the one that a vector is about, its digest says.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** A folder for each package. */
const UNPACKED = '/var/lib/guest-attest-peers'

const ROOTS: readonly string[] = [
    '/',
    ...(process.env['GUEST_ATTEST_DEBIAN'] ?? '').split(':').filter(Boolean),
    ...listed(UNPACKED),
]

/** Wherever this path of a package is. */
export const debianFiles = (path: string): string[] =>
    ROOTS.map((root) => join(root, path)).filter((file) => existsSync(file))

/** Kernels of Debian. */
export const debianKernels = (): string[] =>
    ROOTS.flatMap((root) => listed(join(root, 'boot'))).filter((path) => /\/vmlinuz-[^/]+$/.test(path))

function listed(folder: string): string[] {
    return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []
}
