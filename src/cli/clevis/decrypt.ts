// `clevis-decrypt-kbs`, as a program of its own.
// SPDX-License-Identifier: Apache-2.0

import { DECRYPT_PIN } from './pins.ts'
import { startPin } from './start.ts'

startPin(DECRYPT_PIN)
