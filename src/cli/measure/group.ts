// `measure`: what the measurement of a guest should be, one command for each technology that can say so.
// SPDX-License-Identifier: Apache-2.0

import type { Plugin } from '#plugins/plugin.ts'
import { PLUGINS } from '#plugins.ts'
import type { CommandRow } from '../command.ts'

export const group = measureRows(PLUGINS)

/** A command for each of them that predicts. */
export function measureRows(plugins: readonly Plugin[]): CommandRow[] {
    return plugins.flatMap(({ id, title, measure }) =>
        measure
            ? [
                  {
                      signature: id,
                      describe: `what ${title} should measure`,
                      load: async () => {
                          const { measureCommand } = await import('./measure.ts')
                          return { command: measureCommand(id, await measure()) }
                      },
                  },
              ]
            : [],
    )
}
