// What a Debian package says of itself: copyright (machine-readable, DEP-5), changelog, overrides of lintian.
// SPDX-License-Identifier: Apache-2.0

import type { Component } from '../components.ts'
import type { DebPackage } from './packages.ts'

/** Who makes the package. deb-changelog(5) */
export const maintainer = (env = process.env): string =>
    `${env['DEBFULLNAME'] ?? 'guest-attest maintainers'} <${env['DEBEMAIL'] ?? 'maintainers@guest-attest.invalid'}>`

export const changelog = (version: string, epoch: number): string => `guest-attest (${version}) unstable; urgency=medium

  * Version ${version.replace(/-.*/, '')}: /usr/share/doc/guest-attest/changelog.gz

 -- ${maintainer()}  ${rfc5322(epoch)}
`

const rfc5322 = (epoch: number): string => new Date(epoch * 1000).toUTCString().replace('GMT', '+0000')

const HEAD = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: guest-attest
Comment: Not part of Debian; built by the project itself.

Files: *
Copyright: 2026 the guest-attest authors
License: Apache-2.0
 On Debian systems the full text of this licence is in
 /usr/share/common-licenses/Apache-2.0
`

/** Our own licence, and the whole text of that of everything which is in the executables. */
export const copyright = (components: readonly Component[]): string =>
    [
        HEAD,
        ...components.map(
            ({ name, version, licence, licenceText }) =>
                `Files: executables, the part that is ${name} ${version}\nCopyright: ${holders(licenceText)}\nLicense: ${nameOf(name, licence)}\n${indented(textOf(licence, licenceText))}`,
        ),
    ].join('\n')

// Debian has this one in a file of its own, and wants no other copy.
const APACHE = 'Apache-2.0'

const nameOf = (name: string, licence: string): string =>
    licence === APACHE ? APACHE : `${licence.replaceAll(' ', '-')} of ${name}`.replaceAll(/[ /@]+/g, '-')

const textOf = (licence: string, text: string): string =>
    licence === APACHE ? 'See /usr/share/common-licenses/Apache-2.0' : text

function holders(text: string): string {
    const found = [...text.matchAll(/^\W*copyright\s+(?:\(c\)|©)?\s*(.*\d{4}.*|.+)$/gim)].map(([, who = '']) =>
        who.trim(),
    )
    return [...new Set(found)].slice(0, 3).join('\n ') || 'its authors'
}

// An empty line is a dot.
const indented = (text: string): string =>
    text
        .trimEnd()
        .split(/\r?\n/)
        .map((line) => ` ${line.trim() === '' ? '.' : line.trimEnd()}\n`)
        .join('')

export const overrides = ({ name, overrides: rows = [] }: DebPackage): string =>
    [...EVERYWHERE, ...rows].map(([tag, reason]) => `# ${reason}\n${name}: ${tag}\n`).join('')

const EVERYWHERE: NonNullable<DebPackage['overrides']> = [
    ['bogus-mail-host', 'who builds packages for others sets DEBFULLNAME and DEBEMAIL'],
    ['bogus-mail-host-in-debian-changelog', 'the same'],
    ['initial-upload-closes-no-bugs', "Debian's bug tracker does not know these packages"],
]
