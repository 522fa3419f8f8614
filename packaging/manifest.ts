// The build's manifest: every file that went in and came out, by its digest. Two people who build the same see it here,
// and where they do not, which input it is.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import type { Metafile } from 'esbuild'
import packageJson from '#package.json' with { type: 'json' }
import { ROOT } from './bundle.ts'
import { must } from './command.ts'

export interface FileDigest {
    readonly path: string
    readonly sha256: string
}

export interface Inputs {
    readonly metafiles: readonly Metafile[]
    readonly runtime: string
    /** Further files that go in as they are. */
    readonly files: readonly string[]
    readonly epoch: number
}

/** The file as it is known by: below the project, or by its name alone. */
export function digestOf(path: string, base = ROOT): FileDigest {
    const below = relative(base, resolve(base, path))
    return {
        path: below.startsWith('..') ? (path.split('/').at(-1) ?? path) : below,
        sha256: createHash('sha256')
            .update(readFileSync(resolve(base, path)))
            .digest('hex'),
    }
}

/** The document; `out` is the folder of the build, whose files are its outputs. */
export function manifest({ metafiles, runtime, files, epoch }: Inputs, out: string): object {
    const sources = new Set(metafiles.flatMap(({ inputs }) => Object.keys(inputs)).filter(isFile))
    return {
        name: packageJson.name,
        version: packageJson.version,
        sourceDateEpoch: epoch,
        tools: {
            node: must(runtime, ['-p', 'process.versions.node']).trim(),
            esbuild: packageJson.devDependencies.esbuild,
            strip: must('strip', ['--version']).split('\n')[0],
        },
        inputs: {
            runtime: digestOf(runtime).sha256,
            files: table([...sources, 'package-lock.json', ...files].map((path) => digestOf(path))),
        },
        outputs: table(
            readdirSync(out, { recursive: true, encoding: 'utf8' })
                .filter((name) => lstatSync(join(out, name)).isFile())
                .map((name) => digestOf(name, out)),
        ),
    }
}

// The modules that esbuild and our plugins make up have no file.
const isFile = (path: string): boolean => lstatSync(join(ROOT, path), { throwIfNoEntry: false })?.isFile() ?? false

const table = (digests: readonly FileDigest[]): Record<string, string> =>
    Object.fromEntries(
        digests.map(({ path, sha256 }) => [path, sha256] as const).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    )
