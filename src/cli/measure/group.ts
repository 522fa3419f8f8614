// `measure`: what the measurement of a guest should be, one command for each technology that can say so.
// SPDX-License-Identifier: Apache-2.0

import type { Plugin } from '#plugins/plugin.ts'
import { MEASURED } from '#plugins.ts'
import type { CommandRow } from '../command.ts'

export const group = measureRows(MEASURED)

/** What is known of a technology that predicts; its verifier reads evidence that somebody compares with. */
export type Measured = Pick<Plugin, 'id' | 'title' | 'measure'> & Partial<Pick<Plugin, 'verifier'>>

/** A command for each of them that predicts. */
export function measureRows(plugins: readonly Measured[]): CommandRow[] {
    return plugins.flatMap(({ id, title, measure, verifier }) =>
        measure
            ? [
                  {
                      signature: id,
                      describe: `what ${title} should measure`,
                      load: async () => {
                          const { measureCommand } = await import('./measure.ts')
                          return { command: measureCommand(id, await measure(), verifier) }
                      },
                  },
              ]
            : [],
    )
}
