// `collateral fetch`: asks the vendor's service, or a cache of it, and writes what has been verified into a folder that
// `verify` and brokers read.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { readCollateralFolder } from '#evidence/collateral-folder.ts'
import { platformsThere, servedTechnologies } from '#evidence/collateral-platforms.ts'
import { PLUGINS } from '#plugins.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { hint, note, print, printJson } from '../term.ts'
import { EVIDENCE_OPTION, fetchInto, platformOptions, ROOT_OPTION, readPlatforms, readRoots } from './options.ts'
import { SERVICE_OPTIONS, serviceOf } from './service.ts'

export async function fetchCommand() {
    const all = await servedTechnologies(PLUGINS)
    return define({
        options: {
            ...platformOptions(all),
            ...EVIDENCE_OPTION,
            ...SERVICE_OPTIONS(all),
            out: { type: 'string', demandOption: true, describe: 'the folder; what is there already is renewed' },
            ...ROOT_OPTION,
            ...JSON_OPTION,
        },
        examples: [
            ['--evidence quote.bin --out collateral/', 'what this quote is judged by, from the vendor'],
            [
                '--fmspc 90c06f000000 --pccs https://pccs.example:8081 --ca pccs.pem --out collateral/',
                'from a cache of one’s own',
            ],
            ['--fmspc 90c06f000000 --update early --out collateral/', 'by the set that comes into force next'],
            ['--out collateral/', 'renew all that is in a folder'],
        ],
        details:
            'What is fetched is verified before it is written: signatures, chains, revocation and dates; what is older than what is there is refused. ' +
            'Without a platform all of those in the folder are renewed.\n' +
            'Exit status: 0 it is there, 1 the service’s answer is malformed, 3 it could not be reached, has nothing, or what it answers is not signed by whom is trusted.',
        async run(args) {
            const roots = await readRoots(args.trustRoot)
            const present = (folder: string) => ({ ...readCollateralFolder(folder), ...roots })
            const named = await readPlatforms(args, all)
            const there = named.length > 0 ? [] : platformsThere(all, present(args.out))
            const platforms = named.length > 0 ? named : there
            if (platforms.length === 0)
                throw coreError('ERR_USAGE', `no platform was named, and ${args.out} has none`, {
                    hint:
                        all.map(({ service }) => `--${service.platform.option}`).join(' or ') +
                        ', or --evidence, names one',
                })
            const changed = await fetchInto(args.out, platforms, present, serviceOf(args, all, readInput), note)
            if (args.json) printJson({ folder: args.out, platforms: platforms.map(({ name }) => name), changed })
            else for (const name of changed) print(name)
            if (changed.length === 0) note('nothing is newer than what is there')
            hint(`\`collateral status ${args.out}\` says when it expires`)
            return 0
        },
    })
}
