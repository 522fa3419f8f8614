// `secrets take`: writes one secret to a file, and wipes it from memory.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, messageOf, restated } from '#core/errors.ts'
import { command as define } from '../command.ts'
import { OPTIONS, POSITIONALS, writeSecret } from './secrets.ts'

export const command = define({
    positionals: POSITIONALS,
    options: OPTIONS,
    examples: [['luks-key --out /run/disk.key', 'the passphrase of a disk, which nobody finds there any more']],
    details:
        'The file is written before the secret is wiped: where wiping fails, both are there, and the exit status says so. ' +
        'What is not wiped, whoever becomes root in this guest finds there as long as it runs, and a kernel that kexec starts.',
    run: (args) =>
        writeSecret(args, (secrets, guid) => {
            try {
                secrets.wipe(guid)
            } catch (error) {
                if (!(error instanceof AttestError)) throw error
                throw restated(error, `${guid} is in ${args.out}, and is not wiped from memory: ${messageOf(error)}`)
            }
        }),
})
