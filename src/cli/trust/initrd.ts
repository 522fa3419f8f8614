// Whether the initrd of the running kernel has a file of ours: it holds a copy that only a rebuild brings up to date.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import type { Anchor } from '#unlock/anchors.ts'

export interface InitrdState {
    /** Null where nobody can tell. */
    readonly known: boolean | null
    readonly text: string
}

/** By initrd: the program that lists its files, and the one that builds it anew. */
const BUILDERS = [
    { image: (kernel: string) => `/boot/initrd.img-${kernel}`, list: 'lsinitramfs', rebuild: 'update-initramfs -u' },
    { image: (kernel: string) => `/boot/initramfs-${kernel}.img`, list: 'lsinitrd', rebuild: 'dracut -f' },
] as const

/** Whether the initrd holds the file of an anchor, and is not older than it. */
export function inInitrd({ source }: Anchor): InitrdState {
    if (source === 'injected') return { known: true, text: 'finds it by itself' }
    const { file } = source
    const found = currentInitrd()
    if (!found) return { known: null, text: 'no initrd of the running kernel was found' }
    const { image, list, rebuild } = found
    if (statSync(file).mtimeMs > statSync(image).mtimeMs)
        return { known: false, text: `not yet: ${image} is older; run ${rebuild}` }
    const { status, stdout } = spawnSync(list, [image], { encoding: 'utf8', timeout: 60_000 })
    if (status !== 0) return { known: null, text: `cannot tell: ${list} ${image} failed` }
    const known = stdout.split('\n').some((line) => line.trim().endsWith(file.slice(1)))
    return { known, text: known ? `known to ${image}` : `not in ${image}; run ${rebuild}` }
}

/** What to do after the anchors have changed. */
export function initrdHint(): string {
    const found = currentInitrd()
    return found
        ? `the initrd has its own copy: run ${found.rebuild}`
        : 'an initrd that unlocks with it has to be rebuilt'
}

function currentInitrd() {
    const kernel = readFileSync('/proc/sys/kernel/osrelease', 'latin1').trim()
    for (const { image, ...tools } of BUILDERS) if (existsSync(image(kernel))) return { image: image(kernel), ...tools }
    return null
}
