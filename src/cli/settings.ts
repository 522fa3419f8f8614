// Every section of the configuration, read as this program reads it.
// SPDX-License-Identifier: Apache-2.0

import { BROKER_CONFIG, COLLATERAL_CONFIG } from '#broker/config.ts'
import { type Config, loadConfig, type Overrides } from '#core/config.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { DRIVERS_CONFIG } from '#drivers/linux/doors.ts'
import { UNLOCK_CONFIG } from '#unlock/release.ts'

const SECTIONS = [DRIVERS_CONFIG, UNLOCK_CONFIG, BROKER_CONFIG, COLLATERAL_CONFIG]

/** @throws AttestError ERR_CONFIG, ERR_UNTRUSTED_FILE */
export const readConfig = (overrides: Overrides = {}): Config => loadConfig(CONFIG_FOLDER, SECTIONS, overrides)
