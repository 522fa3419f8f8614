// The programs that clevis calls for this pin: `clevis encrypt kbs` and `clevis luks bind … kbs …` the one, `clevis decrypt`
// the other.
// SPDX-License-Identifier: Apache-2.0

import { clevisError } from '#clevis/errors.ts'
import { decrypt, encrypt } from '#clevis/pin.ts'
import { DECRYPT_USAGE, ENCRYPT_SUMMARY, ENCRYPT_USAGE } from '#clevis/usage.ts'
import type { Pin } from './start.ts'

export const ENCRYPT_PIN: Pin = {
    name: 'clevis-encrypt-kbs',
    usage: ENCRYPT_USAGE,
    summary: ENCRYPT_SUMMARY,
    async run(argv, input, release) {
        // `-y` (assume yes) is passed through by `clevis luks bind -y`; the pin never asks.
        const [config, ...more] = argv.filter((argument) => argument !== '-y')
        if (config === undefined || more.length > 0)
            throw clevisError('ERR_CLEVIS_CONFIG', 'expected one argument, the configuration of the pin as JSON')
        return Buffer.from(await encrypt(config, input, release), 'latin1')
    },
}

export const DECRYPT_PIN: Pin = {
    name: 'clevis-decrypt-kbs',
    usage: DECRYPT_USAGE,
    summary: null,
    run: (_argv, input, release) => decrypt(input.toString('latin1'), release),
}
