// `derive-key`: a key that only this guest, on this chip, can have; out of the firmware and through a KDF.
// SPDX-License-Identifier: Apache-2.0

import { hkdfSync } from 'node:crypto'
import { wipe } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import { driverError } from '#drivers/errors.ts'
import { libc } from '#drivers/linux/libc.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { PLUGINS, pluginOf } from '#plugins.ts'
import { command as define } from './command.ts'
import { GUEST_OPTIONS, openGuest } from './guest.ts'
import { readWord } from './options/bytes.ts'
import { requireNewFile } from './options/new-file.ts'
import { note } from './term.ts'

/** The technologies that have such keys. */
const KEYED = PLUGINS.filter(({ keyFields }) => keyFields)

const strict = ({ keyFields = {} }: Plugin): string[] =>
    Object.keys(keyFields).filter((field) => keyFields[field]?.strict)

const NO_STRINGS: string[] = []

const LABEL = 'guest-attest/derived-key/v1'

export const command = define({
    options: {
        tee: { ...GUEST_OPTIONS.tee, choices: KEYED.map(({ id }) => id) },
        label: { type: 'string', demandOption: true, describe: 'what the key is for: another label is another key' },
        out: { type: 'string', demandOption: true, describe: 'write the 32 bytes to this new file (mode 0600)' },
        bind: {
            type: 'array',
            choices: [...new Set(KEYED.flatMap(({ keyFields = {} }) => Object.keys(keyFields)))],
            default: NO_STRINGS,
            defaultDescription: KEYED.map((plugin) => `${plugin.id}: ${strict(plugin).join(', ')}`).join('; '),
            describe: 'what the key is bound to; fewer than the default needs --insecure-selector',
        },
        vmpl: { type: 'number', describe: 'privilege level to bind to; 0 unless told' },
        'guest-svn': { type: 'number', describe: 'guest SVN to bind to; the launched one unless told, and at most' },
        'tcb-version': {
            type: 'string',
            describe: 'TCB to bind to, as a hex word; the committed one unless told, and at most',
        },
        'insecure-selector': {
            type: 'boolean',
            default: false,
            describe: 'allow a key that is bound to less than the default',
        },
    },
    examples: [['--label disk-cache --out /run/cache.key', 'a key that a restart of the same guest gets again']],
    details:
        'The firmware derives the key from a secret of the chip. It changes with what it is bound to: after an update of the ' +
        'firmware or the image it is another key. It never leaves the machine, so it is no substitute for a broker.',
    async run(args) {
        if (args.label === '') throw coreError('ERR_USAGE', '--label: expected a text, got ""')
        // Where it must be this technology, what is wrong is said before a guest is looked for.
        const [only, other] = KEYED.filter(({ id }) => args.tee === undefined || id === args.tee)
        if (only && !other) fieldsFor(only, args)
        const tcbVersion =
            args.tcbVersion === undefined ? {} : { tcbVersion: readWord(args.tcbVersion, '--tcb-version') }
        requireNewFile(args.out)
        libc().forbidCoreDumps()
        const guest = await openGuest({ tee: args.tee })
        try {
            if (!guest.deriveKey)
                throw driverError(
                    'ERR_NO_TEE',
                    `a guest of ${guest.tee} has no derived keys, or its device is not there`,
                )
            const fields = fieldsFor(pluginOf(guest.tee), args)
            const root = await guest.deriveKey({
                fields,
                ...(args.vmpl === undefined ? {} : { privilegeLevel: args.vmpl }),
                ...(args.guestSvn === undefined ? {} : { guestSvn: args.guestSvn }),
                ...tcbVersion,
            })
            const key = Buffer.from(hkdfSync('sha256', root, '', `${LABEL}\0${args.label}`, 32))
            try {
                createFile(args.out, key)
            } finally {
                wipe(root, key)
            }
            note(`32 bytes in ${args.out}, bound to ${fields.join(', ')}`)
            return 0
        } finally {
            guest.close()
        }
    },
})

interface Selected {
    readonly bind: readonly string[]
    readonly insecureSelector: boolean
}

/** What a key of this technology's guest is to be bound to. @throws AttestError ERR_USAGE */
function fieldsFor(plugin: Plugin, { bind, insecureSelector }: Selected): string[] {
    const fields = bind.length > 0 ? [...new Set(bind)] : strict(plugin)
    const unknown = fields.find((field) => !Object.hasOwn(plugin.keyFields ?? {}, field))
    if (unknown !== undefined)
        throw coreError('ERR_USAGE', `--bind ${unknown}: no key of ${plugin.title} is bound to that`)
    const missing = strict(plugin).filter((field) => !fields.includes(field))
    if (missing.length > 0 && !insecureSelector)
        throw coreError('ERR_USAGE', `the key would not be bound to ${missing.join(', ')}`, {
            hint: 'then a guest of the host’s making may get it: --insecure-selector if that is meant',
        })
    return fields
}
