// QEMU's command line as it was given: what would keep its guest from being proved is said before anything is started.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'

/** What of the guest's command line names the object that we add. */
export const OBJECT_ID = 'sev0'

export interface WordsArgs {
    readonly qmp: string
    readonly kernelHashes: boolean
}

/** @throws AttestError ERR_USAGE */
export function checkWords(words: readonly string[], { qmp, kernelHashes }: WordsArgs): void {
    if (words.length === 0)
        throw coreError('ERR_USAGE', 'no QEMU was given', { hint: 'its command line follows behind --' })
    if (!words.some((word) => word.split(',').includes(`confidential-guest-support=${OBJECT_ID}`)))
        throw coreError('ERR_USAGE', `QEMU’s -machine does not name confidential-guest-support=${OBJECT_ID}`)
    // QEMU takes an option with one dash or with two.
    const options = words.flatMap((word, at) =>
        /^--?[A-Za-z]/.test(word) ? [{ name: word.replace(/^--?/, ''), value: words[at + 1] ?? '' }] : [],
    )
    const has = (name: string, wanted = (_value: string) => true) =>
        options.some((option) => option.name === name && wanted(option.value))
    if (has('S')) throw coreError('ERR_USAGE', 'leave out QEMU’s -S: it is added, and the guest runs once it is proved')
    if (has('object', (value) => /^sev-(?:snp-)?guest(?:,|$)/.test(value)))
        throw coreError('ERR_USAGE', 'leave out QEMU’s -object sev-guest: it is added, with the owner’s session')
    if (has('qmp', (value) => value.startsWith(`unix:${qmp},`)))
        throw coreError(
            'ERR_USAGE',
            `leave out QEMU’s -qmp at ${qmp}: it is added; another one has a socket of its own`,
        )
    if (kernelHashes && !has('kernel'))
        throw coreError('ERR_USAGE', '--kernel-hashes: QEMU’s command line has no -kernel that could be measured')
}
