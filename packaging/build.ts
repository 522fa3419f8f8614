// Everything that is shipped, from one source.
//   node packaging/build.ts [--out FOLDER] [--node PATH] [--lib FOLDER] [--deb]
//     guest-attest, guest-attest-initrd    executables
//     clevis-encrypt-kbs, clevis-decrypt-kbs   links to the second
//     koffi.node                           the native library of both; they look for it in --lib
//     man/, completions/                   manual pages, and what teaches shells the words
//     build-manifest.json, sbom.cdx.json   what went in and came out; what it is made of
//     deb/                                 packages, with --deb
// --node PATH is the runtime that the executables carry; that of `npm ci` unless told.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { forbidden, ROOT } from './bundle.ts'
import { must } from './command.ts'
import { writeCompletions } from './completions.ts'
import { buildDebs } from './deb/build.ts'
import { buildExecutable, LIBRARY_FOLDER, linkPins } from './executable.ts'
import { writeManuals } from './man.ts'

if (import.meta.main) {
    const { values } = parseArgs({
        options: {
            out: { type: 'string', default: join(ROOT, 'dist') },
            node: { type: 'string' },
            lib: { type: 'string', default: LIBRARY_FOLDER },
            deb: { type: 'boolean', default: false },
        },
    })
    const { out, node, lib: library } = values
    rmSync(out, { recursive: true, force: true })
    mkdirSync(out, { recursive: true })
    const options = { out, library, ...(node === undefined ? {} : { node }) }
    const initrd = await buildExecutable('guest-attest-initrd', options)
    const wrong = forbidden(initrd.metafile)
    if (wrong.length > 0) throw new Error(`in the initrd's program, and must not be: ${wrong.join(', ')}`)
    linkPins(out)
    const whole = await buildExecutable('guest-attest', options)
    for (const { path } of [initrd, whole]) console.log(`${path}  ${Math.round(statSync(path).size / 2 ** 20)} MiB`)
    await writeManuals(join(out, 'man'), must(initrd.path, ['--help']))
    writeCompletions(join(out, 'completions'), whole.path)
    if (values.deb) {
        if (library !== LIBRARY_FOLDER) throw new TypeError(`packages put the library into ${LIBRARY_FOLDER}: no --lib`)
        for (const path of buildDebs({ dist: out, out: join(out, 'deb'), epoch: epoch() })) console.log(path)
    }
}

/** The time of what is built: of the last change, unless told. */
function epoch(): number {
    const told = process.env['SOURCE_DATE_EPOCH'] ?? must('git', ['log', '-1', '--format=%ct'])
    if (!/^\d+\n?$/.test(told)) throw new TypeError(`SOURCE_DATE_EPOCH=${told}: expected seconds since 1970`)
    return Number(told)
}
