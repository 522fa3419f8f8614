// The technologies: the only file that names one. Adding a vendor is one folder and one line.
// SPDX-License-Identifier: Apache-2.0

import type { Plugin } from '#plugins/plugin.ts'
import { snp } from '#plugins/snp/index.ts'

export const PLUGINS: readonly Plugin[] = [snp]

/** The plugin of an id that came from one of them. */
export function pluginOf(id: string): Plugin {
    const found = PLUGINS.find((plugin) => plugin.id === id)
    if (!found) throw new TypeError(`no plugin is called ${id}`)
    return found
}
