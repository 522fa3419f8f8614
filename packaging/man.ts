// Manual pages, made from the tables of commands that the program itself is made from: `guest-attest.1` with every command,
// one for each program of the clevis pins, and `guest-attest-initrd.8` of what that one says of itself.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Options } from 'yargs'
import { DECRYPT_USAGE, ENCRYPT_USAGE, SEV_DECRYPT_USAGE, SEV_ENCRYPT_USAGE } from '#clevis/usage.ts'
import { type CommandRow, detailsOf } from '#cli/command.ts'
import { COMMANDS } from '#cli/commands.ts'
import packageJson from '#package.json' with { type: 'json' }

/** Writes the pages into `man1` and `man8` of a folder, as man(1) looks for them; returns their names. */
export async function writeManuals(folder: string, initrdUsage: string): Promise<string[]> {
    const pages = {
        'guest-attest.1': await programPage(),
        'clevis-encrypt-kbs.1': pinPage(
            'clevis-encrypt-kbs',
            'seals with a key that a key broker releases',
            ENCRYPT_USAGE,
        ),
        'clevis-decrypt-kbs.1': pinPage('clevis-decrypt-kbs', 'opens what clevis-encrypt-kbs sealed', DECRYPT_USAGE),
        'clevis-encrypt-sev.1': pinPage(
            'clevis-encrypt-sev',
            'seals with a secret that is injected into SEV guests',
            SEV_ENCRYPT_USAGE,
        ),
        'clevis-decrypt-sev.1': pinPage(
            'clevis-decrypt-sev',
            'opens what clevis-encrypt-sev sealed',
            SEV_DECRYPT_USAGE,
        ),
        'guest-attest-initrd.8': initrdPage(initrdUsage),
    }
    for (const [name, text] of Object.entries(pages)) {
        const section = join(folder, `man${name.at(-1)}`)
        mkdirSync(section, { recursive: true })
        writeFileSync(join(section, name), text)
    }
    return Object.keys(pages)
}

function initrdPage(usage: string): string {
    return page(
        'guest-attest-initrd',
        'opens disks at boot',
        [
            [
                'DESCRIPTION',
                paragraph(
                    'The part of guest-attest that an initrd has. Units and scripts of the initrd call it; it takes words alone, and nothing from its environment: unknown words of the kernel command line end there.',
                ),
            ],
            ['COMMANDS', `.nf\n${roff(usage)}\n.fi`],
            ['EXIT STATUS', EXITS.map(([code, means]) => `.TP\n.B ${code}\n${roff(means)}`).join('\n')],
            ['FILES', INITRD_FILES.map(([path, means]) => `.TP\n.I ${path}\n${roff(means)}`).join('\n')],
            ['SEE ALSO', '.BR guest-attest (1),\n.BR crypttab (5),\n.BR clevis (1)'],
        ],
        8,
    )
}

const INITRD_FILES = [
    ['/etc/guest-attest/trust.d/', 'the brokers that this guest trusts'],
    ['/etc/guest-attest/volumes.d/', 'the volumes that it opens'],
    ['/run/guest-attest/', 'copies of headers that were checked, the report of the boot'],
    ['/usr/lib/guest-attest/koffi.node', 'the native library; another one than that of its build is refused'],
] as const

async function programPage(): Promise<string> {
    const sections: string[] = []
    for (const row of COMMANDS) sections.push(...(await commandSections(row, '')))
    return page('GUEST-ATTEST', 'attestation of confidential VMs, and what it unlocks', [
        ['SYNOPSIS', '.B guest-attest\n.I COMMAND\n[\\fIOPTION\\fR ...]'],
        [
            'DESCRIPTION',
            paragraph(
                'Proves what a confidential VM is, judges such proofs, and releases and uses keys. Standard output carries the result alone; everything else goes to standard error.',
            ),
        ],
        ['COMMANDS', sections.join('\n')],
        ['EXIT STATUS', EXITS.map(([code, means]) => `.TP\n.B ${code}\n${roff(means)}`).join('\n')],
        ['FILES', FILES.map(([path, means]) => `.TP\n.I ${path}\n${roff(means)}`).join('\n')],
        [
            'SEE ALSO',
            '.BR clevis-encrypt-kbs (1),\n.BR clevis-decrypt-kbs (1),\n.BR clevis-encrypt-sev (1),\n.BR clevis-decrypt-sev (1),\n.BR guest-attest-initrd (8),\n.BR clevis (1),\n.BR cryptsetup (8)',
        ],
    ])
}

const EXITS = [
    ['0', 'yes'],
    ['1', 'no'],
    ['2', 'the command line or a file that it names is wrong'],
    ['3', 'cannot decide now: a network, a file, something that decides is missing'],
] as const

const FILES = [
    ['/etc/guest-attest/config.toml', 'the configuration; config.d/*.toml is read after it'],
    ['/etc/guest-attest/trust.d/', 'the brokers that this guest trusts'],
    [
        '/run/guest-attest/',
        'what must not outlive the boot: the lock of the device, denials, the key to what the kernel’s keyring keeps',
    ],
    ['/var/lib/guest-attest/', "the broker's data and keys"],
] as const

const PINS = ['clevis-encrypt-kbs', 'clevis-decrypt-kbs', 'clevis-encrypt-sev', 'clevis-decrypt-sev'] as const

function pinPage(name: (typeof PINS)[number], summary: string, usage: string): string {
    const others = [...PINS.filter((other) => other !== name), 'guest-attest', 'clevis', 'clevis-luks-bind']
    return page(name.toUpperCase(), summary, [
        ['DESCRIPTION', `.nf\n${roff(usage)}\n.fi`],
        ['SEE ALSO', others.map((other) => `.BR ${other} (1)`).join(',\n')],
    ])
}

async function commandSections(row: CommandRow, prefix: string): Promise<string[]> {
    const loaded = await row.load()
    const [name = '', ...words] = row.signature.split(' ')
    const full = `${prefix}${name}`
    if ('group' in loaded)
        return (await Promise.all(loaded.group.map((inner) => commandSections(inner, `${full} `)))).flat()
    const { positionals = {}, options, examples, takesWords } = loaded.command
    if (takesWords) words.push('--', takesWords)
    const details = await detailsOf(loaded.command)
    const lines = [`.SS "${roff([full, ...words].join(' '))}"`, roff(`${row.describe}.`)]
    for (const [positional, means] of Object.entries(positionals))
        lines.push(`.TP\n.I ${roff(positional)}`, roff(means))
    for (const [option, spec] of Object.entries(options as Record<string, Options>))
        if (!spec.hidden) lines.push(`.TP\n.B \\-\\-${roff(optionName(option, spec))}`, roff(optionText(spec)))
    if (details) lines.push(paragraph(details))
    for (const [line, what] of examples)
        lines.push(`.PP\n${roff(what)}:\n.RS\n.nf\nguest\\-attest ${roff(`${full} ${line}`.trim())}\n.fi\n.RE`)
    return lines
}

const optionName = (name: string, { type, choices }: Options): string => {
    if (type === 'boolean') return name
    return `${name} ${choices ? choices.join('|') : name.toUpperCase().replaceAll('-', '_')}`
}

const optionText = ({ describe = '', demandOption }: Options): string =>
    `${String(describe)}${demandOption ? ' (required)' : ''}`

const page = (
    title: string,
    summary: string,
    sections: readonly (readonly [name: string, text: string])[],
    section = 1,
): string =>
    [
        `.TH "${title.toUpperCase()}" "${section}" "" "guest-attest ${packageJson.version}"`,
        `.SH NAME\n${title.toLowerCase().replaceAll('-', '\\-')} \\- ${roff(summary)}`,
        ...sections.map(([name, text]) => `.SH ${name}\n${text}`),
        '',
    ].join('\n')

const paragraph = (text: string): string =>
    text
        .split('\n\n')
        .map((part) => `.PP\n${roff(part)}`)
        .join('\n')

// A backslash begins a request in the middle of a line, a dot or a quote at its start; hyphens of options stay hyphens.
const roff = (text: string): string =>
    text
        .replaceAll('\\', '\\e')
        .replaceAll('-', '\\-')
        .replaceAll(/^([.'])/gm, '\\&$1')
