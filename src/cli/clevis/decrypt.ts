// `clevis-decrypt-kbs`: the program that `clevis decrypt` calls for a JWE of this pin.
// SPDX-License-Identifier: Apache-2.0

import { decrypt } from '#clevis/pin.ts'
import { DECRYPT_USAGE } from '#clevis/usage.ts'
import { startPin } from './start.ts'

startPin({
    name: 'clevis-decrypt-kbs',
    usage: DECRYPT_USAGE,
    summary: null,
    run: (_argv, input, release) => decrypt(input.toString('latin1'), release),
})
