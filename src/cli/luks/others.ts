// Bindings of a disk to other resources: a key slot that comes or goes changes the header that their digests are over, so
// they are made anew with their resources, or the bindings go.
// SPDX-License-Identifier: Apache-2.0

import { wipe } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { parseResourcePath } from '#kbs/messages.ts'
import { openedBy, type Resource } from '#luks/bind.ts'
import { type LuksBinding, readBindings } from '#luks/binding.ts'
import { luksError } from '#luks/errors.ts'
import type { ReleaseDeps } from '#unlock/release.ts'
import { fetchResource } from './target.ts'

export const REPLACE_OPTION = {
    replace: { type: 'boolean', default: false, describe: 'take bindings to other paths away, with their key slots' },
} as const

export interface Others extends Disposable {
    readonly keep: readonly (readonly [LuksBinding, Resource])[]
    /** Key slots. */
    readonly remove: readonly string[]
}

export interface OthersOf {
    readonly device: string
    readonly copy: Buffer
    /** The resource whose bindings are not among them. */
    readonly path: string
    readonly servers: readonly string[]
    readonly replace: boolean
    /** Absent on a machine that is no guest. */
    readonly deps: (() => ReleaseDeps | Promise<ReleaseDeps>) | null
}

/** What becomes of them. @throws AttestError ERR_LUKS_BINDING where one would be left with a digest that does not hold */
export async function othersOf({ device, copy, path, servers, replace, deps }: OthersOf): Promise<Others> {
    const others = readBindings(copy).filter((binding) => binding.path !== path)
    const keep: [LuksBinding, Resource][] = []
    const forget = () => wipe(...keep.map(([, { bytes }]) => bytes))
    const remove = others.map(({ keyslot }) => keyslot)
    if (replace) return { keep, remove, [Symbol.dispose]: forget }
    for (const other of new Set(others.map((binding) => binding.path))) {
        try {
            if (!deps) throw luksError('ERR_LUKS_BINDING', 'this machine is no guest')
            const resource = await fetchResource({ servers, path: parseResourcePath(other) }, null, await deps())
            const opened = await openedBy(device, copy, resource)
            wipe(opened?.passphrase)
            if (!opened) throw luksError('ERR_LUKS_BINDING', 'it does not open with the current version')
            keep.push([opened.binding, resource])
        } catch (cause) {
            forget()
            if (!(cause instanceof AttestError)) throw cause
            throw luksError(
                'ERR_LUKS_BINDING',
                `${device} is bound to ${other} too, which would not open any more: ${messageOf(cause)}`,
                {
                    cause,
                    hint: '--replace takes that binding away',
                },
            )
        }
    }
    return { keep, remove: [], [Symbol.dispose]: forget }
}
