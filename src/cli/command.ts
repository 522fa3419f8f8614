// A command of the program: a row of a table with its signature, and a file beside this one with the rest, which is
// loaded when the command is called.
// SPDX-License-Identifier: Apache-2.0

import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'
import { coreError } from '#core/errors.ts'

export interface CommandRow {
    /** In yargs' notation: `verify <file>`, `get-resource <uri>`; what follows `--` is not part of it. */
    readonly signature: string
    readonly describe: string
    readonly load: () => Promise<{ command: Command } | { group: readonly CommandRow[] }>
}

export interface Command<O extends OptionTable = OptionTable> {
    /** What each positional argument is. */
    readonly positionals?: Readonly<Record<string, string>>
    readonly options: O
    /** A command line after the command's name, and what it does. */
    readonly examples: readonly (readonly [line: string, what: string])[]
    /** What a person should know beyond the options; made when it is read, where that costs something. */
    readonly details?: string | (() => Promise<string>)
    /** What stands behind `--` is this command's: a command line of its own; so it is called in the usage. */
    readonly takesWords?: string
    /** The exit status: 0, or as term.ts says; `emulate` hands over that of its command. */
    run(args: Args<O>): Promise<number>
}

type OptionTable = Readonly<Record<string, Options>>

// biome-ignore lint/suspicious/noExplicitAny: rows of the table hold commands with options of every type
type AnyCommand = Command<any>

/** Options by their names in camel case; positional arguments by theirs; `--` is what stands behind it. */
export type Args<O extends OptionTable> = ArgumentsCamelCase<InferredOptionTypes<O>> & {
    readonly [positional: string]: unknown
    readonly '--'?: readonly string[]
}

/** Keeps the types of the options for `run`. */
export const command = <const O extends OptionTable>(definition: Command<O>): AnyCommand => definition

const NONE: string[] = []

/** An option that may be repeated, and one that has to be given at least once. */
export const many = (describe: string) => ({ type: 'array', string: true, default: NONE, describe }) as const
export const atLeastOne = (describe: string) => ({ type: 'array', string: true, demandOption: true, describe }) as const

/** Printed by machines for machines. */
export const JSON_OPTION = { json: { type: 'boolean', default: false, describe: 'print JSON' } } as const

/** The command that was called, as far as its words are known, and how it wants to exit. */
export interface Call {
    name: string
    /** Its positional arguments, in yargs' notation. */
    words: string
    exit: number
}

/** Adds the commands of a table; the call is told what became of it. */
export function addCommands(yargs: Argv, rows: readonly CommandRow[], prefix: string, call: Call): void {
    for (const { signature, describe, load } of rows) {
        const name = `${prefix}${signature.split(' ')[0]}`
        let loaded: AnyCommand | undefined
        yargs.command(
            signature,
            describe,
            async (sub, isHelp = false) => {
                call.name = name
                call.words = signature.split(' ').slice(1).join(' ')
                const module = await load()
                if ('group' in module) {
                    addCommands(sub, module.group, `${name} `, call)
                    if (isHelp) for (const [line, what] of await examplesOf(module.group, name)) sub.example(line, what)
                    return sub.demandCommand(1, `${name}: a command is missing`)
                }
                loaded = module.command
                return define(sub, { name, describe }, loaded, isHelp ? await detailsOf(loaded) : undefined)
            },
            async (args) => {
                // A group: its own demand for a command takes the words behind `--` for one.
                if (!loaded) throw coreError('ERR_USAGE', `${name}: a command is missing`)
                checkOptions(loaded, args)
                call.exit = await loaded.run(withDash(loaded, args) as never)
            },
        )
    }
}

/** Of a group: the first example of each of its commands. */
async function examplesOf(group: readonly CommandRow[], prefix: string): Promise<(readonly [string, string])[]> {
    const examples = group.map(async ({ signature, load }) => {
        const name = `${prefix} ${signature.split(' ')[0]}`
        const module = await load()
        if ('group' in module) return examplesOf(module.group, name)
        const [first] = module.command.examples
        return first ? [exampleLine(name, first)] : []
    })
    return (await Promise.all(examples)).flat()
}

const exampleLine = (name: string, [line, what]: readonly [string, string]) =>
    [`$0 ${name} ${line}`.trimEnd(), what] as const

export const detailsOf = async ({ details }: AnyCommand): Promise<string | undefined> =>
    typeof details === 'function' ? details() : details

function define(
    yargs: Argv,
    { name, describe }: { readonly name: string; readonly describe: string },
    { positionals = {}, options, examples, takesWords }: AnyCommand,
    details?: string,
): Argv {
    for (const [positional, describe] of Object.entries(positionals))
        yargs.positional(positional, { type: 'string', describe })
    for (const [option, spec] of Object.entries(options as OptionTable))
        yargs.option(option, spec.type === 'boolean' ? spec : { ...spec, requiresArg: true })
    if (takesWords) yargs.usage(`$0 ${name} [OPTIONS] -- ${takesWords}\n\n${describe}`)
    for (const example of examples) yargs.example(...exampleLine(name, example))
    return details ? yargs.epilogue(details) : yargs
}

/** Every number on a command line is a word of the firmware, or a count. */
const MAX_NUMBER = 0xffff_ffff

// yargs makes a list of an option that is given twice, NaN of a number that is none, and takes any words behind `--`.
function checkOptions({ options, takesWords }: AnyCommand, args: Readonly<Record<string, unknown>>): void {
    for (const [name, spec] of Object.entries(options as OptionTable)) {
        const value = args[name]
        if (spec.type !== 'array' && Array.isArray(value)) throw coreError('ERR_USAGE', `--${name} was given twice`)
        if (spec.type === 'number' && value !== undefined && !isNumber(value))
            throw coreError('ERR_USAGE', `--${name}: expected a whole number of at most ${MAX_NUMBER}`)
    }
    const [word] = (args['--'] as readonly string[] | undefined) ?? []
    if (word !== undefined && !takesWords)
        throw coreError('ERR_USAGE', `nothing is expected behind --, got ${JSON.stringify(word)}`)
}

const isNumber = (value: unknown): boolean =>
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_NUMBER

// yargs takes a lone `-`, which stands for standard input, for an option without a name, and leaves nothing of it.
function withDash({ positionals = {} }: AnyCommand, args: Readonly<Record<string, unknown>>) {
    if (!process.argv.includes('-')) return args
    const lost = Object.keys(positionals).filter((name) => args[name] === '')
    return { ...args, ...Object.fromEntries(lost.map((name) => [name, '-'])) }
}
