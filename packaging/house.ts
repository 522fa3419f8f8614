// The rules of the house that no linter knows: who may import whom, how long a file may be, how it begins.
// `node packaging/house.ts` prints what breaks them; the suite calls the same functions.
// SPDX-License-Identifier: Apache-2.0

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/**
 * What each folder may import beside itself and the platform; `type:` marks what it may know the types of alone.
 * `plugins/X` stands for each plugin: none may import another.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
    'src/core': [],
    drivers: ['src/core'],
    'plugins/plugin.ts': ['src/core', 'type:drivers', 'type:src/evidence', 'type:src/emulator'],
    'plugins/X': ['drivers', 'src/core', 'plugins/plugin.ts', 'type:src/evidence', 'type:src/emulator'],
    'src/evidence': ['src/core', 'type:drivers/driver.ts'],
    'src/luks': ['src/core'],
    'src/kbs': ['src/evidence', 'src/core', 'type:drivers/driver.ts'],
    'src/unlock': ['src/evidence', 'src/kbs', 'src/core', 'src/luks', 'type:drivers/driver.ts'],
    'src/clevis': ['src/evidence', 'src/kbs', 'src/core', 'src/unlock', 'src/luks', 'type:drivers/driver.ts'],
    'src/broker': ['src/evidence', 'src/kbs', 'src/core', 'type:plugins/plugin.ts', 'type:drivers/driver.ts'],
    'src/emulator': ['src/core'],
    'src/plugins.ts': ['plugins/X', 'type:plugins/plugin.ts'],
    'src/cli': ['src', 'drivers', 'plugins/plugin.ts', 'package.json'],
}

/** The files of a plugin that know a guest or play one. */
const GUEST_HALF = /^plugins\/[^/]+\/(?:(?:driver|emulate)\.ts$|emulated\/)/

/** The manifest, which leads to both halves. What is in neither is the verifying half: it runs on any operating system. */
const MANIFEST = /^plugins\/[^/]+\/index\.ts$/

const MAX_LINES = 500

export interface SourceFile {
    readonly path: string
    readonly text: string
}

/** Every tracked or new TypeScript source. */
export function sources(): SourceFile[] {
    const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.ts'], {
        cwd: ROOT,
        encoding: 'utf8',
    })
    return listed
        .split('\n')
        .filter(Boolean)
        .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }))
}

/** `import … from`, `export … from`, with nothing between but names; `import` for its effects alone; `import(…)`. */
const IMPORTS = /^(?:import|export)\s(type\s)?[\w\s$*,{}]*?from\s'([^']+)'|^import\s'([^']+)'|\bimport\(\s*'([^']+)'/gm

/** Imports that the table does not allow. */
export function forbiddenImports(files: readonly SourceFile[]): string[] {
    const out: string[] = []
    for (const { path, text } of files) {
        if (/^(?:test|packaging)\//.test(path)) continue
        for (const match of text.matchAll(IMPORTS)) {
            const target = resolveImport(path, match[2] ?? match[3] ?? match[4] ?? '')
            const typeOnly = match[1] !== undefined
            if (target && !allowed(path, target, typeOnly))
                out.push(`${path} imports ${target}${typeOnly ? ' (types)' : ''}: the house does not allow that`)
        }
    }
    return out
}

export function oversized(files: readonly SourceFile[]): string[] {
    return files
        .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
        .filter(({ lines }) => lines > MAX_LINES)
        .map(({ path, lines }) => `${path} has ${lines} lines: at most ${MAX_LINES}, better 200`)
}

/** Every file says what it is in its first comment, and its licence. */
export function unheaded(files: readonly SourceFile[]): string[] {
    return files
        .filter(
            ({ text }) => !/^(?:#!.*\n)?\/\/ .+\n(?:\/\/.*\n)*\/\/ SPDX-License-Identifier: Apache-2\.0\n/.test(text),
        )
        .map(({ path }) => `${path} does not begin with a comment that says what it is, and the SPDX line`)
}

function resolveImport(from: string, specifier: string): string | null {
    if (specifier.startsWith('.')) return normalize(join(dirname(from), specifier))
    if (!specifier.startsWith('#')) return null
    const path = specifier.slice(1)
    if (path === 'plugins.ts') return 'src/plugins.ts'
    return /^(?:drivers|plugins|test|packaging|package\.json)/.test(path) ? path : `src/${path}`
}

function allowed(from: string, to: string, typeOnly: boolean): boolean {
    const room = roomOf(from)
    const own = room === 'plugins/X' ? from.split('/').slice(0, 2).join('/') : room
    if (room === 'plugins/X' && !typeOnly && !GUEST_HALF.test(from) && opensDoors(from, to)) return false
    if (within(to, own)) return true
    return (MAY_IMPORT[room] ?? []).some((entry) => {
        const types = entry.startsWith('type:')
        const target = types ? entry.slice(5) : entry
        if (types && !typeOnly) return false
        return target === 'plugins/X' ? /^plugins\/[^/]+\//.test(to) : within(to, target)
    })
}

const opensDoors = (from: string, to: string): boolean =>
    within(to, 'drivers') || (GUEST_HALF.test(to) && !MANIFEST.test(from))

function roomOf(path: string): string {
    if (Object.hasOwn(MAY_IMPORT, path)) return path
    if (path.startsWith('plugins/')) return 'plugins/X'
    return path.startsWith('src/') ? path.split('/').slice(0, 2).join('/') : (path.split('/')[0] ?? '')
}

const within = (path: string, room: string): boolean => path === room || path.startsWith(`${room}/`)

if (import.meta.main) {
    const files = sources()
    const broken = [...forbiddenImports(files), ...oversized(files), ...unheaded(files)]
    for (const line of broken) console.error(line)
    process.exitCode = broken.length === 0 ? 0 : 1
}
