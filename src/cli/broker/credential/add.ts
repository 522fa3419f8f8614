// `broker credential add`: a credential with which `luks enroll` and `luks rebind` make and replace disk keys. Its secret
// is made here and goes into one file; the broker hears of its hash.
// SPDX-License-Identifier: Apache-2.0

import { rmSync } from 'node:fs'
import { MAX_CREDENTIAL_DAYS } from '#broker/credentials.ts'
import type { CredentialEntry } from '#broker/state.ts'
import { wipe } from '#core/bytes.ts'
import { DAY_MS } from '#core/dates.ts'
import { coreError } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import {
    CREDENTIAL_ACTIONS,
    type CredentialAction,
    credentialHash,
    formatCredential,
    makeCredential,
} from '#kbs/credential.ts'
import { atLeastOne, command as define, JSON_OPTION } from '../../command.ts'
import { requireNewFile } from '../../options/new-file.ts'
import { note, printJson } from '../../term.ts'
import { admin, DATA_OPTION } from '../admin.ts'

export const command = define({
    positionals: { name: 'what the audit log calls it' },
    options: {
        ...DATA_OPTION,
        'allow-path': atLeastOne('for these paths alone: REPOSITORY/TYPE/TAG, * within a name; may be repeated'),
        may: {
            type: 'string',
            default: 'create',
            describe: 'create (a key where there is none), rotate (the next version of a key), or both: create,rotate',
        },
        expires: {
            type: 'string',
            default: '1h',
            describe: `when it ends: 30m, 12h, 7d; at most ${MAX_CREDENTIAL_DAYS}d`,
        },
        'max-uses': { type: 'number', default: 100, describe: 'how often it may be used' },
        out: { type: 'string', demandOption: true, describe: 'write it to this new file (mode 0600)' },
        ...JSON_OPTION,
    },
    examples: [
        ["ops --allow-path 'default/luks/*' --out ops.credential", 'for an hour of `luks enroll --create`'],
        [
            "night --allow-path 'default/luks/*' --may rotate --expires 12h --out night.credential",
            'for a night of `luks rebind`',
        ],
    ],
    details:
        'Whoever has the file can make and replace disk keys of these paths; nobody gets a key with it. Over the guests’\n' +
        'listener it works from anywhere: keep it short, and remove it when it has done its work.',
    async run(args) {
        const name = String(args['name'])
        const may = actions(args.may)
        const expires = new Date(Date.now() + duration(args.expires)).toISOString()
        requireNewFile(args.out)
        const credential = makeCredential(name)
        const text = formatCredential(credential)
        try {
            const value = {
                hash: credentialHash(credential.secret).toString('hex'),
                allowPaths: args.allowPath,
                may,
                expires,
                maxUses: args.maxUses,
            }
            // The file first: a credential that nobody has would stand there until it expires.
            createFile(args.out, text)
            const path = `/v1/credentials/${encodeURIComponent(name)}`
            const entry = await admin(args.data)
                .json<CredentialEntry>({ method: 'PUT', path, value })
                .catch((error: unknown) => {
                    rmSync(args.out, { force: true })
                    throw error
                })
            if (args.json) printJson(entry)
            else note(`${args.out} holds the credential ${name}: ${may.join(', ')} until ${entry.expires}`)
            return 0
        } finally {
            wipe(credential.secret, text)
        }
    },
})

function actions(text: string): CredentialAction[] {
    const named = [...new Set(text.split(','))]
    const known = CREDENTIAL_ACTIONS.filter((action) => named.includes(action))
    if (named.length === known.length) return known
    throw coreError(
        'ERR_USAGE',
        `--may: expected ${CREDENTIAL_ACTIONS.join(' or ')} or both, got ${JSON.stringify(text)}`,
    )
}

const UNITS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: DAY_MS }

function duration(text: string): number {
    const [, count, unit] = /^([1-9]\d{0,5})([mhd])$/.exec(text) ?? []
    const ms = Number(count) * (UNITS[unit ?? ''] ?? 0)
    if (ms > 0 && ms <= MAX_CREDENTIAL_DAYS * DAY_MS) return ms
    throw coreError(
        'ERR_USAGE',
        `--expires: expected 30m, 12h or 7d, at most ${MAX_CREDENTIAL_DAYS}d, got ${JSON.stringify(text)}`,
    )
}
