// Executables: Node itself, stripped, with one program in it. The same inputs give the same bytes: V8's compiled code
// is part of them, made by a Node that does nothing at random.
// What the environment could move in a Node is shut here, or in src/cli/environment.ts:
//   NODE_OPTIONS                   execArgvExtension: none
//   OPENSSL_CONF, openssl.cnf      an empty configuration
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import {
    chmodSync,
    copyFileSync,
    existsSync,
    mkdirSync,
    mkdtempSync,
    realpathSync,
    rmSync,
    symlinkSync,
    writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Role } from '#core/role.ts'
import { ASSETS, type Bundle, bundle, koffiLibrary, type ProgramName, ROOT } from './bundle.ts'
import { must } from './command.ts'

/** Where a package puts the native library, and the program of the initrd. */
export const LIBRARY_FOLDER = '/usr/lib/guest-attest'

/** Names that the initrd's program is called by. */
export const PIN_LINKS = [
    'clevis-encrypt-kbs',
    'clevis-decrypt-kbs',
    'clevis-encrypt-sev',
    'clevis-decrypt-sev',
] as const

const FLAGS = [
    // A program that unlocks lives for a tenth of a second: two collections of garbage would be a twentieth of it.
    '--min-semi-space-size=16',
    // Else Node parses its 150 authorities as soon as anything loads node:tls, for 18 ms at each start. None of them is
    // ever asked: every connection names whom it trusts (src/core/http.ts).
    '--use-openssl-ca',
    '--no-use-system-ca', // NODE_USE_SYSTEM_CA=1 is at odds with it
    '--openssl-config=/dev/null',
    '--disable-warning=ExperimentalWarning',
]

export interface ExecutableOptions {
    readonly out: string
    /** The runtime: that of this project unless told. */
    readonly node?: string
    /** Where the program looks for koffi.node. */
    readonly library?: string
    readonly role?: Role
}

export interface Executable extends Bundle {
    readonly path: string
    readonly runtime: string
}

/** One executable, and koffi's library beside it. */
export async function buildExecutable(name: ProgramName, options: ExecutableOptions): Promise<Executable> {
    const { out, library = LIBRARY_FOLDER, role = name === 'guest-attest' ? 'full' : 'initrd' } = options
    const runtime = runtimeOf(options.node)
    const koffi = koffiLibrary()
    const program = await bundle(name, role, { path: join(library, 'koffi.node'), sha256: koffi.sha256 })
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-build-'))
    try {
        const base = join(folder, 'node')
        must('strip', ['--strip-all', '-o', base, runtime])
        // Under a name of its own: that is what the compiled code knows itself by.
        writeFileSync(join(folder, `${name}.cjs`), program.code)
        writeFileSync(
            join(folder, 'sea.json'),
            JSON.stringify({
                main: `${name}.cjs`,
                output: name,
                executable: base,
                disableExperimentalSEAWarning: true,
                useCodeCache: true,
                execArgv: FLAGS,
                execArgvExtension: 'none',
                assets: ASSETS[name],
            }),
        )
        must(runtime, ['--predictable', '--build-sea', 'sea.json'], {}, folder)
        mkdirSync(out, { recursive: true })
        const path = join(out, name)
        rmSync(path, { force: true })
        copyFileSync(join(folder, name), path)
        chmodSync(path, 0o755)
        copyFileSync(koffi.source, join(out, 'koffi.node'))
        chmodSync(join(out, 'koffi.node'), 0o644)
        return { ...program, path, runtime }
    } finally {
        rmSync(folder, { recursive: true })
    }
}

/** The initrd's program under the names that clevis calls. */
export function linkPins(out: string): void {
    for (const name of PIN_LINKS) {
        rmSync(join(out, name), { force: true })
        symlinkSync('guest-attest-initrd', join(out, name))
    }
}

function runtimeOf(path = join(ROOT, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node')): string {
    if (!existsSync(path)) throw new TypeError(`${path} does not exist: run \`npm ci\`, or name a Node with --node`)
    const runtime = realpathSync(path)
    const { stdout } = spawnSync(runtime, ['-p', 'process.versions.node'], { encoding: 'utf8' })
    if (!(Number(stdout.split('.')[0]) >= 26))
        throw new TypeError(`${runtime}: expected Node 26 or newer, which builds executables, got ${stdout.trim()}`)
    return runtime
}
