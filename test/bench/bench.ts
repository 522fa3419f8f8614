// `npm run bench`: how we stand against real peers and physical limits, as ratios. Absolute times depend on the machine.
// Name one or more benchmarks to run only those: verify, tdx, pin, size, broker.
// SPDX-License-Identifier: Apache-2.0

import { benchBroker } from './broker.ts'
import { benchMeasure } from './measure.ts'
import { benchPin } from './pin.ts'
import { benchSize } from './size.ts'
import type { Row } from './table.ts'
import { benchVerify } from './verify.ts'
import { benchVerifyTdx } from './verify-tdx.ts'

const BENCHMARKS: Readonly<Record<string, () => Promise<Row[]>>> = {
    verify: benchVerify,
    tdx: benchVerifyTdx,
    measure: benchMeasure,
    pin: benchPin,
    size: benchSize,
    broker: benchBroker,
}

const named = process.argv.slice(2)
const unknown = named.filter((name) => !Object.hasOwn(BENCHMARKS, name))
if (unknown.length > 0) {
    const isHelp = unknown.some((name) => name === '--help' || name === '-h')
    if (!isHelp) console.error(`bench: no such benchmark: ${unknown.join(', ')}`)
    console.log(`npm run bench [-- ${Object.keys(BENCHMARKS).join('|')} …]`)
    process.exit(isHelp ? 0 : 2)
}

for (const [name, bench] of Object.entries(BENCHMARKS)) {
    if (named.length > 0 && !named.includes(name)) continue
    process.stderr.write(`${name} …\n`)
    for (const { what, against, ratio, budget, within, detail } of await bench())
        console.log(`${within ? '  ' : '! '}${what}: ${ratio.toFixed(2)} × ${against} (budget ${budget}; ${detail})`)
}
