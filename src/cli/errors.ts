// Every error code of the program, with what it means and how a command that ends with it exits.
// SPDX-License-Identifier: Apache-2.0

import { BROKER_ERRORS } from '#broker/errors.ts'
import { CLEVIS_ERRORS } from '#clevis/errors.ts'
import { CORE_ERRORS, type ErrorTable } from '#core/errors.ts'
import { LAUNCH_ERRORS } from '#core/launch/errors.ts'
import { DRIVER_ERRORS } from '#drivers/errors.ts'
import { FIRMWARE_ERRORS } from '#drivers/linux/sev-firmware.ts'
import { EMULATOR_ERRORS } from '#emulator/errors.ts'
import { EVIDENCE_ERRORS } from '#evidence/errors.ts'
import { KBS_ERRORS } from '#kbs/errors.ts'
import { LUKS_ERRORS } from '#luks/errors.ts'
import { PLUGINS } from '#plugins.ts'
import { UNLOCK_ERRORS } from '#unlock/errors.ts'
import { MACHINE_ERRORS } from './luks/errors.ts'

const TABLES: readonly ErrorTable[] = [
    CORE_ERRORS,
    LAUNCH_ERRORS,
    DRIVER_ERRORS,
    FIRMWARE_ERRORS,
    EVIDENCE_ERRORS,
    KBS_ERRORS,
    UNLOCK_ERRORS,
    CLEVIS_ERRORS,
    LUKS_ERRORS,
    MACHINE_ERRORS,
    BROKER_ERRORS,
    EMULATOR_ERRORS,
    ...PLUGINS.map(({ errors }) => errors),
]

export const ERRORS: ErrorTable = Object.assign({}, ...TABLES)
