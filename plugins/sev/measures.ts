// The two calculators of plain SEV, each under the name of its command.
// SPDX-License-Identifier: Apache-2.0

import type { Plugin } from '#plugins/plugin.ts'

export const SEV_MEASURES = [
    { id: 'sev', title: 'AMD SEV', measure: async () => (await import('./measure.ts')).sevMeasure },
    { id: 'sev-es', title: 'AMD SEV-ES', measure: async () => (await import('./measure.ts')).sevEsMeasure },
] as const satisfies readonly Pick<Plugin, 'id' | 'title' | 'measure'>[]
