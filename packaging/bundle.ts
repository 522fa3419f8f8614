// The two programs as one file of JavaScript each, and what each is made of. In the older module format: importing
// node:http or node:crypto as a module evaluates everything that they offer, undici and WebCrypto too, which costs 30 ms
// at each start.
//   guest-attest          every command
//   guest-attest-initrd   the role of the initrd: no environment, no emulated device (src/core/role.ts), nothing that judges
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Metafile, type Plugin } from 'esbuild'
import type { Role } from '#core/role.ts'

const require = createRequire(import.meta.url)

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Modules of a program, evaluated in this order. */
export const PROGRAMS = {
    'guest-attest': ['./src/cli/main.ts'],
    'guest-attest-initrd': ['./src/cli/environment.ts', './src/cli/initrd/main.ts'],
} as const

export type ProgramName = keyof typeof PROGRAMS

/** Files of a plugin that a guest which only unlocks never runs: stubs are in their place. */
const STUBS = 'collateral-service|verifier|vocabulary|measure|launch-service|owner|emulate'
const NOT_IN_THE_PIN = new RegExp(`/plugins/[^/]+/(?:${STUBS})\\.ts$`)

/** Files of a plugin that the guest's half is made of, by the names that CONTRIBUTING.md gives them; nothing else is in. */
const GUESTS_HALF =
    'index|tee|errors|driver|key-fields|forms|kbs-evidence|report|quote|tcb|cert-table|client|client-secret|possession'

/** What must not be part of the initrd's program: packages, and rooms of the house. */
export const FORBIDDEN_IN_THE_PIN: readonly RegExp[] = [
    /node_modules\/(?:yargs|yargs-parser|undici|pino|fastify|@fastify|@cedar-policy|@peculiar|asn1js|reflect-metadata|jose|koffi)\//,
    /^src\/(?:emulator|broker)\/(?!config\.ts)/,
    /^src\/evidence\/(?!binding\.ts)/,
    /^src\/core\/(?:x509|mint|emulation-mark|policy-table|https-get|qmp|ttrpc|protobuf)\.ts$/,
    /^src\/core\/launch\//,
    new RegExp(`^plugins/(?!plugin\\.ts$|[^/]+/(?:${GUESTS_HALF}|${STUBS})\\.ts$)`),
]

export interface Bundle {
    readonly code: string
    readonly metafile: Metafile
}

export interface Koffi {
    /** Where the program finds its native library. */
    readonly path: string
    readonly sha256: string
}

/** One program as text. */
export async function bundle(name: ProgramName, role: Role, koffi: Koffi): Promise<Bundle> {
    const { metafile, outputFiles } = await build({
        absWorkingDir: ROOT,
        stdin: {
            contents: PROGRAMS[name].map((path) => `import '${path}'\n`).join(''),
            resolveDir: ROOT,
            sourcefile: `${name}.ts`,
        },
        bundle: true,
        platform: 'node',
        target: 'node24',
        format: 'cjs',
        minify: true, // less to read at each start
        keepNames: name === 'guest-attest', // names of classes that a library looks for
        legalComments: 'none', // licences are told by the package
        write: false,
        outfile: `${name}.cjs`,
        metafile: true,
        logLevel: 'warning',
        define: {
            GUEST_ATTEST_ROLE: JSON.stringify(role),
            GUEST_ATTEST_KOFFI_PATH: JSON.stringify(koffi.path),
            GUEST_ATTEST_KOFFI_SHA256: JSON.stringify(koffi.sha256),
            // Everything is inside: there is no file beside a module that it could look for.
            'import.meta.url': '"file:///"',
        },
        plugins: [unusedBuiltins, name === 'guest-attest' ? cedarFromAsset : leaveOut(NOT_IN_THE_PIN)],
    })
    return { code: outputFiles?.[0]?.text ?? '', metafile: metafile as Metafile }
}

/** Sources of a bundle that must not be in it. */
export const forbidden = ({ inputs }: Metafile): string[] =>
    Object.keys(inputs).filter((path) => FORBIDDEN_IN_THE_PIN.some((pattern) => pattern.test(path)))

/** Files that a program carries beside its code, by the name it asks for them. */
export const ASSETS: Readonly<Record<ProgramName, Readonly<Record<string, string>>>> = {
    'guest-attest': { 'cedar.wasm': join(cedarFolder(), 'cedar_wasm_bg.wasm') },
    'guest-attest-initrd': {},
}

/** koffi's native library for this machine's processor. */
export function koffiLibrary(arch: string = process.arch): { readonly source: string; readonly sha256: string } {
    const source = join(dirname(require.resolve(`@koromix/koffi-linux-${arch}`)), `linux_${arch}`, 'koffi.node')
    return { source, sha256: createHash('sha256').update(readFileSync(source)).digest('hex') }
}

function cedarFolder(): string {
    return dirname(require.resolve('@cedar-policy/cedar-wasm/nodejs'))
}

// Node's own modules have no effects but what is asked of them: one that nothing of a bundle uses is not loaded.
const unusedBuiltins: Plugin = {
    name: 'unused-builtins',
    setup({ onResolve }) {
        onResolve({ filter: /^node:/ }, ({ path }) => ({ path, external: true, sideEffects: false }))
    },
}

// The library reads its WebAssembly from the file beside it, which an executable has inside.
const cedarFromAsset: Plugin = {
    name: 'cedar-from-asset',
    setup({ onLoad }) {
        onLoad({ filter: /\/cedar-wasm\/nodejs\/cedar_wasm\.js$/ }, ({ path }) => {
            const reads = /const wasmPath = .+;\nconst wasmBytes = .+;/
            const text = readFileSync(path, 'utf8')
            if (!reads.test(text)) throw new TypeError(`${path} reads its WebAssembly in another way than expected`)
            const contents = text.replace(
                reads,
                "const wasmBytes = new Uint8Array(require('node:sea').getRawAsset('cedar.wasm'));",
            )
            return { contents, loader: 'js' }
        })
    },
}

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
