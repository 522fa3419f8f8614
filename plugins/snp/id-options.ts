// The options of `measure snp` that make and read an ID block, and what they come to.
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey, type KeyObject } from 'node:crypto'
import { fromBase64, toBase64, toHex, wantLength } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import type { InputFile, MeasureRows, MeasureValues } from '#evidence/measure.ts'
import { snpError } from './errors.ts'
import { DEFAULT_POLICY, ID_AUTH, ID_BLOCK, makeIdPair, readIdBlock, verifyIdPair } from './id-block.ts'

export const ID_OPTIONS = {
    idKey: { type: 'file', describe: 'make an ID block for the guest, signed by this key of P-384 (PEM)' },
    authorKey: { type: 'file', describe: 'with --id-key: the key that vouches for it (PEM)' },
    familyId: { type: 'bytes', describe: 'with --id-key: 16 bytes in hex [zeros]' },
    imageId: { type: 'bytes', describe: 'with --id-key: 16 bytes in hex [zeros]' },
    guestSvn: { type: 'number', describe: 'with --id-key: the version of the guest [0]' },
    policy: { type: 'word', describe: 'with --id-key: the policy that the guest is launched with, in hex [0x30000]' },
    idBlock: { type: 'file', describe: 'read this ID block, binary or base64, and compare it with the digest' },
    idAuth: { type: 'file', describe: 'with --id-block: verify it with this ID authentication' },
} as const satisfies MeasureRows

type IdValues = MeasureValues<typeof ID_OPTIONS>
type Told = Readonly<Record<string, string | number>>

/** What was made, by its names; nothing where nobody asked. @throws AttestError ERR_USAGE, ERR_SNP_ID_BLOCK, ERR_LENGTH */
export function makeId(values: IdValues, launchDigest: Buffer): Told {
    const { idKey, authorKey, familyId, imageId, guestSvn, policy } = values
    if (!idKey) {
        const stray = Object.entries({ authorKey, familyId, imageId, guestSvn, policy }).find(
            ([, value]) => value !== undefined,
        )
        if (stray) throw coreError('ERR_USAGE', `--${spelled(stray[0])} is nothing without --id-key`)
        return {}
    }
    const id = (bytes: Buffer | undefined, option: string) => (bytes ? wantLength(bytes, 16, option) : Buffer.alloc(16))
    const pair = makeIdPair(
        {
            launchDigest,
            familyId: id(familyId, '--family-id'),
            imageId: id(imageId, '--image-id'),
            guestSvn: guestSvn ?? 0,
            policy: policy ?? DEFAULT_POLICY,
        },
        privateKey(idKey),
        authorKey ? privateKey(authorKey) : null,
    )
    return { 'id-block': toBase64(pair.block), 'id-auth': toBase64(pair.auth), ...digests(verifyIdPair(pair)) }
}

/** The block that was given, if one was; `check` compares it and says what stands in it. */
export function readId({ idBlock, idAuth }: IdValues) {
    if (!idBlock) {
        if (idAuth) throw coreError('ERR_USAGE', '--id-auth is nothing without --id-block')
        return null
    }
    const raw = decoded(idBlock, ID_BLOCK.size)
    const block = readIdBlock(raw)
    const auth = idAuth && decoded(idAuth, ID_AUTH.size)
    const signers = auth ? verifyIdPair({ block: raw, auth }) : null
    return {
        launchDigest: block.launchDigest,
        /** @throws AttestError ERR_SNP_ID_BLOCK */
        check(measured: Buffer): Told {
            if (!block.launchDigest.equals(measured))
                throw snpError(
                    'ERR_SNP_ID_BLOCK',
                    `${idBlock.name} is for another guest: it names ${toHex(block.launchDigest)}, this one measures ${toHex(measured)}`,
                )
            return {
                familyId: toHex(block.familyId),
                imageId: toHex(block.imageId),
                guestSvn: block.guestSvn,
                policy: `0x${block.policy.toString(16)}`,
                ...(signers ? digests(signers) : { signature: 'not verified: no --id-auth was given' }),
            }
        },
    }
}

const digests = ({ idKeyDigest, authorKeyDigest }: ReturnType<typeof verifyIdPair>): Told => ({
    idKeyDigest: toHex(idKeyDigest),
    ...(authorKeyDigest ? { authorKeyDigest: toHex(authorKeyDigest) } : {}),
})

/** Binary, or the base64 that QEMU takes. */
function decoded({ name, bytes }: InputFile, size: number): Buffer {
    return bytes.length === size ? bytes : fromBase64(bytes.toString('latin1').trim(), name, size)
}

function privateKey({ name, bytes }: InputFile): KeyObject {
    try {
        return createPrivateKey(bytes)
    } catch (cause) {
        throw snpError('ERR_SNP_ID_BLOCK', `${name} is no private key in PEM`, { cause })
    }
}

const spelled = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
