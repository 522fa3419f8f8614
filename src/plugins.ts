// The technologies: the only file that names one. Adding a vendor is one folder and one line, and what CONTRIBUTING.md
// names of the guest's half.
// SPDX-License-Identifier: Apache-2.0

import type { GuestPlugin, Plugin } from '#plugins/plugin.ts'
import { SEV_ES, sev } from '#plugins/sev/index.ts'
import { snp } from '#plugins/snp/index.ts'
import { tdx } from '#plugins/tdx/index.ts'

/** Those whose guests prove themselves. */
export const PLUGINS: readonly Plugin[] = [snp, tdx]

/** Those whose guests are found. One of plain SEV proves nothing itself: it has what was injected into it. */
export const GUESTS: readonly GuestPlugin[] = [...PLUGINS, sev]

/** The plugin of an id that came from one of them. */
export const pluginOf = (id: string): Plugin => named(PLUGINS, id)

/** The same of any guest. */
export const guestPluginOf = (id: string): GuestPlugin => named(GUESTS, id)

function named<P extends GuestPlugin>(plugins: readonly P[], id: string): P {
    const found = plugins.find((plugin) => plugin.id === id)
    if (!found) throw new TypeError(`no plugin is called ${id}`)
    return found
}

/** What the owner of an SEV guest does before it runs. */
export const sevOwner = () => import('#plugins/sev/owner.ts')

/** The technology whose guests are proved before they run. */
export const LAUNCHED: Pick<GuestPlugin, 'launch'> = sev

/** Technologies whose measurements can be predicted: plain SEV has two of them. */
export const MEASURED: readonly (Pick<GuestPlugin, 'id' | 'title' | 'measure'> & Partial<Pick<Plugin, 'verifier'>>)[] =
    [...GUESTS, SEV_ES]
