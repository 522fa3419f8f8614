// What the executables are made of beside our own sources: the npm packages of which code is in a bundle, the runtime, and
// koffi's library. Versions and digests are those of the lockfile, which npm checked when it brought them.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Metafile } from 'esbuild'
import { ROOT } from './bundle.ts'
import { must } from './command.ts'

export interface Component {
    readonly name: string
    readonly version: string
    /** An SPDX expression. */
    readonly licence: string
    /** Of the package as npm brought it: SHA-512 in hexadecimal. */
    readonly sha512?: string
    /** The text of its licence; empty where it brings none. */
    readonly licenceText: string
}

/** The runtime and the versions of what is linked into it. */
export interface Runtime extends Component {
    readonly parts: Readonly<Record<string, string>>
}

interface Locked {
    readonly version: string
    readonly license?: string
    readonly integrity?: string
}

const LICENCE_FILE = /^(?:licen[cs]e|copying)(?:[.-].*)?$/i

/** Packages that gave code to any of the bundles, by name. */
export function bundledPackages(metafiles: readonly Metafile[], more: readonly string[] = []): Component[] {
    const folders = new Set(more)
    for (const { outputs } of metafiles)
        for (const { inputs } of Object.values(outputs))
            for (const [path, { bytesInOutput }] of Object.entries(inputs)) {
                const folder = /node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]
                if (folder && bytesInOutput > 0) folders.add(folder)
            }
    const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
        packages: Record<string, Locked>
    }
    return [...folders]
        .toSorted((a, b) => (a < b ? -1 : 1))
        .map((folder) => {
            const locked = packages[folder]
            if (!locked?.integrity || !locked.license)
                throw new Error(`${folder}: the lockfile has no digest or no licence of it`)
            return {
                name: folder.replace(/^.*node_modules\//, ''),
                version: locked.version,
                licence: locked.license,
                sha512: Buffer.from(locked.integrity.replace(/^sha512-/, ''), 'base64').toString('hex'),
                licenceText: licenceOf(join(ROOT, folder)),
            }
        })
}

/** The runtime of the executables. */
export function runtimeComponent(path: string): Runtime {
    const { node = '', ...parts } = JSON.parse(must(path, ['-p', 'JSON.stringify(process.versions)'])) as Record<
        string,
        string
    >
    return {
        name: 'node',
        version: node,
        licence: 'MIT',
        licenceText:
            licenceOf(dirname(dirname(path))) || licenceOf(join(ROOT, `node_modules/node-linux-${process.arch}`)),
        parts,
    }
}

function licenceOf(folder: string): string {
    const name = existsSync(folder) ? readdirSync(folder).find((file) => LICENCE_FILE.test(file)) : undefined
    return name === undefined ? '' : readFileSync(join(folder, name), 'utf8')
}
