// `clevis-encrypt-kbs`: the program that `clevis encrypt kbs` and `clevis luks bind … kbs …` call.
// SPDX-License-Identifier: Apache-2.0

import { clevisError } from '#clevis/errors.ts'
import { encrypt } from '#clevis/pin.ts'
import { startPin } from './clevis-start.ts'

startPin({
    name: 'clevis-encrypt-kbs',
    usage: `Usage: clevis encrypt kbs CONFIG < PLAINTEXT > JWE

Seals with a key that a key broker releases to an attested confidential guest.

CONFIG is a JSON object:
  url       the broker, https://HOST[:PORT]; or
  servers   several of them, tried in this order
  path      the resource, REPOSITORY/TYPE/TAG
  key_file  on a machine that is no guest: a file with the 32 bytes of the resource (read, not stored)

Without key_file the broker must be trusted here (guest-attest trust add) and release the key to this guest.`,
    summary: 'Encrypts using a key that a key broker releases to attested guests',
    async run(argv, input, release) {
        // `-y` (assume yes) is passed through by `clevis luks bind -y`; the pin never asks.
        const [config, ...more] = argv.filter((argument) => argument !== '-y')
        if (config === undefined || more.length > 0)
            throw clevisError('ERR_CLEVIS_CONFIG', 'expected one argument, the configuration of the pin as JSON')
        return Buffer.from(await encrypt(config, input, release), 'latin1')
    },
})
