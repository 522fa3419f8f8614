// A platform that no vendor made, and its chain: minted once for each file of tests.
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey } from 'node:crypto'
import { generatePlatformKeys, mintPlatform } from '#plugins/sev/mint.ts'
import { fixture } from './manifest.ts'

export const FIRMWARE = { apiMajor: 1, apiMinor: 55, buildId: 21 } as const

/** A fresh one. */
export async function minted() {
    const keys = await generatePlatformKeys()
    return { keys, certificates: mintPlatform(keys, FIRMWARE) }
}

/** The platform of the vectors' simulated processor, under a vendor of our own: its CEK was never signed. */
export async function simulated() {
    const pem = (name: string) => createPrivateKey(fixture(`fixtures/sev-certs/simulated/${name}_key.pem`))
    const { ark, ask } = await generatePlatformKeys()
    const keys = { ark, ask, cek: pem('cek'), oca: pem('oca'), pek: pem('pek'), pdh: pem('pdh') }
    const theirs = (name: string) => fixture(`fixtures/sev-certs/simulated/${name}.cert`)
    const certificates = { ...mintPlatform(keys, FIRMWARE), oca: theirs('oca'), pek: theirs('pek'), pdh: theirs('pdh') }
    return { keys, certificates }
}

/** One bit of a copy. */
export function flipped(bytes: Buffer, bit: number): Buffer {
    const copy = Buffer.from(bytes)
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    return copy
}
