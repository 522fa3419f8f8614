// `luks report`: who can open a disk, also what clevis does not show, and what the host gains by how it is opened.
// SPDX-License-Identifier: Apache-2.0

import { checkHeader } from '#luks/check.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { primaryCopy } from '#luks/header.ts'
import { metadataOf } from '#luks/metadata.ts'
import { PROFILE_GIVES, type Report, report } from '#luks/report.ts'
import { type BootVolume, opensBySecret, type SecretVolume } from '#unlock/volumes.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { columns, print, printJson, styled } from '../term.ts'
import { volumeOf } from './target.ts'

export const command = define({
    positionals: { device: 'the encrypted block device or image' },
    options: JSON_OPTION,
    examples: [
        ['/dev/vda3', 'every binding, key slots for recovery, what the host gains'],
        ['/dev/vda3 --json', 'the same, for a program'],
    ],
    details:
        'It tells what the header says; whether that may be believed, `luks check` judges. `clevis luks list` shows a\n' +
        'binding of ours as unknown, and one within sss not at all.\n' +
        'Exit status: 0 nothing is to be done, 1 something is, 2 usage, 3 the device could not be read.',
    async run(args) {
        const device = String(args['device'])
        const found = examine(device)
        if (args.json) printJson({ device, ...found })
        else show(device, found)
        return found.warnings.length === 0 && found.refused.length === 0 ? 0 : 1
    },
})

export interface Found extends Report {
    readonly uuid: string
    /** Of the volume table. */
    readonly volume: (Pick<BootVolume, 'name' | 'frontEnd' | 'profile'> & Partial<Pick<SecretVolume, 'secret'>>) | null
    /** Checks that keep it shut at boot. */
    readonly refused: readonly string[]
    readonly hostGains: readonly string[]
}

/** @throws AttestError where there is no header that can be read */
export function examine(device: string): Found {
    const copy = copyWholeHeader(device)
    const uuid = primaryCopy(copy).header.uuid.toLowerCase()
    const { checks, remains } = checkHeader(copy)
    const volume = volumeOf(uuid)
    return {
        uuid,
        volume: volume ? rowOf(volume) : null,
        ...report(metadataOf(copy)),
        refused: checks.filter(({ result }) => result === 'fail').map(({ name, detail }) => `${name}: ${detail}`),
        hostGains: [
            ...(volume ? (PROFILE_GIVES[volume.profile] ?? []) : []),
            ...(volume?.frontEnd === 'clevis' ? (PROFILE_GIVES['clevis'] ?? []) : []),
            ...remains,
        ],
    }
}

const rowOf = (volume: BootVolume): NonNullable<Found['volume']> => ({
    name: volume.name,
    frontEnd: volume.frontEnd,
    profile: volume.profile,
    ...(opensBySecret(volume) ? { secret: volume.secret } : {}),
})

function show(device: string, { uuid, volume, tokens, bare, warnings, refused, hostGains }: Found): void {
    print(`${device}: UUID ${uuid}`)
    print(
        volume
            ? `opened as ${volume.name} by ${volume.frontEnd}, profile ${volume.profile}${volume.secret === undefined ? '' : `, with the injected secret ${volume.secret}`}`
            : 'not in the volume table',
    )
    const rows = tokens.map(({ id, type, keyslots, opensWith, clevisShows }) => [
        `token ${id}`,
        type,
        `key slot ${keyslots.join(', ') || '-'}`,
        clevisShows === undefined ? opensWith : `${opensWith} (clevis luks list shows: ${clevisShows})`,
    ])
    for (const line of columns(rows, '  ')) print(line)
    if (tokens.length === 0 && volume?.secret === undefined) print('  bound to nothing: a passphrase alone opens it')
    if (bare.length > 0) print(`  passphrases: key slot ${bare.join(', ')}`)
    for (const line of refused) print(styled('red', `REFUSED at boot: ${line}`))
    for (const line of warnings) print(styled('yellow', `! ${line}`))
    if (hostGains.length === 0) return
    print('the host can')
    for (const line of hostGains) print(`  - ${line}`)
}
