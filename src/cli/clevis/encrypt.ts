// `clevis-encrypt-kbs`: the program that `clevis encrypt kbs` and `clevis luks bind … kbs …` call.
// SPDX-License-Identifier: Apache-2.0

import { clevisError } from '#clevis/errors.ts'
import { encrypt } from '#clevis/pin.ts'
import { ENCRYPT_SUMMARY, ENCRYPT_USAGE } from '#clevis/usage.ts'
import { startPin } from './start.ts'

startPin({
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
})
