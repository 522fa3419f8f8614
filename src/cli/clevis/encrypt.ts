// `clevis-encrypt-kbs`, as a program of its own.
// SPDX-License-Identifier: Apache-2.0

import { ENCRYPT_PIN } from './pins.ts'
import { startPin } from './start.ts'

startPin(ENCRYPT_PIN)
