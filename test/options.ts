// The options of the programs that are run by hand (`npm run demo`, `npm run vectors`): what is not known is one line.
// SPDX-License-Identifier: Apache-2.0

import { type ParseArgsConfig, parseArgs } from 'node:util'

/** The values of the options. `--help` prints the usage and ends; so does what is wrong, with 2. */
export function readOptions<const O extends NonNullable<ParseArgsConfig['options']>>(usage: string, options: O) {
    if (process.argv.slice(2).some((word) => word === '--help' || word === '-h')) {
        console.log(usage)
        process.exit(0)
    }
    try {
        return parseArgs({ options }).values
    } catch (error) {
        console.error(`${error instanceof Error ? error.message : error}\n${usage}`)
        process.exit(2)
    }
}
