// Our own LUKS2 token: a key slot whose passphrase is derived from a resource of a broker, and a digest of the header
// under a key that is derived from it too.
//   {"type":"guest-attest","keyslots":["1"],"v":1,"path":"R/T/T","version":3|null,"salt":BASE64URL,"digest":BASE64URL}
//   passphrase = base64url(HKDF-SHA-256(resource, salt, "guest-attest/luks-passphrase/v1" 00 PATH 00 VERSION))
//   header key =           HKDF-SHA-256(resource, salt, "guest-attest/luks-header/v1"     00 PATH 00 VERSION)
//   digest     = HMAC-SHA-256(header key, JCS of what the header says 00 the key-slot areas in the order of their numbers)
// PATH 00 VERSION is ASCII, VERSION decimal and empty for null. Tokens, sequence number, salt and checksum are not in the
// digest: they decide nothing, and change whenever a token is written.
// SPDX-License-Identifier: Apache-2.0

import { createHmac, hkdfSync } from 'node:crypto'
import * as z from 'zod/mini'
import { equalBytes, fromBase64Url, type Secret, secret, toBase64Url, toBase64UrlBytes, wipe } from '#core/bytes.ts'
import { jcs } from '#core/jcs.ts'
import { luksError } from './errors.ts'
import { primaryCopy } from './header.ts'
import { fit, KEYSLOT, type Metadata, metadataOf, parseMetadata } from './metadata.ts'

export const TOKEN_TYPE = 'guest-attest'

/** What a token of ours says. */
export interface LuksBinding {
    /** The token's number. */
    readonly id: string
    readonly keyslot: string
    /** `repository/type/tag` */
    readonly path: string
    /** The version of the resource; null where its broker has none. */
    readonly version: number | null
    readonly salt: Buffer
    readonly digest: Buffer
}

/** What the passphrase and the header key of a binding are derived from. */
export type BindingName = Pick<LuksBinding, 'path' | 'version' | 'salt'>

export const BINDING_SALT_SIZE = 32

const DIGEST_SIZE = 32

/** Three names, as the protocol of the brokers has them. */
const RESOURCE = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}(?:\/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}){2}$/

const decodes = (text: string, size: number): boolean => {
    try {
        return fromBase64Url(text, '', size).length === size
    } catch {
        return false
    }
}

const base64Url = (size: number) =>
    z.string().check(z.refine((text) => decodes(text, size), `expected base64url of ${size} bytes`))

const BINDING = z.strictObject({
    type: z.literal(TOKEN_TYPE),
    keyslots: z.array(z.string()).check(z.length(1, 'expected one key slot')),
    v: z.literal(1),
    path: z.string().check(z.regex(RESOURCE, 'expected REPOSITORY/TYPE/TAG')),
    version: z.nullable(z.int().check(z.minimum(1))),
    salt: base64Url(BINDING_SALT_SIZE),
    digest: base64Url(DIGEST_SIZE),
})

/** A token of ours, as it stands in the metadata. @throws AttestError ERR_LUKS_TOKEN */
export function readBinding(id: string, token: unknown): LuksBinding {
    const { keyslots, path, version, salt, digest } = fit(BINDING, token, `token ${id}`, 'ERR_LUKS_TOKEN')
    return {
        id,
        keyslot: keyslots[0] as string,
        path,
        version,
        salt: fromBase64Url(salt, 'salt', BINDING_SALT_SIZE),
        digest: fromBase64Url(digest, 'digest', DIGEST_SIZE),
    }
}

/** The token of a binding, as `cryptsetup token import` takes it. */
export const formatBinding = ({ keyslot, path, version, salt, digest }: Omit<LuksBinding, 'id'>) => ({
    type: TOKEN_TYPE,
    keyslots: [keyslot],
    v: 1,
    path,
    version,
    salt: toBase64Url(salt),
    digest: toBase64Url(digest),
})

/** The bindings of a header, the newest version of a resource first. @throws AttestError ERR_LUKS_*, ERR_JSON */
export function readBindings(copy: Buffer): LuksBinding[] {
    const { tokens } = metadataOf(copy)
    return Object.entries(tokens)
        .filter(([, { type }]) => type === TOKEN_TYPE)
        .map(([id, token]) => readBinding(id, token))
        .toSorted((a, b) => (b.version ?? 0) - (a.version ?? 0))
}

/** A resource, as a person reads it: `default/luks/root, version 3`. */
export const resourceText = ({ path, version }: Pick<LuksBinding, 'path' | 'version'>): string =>
    version === null ? path : `${path}, version ${version}`

/** The bindings to a path, in the same order. @throws AttestError as `readBindings` */
export const bindingsTo = (copy: Buffer, path: string): LuksBinding[] =>
    readBindings(copy).filter((binding) => binding.path === path)

/** The passphrase of its key slot, in base64url, and the 32 bytes of the key of its digest. The caller wipes both. */
export function bindingKeys(resource: Uint8Array, binding: BindingName): { passphrase: Secret; headerKey: Secret } {
    const bytes = derive(resource, binding, 'guest-attest/luks-passphrase/v1')
    try {
        return {
            passphrase: toBase64UrlBytes(bytes),
            headerKey: derive(resource, binding, 'guest-attest/luks-header/v1'),
        }
    } finally {
        wipe(bytes)
    }
}

/**
 * The digest of a whole header (`copyWholeHeader`).
 * @throws AttestError ERR_LUKS_*, where the header is none or a key-slot area is not in the copy
 */
export function headerDigest(copy: Buffer, headerKey: Uint8Array): Buffer {
    const { header, json } = primaryCopy(copy)
    const { segments, digests, keyslots, config } = parseMetadata(json)
    const said = {
        uuid: header.uuid.toLowerCase(),
        segments,
        digests,
        keyslots,
        flags: config.flags ?? [],
        requirements: config.requirements ?? {},
    }
    const mac = createHmac('sha256', headerKey).update(jcs(said)).update(Buffer.of(0))
    for (const area of areasOf(keyslots, copy)) mac.update(area)
    return mac.digest()
}

/** Whether a header is the one that was bound. @throws AttestError as `headerDigest` */
export const digestHolds = (copy: Buffer, { digest }: LuksBinding, headerKey: Uint8Array): boolean =>
    equalBytes(headerDigest(copy, headerKey), digest)

/** @throws AttestError ERR_LUKS_HEADER_DIGEST, as `headerDigest` */
export function checkDigest(copy: Buffer, binding: LuksBinding, headerKey: Uint8Array): void {
    if (digestHolds(copy, binding, headerKey)) return
    throw luksError('ERR_LUKS_HEADER_DIGEST', `token ${binding.id}: the header is not the one that was bound`, {
        hint: 'if you changed a key slot or a flag yourself: `guest-attest luks rebind --accept-header` binds it as it is now',
    })
}

function areasOf(keyslots: Metadata['keyslots'], copy: Buffer): Buffer[] {
    return Object.entries(keyslots)
        .toSorted(([a], [b]) => Number(a) - Number(b))
        .map(([id, value]) => {
            const { offset, size } = fit(KEYSLOT, value, `key slot ${id}`, 'ERR_LUKS_KEYSLOT').area
            const end = offset + size
            if (end > BigInt(copy.length))
                throw luksError('ERR_LUKS_AREA', `key slot ${id}: its area ends at ${end}, the copy at ${copy.length}`)
            return copy.subarray(Number(offset), Number(end))
        })
}

const derive = (resource: Uint8Array, { path, version, salt }: BindingName, label: string): Secret =>
    secret(Buffer.from(hkdfSync('sha256', resource, salt, Buffer.from(`${label}\0${path}\0${version ?? ''}`), 32)))
