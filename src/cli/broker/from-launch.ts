// `broker reference add --from-launch`: a reference set from what a guest was registered with, so that the guest which was
// launched is the one that is known. What its measurement covers the broker was not told.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { coreError } from '#core/errors.ts'
import { shape } from '#core/schema.ts'
import { LAUNCHED } from '#plugins.ts'
import type { admin } from './admin.ts'
import { addPredicted } from './from-measure.ts'
import { vmPath } from './launch/path.ts'

interface Asked {
    readonly name: string
    readonly coverage: string
}

/** What `broker launch show --json` prints, as far as it counts here. */
const REGISTERED = z.object({ terms: z.object({ digests: z.array(z.string()) }) })

/** @throws AttestError ERR_USAGE, and what the broker says of the guest and the set */
export async function addLaunched(
    uuid: string,
    { name, coverage }: Asked,
    { json, text }: ReturnType<typeof admin>,
): Promise<number> {
    const vm = await json<unknown>({ method: 'GET', path: vmPath(uuid) })
    const { digests } = shape(REGISTERED, vm, uuid).terms
    if (digests.length === 0) throw coreError('ERR_USAGE', `--from-launch: ${uuid} names no launch digest`)
    const predictions = digests.map((measurement) => ({
        tee: LAUNCHED.id,
        measurements: { measurement },
        coverage,
        coverageNote: `${uuid}, its coverage as the command line said`,
        unpredicted: {},
    }))
    return addPredicted(name, predictions, text, 'What a guest was registered with')
}
