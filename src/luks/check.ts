// Is this LUKS2 header one that may be opened? It judges a copy in memory, which is what must be opened then: the host
// can exchange the one on the disk at any time (CVE-2025-59054, CVE-2025-58356).
// SPDX-License-Identifier: Apache-2.0

import { type Check, Checks } from '#core/checks.ts'
import { AttestError } from '#core/errors.ts'
import { checkFlags, checkReencryption, checkRequirements, checkSizes } from './config.ts'
import { luksError } from './errors.ts'
import { compareCopies, type HeaderCopy, isUuid, primaryCopy, secondaryCopy } from './header.ts'
import {
    checkAreas,
    checkDigest,
    checkKdfs,
    checkKeySizes,
    checkSlotCiphers,
    checkTokens,
    readKeyslots,
} from './keyslots.ts'
import { type Metadata, parseMetadata } from './metadata.ts'
import { checkCipher, checkSegment } from './segment.ts'
import { describeVolume, type LuksVolume, remainsOf } from './volume.ts'

/** What the caller knows of the volume from a source that the host cannot write. */
export interface Expected {
    /** In either case. It tells one disk from another; the host can write it into a header of its own. */
    readonly uuid?: string
    /** Clevis pins that are accepted although the host can have their keys. */
    readonly insecurePins?: readonly string[]
    /** The header stands alone, so that the data may begin at the start of its device. */
    readonly detached?: boolean
}

export interface LuksJudgement {
    readonly verdict: 'pass' | 'fail'
    readonly checks: readonly Check[]
    /** Null where a check failed: then nothing in the header can be believed. */
    readonly volume: LuksVolume | null
    /** What the host can still do to a volume that passes. */
    readonly remains: readonly string[]
}

const CHECKS = [
    'primary-header',
    'secondary-header',
    'copies',
    'metadata',
    'reencryption',
    'requirements',
    'flags',
    'uuid',
    'sizes',
    'segment',
    'cipher',
    'key-slots',
    'key-slot-ciphers',
    'key-size',
    'areas',
    'kdf',
    'digest',
    'tokens',
] as const

/**
 * Judges a copy of the two headers with their metadata (`copyHeader`); what follows them is not looked at. Whatever the
 * bytes are, this says so in its result and does not throw.
 */
export function checkHeader(copy: Buffer, expected: Expected = {}): LuksJudgement {
    if (expected.uuid !== undefined && !isUuid(expected.uuid)) throw new TypeError('expected.uuid is not a UUID')
    const checks = new Checks(CHECKS)
    const volume = judge(copy, expected, checks)
    const list = checks.all()
    // Only the UUID may go unchecked, and only where none was named.
    const passes = list.every(
        ({ name, result }) => result === 'pass' || (name === 'uuid' && expected.uuid === undefined),
    )
    if (!passes || !volume) return { verdict: 'fail', checks: list, volume: null, remains: [] }
    return { verdict: 'pass', checks: list, volume, remains: remainsOf(volume) }
}

function judge(copy: Buffer, expected: Expected, checks: Checks): LuksVolume | null {
    const read = readHeader(copy, checks)
    if (!read) return null
    const { header, metadata } = read
    checks.tryRun('requirements', () => checkRequirements(metadata))
    const flags = checks.tryRun('flags', () => checkFlags(metadata))
    if (expected.uuid === undefined) checks.skip('uuid', `no UUID was expected, this is ${header.uuid}`)
    else checks.tryRun('uuid', () => checkUuid(header.uuid, expected.uuid as string))
    checks.tryRun('sizes', () => checkSizes(header.hdrSize, metadata))
    const segment = checks.tryRun('segment', () => checkSegment(header.hdrSize, metadata, expected.detached ?? false))
    const cipher = segment && checks.tryRun('cipher', () => checkCipher(segment.segment))
    const keyslots = checks.tryRun('key-slots', () => readKeyslots(metadata))
    const slots = keyslots?.slots
    if (slots) checks.tryRun('key-slot-ciphers', () => checkSlotCiphers(slots))
    const keySize = slots && cipher && checks.tryRun('key-size', () => checkKeySizes(slots, cipher))
    if (slots) checks.tryRun('areas', () => checkAreas(slots, header.hdrSize, metadata))
    const kdfs = slots && checks.tryRun('kdf', () => checkKdfs(slots))
    checks.tryRun('digest', () => checkDigest(metadata))
    const tokens = checks.tryRun('tokens', () => checkTokens(metadata, expected.insecurePins ?? []))
    if (!flags || !segment || !cipher || !slots || !keySize || !kdfs || !tokens) return null
    return describeVolume({
        header,
        segment: segment.segment,
        cipher,
        keySize: keySize.size,
        slots,
        costs: kdfs.costs,
        tokens: tokens.tokens,
        flags: flags.flags,
    })
}

// What everything else builds on: a failure here ends the list. A header in the middle of a re-encryption is one of its
// own kind, with other segments, key slots and digests.
function readHeader(copy: Buffer, checks: Checks): { header: HeaderCopy['header']; metadata: Metadata } | null {
    try {
        const primary = checks.run('primary-header', () => withDetail(primaryCopy(copy)))
        const secondary = checks.run('secondary-header', () => withDetail(secondaryCopy(copy, primary)))
        checks.run('copies', () => {
            compareCopies(primary, secondary)
            return { detail: `both say the same, sequence number ${primary.header.seqid}` }
        })
        const { metadata } = checks.run('metadata', () => {
            const metadata = parseMetadata(primary.json)
            return { metadata, detail: `${primary.json.indexOf(0)} bytes` }
        })
        checks.run('reencryption', () => checkReencryption(metadata))
        return { header: primary.header, metadata }
    } catch (error) {
        if (error instanceof AttestError) return null
        throw error
    }
}

const withDetail = (copy: HeaderCopy) => ({
    ...copy,
    detail: `${copy.header.hdrSize} bytes, ${copy.header.csumAlg} holds`,
})

function checkUuid(got: string, want: string) {
    if (got.toLowerCase() === want.toLowerCase()) return { detail: got }
    throw luksError('ERR_LUKS_UUID', `expected ${want}, got ${got}`)
}
