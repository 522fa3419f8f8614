// Bindings of a header copy, in two passes: first the key slots, which the digests see, then the tokens, which they do not.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { type Secret, wipe } from '#core/bytes.ts'
import {
    BINDING_SALT_SIZE,
    bindingKeys,
    bindingsTo,
    checkDigest,
    digestHolds,
    formatBinding,
    headerDigest,
    type LuksBinding,
    readBindings,
    TOKEN_TYPE,
} from './binding.ts'
import { addKeyslot, importToken, killKeyslot, opens, removeToken } from './cryptsetup.ts'
import { copyWholeHeader } from './device.ts'
import { luksError } from './errors.ts'
import { metadataOf } from './metadata.ts'

/** A resource at hand: what the passphrase and the digest of a binding are made of. */
export interface Resource {
    readonly path: string
    readonly version: number | null
    readonly bytes: Uint8Array
}

/** A clevis token that seals the passphrase of a key slot. */
export type Seal = (passphrase: Secret, keyslot: string) => object

export interface Changes {
    /** Opens some key slot of the header as it is. */
    readonly existing: Uint8Array
    /** A new key slot for it. */
    readonly add?: Resource
    /** For clevis: a second token on the new key slot. */
    readonly seal?: Seal | undefined
    /** Bindings that stay, with their resource: their digests are made anew. */
    readonly keep?: readonly (readonly [LuksBinding, Resource])[]
    /** Key slots that go, with their tokens. */
    readonly remove?: readonly string[]
}

/**
 * Changes the bindings of a header in a file: `add` comes, `remove` goes, and every token of ours is written anew and tried.
 * The file is a copy (`rewriteHeader`): where this throws, it is of no use any more.
 * @returns the key slot that was added
 * @throws AttestError ERR_LUKS_PASSPHRASE, ERR_LUKS_FULL, ERR_LUKS_CRYPTSETUP, ERR_LUKS_BINDING
 */
export async function changeBindings(file: string, changes: Changes): Promise<string | null> {
    const { existing, add, seal, keep = [], remove = [] } = changes
    const rows: { id: string; keyslot: string; salt: Buffer; resource: Resource }[] = keep.map(
        ([binding, resource]) => ({
            ...binding,
            resource,
        }),
    )
    let keyslot: string | null = null
    let clevisId: string | null = null
    let passphrase: Secret | undefined
    try {
        if (add) {
            const { keyslots, tokens } = metadataOf(copyWholeHeader(file))
            keyslot = free(keyslots, 'key slot')
            const salt = randomBytes(BINDING_SALT_SIZE)
            const keys = bindingKeys(add.bytes, { ...add, salt })
            wipe(keys.headerKey)
            passphrase = keys.passphrase
            await addKeyslot(file, keyslot, existing, passphrase)
            // clevis takes the first token of a key slot for its own, whatever its type: its own comes first.
            if (seal) clevisId = free(tokens, 'token')
            const taken = clevisId === null ? tokens : { ...tokens, [clevisId]: null }
            rows.push({ id: free(taken, 'token'), keyslot, salt, resource: add })
        }
        for (const slot of remove) await removeSlot(file, slot, passphrase ?? existing)
        const copy = copyWholeHeader(file)
        for (const row of rows) await writeToken(file, copy, row)
        if (seal && passphrase && keyslot !== null && clevisId !== null)
            await importToken(file, clevisId, seal(passphrase, keyslot))
        for (const row of rows) await verify(file, row)
        return keyslot
    } finally {
        wipe(passphrase)
    }
}

/** Which of the bindings this resource opens: its key slot, its passphrase (to be wiped), and whether the digest holds. */
export async function openedBy(device: string, copy: Buffer, resource: Resource) {
    for (const binding of bindingsTo(copy, resource.path)) {
        if (binding.version !== resource.version) continue
        const { passphrase, headerKey } = bindingKeys(resource.bytes, binding)
        let returned = false
        try {
            if (!(await opens(device, passphrase, { keyslot: binding.keyslot }))) continue
            const intact = digestHolds(copy, binding, headerKey)
            returned = true
            return { binding, passphrase, intact }
        } finally {
            wipe(headerKey)
            if (!returned) wipe(passphrase)
        }
    }
    return null
}

/** Key slots of the bindings to a path, but for these. */
export const slotsBut = (copy: Buffer, path: string, keep: readonly string[]): string[] => [
    ...new Set(
        bindingsTo(copy, path)
            .map(({ keyslot }) => keyslot)
            .filter((slot) => !keep.includes(slot)),
    ),
]

/** Whether a clevis token opens with the passphrase of a key slot. */
export const hasClevis = (copy: Buffer, keyslot: string): boolean =>
    Object.values(metadataOf(copy).tokens).some((token) => token.type === 'clevis' && isListed(token, keyslot))

const isListed = (token: object, keyslot: string): boolean =>
    'keyslots' in token && Array.isArray(token.keyslots) && token.keyslots.includes(keyslot)

async function removeSlot(file: string, keyslot: string, remaining: Uint8Array): Promise<void> {
    const { keyslots, tokens } = metadataOf(copyWholeHeader(file))
    for (const [id, token] of Object.entries(tokens)) {
        const { keyslots: of } = token as { readonly keyslots?: unknown }
        if (Array.isArray(of) && of.length === 1 && of[0] === keyslot) await removeToken(file, id)
    }
    if (Object.hasOwn(keyslots, keyslot)) await killKeyslot(file, keyslot, remaining)
}

interface Row {
    readonly id: string
    readonly keyslot: string
    readonly salt: Buffer
    readonly resource: Resource
}

async function writeToken(file: string, copy: Buffer, { id, keyslot, salt, resource }: Row): Promise<void> {
    const { path, version } = resource
    const { passphrase, headerKey } = bindingKeys(resource.bytes, { path, version, salt })
    try {
        const digest = headerDigest(copy, headerKey)
        if (metadataOf(copyWholeHeader(file)).tokens[id]?.type === TOKEN_TYPE) await removeToken(file, id)
        await importToken(file, id, formatBinding({ keyslot, path, version, salt, digest }))
    } finally {
        wipe(passphrase, headerKey)
    }
}

async function verify(file: string, { id, resource }: Row): Promise<void> {
    const copy = copyWholeHeader(file)
    const binding = readBindings(copy).find((found) => found.id === id)
    if (!binding) throw luksError('ERR_LUKS_BINDING', `token ${id} was written, and is not there`)
    const { passphrase, headerKey } = bindingKeys(resource.bytes, binding)
    try {
        checkDigest(copy, binding, headerKey)
        if (!(await opens(file, passphrase, { keyslot: binding.keyslot })))
            throw luksError('ERR_LUKS_PASSPHRASE', `key slot ${binding.keyslot} was written, and does not open`)
    } finally {
        wipe(passphrase, headerKey)
    }
}

const MOST = 32

/** The lowest number that is not taken. @throws AttestError ERR_LUKS_FULL */
export function free(taken: Readonly<Record<string, unknown>>, what: string): string {
    for (let id = 0; id < MOST; id++) if (!Object.hasOwn(taken, String(id))) return String(id)
    throw luksError('ERR_LUKS_FULL', `all ${MOST} ${what}s are in use`)
}
