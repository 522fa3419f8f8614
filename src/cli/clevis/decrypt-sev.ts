// `clevis-decrypt-sev`, as a program of its own.
// SPDX-License-Identifier: Apache-2.0

import { SEV_DECRYPT_PIN } from './pins.ts'
import { startPin } from './start.ts'

startPin(SEV_DECRYPT_PIN)
