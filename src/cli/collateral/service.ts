// Which service is asked: the vendor's, a mirror, or a cache by its address.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { parseOrigin } from '#core/origin.ts'
import type { Served } from '#evidence/collateral-platforms.ts'
import type { ServiceArgs } from './options.ts'

/** The options of a command that fetches. */
export const SERVICE_OPTIONS = (all: readonly Served[]) => {
    const sources = sourcesOf(all)
    const updates = [...new Set(all.flatMap(({ service }) => service.updates))]
    return {
        from: {
            type: 'string',
            describe: `a public service: ${Object.entries(sources)
                .map(([name, title]) => `${name} (${title})`)
                .join(', ')} [${Object.keys(sources)[0] ?? ''}]`,
        },
        pccs: { type: 'string', describe: 'or a cache of it by its address, https://HOST[:PORT]' },
        ca: { type: 'string', describe: 'the CA (PEM) of such a cache, instead of the system’s' },
        update: {
            type: 'string',
            default: updates[0] ?? '',
            describe: `which of the vendor’s sets: ${updates.join(', ')}, or its number`,
        },
        'insecure-http': { type: 'boolean', default: false, describe: 'plain http, to a loopback address only' },
    } as const
}

const sourcesOf = (all: readonly Served[]): Record<string, string> =>
    Object.assign({}, ...all.map(({ service }) => service.sources))

interface Given {
    readonly from?: string | undefined
    readonly pccs?: string | undefined
    readonly ca?: string | undefined
    readonly update: string
    readonly insecureHttp: boolean
}

/** @throws AttestError ERR_USAGE, ERR_URL, ERR_NOT_FOUND_FILE */
export function serviceOf(
    { from, pccs, ca, update, insecureHttp }: Given,
    all: readonly Served[],
    read: (path: string) => Buffer,
): ServiceArgs {
    if (from !== undefined && pccs !== undefined)
        throw coreError('ERR_USAGE', '--from and --pccs were given: one service is asked')
    if (pccs !== undefined) parseOrigin(pccs, { insecureHttp })
    const sources = Object.keys(sourcesOf(all))
    if (from !== undefined && !sources.includes(from))
        throw coreError('ERR_USAGE', `--from: expected ${sources.join(', ')}, got ${JSON.stringify(from)}`, {
            hint: '--pccs names a cache by its address',
        })
    const updates = all.flatMap(({ service }) => service.updates)
    if (!updates.includes(update) && !/^[1-9]\d{0,9}$/.test(update))
        throw coreError(
            'ERR_USAGE',
            `--update: expected ${updates.join(', ')} or an evaluation number, got ${JSON.stringify(update)}`,
        )
    return {
        source: pccs ?? from ?? sources[0] ?? '',
        update,
        insecureHttp,
        ...(ca === undefined ? {} : { ca: read(ca).toString('latin1') }),
    }
}
