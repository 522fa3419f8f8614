// DEBIAN/control: deb-control(5).
// SPDX-License-Identifier: Apache-2.0

import { maintainer } from './documents.ts'
import type { DebPackage } from './packages.ts'

export interface ControlValues {
    readonly version: string
    readonly architecture: string
    /** KiB. */
    readonly size: number
    /** Packages of the libraries that its files load. */
    readonly needed: string
}

export function controlFile(each: DebPackage, { version, architecture, size, needed }: ControlValues): string {
    const { Depends = '', ...fields } = each.fields
    const depends = [needed, Depends].filter(Boolean).join(', ')
    const rows: Record<string, string> = {
        Package: each.name,
        Source: 'guest-attest',
        Version: version,
        Architecture: architecture,
        Maintainer: maintainer(),
        'Installed-Size': String(size),
        ...(depends ? { Depends: depends } : {}),
        ...fields,
        Section: 'admin',
        Priority: 'optional',
        Description: description(each),
    }
    if (each.name === rows['Source']) delete rows['Source']
    return Object.entries(rows)
        .map(([name, value]) => `${name}: ${value.replaceAll('VERSION', version)}\n`)
        .join('')
}

const description = ({ synopsis, description: paragraphs }: DebPackage): string =>
    [synopsis, ...paragraphs.flatMap((text, i) => [...(i > 0 ? [' .'] : []), ...folded(text)])].join('\n')

// Lines of at most 79 columns, each behind a space.
function folded(text: string): string[] {
    const lines: string[] = []
    for (const word of text.split(' ')) {
        const last = lines.at(-1)
        if (last !== undefined && last.length + word.length < 79) lines[lines.length - 1] = `${last} ${word}`
        else lines.push(` ${word}`)
    }
    return lines
}
