// What rows of the table share: words of consoles, and the plainest boot.
// SPDX-License-Identifier: Apache-2.0

import type { InitrdName } from '../initrds.ts'
import { type Bind, type Kit, PASSPHRASE, pathOf } from '../kit.ts'
import { fileDrive } from '../qemu.ts'
import type { Row } from '../row.ts'

export const ASKING = /guest-attest: root: asking https/
export const OPEN = /guest-attest: root: .*handed over/
export const REFUSED = /guest-attest: root: refused/
export const OFF = /(?:guest-attest: root: .*: poweroff|reboot: Power down|Powering off)/

/** Where a person types. */
export const PROMPT = /Please (?:unlock disk|enter passphrase for disk)/
export const TYPES = [{ at: PROMPT, text: `${PASSPHRASE}\n` }]

/** A shell, in any of its forms. */
const SHELLS = [
    /\(initramfs\)/,
    /Entering emergency mode/,
    /Press Enter for maintenance/,
    /sh: can't access tty/,
    /debug shell/i,
]
export const NO_PROMPT = [...SHELLS, PROMPT]

/** What the host has of its own: a root that says so. */
export const HOSTS_MARKER = "the host's root"

/** An initrd of each builder, with the front end that is its own. */
export const BUILDERS = ['initramfs-keyscript', 'dracut-socket'] as const satisfies readonly InitrdName[]

/** A disk that is bound as the initrd wants it. */
export const plain = async (kit: Kit, name: string, bind: Bind) => ({
    drives: [fileDrive(await kit.disk(name, { bind: [bind] }))],
    volume: { path: pathOf(name) },
})

export const opens = (name: string, initrd: Row['initrd'], bind: Bind, expect: readonly RegExp[]): Row => ({
    name,
    initrd,
    end: 'opens',
    expect,
    prepare: (kit) => plain(kit, name, bind),
})
