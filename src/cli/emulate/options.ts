// The options of `emulate` that technologies bring: one table for the command line, and the values of one technology.
// SPDX-License-Identifier: Apache-2.0

import type { Options } from 'yargs'
import { coreError } from '#core/errors.ts'
import type { Emulator, OptionRow, OptionRows, OptionTypes, OptionValues } from '#emulator/model.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { readHex, readWord } from '../options/bytes.ts'
import { spelled } from '../options/spelled.ts'

/** A technology that can be emulated. */
export interface Emulated extends Pick<Plugin, 'id' | 'title'> {
    readonly emulator: Emulator
}

/** Those of the technologies that bring an emulator. */
export async function emulatedOf(plugins: readonly Plugin[]): Promise<Emulated[]> {
    const found = plugins.map(async ({ id, title, emulator }) => emulator && { id, title, emulator: await emulator() })
    return (await Promise.all(found)).filter((row) => row !== undefined)
}

/** What they bring, by the names on the command line: each option says whose it is. */
export function optionTable(all: readonly Emulated[]): Record<string, Options> {
    const table: Record<string, Options> = {}
    for (const { emulator } of all)
        for (const [name, { type, describe }] of Object.entries(emulator.options)) {
            const owners = all.filter((other) => Object.hasOwn(other.emulator.options, name)).map(({ id }) => id)
            table[spelled(name)] ??= {
                type: type === 'number' ? 'number' : 'string',
                describe: `${owners.join(', ')}: ${describe}`,
            }
        }
    return table
}

/** @throws AttestError ERR_USAGE; also for an option of another technology */
export function readEmulatorOptions(
    given: Readonly<Record<string, unknown>>,
    { id, title, emulator }: Emulated,
    all: readonly Emulated[],
): OptionValues<OptionRows> {
    const isGiven = (name: string) => given[name] !== undefined
    for (const other of all)
        for (const name of Object.keys(other.emulator.options).filter(isGiven))
            if (!Object.hasOwn(emulator.options, name))
                throw coreError('ERR_USAGE', `--${spelled(name)} is an option of ${other.title}, not of ${title}`, {
                    hint: `leave it out, or name --tee ${other.id} instead of ${id}`,
                })
    return Object.fromEntries(
        Object.entries(emulator.options)
            .filter(([name]) => isGiven(name))
            .map(([name, { type }]) => [name, PARSERS[type](given[name] as never, `--${spelled(name)}`)]),
    )
}

type Parser<T> = (value: never, option: string) => T

const PARSERS: { readonly [K in OptionRow['type']]: Parser<OptionTypes[K]> } = {
    bytes: readHex,
    word: readWord,
    number: (value: number) => value,
    text: (value: string) => value,
}
