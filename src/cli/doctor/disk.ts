// `doctor --disk`: is a volume's header sound, who can open it, what would weaken it.
// SPDX-License-Identifier: Apache-2.0

import { checkHeader } from '#luks/check.ts'
import { copyHeader } from '#luks/device.ts'
import { examine as reportOf } from '../luks/report.ts'
import { type Note, noteError } from './machine.ts'

export function examineDisk(device: string, note: Note): void {
    try {
        const { verdict, checks, volume } = checkHeader(copyHeader(device))
        for (const { name, detail, code } of checks.filter(({ result }) => result === 'fail'))
            note({
                state: 'bad',
                what: 'disk',
                detail: `${name}: ${detail}${code ? ` (${code})` : ''}`,
                todo: 'do not open it: guest-attest luks check',
            })
        if (verdict !== 'pass' || !volume) return
        note({
            state: 'good',
            what: 'disk',
            detail: `${device}: the header is sound; ${volume.cipher}, UUID ${volume.uuid}`,
        })
        tellReport(device, note)
    } catch (error) {
        noteError(note, 'disk', error)
    }
}

function tellReport(device: string, note: Note): void {
    const { tokens, bare, volume, warnings, hostGains } = reportOf(device)
    const bound = tokens.map(
        ({ id, type, keyslots, opensWith }) => `token ${id} ${type} ${opensWith} (key slot ${keyslots.join(', ')})`,
    )
    if (bare.length > 0) bound.push(`a passphrase (key slot ${bare.join(', ')})`)
    // What is injected is a passphrase as well: no token says so.
    const isBound = tokens.length > 0 || volume?.secret !== undefined
    note({
        state: isBound ? 'good' : 'unknown',
        what: 'disk',
        detail: `opens with ${bound.join('; ')}`,
        ...(isBound ? {} : { todo: `bound to nothing: guest-attest luks enroll ${device}` }),
    })
    note(
        volume
            ? {
                  state: 'good',
                  what: 'disk',
                  detail: `the volume ${volume.name}: ${volume.frontEnd}, ${volume.profile}${volume.secret === undefined ? '' : `, the injected secret ${volume.secret}`}`,
              }
            : {
                  state: 'unknown',
                  what: 'disk',
                  detail: 'not in the volume table: this machine does not open it at boot',
              },
    )
    for (const detail of warnings) note({ state: 'unknown', what: 'disk', detail, todo: 'guest-attest luks report' })
    for (const text of hostGains) note({ state: 'unknown', what: 'disk', detail: `the host can ${text}` })
}
