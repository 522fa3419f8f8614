// Debian packages, made of what packaging/build.ts has built: a folder for each as it will stand on the disk, then
// dpkg-deb. The same inputs give the same bytes.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import {
    chmodSync,
    cpSync,
    existsSync,
    lstatSync,
    lutimesSync,
    mkdirSync,
    mkdtempSync,
    readdirSync,
    readFileSync,
    rmSync,
    symlinkSync,
    writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { gzipSync } from 'node:zlib'
import packageJson from '#package.json' with { type: 'json' }
import { ROOT } from '../bundle.ts'
import { must } from '../command.ts'
import type { Component } from '../components.ts'
import { controlFile } from './control.ts'
import { changelog, copyright, overrides } from './documents.ts'
import { neededPackages } from './needs.ts'
import { type DebPackage, PACKAGES } from './packages.ts'

/** Upstream's version, and the first packaging of it. */
export const DEB_VERSION = `${packageJson.version}-1`

/** Of dpkg-deb: xz is a third smaller, and takes minutes. */
export type Compression = 'zstd' | 'xz'

export interface DebOptions {
    /** The folder of packaging/build.ts. */
    readonly dist: string
    readonly out: string
    /** Seconds since 1970: the time of every file in them. */
    readonly epoch: number
    readonly compression: Compression
    /** What the executables are made of. */
    readonly packages: readonly Component[]
    readonly runtime: Component
}

/** Makes every package; returns their paths. */
export function buildDebs(options: DebOptions): string[] {
    const { out, epoch, compression } = options
    mkdirSync(out, { recursive: true })
    return PACKAGES.map((each) => {
        const stage = mkdtempSync(join(tmpdir(), 'guest-attest-deb-'))
        try {
            const architecture = each.architecture === 'all' ? 'all' : debianArchitecture()
            fill(each, stage, architecture, options)
            const path = join(out, `${each.name}_${DEB_VERSION}_${architecture}.deb`)
            rmSync(path, { force: true })
            must('dpkg-deb', ['--root-owner-group', `-Z${compression}`, '--build', stage, path], {
                SOURCE_DATE_EPOCH: String(epoch),
            })
            return path
        } finally {
            rmSync(stage, { recursive: true })
        }
    })
}

function fill(each: DebPackage, stage: string, architecture: string, options: DebOptions): void {
    const { dist, epoch, packages, runtime } = options
    chmodSync(stage, 0o755)
    const at = (target: string): string => {
        const path = join(stage, target)
        mkdirSync(dirname(path), { recursive: true })
        return path
    }
    for (const [source, target] of each.files) {
        const from = source.startsWith('dist:') ? join(dist, source.slice(5)) : join(ROOT, source)
        if (!existsSync(from)) throw new Error(`${each.name}: ${from} does not exist`)
        cpSync(from, at(target), { recursive: true, dereference: true })
    }
    for (const [path, target] of Object.entries(each.links ?? {})) symlinkSync(target, at(path))
    for (const [path, mode] of Object.entries(each.folders ?? {})) mkdirSync(at(path), { mode })
    const documents = `/usr/share/doc/${each.name}`
    const parts = architecture === 'all' ? [] : [runtime, ...packages]
    writeFileSync(at(`${documents}/copyright`), copyright(parts))
    if (each.name === 'guest-attest')
        writeFileSync(at(`${documents}/changelog.gz`), gzip(readFileSync(join(ROOT, 'CHANGELOG.md'))))
    writeFileSync(at(`${documents}/changelog.Debian.gz`), gzip(changelog(DEB_VERSION, epoch)))
    writeFileSync(at(`/usr/share/lintian/overrides/${each.name}`), overrides(each))
    for (const path of filesOf(stage)) finish(stage, path)
    const files = filesOf(stage)
    writeFileSync(
        at('DEBIAN/md5sums'),
        files
            .filter((path) => lstatSync(path).isFile())
            .map((path) => `${createHash('md5').update(readFileSync(path)).digest('hex')}  ${relative(stage, path)}\n`)
            .join(''),
    )
    const size = files.reduce((sum, path) => sum + Math.ceil(lstatSync(path).size / 1024), 0)
    const needed = architecture === 'all' ? '' : neededPackages(files)
    writeFileSync(at('DEBIAN/control'), controlFile(each, { version: DEB_VERSION, architecture, size, needed }))
    for (const name of each.control ?? []) {
        const [, kind = ''] = name.split('.')
        const path = at(`DEBIAN/${kind}`)
        cpSync(join(import.meta.dirname, name), path)
        chmodSync(path, kind === 'triggers' ? 0o644 : 0o755)
    }
    for (const path of filesOf(stage)) lutimesSync(path, epoch, epoch)
}

// Manual pages are compressed; programs and scripts are 755, everything else 644.
function finish(stage: string, path: string): void {
    const stat = lstatSync(path)
    if (!stat.isFile()) return
    const isScript = readFileSync(path).subarray(0, 2).toString('latin1') === '#!'
    if (relative(stage, path).startsWith('usr/share/man/')) {
        writeFileSync(`${path}.gz`, gzip(readFileSync(path)))
        rmSync(path)
        chmodSync(`${path}.gz`, 0o644)
    } else chmodSync(path, isScript || (stat.mode & 0o111) !== 0 ? 0o755 : 0o644)
}

// Without a name or a time in it.
const gzip = (bytes: Uint8Array | string): Buffer => gzipSync(bytes, { level: 9 })

function filesOf(folder: string): string[] {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .map((name) => join(folder, name))
        .filter((path) => !lstatSync(path).isDirectory())
        .toSorted((a, b) => (a < b ? -1 : 1))
}

const debianArchitecture = (): string => ({ x64: 'amd64', arm64: 'arm64' })[process.arch as 'x64'] ?? process.arch
