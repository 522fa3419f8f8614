// A process that writes to a broker's folder without end and says what was acknowledged, until it is killed.
// SPDX-License-Identifier: Apache-2.0

import { writeSync } from 'node:fs'
import { putRandom } from '#broker/admin.ts'
import { openBroker } from '#broker/broker.ts'
import { silent } from '#core/log.ts'
import { BUILD, clock, DEFAULTS } from './rig.ts'

const [folder = ''] = process.argv.slice(2)
const broker = await openBroker({
    build: BUILD,
    folder,
    settings: DEFAULTS,
    plugins: [],
    log: silent,
    clock,
    init: true,
})

// Several at once, so that batches of every size are cut through.
async function write(path: string): Promise<never> {
    for (;;) {
        const { version } = await putRandom(broker, path, { maxReleases: null, replace: true })
        const { seq } = await broker.data.ledger.append({
            kind: 'release',
            subject: path,
            data: { rule: 'r', version, repeats: null },
            at: clock.now(),
        })
        writeSync(1, `${path} ${version} ${seq}\n`)
    }
}
writeSync(1, 'ready\n')
await Promise.all(['a/b/1', 'a/b/2', 'a/b/3'].map(write))
