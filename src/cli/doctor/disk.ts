// `doctor --disk`: who can open a volume, and what its header would let through.
// SPDX-License-Identifier: Apache-2.0

import { checkHeader } from '#luks/check.ts'
import { copyHeader } from '#luks/device.ts'
import { tokenText } from '#luks/keyslots.ts'
import { type Note, noteError } from './machine.ts'

export function examineDisk(device: string, note: Note): void {
    try {
        const { verdict, checks, volume, remains } = checkHeader(copyHeader(device))
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
        const bound = volume.tokens.map((token) => `token ${tokenText(token)} (key slot ${token.keyslots.join(', ')})`)
        note({
            state: bound.length > 0 ? 'good' : 'unknown',
            what: 'disk',
            detail: bound.length > 0 ? `bound: ${bound.join('; ')}` : 'bound to nothing: a passphrase alone opens it',
            ...(bound.length > 0 ? {} : { todo: `clevis luks bind -d ${device} kbs '{"url": …, "path": …}'` }),
        })
        for (const text of remains) note({ state: 'unknown', what: 'disk', detail: `the host can ${text}` })
    } catch (error) {
        noteError(note, 'disk', error)
    }
}
