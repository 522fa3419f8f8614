// The program as a whole: the help of every command, what it answers to a command line that is wrong, completion, and its
// manners on pipes and terminals.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { type Command, type CommandRow, detailsOf } from '#cli/command.ts'
import { COMMANDS } from '#cli/commands.ts'
import packageJson from '#package.json' with { type: 'json' }
import { temporaryFolder } from '#test/folder.ts'
import { programs } from '../machine.ts'
import { needs } from '../needs.ts'
import { guestAttest, MAIN, run } from './run.ts'

interface Entry {
    readonly name: string
    readonly describe: string
    /** The commands of a group. */
    readonly group?: readonly CommandRow[]
    readonly command?: Command
}

async function everyCommand(rows: readonly CommandRow[], prefix = ''): Promise<Entry[]> {
    const entries: Entry[] = []
    for (const { signature, describe, load } of rows) {
        const name = `${prefix}${signature.split(' ')[0]}`
        const loaded = await load()
        if ('group' in loaded)
            entries.push({ name, describe, group: loaded.group }, ...(await everyCommand(loaded.group, `${name} `)))
        else entries.push({ name, describe, command: loaded.command })
    }
    return entries
}

const ENTRIES = await everyCommand(COMMANDS)

// As it was before it was wrapped to the width of a terminal. Standard output may be bytes: `run` gives it as latin1.
const flat = (stdout: string): string => Buffer.from(stdout, 'latin1').toString().replaceAll(/\s+/g, ' ')

for (const { name, describe, group, command } of ENTRIES)
    test.serial(`--help: ${name}`, async (t) => {
        const { code, stdout, stderr } = await guestAttest([...name.split(' '), '--help'])
        t.is(code, 0, stderr)
        t.is(stderr, '')
        t.true(stdout.startsWith(`guest-attest ${name}`))
        const text = flat(stdout)
        t.true(text.includes(describe))
        t.notRegex(stdout, /^ {4}at |undefined|\[object/m)
        for (const { signature } of group ?? []) t.true(text.includes(`guest-attest ${name} ${signature}`), signature)
        t.regex(stdout, new RegExp(`^Examples:\n {2}guest-attest ${name}`, 'm'))
        if (!command) return
        for (const option of Object.keys(command.options))
            t.is(text.includes(`--${option} `), !command.options[option]?.hidden, option)
        t.true(text.includes(((await detailsOf(command)) ?? '').replaceAll(/\s+/g, ' ')))
    })

test('--help lists every command', async (t) => {
    const { code, stdout } = await guestAttest(['--help'])
    t.is(code, 0)
    for (const { signature, describe } of COMMANDS)
        t.true(flat(stdout).includes(`guest-attest ${signature} ${describe}`), signature)
})

test('the examples name options that there are', (t) => {
    for (const { name, command } of ENTRIES)
        for (const [line] of command?.examples ?? [])
            for (const word of line.replace(/(^| )-- .*/, '').split(' '))
                if (word.startsWith('--'))
                    t.true(Object.hasOwn(command?.options ?? {}, word.slice(2)), `${name} ${line}`)
})

for (const { words, says, help } of [
    { words: '', says: /^a command is missing/, help: '' },
    { words: '--frobnicate', says: /^a command is missing/, help: '' },
    { words: 'frobnicate', says: /^unknown argument: frobnicate/, help: '' },
    { words: '-- detect', says: /^a command is missing/, help: '' },
    { words: 'trust', says: /^trust: a command is missing/, help: 'trust' },
    { words: 'verfy', says: /^did you mean verify\?/, help: '' },
    { words: 'trust ad', says: /^did you mean add\?/, help: 'trust' },
    { words: 'verify', says: /^verify: expected <file>/, help: 'verify' },
    { words: 'trust frobnicate', says: /^unknown argument: frobnicate/, help: 'trust' },
    { words: 'trust -- list', says: /^trust: a command is missing/, help: 'trust' },
    { words: 'broker policy', says: /^broker policy: a command is missing/, help: 'broker policy' },
    { words: 'broker policy put', says: /^broker policy put: expected <name> <file>/, help: 'broker policy put' },
    { words: 'detect --frobnicate', says: /^unknown argument: frobnicate/, help: 'detect' },
    { words: 'detect config', says: /^unknown argument: config/, help: 'detect' },
    { words: 'detect -- config', says: /^nothing is expected behind --, got "config"/, help: 'detect' },
    {
        words: 'detect --tee rome',
        says: /^invalid values: Argument: tee, Given: "rome", Choices: "snp"/,
        help: 'detect',
    },
    { words: 'evidence --report-data', says: /^not enough arguments following: report-data/, help: 'evidence' },
    { words: 'evidence --nonce hex:00 --nonce hex:11', says: /^--nonce was given twice/, help: 'evidence' },
    { words: 'evidence --report-data hex:00 --vmpl one', says: /^--vmpl: expected a whole number/, help: 'evidence' },
    { words: 'evidence --report-data hex:00 --vmpl -1', says: /^--vmpl: expected a whole number/, help: 'evidence' },
    { words: 'completion tcsh', says: /^"tcsh": expected one of bash, zsh, fish/, help: 'completion' },
    { words: 'policy init', says: /^missing required argument: from/, help: 'policy init' },
])
    test(`exit 2: ${words || 'nothing'}`, async (t) => {
        const { code, stdout, stderr } = await guestAttest(words.split(' ').filter(Boolean))
        t.is(code, 2, stderr)
        t.is(stdout, '')
        const [line = '', hint, ...more] = stderr.split('\n')
        t.regex(line.replace(/^guest-attest: /, ''), says)
        t.true(line.endsWith(' (ERR_USAGE)'))
        t.is(hint, `  hint: guest-attest ${help}${help && ' '}--help`)
        t.deepEqual(more, [''])
    })

for (const { name, args, input, code, says } of [
    { name: 'yes', args: ['config', '--json'], code: 0, says: /^$/ },
    { name: 'no', args: ['inspect', '-'], input: 'hello', code: 1, says: /not a proof that I know/ },
    { name: 'usage', args: ['inspect', '/nowhere'], code: 2, says: /no such file/ },
    { name: 'usage, too', args: ['inspect', '/'], code: 2, says: /is a folder, a file was expected/ },
    { name: 'cannot decide now', args: ['broker', 'list'], code: 3, says: /no broker answers/ },
])
    test(`exit ${code}: ${name}`, async (t) => {
        const ran = await guestAttest(args, { env: { GUEST_ATTEST_CONFIG: '/nowhere' }, ...(input ? { input } : {}) })
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr, says)
    })

const STARTER = fileURLToPath(new URL('../../src/cli/bin.js', import.meta.url))

test('--version, also through a link, as npm makes it', async (t) => {
    t.is((await guestAttest(['--version'])).stdout, `${packageJson.version}\n`)
    const link = join(temporaryFolder(t), 'guest-attest')
    symlinkSync(STARTER, link)
    for (const [program, args] of [
        [process.execPath, [link, '--version']],
        [link, ['--version']],
    ] as const) {
        const ran = await run(program, args)
        t.is(ran.stdout, `${packageJson.version}\n`, ran.stderr)
    }
})

test('a signal to the starter is one to the program', async (t) => {
    const data = join(temporaryFolder(t), 'data')
    const child = spawn(STARTER, ['broker', 'serve', '--data', data, '--listen', '127.0.0.1:0'], {
        stdio: ['ignore', 'ignore', 'pipe'],
    })
    const ended = once(child, 'exit')
    const said: string[] = []
    for await (const line of createInterface({ input: child.stderr })) {
        said.push(line)
        if (line.includes('serving https://')) child.kill('SIGTERM')
    }
    t.deepEqual(await ended, [0, null], said.join('\n'))
})

needs(programs('bash'))('completion: bash takes the script, and completes with it', async (t) => {
    const script = `
        guest-attest() { ${process.execPath} ${MAIN} "$@"; }
        eval "$(guest-attest completion)"
        complete -p guest-attest
        for words in 'guest-attest tru' 'guest-attest trust ' 'guest-attest trust add --allow'; do
            COMP_WORDS=(\${words}); [[ $words = *\\  ]] && COMP_WORDS+=('')
            COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
            _guest-attest_yargs_completions
            echo "\${COMPREPLY[@]}"
        done`
    const { code, stdout, stderr } = await run('bash', ['-c', script])
    t.is(code, 0, stderr)
    t.is(stderr, '')
    const [registered, ...completed] = stdout.trim().split('\n')
    t.regex(registered ?? '', /^complete .* guest-attest$/)
    t.deepEqual(completed, ['trust', 'add list rm', '--allow-path'])
})

for (const { args, shell, is } of [
    { args: [], shell: '/bin/zsh', is: /^#compdef guest-attest\n/ },
    { args: [], shell: '/bin/bash', is: /^###-begin-guest-attest-completions/ },
    { args: ['zsh'], shell: '/bin/bash', is: /^#compdef guest-attest\n/ },
    { args: ['bash'], shell: '/bin/zsh', is: /^###-begin-guest-attest-completions/ },
    { args: [], shell: '/usr/bin/fish', is: /^# fish completion for guest-attest\n/ },
    { args: ['fish'], shell: '/bin/bash', is: /^# fish completion for guest-attest\n/ },
])
    test(`completion: ${args.join('') || 'no shell named'}, in ${shell}`, async (t) => {
        const { code, stdout, stderr } = await guestAttest(['completion', ...args], { env: { SHELL: shell } })
        t.is(code, 0, stderr)
        t.regex(stdout, is)
        t.is(stderr, '')
    })

needs(programs('fish'))('completion: fish takes the script, and completes with it', async (t) => {
    const { stdout: script } = await guestAttest(['completion', 'fish'])
    const lines = ['guest-attest tru', 'guest-attest trust ', 'guest-attest trust add --allow']
    const ask = lines.map((words) => `complete -C '${words}' | string replace -r '\\t.*' ''`)
    const { code, stdout, stderr } = await run('fish', ['--no-config', '-c', [script, ...ask].join('\n')])
    t.is(code, 0, stderr)
    t.is(stderr, '')
    t.deepEqual(stdout.trim().split('\n'), ['trust', 'add', 'list', 'rm', '--allow-path'])
})

needs(programs('bash'))('a reader that has seen enough changes nothing', async (t) => {
    const script = `${process.execPath} ${MAIN} config | true; echo "\${PIPESTATUS[0]}"`
    t.like(await run('bash', ['-c', script]), { stdout: '0\n', stderr: '' })
})

test('what was typed cannot draw on the terminal', async (t) => {
    const { code, stderr } = await guestAttest(['inspect', '/nowhere/\u001b[2J\u202ex'])
    t.is(code, 2)
    t.true(stderr.includes('/nowhere/\ufffd[2J\ufffdx'), stderr)
})
