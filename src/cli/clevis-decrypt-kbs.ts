// `clevis-decrypt-kbs`: the program that `clevis decrypt` calls for a JWE of this pin.
// SPDX-License-Identifier: Apache-2.0

import { decrypt } from '#clevis/pin.ts'
import { startPin } from './clevis-start.ts'

startPin({
    name: 'clevis-decrypt-kbs',
    usage: 'Usage: clevis decrypt < JWE > PLAINTEXT\n\nOpens what `clevis encrypt kbs` sealed, with a key that a key broker releases to this attested guest.',
    summary: null,
    run: (_argv, input, release) => decrypt(input.toString('latin1'), release),
})
