// The packages that programs and libraries need: those of the libraries that they name, with the newest symbol version
// that they ask of each.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { must } from '../command.ts'

/** Debian's package for each library, and by which symbols its version is told. */
const LIBRARIES: Readonly<Record<string, { readonly name: string; readonly symbols?: RegExp }>> = {
    'libc.so.6': { name: 'libc6', symbols: /^GLIBC_(\d[\d.]*)$/ },
    'libm.so.6': { name: 'libc6', symbols: /^GLIBC_(\d[\d.]*)$/ },
    'libdl.so.2': { name: 'libc6', symbols: /^GLIBC_(\d[\d.]*)$/ },
    'libpthread.so.0': { name: 'libc6', symbols: /^GLIBC_(\d[\d.]*)$/ },
    'ld-linux-x86-64.so.2': { name: 'libc6', symbols: /^GLIBC_(\d[\d.]*)$/ },
    'ld-linux-aarch64.so.1': { name: 'libc6', symbols: /^GLIBC_(\d[\d.]*)$/ },
    'libstdc++.so.6': { name: 'libstdc++6' },
    'libgcc_s.so.1': { name: 'libgcc-s1' },
    'libatomic.so.1': { name: 'libatomic1' },
}

// The release of GCC that brought a version of its symbols is that of the package.
const GCC_OF: Readonly<Record<string, string>> = {
    'GLIBCXX_3.4.28': '9.3',
    'GLIBCXX_3.4.29': '11',
    'GLIBCXX_3.4.30': '12',
    'GLIBCXX_3.4.31': '13.1',
    'GLIBCXX_3.4.32': '13.2',
}

/** `libatomic1, libc6 (>= 2.28), …`. @throws Error for a library that the table does not have */
export function neededPackages(files: readonly string[]): string {
    const versions = new Map<string, string>()
    const raise = (name: string, version: string) => {
        if (compare(version, versions.get(name) ?? '') > 0) versions.set(name, version)
    }
    for (const path of files.filter(isElf)) {
        const text = must('objdump', ['-p', path])
        for (const [, library = ''] of text.matchAll(/^ +NEEDED +(\S+)$/gm)) {
            const row = LIBRARIES[library]
            if (!row) throw new Error(`${path} needs ${library}: no package is known for it`)
            if (!versions.has(row.name)) versions.set(row.name, '')
        }
        for (const [, library = '', symbols = ''] of text.matchAll(/^ +required from (\S+):\n((?: +0x.*\n?)*)/gm))
            for (const [, symbol = ''] of symbols.matchAll(/ (\S+)$/gm)) {
                const row = LIBRARIES[library]
                const version = row?.symbols?.exec(symbol)?.[1] ?? GCC_OF[symbol]
                if (row && version) raise(row.name, version)
            }
    }
    return [...versions]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, version]) => (version ? `${name} (>= ${version})` : name))
        .join(', ')
}

const isElf = (path: string): boolean => readFileSync(path).subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'))

function compare(a: string, b: string): number {
    const [as, bs] = [a, b].map((text) => text.split('.').map(Number)) as [number[], number[]]
    for (let i = 0; i < Math.max(as.length, bs.length); i++) {
        const difference = (as[i] ?? 0) - (bs[i] ?? 0)
        if (difference !== 0) return difference
    }
    return 0
}
