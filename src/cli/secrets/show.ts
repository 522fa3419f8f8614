// `secrets show`: writes one secret to a file, and leaves it in memory.
// SPDX-License-Identifier: Apache-2.0

import { command as define } from '../command.ts'
import { OPTIONS, POSITIONALS, writeSecret } from './secrets.ts'

export const command = define({
    positionals: POSITIONALS,
    options: OPTIONS,
    examples: [
        ['luks-key --out /run/disk.key', 'the passphrase of a disk'],
        ['e6f5a162-d67f-4750-a67c-5d065f2a9910 --out /run/keys.json', 'any other, by its GUID'],
    ],
    details:
        'The bytes are written as they are; what GRUB needs may end in a zero byte. Nothing is wiped: `secrets take` does.',
    run: (args) => writeSecret(args, () => undefined),
})
