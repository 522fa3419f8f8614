// The technologies: the only file that names one. Adding a vendor is one folder and one line, and what CONTRIBUTING.md
// names of the guest's half.
// SPDX-License-Identifier: Apache-2.0

import type { Plugin } from '#plugins/plugin.ts'
import { SEV_ES, sev } from '#plugins/sev/index.ts'
import { snp } from '#plugins/snp/index.ts'
import { tdx } from '#plugins/tdx/index.ts'

export const PLUGINS: readonly Plugin[] = [snp, tdx, sev]

/** The plugin of an id that came from one of them. */
export function pluginOf(id: string): Plugin {
    const found = PLUGINS.find((plugin) => plugin.id === id)
    if (!found) throw new TypeError(`no plugin is called ${id}`)
    return found
}

/** What the owner of an SEV guest does before it runs. */
export const sevOwner = () => import('#plugins/sev/owner.ts')

/** The technology whose guests are proved before they run. */
export const LAUNCHED: Pick<Plugin, 'id' | 'launch'> = sev

/** Technologies whose measurements can be predicted: plain SEV has two of them. */
export const MEASURED: readonly (Pick<Plugin, 'id' | 'title' | 'measure'> & Partial<Pick<Plugin, 'verifier'>>)[] = [
    ...PLUGINS,
    SEV_ES,
]
