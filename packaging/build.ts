// Everything that is shipped, from one source.
//   node packaging/build.ts [--out FOLDER] [--node PATH] [--lib FOLDER] [--deb [--compress xz]]
//     guest-attest, guest-attest-initrd    executables
//     clevis-{encrypt,decrypt}-{kbs,sev}   links to the second
//     koffi.node                           the native library of both; they look for it in --lib
//     man/, completions/                   manual pages, and what teaches shells the words
//     sbom.cdx.json, build-manifest.json   what it is made of; every file that went in and came out
//     deb/                                 packages, with --deb; with xz a third smaller, and minutes later
// --node PATH is the runtime that the executables carry; that of `npm ci` unless told. SOURCE_DATE_EPOCH is the time that
// packages and the bill of materials name; that of the last commit unless told.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { ASSETS, forbidden, koffiLibrary, ROOT } from './bundle.ts'
import { must } from './command.ts'
import { writeCompletions } from './completions.ts'
import { bundledPackages, runtimeComponent } from './components.ts'
import { buildDebs, type Compression } from './deb/build.ts'
import { buildExecutable, LIBRARY_FOLDER, linkPins } from './executable.ts'
import { writeManuals } from './man.ts'
import { digestOf, manifest } from './manifest.ts'
import { sbom } from './sbom.ts'

export interface BuildOptions {
    /** Emptied first. */
    readonly out: string
    readonly node?: string
    readonly library?: string
    /** Packages too, compressed so. */
    readonly deb?: Compression
    readonly epoch: number
}

/** Builds all of it; returns the paths of executables and packages. */
export async function buildAll({ out, node, library = LIBRARY_FOLDER, deb, epoch }: BuildOptions): Promise<string[]> {
    if (deb && library !== LIBRARY_FOLDER)
        throw new TypeError(`packages put the library into ${LIBRARY_FOLDER}: no --lib`)
    rmSync(out, { recursive: true, force: true })
    mkdirSync(out, { recursive: true })
    const options = { out, library, ...(node === undefined ? {} : { node }) }
    const initrd = await buildExecutable('guest-attest-initrd', options)
    const wrong = forbidden(initrd.metafile)
    if (wrong.length > 0) throw new Error(`in the initrd's program, and must not be: ${wrong.join(', ')}`)
    linkPins(out)
    const whole = await buildExecutable('guest-attest', options)
    await writeManuals(join(out, 'man'), must(initrd.path, ['--help']))
    writeCompletions(join(out, 'completions'), whole.path)

    const executables = [initrd, whole]
    const metafiles = executables.map(({ metafile }) => metafile)
    const native = koffiLibrary().source
    const packages = bundledPackages(metafiles, [`node_modules/@koromix/koffi-linux-${process.arch}`])
    const runtime = runtimeComponent(whole.runtime)
    writeJson(
        join(out, 'sbom.cdx.json'),
        sbom({
            packages,
            runtime,
            runtimeFile: digestOf(whole.runtime),
            library: digestOf(native),
            executables: executables.map(({ path }) => digestOf(path, out)),
            epoch,
        }),
    )
    const debs = deb ? buildDebs({ dist: out, out: join(out, 'deb'), epoch, compression: deb, packages, runtime }) : []
    const assets = Object.values(ASSETS).flatMap((files) => Object.values(files))
    const files = [...assets, native].map((path) => relative(ROOT, path))
    writeJson(join(out, 'build-manifest.json'), manifest({ metafiles, runtime: whole.runtime, files, epoch }, out))
    return [...executables.map(({ path }) => path), ...debs]
}

const writeJson = (path: string, value: object): void => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`)

/** The time of what is built: of the last change, unless told. */
function sourceDate(told = process.env['SOURCE_DATE_EPOCH']): number {
    const text = (told ?? must('git', ['log', '-1', '--format=%ct'])).trim()
    if (!/^\d+$/.test(text)) throw new TypeError(`SOURCE_DATE_EPOCH=${text}: expected seconds since 1970`)
    return Number(text)
}

if (import.meta.main) {
    const { values } = parseArgs({
        options: {
            out: { type: 'string', default: join(ROOT, 'dist') },
            node: { type: 'string' },
            lib: { type: 'string' },
            deb: { type: 'boolean', default: false },
            compress: { type: 'string', default: 'zstd' },
        },
    })
    const { out, node, lib: library, deb, compress } = values
    if (compress !== 'zstd' && compress !== 'xz') throw new TypeError(`--compress ${compress}: expected zstd or xz`)
    const built = await buildAll({
        out,
        epoch: sourceDate(),
        ...(node === undefined ? {} : { node }),
        ...(library === undefined ? {} : { library }),
        ...(deb ? { deb: compress } : {}),
    })
    for (const path of built) console.log(`${path}  ${(statSync(path).size / 2 ** 20).toFixed(1)} MiB`)
}
