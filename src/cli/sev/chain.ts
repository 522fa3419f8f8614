// `sev chain verify`: is this platform AMD's, and whose is it?
// SPDX-License-Identifier: Apache-2.0

import { Checks } from '#core/checks.ts'
import { sevOwner } from '#plugins.ts'
import { type CommandRow, command as define, JSON_OPTION } from '../command.ts'
import { printJson } from '../term.ts'
import { PLATFORM_OPTIONS, readPlatform } from './platform.ts'
import { type Ending, exitOf, lastLine, showChecks, verdictOf } from './show.ts'

/** What an accepted chain shows. */
const WHOSE = {
    amd: 'ACCEPTED: a platform of AMD’s',
    other: 'ACCEPTED UNDER A ROOT OF YOUR OWN: it says nothing of AMD’s hardware',
} as const

export const command = define({
    options: {
        pdh: { type: 'string', describe: 'the key that a session is made with' },
        ...PLATFORM_OPTIONS,
        ...JSON_OPTION,
    },
    examples: [
        [
            '--pdh pdh.b64 --cert-chain chain.b64 --cek cek.cert',
            'what a host says, and the chip’s key as AMD signed it',
        ],
        [
            '--cert-chain export.cert --chip-id 9f3c… --save-cek cek.cert',
            'an export of sevctl; AMD is asked for the key',
        ],
        ['--cert-chain chain.cert --cek cek.cert --owner cloud-oca.cert', 'and whether it is that provider’s'],
    ],
    details:
        'ARK → ASK → CEK → PEK ← OCA, and PDH where it is there. AMD’s keys are known; what is given of them is verified.\n' +
        'Nothing in this chain can be revoked, and nothing says how old the firmware is: `sev validate` does.\n' +
        'Exit status: 0 the platform is AMD’s, 1 it is not, 2 usage, 3 undecided (the chip’s certificate without signature).',
    async run(args) {
        const { CHAIN_CHECKS, verifyChain, weaknessesOf } = await sevOwner()
        const { files, trust } = await readPlatform(args)
        const checks = new Checks(CHAIN_CHECKS)
        let ending: Ending = { verdict: 'accepted' }
        let platform: ReturnType<typeof verifyChain> | null = null
        try {
            platform = verifyChain(files, trust, checks)
        } catch (error) {
            ending = verdictOf(error)
        }
        const weaknesses = platform ? weaknessesOf(platform) : []
        const claims = platform && {
            productLine: platform.productLine,
            chip: platform.chip,
            owner: platform.owner,
            fingerprint: platform.fingerprint,
            rootIsAmd: platform.productLine !== null,
        }
        if (args.json) printJson({ ...ending, checks: checks.all(), claims, weaknesses })
        else {
            const last = lastLine(ending, platform ? WHOSE[platform.productLine ? 'amd' : 'other'] : undefined)
            showChecks(checks.all(), weaknesses, last)
        }
        return exitOf(ending)
    },
})

export const group: readonly CommandRow[] = [
    { signature: 'verify', describe: 'is this platform AMD’s?', load: async () => ({ command }) },
]
