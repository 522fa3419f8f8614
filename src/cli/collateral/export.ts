// `collateral export`: all that guests of one platform are judged by as one file, to be carried to a site without network.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import { readCollateral } from '#evidence/collateral.ts'
import { platformsThere, servedTechnologies } from '#evidence/collateral-platforms.ts'
import type { GivenCollateral } from '#evidence/collateral-service.ts'
import { PLUGINS } from '#plugins.ts'
import { command as define } from '../command.ts'
import { requireNewFile } from '../options/new-file.ts'
import { readTime, TIME_OPTION } from '../options/trust.ts'
import { hint, note } from '../term.ts'
import { EVIDENCE_OPTION, platformOptions, ROOT_OPTION, readPlatforms, readRoots } from './options.ts'
import { isBad, stateOf } from './status.ts'

const NOTHING = { certificates: [], revocationLists: [], statements: [] } as const

export async function exportCommand() {
    const all = await servedTechnologies(PLUGINS)
    return define({
        positionals: { path: 'a folder, or a file' },
        options: {
            ...platformOptions(all),
            ...EVIDENCE_OPTION,
            out: { type: 'string', demandOption: true, describe: 'a file that is not there yet' },
            ...TIME_OPTION,
            ...ROOT_OPTION,
        },
        examples: [
            ['collateral/ --out bundle.json', 'of the one platform that is in the folder'],
            ['collateral/ --evidence quote.bin --out bundle.json', 'of the platform of this quote'],
        ],
        details:
            'The file is what other verifiers take, too: nine fields of JSON, with chains, revocation lists and what was signed. ' +
            '`verify --collateral bundle.json --offline`, and the collateral folder of a broker, take it. What does not hold at the time is not written: exit status 1.',
        async run(args) {
            const at = readTime(args.at)
            requireNewFile(args.out)
            const path = String(args['path'])
            const roots = await readRoots(args.trustRoot)
            const given = { ...readCollateral(path), ...roots }
            const named = await readPlatforms(args, all)
            const there = platformsThere(all, given)
            const [platform, ...others] = named.length > 0 ? named : there
            if (!platform) throw coreError('ERR_USAGE', `${path}: nothing is there that a vendor said of a platform`)
            if (others.length > 0)
                throw coreError(
                    'ERR_USAGE',
                    `one file is of one platform: got ${[platform, ...others].map(({ name }) => name).join(', ')}`,
                    {
                        hint: `name one with --${platform.served.service.platform.option}`,
                    },
                )
            const { service } = platform.served
            const bytes = service.bundle(given, platform.name, at)
            const bundle: GivenCollateral = { ...NOTHING, ...roots, statements: [{ name: args.out, bytes }] }
            const bad = service.describe(bundle, at).filter((item) => isBad(item, at))
            for (const item of bad)
                note(`${item.what}: ${stateOf(item, at)}, it holds until ${item.expires.toISOString()}`)
            if (bad.length > 0) {
                hint(
                    `nothing was written: \`collateral fetch --out ${path}\` renews what has expired; --at names another time`,
                )
                return 1
            }
            createFile(args.out, bytes, 0o644)
            note(`${args.out} has what guests of ${platform.name} are judged by`)
            return 0
        },
    })
}
