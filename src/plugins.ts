// The technologies: the only file that names one. Adding a vendor is one folder and one line.
// SPDX-License-Identifier: Apache-2.0

import { BROKER_ERRORS } from '#broker/errors.ts'
import { CLEVIS_ERRORS } from '#clevis/errors.ts'
import { CORE_ERRORS } from '#core/errors.ts'
import { DRIVER_ERRORS } from '#drivers/errors.ts'
import { EMULATOR_ERRORS } from '#emulator/errors.ts'
import { EVIDENCE_ERRORS } from '#evidence/errors.ts'
import { KBS_ERRORS } from '#kbs/errors.ts'
import { LUKS_ERRORS } from '#luks/errors.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { snp } from '#plugins/snp/index.ts'
import { UNLOCK_ERRORS } from '#unlock/errors.ts'

export const PLUGINS: readonly Plugin[] = [snp]

/** Every error code of the program, with what it means and how a command that ends with it exits. */
export const ERRORS = {
    ...CORE_ERRORS,
    ...DRIVER_ERRORS,
    ...EVIDENCE_ERRORS,
    ...KBS_ERRORS,
    ...UNLOCK_ERRORS,
    ...CLEVIS_ERRORS,
    ...LUKS_ERRORS,
    ...BROKER_ERRORS,
    ...EMULATOR_ERRORS,
    ...snp.errors,
}

export type ErrorCode = keyof typeof ERRORS

/** The plugin of an id that came from one of them. */
export function pluginOf(id: string): Plugin {
    const found = PLUGINS.find((plugin) => plugin.id === id)
    if (!found) throw new TypeError(`no plugin is called ${id}`)
    return found
}
