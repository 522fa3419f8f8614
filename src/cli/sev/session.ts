// `sev session`: keys for one launch, wrapped for one platform.
// SPDX-License-Identifier: Apache-2.0

import { toBase64, wipe } from '#core/bytes.ts'
import { Checks } from '#core/checks.ts'
import { coreError } from '#core/errors.ts'
import { writeFiles } from '#core/files.ts'
import { libc } from '#drivers/linux/libc.ts'
import { sevOwner } from '#plugins.ts'
import { command as define } from '../command.ts'
import { requireNewFile } from '../options/new-file.ts'
import { note } from '../term.ts'
import { PLATFORM_OPTIONS, readPlatform } from './platform.ts'

/** What is written, by the end of its name: sevctl's. */
const FILES = { godh: '_godh.b64', session: '_session.b64', tek: '_tek.bin', tik: '_tik.bin' } as const

export const command = define({
    options: {
        pdh: { type: 'string', describe: 'the platform’s key, of QMP query-sev-capabilities' },
        ...PLATFORM_OPTIONS,
        policy: { type: 'number', demandOption: true, describe: 'the policy of the launch: 0xf for SEV-ES, or 0xb' },
        es: { type: 'boolean', default: false, describe: 'it is a guest of SEV-ES: the policy must say so' },
        name: { type: 'string', default: 'vm', describe: 'what the files are called, up to _godh.b64 and so on' },
    },
    examples: [
        [
            '--pdh pdh.b64 --cert-chain chain.b64 --cek cek.cert --policy 0xb',
            'vm_godh.b64, vm_session.b64 for QEMU; the keys',
        ],
        ['--pdh pdh.b64 --cert-chain chain.b64 --chip-id @id --policy 0xf --es --name web-1', 'for a guest of SEV-ES'],
    ],
    details:
        'Writes NAME_godh.b64 and NAME_session.b64, which the host may have (QEMU: dh-cert-file, session-file), and NAME_tek.bin ' +
        'and NAME_tik.bin, which it may not: the keys of this one launch. Never launch two guests with them.\n' +
        'The platform is verified first, as by `sev chain verify`. A policy must have NODBG and NOKS; one ' +
        'without NOSEND is warned of: the host can read such a guest.\n' +
        'Exit status: 0 written, 1 the platform is not AMD’s, 2 usage, 3 undecided.',
    async run(args) {
        const { openLaunch, CHAIN_CHECKS, migrationRisk, readPolicy } = await sevOwner()
        if (/(?:^|\/)$/.test(args.name))
            throw coreError('ERR_USAGE', '--name: expected what the files are called, as web-1 or folder/web-1')
        const path = (file: keyof typeof FILES): string => `${args.name}${FILES[file]}`
        for (const file of Object.keys(FILES) as (keyof typeof FILES)[]) requireNewFile(path(file), '--name')
        libc().forbidCoreDumps()
        const { files, trust } = await readPlatform(args)
        if (!files.pdh)
            throw coreError('ERR_USAGE', 'PDH is missing, the key that a session is made with: --pdh names its file')
        const launch = openLaunch(files, trust, args.policy, { es: args.es }, new Checks(CHAIN_CHECKS))
        try {
            writeFiles([
                { path: path('tek'), bytes: launch.tek },
                { path: path('tik'), bytes: launch.tik },
                { path: path('godh'), bytes: toBase64(launch.godh), mode: 0o644 },
                { path: path('session'), bytes: toBase64(launch.session), mode: 0o644 },
            ])
        } finally {
            wipe(launch.tek, launch.tik)
        }
        const { productLine, chip } = launch.platform
        note(
            `a session for the ${productLine ?? 'UNKNOWN'} chip ${chip.slice(0, 16)}…: ${path('godh')}, ${path('session')}`,
        )
        const risk = migrationRisk(readPolicy(args.policy))
        if (risk) note(`warning: the policy has ${risk}`)
        if (productLine === null) note('its root is none of AMD’s: this says nothing of hardware')
        return 0
    },
})
