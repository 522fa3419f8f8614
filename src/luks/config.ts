// The checks of the config section, and of a re-encryption, whose signs stand in it and elsewhere.
// SPDX-License-Identifier: Apache-2.0

import { brief, luksError } from './errors.ts'
import { BINARY_HEADER } from './header.ts'
import type { Metadata } from './metadata.ts'
import { FLAGS } from './volume.ts'

/** cryptsetup's LUKS2_MAX_KEYSLOTS_SIZE: 128 MiB. */
const MAX_KEYSLOTS_SIZE = 128n * 1024n * 1024n

/** What the requirements that are known by name would mean. */
const REQUIREMENTS: Readonly<Record<string, string>> = {
    opal: "the drive encrypts, and the drive is the host's",
    'inline-hw-tags': 'the drive keeps the integrity tags',
}

/** A name in the metadata that belongs to a re-encryption under way. */
const SIGNS = { requirement: /reencrypt/, flag: /^(?:in-reencryption$|backup-)/ }

/**
 * None is under way: one that the host invents makes cryptsetup read and write parts of the data with other keys and
 * ciphers, or with none.
 * @throws AttestError ERR_LUKS_REENCRYPTION
 */
export function checkReencryption({ config, keyslots, segments }: Metadata) {
    const flagsOf = (segment: { readonly [name: string]: unknown }) =>
        Array.isArray(segment['flags']) ? segment['flags'].filter((flag) => typeof flag === 'string') : []
    const signs = [
        ...mandatory(config)
            .filter((name) => SIGNS.requirement.test(name))
            .map((name) => `the requirement ${brief(name)}`),
        ...Object.entries(keyslots)
            .filter(([, { type }]) => type === 'reencrypt')
            .map(([id]) => `key slot ${id}`),
        ...Object.entries(segments).flatMap(([id, segment]) =>
            flagsOf(segment)
                .filter((flag) => SIGNS.flag.test(flag))
                .map((flag) => `segment ${id} (${brief(flag)})`),
        ),
    ]
    if (signs.length === 0) return { detail: 'none' }
    throw luksError('ERR_LUKS_REENCRYPTION', `a re-encryption is under way: ${signs.slice(0, 8).join(', ')}`, {
        hint: 'if you began it, end it with `cryptsetup reencrypt --resume-only`',
    })
}

/** None is demanded. @throws AttestError ERR_LUKS_REQUIREMENT */
export function checkRequirements({ config }: Metadata) {
    for (const name of mandatory(config)) {
        const means = Object.hasOwn(REQUIREMENTS, name) ? `: ${REQUIREMENTS[name]}` : ''
        throw luksError('ERR_LUKS_REQUIREMENT', `expected none, got ${brief(name)}${means}`)
    }
    return { detail: 'none' }
}

const mandatory = ({ requirements }: Metadata['config']): readonly string[] => requirements?.mandatory ?? []

/** Known ones only. @throws AttestError ERR_LUKS_UNKNOWN */
export function checkFlags({ config: { flags = [] } }: Metadata) {
    for (const flag of flags)
        if (!Object.hasOwn(FLAGS, flag))
            throw luksError('ERR_LUKS_UNKNOWN', `expected ${Object.keys(FLAGS).join(', ')}, got ${brief(flag)}`)
    return { flags, detail: flags.join(', ') || 'none' }
}

/** Metadata as large as the binary header says, key slots as cryptsetup allows. @throws AttestError ERR_LUKS_HEADER */
export function checkSizes(hdrSize: bigint, { config }: Metadata) {
    const refuse = (text: string) => luksError('ERR_LUKS_HEADER', text)
    const jsonSize = hdrSize - BigInt(BINARY_HEADER.size)
    if (config.json_size !== jsonSize) throw refuse(`json_size: expected ${jsonSize}, got ${config.json_size}`)
    if (config.keyslots_size > MAX_KEYSLOTS_SIZE || config.keyslots_size % 4096n !== 0n)
        throw refuse(
            `keyslots_size: expected a multiple of 4096 up to ${MAX_KEYSLOTS_SIZE}, got ${config.keyslots_size}`,
        )
    return { detail: `2 × ${hdrSize} bytes of metadata, ${config.keyslots_size} bytes of key slots` }
}
