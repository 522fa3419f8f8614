// The programs that clevis calls for each pin: `clevis encrypt kbs` and `clevis luks bind … kbs …` the one, `clevis decrypt`
// the other.
// SPDX-License-Identifier: Apache-2.0

import { clevisError } from '#clevis/errors.ts'
import { decrypt, encrypt } from '#clevis/pin.ts'
import { decryptSev, encryptSev } from '#clevis/sev-pin.ts'
import {
    DECRYPT_USAGE,
    ENCRYPT_SUMMARY,
    ENCRYPT_USAGE,
    SEV_DECRYPT_USAGE,
    SEV_ENCRYPT_SUMMARY,
    SEV_ENCRYPT_USAGE,
} from '#clevis/usage.ts'
import type { Pin } from './start.ts'

export const ENCRYPT_PIN: Pin = {
    name: 'clevis-encrypt-kbs',
    usage: ENCRYPT_USAGE,
    summary: ENCRYPT_SUMMARY,
    run: async (argv, input, { release }) => Buffer.from(await encrypt(configOf(argv), input, release), 'latin1'),
}

export const DECRYPT_PIN: Pin = {
    name: 'clevis-decrypt-kbs',
    usage: DECRYPT_USAGE,
    summary: null,
    run: (_argv, input, { release }) => decrypt(input.toString('latin1'), release),
}

export const SEV_ENCRYPT_PIN: Pin = {
    name: 'clevis-encrypt-sev',
    usage: SEV_ENCRYPT_USAGE,
    summary: SEV_ENCRYPT_SUMMARY,
    run: async (argv, input, { injected }) => Buffer.from(await encryptSev(configOf(argv), input, injected), 'latin1'),
}

export const SEV_DECRYPT_PIN: Pin = {
    name: 'clevis-decrypt-sev',
    usage: SEV_DECRYPT_USAGE,
    summary: null,
    run: (_argv, input, { injected }) => decryptSev(input.toString('latin1'), injected),
}

// `-y` (assume yes) is passed through by `clevis luks bind -y`; the pin never asks.
function configOf(argv: readonly string[]): string {
    const [config, ...more] = argv.filter((argument) => argument !== '-y')
    if (config !== undefined && more.length === 0) return config
    throw clevisError('ERR_CLEVIS_CONFIG', 'expected one argument, the configuration of the pin as JSON')
}
