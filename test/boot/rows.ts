// The boots: what opens, what stays shut, and where a person types; and which of them are booted in every run.
// SPDX-License-Identifier: Apache-2.0

import type { Row } from './row.ts'
import { LAUNCHED } from './rows/launched.ts'
import { OPENS } from './rows/opens.ts'
import { SHUT } from './rows/shut.ts'
import { TYPED } from './rows/typed.ts'

export const ROWS: readonly Row[] = [...OPENS, ...LAUNCHED, ...SHUT, ...TYPED]

/** One of each kind. The others differ in the builder, or are one more of their kind: they are booted with `--all`. */
const EVERY_RUN: readonly string[] = [
    "README's recipe, from the packages to the reboot",
    'keyscript, initramfs-tools',
    'clevis, initramfs-tools',
    'key socket, dracut',
    'key socket of a TDX guest, dracut',
    'injected passphrase of a SEV guest, initramfs-keyscript',
    'proof of possession of a SEV guest, dracut-socket',
    'data volumes after the boot',
    'wrong measurement, dracut-socket',
    'wrong measurement of a TDX guest',
    'a SEV guest whose key was revoked',
    'null cipher in the header, initramfs-keyscript',
    'a disk that lies after the copy of its header',
    "the host's own LUKS disk, dracut-socket",
    'an unencrypted disk with the same UUID and label, initramfs-keyscript',
    'hostile command line: init=/bin/sh',
    'hostile command line: rd.break',
    'a typed passphrase while it tries again: password agent, dracut',
]

const unknown = EVERY_RUN.filter((name) => !ROWS.some((row) => row.name === name))
if (unknown.length > 0) throw new TypeError(`no such boot: ${unknown.join('; ')}`)

export const isVariant = (name: string): boolean => !EVERY_RUN.includes(name)
