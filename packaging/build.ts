// Bundles: the whole program, and the pin alone, each without anything that it does not run.
//   node packaging/build.ts [--out FOLDER] [--node PATH]     dist/, and the Node of the system's folders, unless told
//     guest-attest.mjs and its chunks             the whole program; it can be run, and linked to
//     clevis-encrypt-kbs.cjs, clevis-decrypt-kbs.cjs   the pin: the start of each, and its program beside it
//     compile-cache/                              the pin's programs as this Node has compiled them
//     man/                                        manual pages
// The pin is built in the role of the initrd: no environment, no emulated device (src/core/role.ts).
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild'
import type { Role } from '#core/role.ts'
import { writeManuals } from './man.ts'

const require = createRequire(import.meta.url)
const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Files of a plugin that a guest which only unlocks never runs. */
const NOT_IN_THE_PIN = /\/plugins\/[^/]+\/(?:verifier|vocabulary|emulate)\.ts$/

/** What must not be part of the pin: packages, and rooms of the house. */
export const FORBIDDEN_IN_THE_PIN: readonly RegExp[] = [
    /node_modules\/(?:yargs|undici|pino|fastify|@fastify|@cedar-policy|@peculiar|asn1js|jose|koffi)\//,
    /^src\/(?:emulator|broker)\/(?!config\.ts)/,
    /^plugins\/[^/]+\/(?:verify|appraise|claims|chain|mint|kbs-evidence-schema)\.ts$/,
    /^plugins\/[^/]+\/emulated\//,
]

const COMMON: BuildOptions = {
    absWorkingDir: ROOT,
    bundle: true,
    platform: 'node',
    target: 'node24',
    minifySyntax: true,
    legalComments: 'external',
    metafile: true,
    logLevel: 'warning',
}

// Libraries in the older module format find their neighbours through `require` and `__dirname`.
const COMMONJS_BANNER = `import { createRequire as createRequireHere } from 'node:module'
const require = createRequireHere(import.meta.url)`

const PINS = { 'clevis-encrypt-kbs': 'src/cli/clevis/encrypt.ts', 'clevis-decrypt-kbs': 'src/cli/clevis/decrypt.ts' }

/** Beside the programs, and as trusted as they are: what V8 has compiled. Another version of Node passes it by. */
const COMPILE_CACHE = 'compile-cache'

// Words before Node in the first line. In the initrd the environment is its caller's, and Node would run what is named there.
const BEFORE_NODE: Readonly<Record<Role, string>> = {
    initrd: '-i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ',
    full: '',
}

// A program of the pin lives for a tenth of a second: two collections of garbage would be a twentieth of it.
const NODE_FLAGS = '--min-semi-space-size=16'

// For any Node to read: an old one has to say so.
const pinStart = (
    name: string,
    role: Role,
    node: string,
): string => `#!/usr/bin/env -S ${BEFORE_NODE[role]}${node} ${NODE_FLAGS}
if (Number(process.versions.node.split('.')[0]) < 24) {
    console.error('${name}: Node ' + process.versions.node + ' is too old: Node 24.12 or newer is needed')
    process.exit(1)
}
require('node:module').enableCompileCache({ directory: __dirname + '/${COMPILE_CACHE}', portable: true })
require('./${name}.program.cjs')
`

/**
 * The pin in a role; two files for each of its programs. In the older module format: importing node:http or node:crypto as
 * a module evaluates everything that they offer, undici and WebCrypto too, which costs 30 ms at each start. `node` is
 * the runtime of its first line.
 */
export async function buildPin(out: string, role: Role, node = 'node'): Promise<Metafile> {
    if (/\s/.test(node)) throw new TypeError(`${node}: the first line of a program can name no path with spaces`)
    const { metafile } = await build({
        ...COMMON,
        entryPoints: Object.fromEntries(Object.entries(PINS).map(([name, source]) => [`${name}.program`, source])),
        outdir: out,
        format: 'cjs',
        minify: true, // less to read at each start
        sourcemap: 'external', // for a person who has a stack trace
        outExtension: { '.js': '.cjs' },
        define: { GUEST_ATTEST_ROLE: JSON.stringify(role), 'import.meta.url': 'OWN_URL' },
        banner: { js: "const OWN_URL = require('node:url').pathToFileURL(__filename).href" },
        plugins: [leaveOut(NOT_IN_THE_PIN)],
    })
    copyKoffi(out)
    for (const name of Object.keys(PINS)) {
        const start = join(out, `${name}.cjs`)
        writeFileSync(start, pinStart(name, role, node), { mode: 0o755 })
        spawnSync(process.execPath, [start, '--summary']) // fills the cache
    }
    return metafile as Metafile
}

/** The whole program; commands are chunks that are loaded when they are called. */
export async function buildProgram(out: string): Promise<Metafile> {
    const { metafile } = await build({
        ...COMMON,
        entryPoints: { 'guest-attest': 'src/cli/main.ts' },
        outdir: out,
        format: 'esm',
        outExtension: { '.js': '.mjs' },
        splitting: true,
        chunkNames: 'chunks/[name]-[hash]',
        define: {
            GUEST_ATTEST_ROLE: JSON.stringify('full' satisfies Role),
            __dirname: 'import.meta.dirname',
            __filename: 'import.meta.filename',
        },
        banner: { js: COMMONJS_BANNER },
        // Loaded from its own file at run time.
        external: ['@koromix/*'],
    })
    copyKoffi(out)
    const start = join(out, 'guest-attest.mjs')
    writeFileSync(start, `#!/usr/bin/env node\n${readFileSync(start, 'utf8')}`)
    chmodSync(start, 0o755)
    const cedar = dirname(require.resolve('@cedar-policy/cedar-wasm/nodejs'))
    copyFileSync(join(cedar, 'cedar_wasm_bg.wasm'), join(out, 'chunks', 'cedar_wasm_bg.wasm'))
    return metafile as Metafile
}

// The native half of the FFI, beside the bundles: drivers/linux/libc.ts looks for it there.
function copyKoffi(out: string): void {
    const { arch } = process
    const main = require.resolve(`@koromix/koffi-linux-${arch}`)
    copyFileSync(join(dirname(main), `linux_${arch}`, 'koffi.node'), join(out, `koffi-${arch}.node`))
}

/** Sources of a bundle that must not be in it. */
export const forbidden = ({ inputs }: Metafile): string[] =>
    Object.keys(inputs).filter((path) => FORBIDDEN_IN_THE_PIN.some((pattern) => pattern.test(path)))

// A module that is left out says so if it is called after all.
const leaveOut = (pattern: RegExp): Plugin => ({
    name: 'leave-out',
    setup({ onLoad }) {
        onLoad({ filter: pattern }, ({ path }) => ({
            contents: `throw new TypeError('not part of this program: ${path.split('/').slice(-3).join('/')}')`,
            loader: 'js',
        }))
    },
})

if (import.meta.main) {
    const { values } = parseArgs({
        options: { out: { type: 'string', default: join(ROOT, 'dist') }, node: { type: 'string', default: 'node' } },
    })
    const { out, node } = values
    rmSync(out, { recursive: true, force: true })
    mkdirSync(out, { recursive: true })
    const metafiles = [await buildPin(out, 'initrd', node), await buildProgram(out)]
    const [pin] = metafiles
    const wrong = pin ? forbidden(pin) : []
    if (wrong.length > 0) throw new Error(`in the pin, and must not be: ${wrong.join(', ')}`)
    for (const metafile of metafiles)
        for (const [path, { bytes }] of Object.entries(metafile.outputs))
            if (!/chunks|LEGAL|\.map$/.test(path)) console.log(`${path}  ${Math.round(bytes / 1024)} KiB`)
    for (const name of await writeManuals(join(out, 'man'))) console.log(join(out, 'man', name))
    writeFileSync(join(out, 'package.json'), '{"type":"module","private":true}\n')
}
