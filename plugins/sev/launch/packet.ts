// The packet that carries secrets into a launch: a table that TEK encrypts, with a MAC by TIK over it and the launch's
// measurement, so that it opens in that launch alone. AMD 55766 (Secure Encrypted Virtualization API), LAUNCH_SECRET.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { equalBytes, type Secret, wantLength } from '#core/bytes.ts'
import { bytes, layout, u32 } from '#core/layout.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'
import { sevError } from '../errors.ts'
import { hmac256, u32 as word } from './kdf.ts'
import { aesCtr, type TransportKeys } from './session.ts'

const PACKET_HEADER = layout('packet header', 52, { flags: u32(0), iv: bytes(4, 16), mac: bytes(20, 32) })

export interface SecretPacket {
    readonly header: Buffer
    /** As long as the table. */
    readonly payload: Buffer
}

const CONTEXT = Buffer.from([0x01])

/** Nothing is compressed. */
const FLAGS = 0

/** Seals a table of whole blocks for the launch with this measure, the first 32 bytes of its measurement. */
export function sealPacket(
    { tek, tik }: TransportKeys,
    measure: Buffer,
    table: Buffer,
    iv: Buffer = randomBytes(16),
): SecretPacket {
    const payload = aesCtr(tek, iv, table)
    const mac = macOf(tik, FLAGS, iv, payload, measure)
    return { header: PACKET_HEADER.encode({ flags: FLAGS, iv, mac }), payload }
}

/**
 * What the firmware does with a packet: the table. Wipe it.
 * @throws AttestError ERR_LENGTH, ERR_SEV_PACKET
 */
export function openPacket({ tek, tik }: TransportKeys, measure: Buffer, { header, payload }: SecretPacket): Secret {
    const { flags, iv, mac } = PACKET_HEADER.parse(header)
    if (flags !== FLAGS)
        throw sevError('ERR_SEV_PACKET', `the packet has the flags 0x${flags.toString(16)}: expected 0`)
    if (payload.length === 0 || payload.length % 16 !== 0 || payload.length > MAX_SECRET_AREA)
        throw sevError('ERR_SEV_PACKET', `a payload of ${payload.length} bytes: expected whole blocks of 16`)
    if (!equalBytes(macOf(tik, flags, iv, payload, measure), mac))
        throw sevError('ERR_SEV_PACKET', 'the packet is not authentic, or for another launch')
    return aesCtr(tek, iv, payload) as Secret
}

function macOf(tik: Secret, flags: number, iv: Buffer, payload: Buffer, measure: Buffer): Buffer {
    const length = word(payload.length)
    return hmac256(tik, CONTEXT, word(flags), iv, length, length, payload, wantLength(measure, 32, 'measure'))
}
