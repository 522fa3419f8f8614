// Configuration: `config.toml` and `config.d/*.toml` of one root-owned folder, then flags; every folder of the program
// exports the section that it reads, and where each value came from is kept. What is unknown is refused.
// SPDX-License-Identifier: Apache-2.0

import { join } from 'node:path'
import { parse as parseToml, TomlError } from 'smol-toml'
import { coreError } from './errors.ts'
import { checkTrustedFolder, readFolder, readTrustedFile } from './files.ts'
import { issues, type Schema } from './schema.ts'

/** One setting: what it may be, what it is unless somebody says otherwise, and what it means. */
export interface Setting<T> {
    /** Made when a file or a flag sets it: most starts set next to nothing. */
    readonly schema: () => Schema<T>
    readonly fallback: T
    readonly means: string
}

// biome-ignore lint/suspicious/noExplicitAny: a section mixes settings of every type; Values recovers each.
type Settings = Readonly<Record<string, Setting<any>>>

export interface Section<S extends Settings = Settings> {
    readonly name: string
    readonly settings: S
}

export type Values<S extends Section> = {
    readonly [K in keyof S['settings']]: S['settings'][K] extends Setting<infer T> ? T : never
}

/** One setting as it is in force. */
export interface InForce {
    readonly section: string
    readonly name: string
    readonly value: unknown
    /** `default`, a file's path, or a flag. */
    readonly source: string
    readonly means: string
}

export interface Config {
    get<S extends Section>(section: S): Values<S>
    list(): readonly InForce[]
}

export const setting = <T>(schema: () => Schema<T>, fallback: T, means: string): Setting<T> => ({
    schema,
    fallback,
    means,
})

export const section = <const S extends Settings>(name: string, settings: S): Section<S> => ({ name, settings })

/** Values that win over the files: `section.name` with the flag that set it. */
export type Overrides = Readonly<Record<string, { readonly value: unknown; readonly flag: string }>>

/**
 * Reads the folder. A folder that does not exist is an empty one.
 * @throws AttestError ERR_CONFIG, ERR_UNTRUSTED_FILE, ERR_FILE
 */
export function loadConfig(folder: string, sections: readonly Section[], overrides: Overrides = {}): Config {
    const table = new Map<string, InForce>()
    for (const { name: section, settings } of sections)
        for (const [name, { fallback, means }] of Object.entries(settings))
            table.set(`${section}.${name}`, { section, name, value: fallback, source: 'default', means })

    // What can be named: the program that lists everything would stop at the same mistake.
    const known = (section: string): string => {
        const found = sections.find(({ name }) => name === section)
        if (!found) return `sections: ${sections.map(({ name }) => `[${name}]`).join(', ')}`
        return `settings of [${section}]: ${Object.keys(found.settings).join(', ')}`
    }

    const set = (section: string, name: string, value: unknown, source: string) => {
        const setting = sections.find((s) => s.name === section)?.settings[name]
        const entry = table.get(`${section}.${name}`)
        if (!setting || !entry)
            throw coreError('ERR_CONFIG', `${source}: unknown setting ${section}.${name}`, { hint: known(section) })
        const result = setting.schema().safeParse(value)
        if (!result.success)
            throw coreError('ERR_CONFIG', `${source}: ${section}.${name}: ${issues(result.error)}`, {
                hint: entry.means,
            })
        table.set(`${section}.${name}`, { ...entry, value: result.data, source })
    }

    for (const file of configFiles(folder))
        for (const [section, settings] of Object.entries(readToml(file) ?? {})) {
            if (!sections.some((s) => s.name === section) || !isTable(settings))
                throw coreError('ERR_CONFIG', `${file}: unknown section [${section}]`, { hint: known(section) })
            for (const [name, value] of Object.entries(settings)) set(section, name, value, file)
        }
    for (const [path, { value, flag }] of Object.entries(overrides)) {
        const [section = '', name = ''] = path.split('.')
        set(section, name, value, flag)
    }

    return {
        get(wanted) {
            // Without this every setting of it would be undefined, and a time limit of undefined is none.
            if (!sections.includes(wanted)) throw new TypeError(`the section [${wanted.name}] was not read`)
            const { name, settings } = wanted
            return Object.freeze(
                Object.fromEntries(Object.keys(settings).map((key) => [key, table.get(`${name}.${key}`)?.value])),
            ) as never
        },
        list: () => [...table.values()],
    }
}

/** A TOML file that decides trust. Null where it does not exist. @throws AttestError ERR_CONFIG, ERR_UNTRUSTED_FILE */
export function readToml(path: string): Record<string, unknown> | null {
    const bytes = readTrustedFile(path)
    return bytes && parseTomlText(bytes, path)
}

/** @throws AttestError ERR_CONFIG with the line and the column */
export function parseTomlText(bytes: Uint8Array | string, title: string): Record<string, unknown> {
    try {
        const text = typeof bytes === 'string' ? bytes : new TextDecoder('utf-8', { fatal: true }).decode(bytes)
        return parseToml(text)
    } catch (error) {
        if (!(error instanceof TomlError)) throw coreError('ERR_CONFIG', `${title}: not UTF-8 text`)
        const [what] = error.message.split('\n')
        throw coreError('ERR_CONFIG', `${title}:${error.line}:${error.column}: ${what}`)
    }
}

function configFiles(folder: string): string[] {
    const dropIns = join(folder, 'config.d')
    return [join(folder, 'config.toml'), ...tomlFiles(dropIns)]
}

/** The `.toml` files of a root-owned folder in the order of their names; none where it does not exist. */
export function tomlFiles(folder: string): string[] {
    if (!checkTrustedFolder(folder)) return []
    return readFolder(folder)
        .filter((name) => name.endsWith('.toml') && !name.startsWith('.'))
        .map((name) => join(folder, name))
}

const isTable = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
