// `luks open`: a disk as it is opened at boot, by hand.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { coreError } from '#core/errors.ts'
import { libc } from '#drivers/linux/libc.ts'
import { resourceText } from '#luks/binding.ts'
import { readSound } from '#luks/rewrite.ts'
import { openDisk, tryDisk } from '#unlock/open-disk.ts'
import { openInjected, tryInjected } from '#unlock/open-injected.ts'
import { opensBySecret, type SecretVolume, VOLUME_NAME } from '#unlock/volumes.ts'
import { command as define } from '../command.ts'
import { note } from '../term.ts'
import { passphraseFor } from './enroll-secret.ts'
import { HEADER_OPTIONS, personalDeps, TARGET_OPTIONS, targetOf, volumeOf } from './target.ts'

export const command = define({
    positionals: { device: 'the encrypted block device or image', name: 'of the mapping: /dev/mapper/NAME' },
    options: {
        ...TARGET_OPTIONS,
        'insecure-pin': HEADER_OPTIONS['insecure-pin'],
        'test-passphrase': { type: 'boolean', default: false, describe: 'all of it but the mapping' },
    },
    examples: [
        ['/dev/vdb data', 'a volume of the table'],
        ['/dev/vdb --test-passphrase', 'would it open at boot?'],
        ['/dev/vdb data --url https://kbs.example:8443 --path default/luks/data', 'one that is not in the table'],
    ],
    details:
        'The header is copied once and judged, its digest is checked with the key, and cryptsetup opens from the copy.\n' +
        'A volume that is not in the table needs --path, and a broker that is trusted for it: what a disk says of itself\n' +
        'is not enough. Exit status: 0 it is open, 1 it may not be opened, 2 usage, 3 not now.',
    async run(args) {
        const device = String(args['device'])
        const name = args['name'] === undefined ? undefined : String(args['name'])
        const { testPassphrase, insecurePin } = args
        if (testPassphrase === (name !== undefined))
            throw coreError('ERR_USAGE', 'expected a NAME for the mapping, or --test-passphrase')
        if (name !== undefined && !VOLUME_NAME.test(name))
            throw coreError('ERR_USAGE', `${JSON.stringify(name)}: letters, digits, \`_\` and dots, at most 64`)
        if (name !== undefined && existsSync(`/dev/mapper/${name}`))
            throw coreError('ERR_USAGE', `/dev/mapper/${name} is there already`)
        const { volume: header } = readSound(device, { insecurePins: insecurePin })
        const volume = volumeOf(header.uuid)
        if (!volume && args.path === undefined)
            throw coreError(
                'ERR_USAGE',
                `${device} (UUID ${header.uuid}) is not in the volume table: expected --path`,
                {
                    hint: '`guest-attest luks enroll` puts it there',
                },
            )
        if (volume && opensBySecret(volume) && args.path === undefined) return openBySecret(volume, device, name)
        const target = await targetOf(args, volume)
        const request = { ...target, device, expected: { uuid: header.uuid, insecurePins: insecurePin } }
        const deps = await personalDeps()
        const opened = name === undefined ? await tryDisk(request, deps) : await openDisk(request, name, deps)
        note(`${said(device, name)}: key slot ${opened.keyslot}, ${resourceText(opened)}`)
        return 0
    },
})

async function openBySecret(volume: SecretVolume, device: string, name: string | undefined): Promise<number> {
    libc().forbidCoreDumps()
    const passphrase = passphraseFor(volume, device)
    if (name === undefined) await tryInjected(volume, device, passphrase)
    else await openInjected({ ...volume, name }, device, passphrase)
    note(`${said(device, name)}: the injected secret ${volume.secret}`)
    return 0
}

const said = (device: string, name: string | undefined): string =>
    `${device} ${name === undefined ? 'opens' : `is open as /dev/mapper/${name}`}`
