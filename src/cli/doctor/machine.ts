// `doctor` on this machine: is it a guest, can its device be used, is what decides trust as it must be.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { AttestError, messageOf } from '#core/errors.ts'
import { CONFIG_FOLDER, EMULATED } from '#core/role.ts'
import { DRIVERS_CONFIG, linuxDoors } from '#drivers/linux/doors.ts'
import { libc } from '#drivers/linux/libc.ts'
import { LAUNCHED, PLUGINS, pluginOf } from '#plugins.ts'
import { opensBySecret, readVolumes } from '#unlock/volumes.ts'
import { guestAnchors } from '../anchors.ts'
import { findGuest } from '../guest.ts'
import { readConfig } from '../settings.ts'
import { inInitrd } from '../trust/initrd.ts'
import { findProgram } from './programs.ts'

export interface Finding {
    readonly state: 'good' | 'bad' | 'unknown'
    readonly what: string
    readonly detail: string
    /** What to do about it. */
    readonly todo?: string | undefined
}

export type Note = (finding: Finding) => void

/** Runs one examination: what it returns is good, unless it tells more; what it throws is bad and says what to do. */
export async function examine<T>(
    note: Note,
    what: string,
    look: () => Promise<T> | T,
    tell: (found: T) => string | Omit<Finding, 'what'>,
) {
    try {
        const found = await look()
        const told = tell(found)
        note(typeof told === 'string' ? { state: 'good', what, detail: told } : { what, ...told })
        return found
    } catch (error) {
        noteError(note, what, error)
        return undefined
    }
}

/** What was thrown is bad, and says what to do; what is ours to mend is thrown again. */
export function noteError(note: Note, what: string, error: unknown): void {
    if (!(error instanceof AttestError)) throw error
    note({ state: 'bad', what, detail: `${messageOf(error)} (${error.code})`, todo: error.hint })
}

/** The programs that unlocking through clevis needs, and the Debian package of each. */
const PROGRAMS = [
    { name: 'cryptsetup', package: 'cryptsetup-bin' },
    { name: 'clevis', package: 'clevis' },
    { name: 'clevis-luks-bind', package: 'clevis-luks' },
    { name: 'jose', package: 'jose' },
    { name: 'clevis-decrypt-kbs', package: 'this one: put its programs on PATH' },
] as const

export async function examineMachine(note: Note): Promise<void> {
    const release = readFileSync('/proc/sys/kernel/osrelease', 'latin1').trim()
    note({ state: 'good', what: 'kernel', detail: release })
    await examineGuest(note)
    await examine(note, 'system calls', libc, () => 'the foreign function interface loads')
    await examine(
        note,
        'configuration',
        () => readConfig().list(),
        (list) => {
            const set = list.filter(({ source }) => source !== 'default').length
            return `${CONFIG_FOLDER}: ${set === 0 ? 'every value is the default' : `${set} of ${list.length} values set`}`
        },
    )
    await examineTrust(note)
    for (const { name, package: from } of PROGRAMS) {
        const path = findProgram(name)
        if (path) note({ state: 'good', what: name, detail: path })
        else
            note({
                state: 'unknown',
                what: name,
                detail: 'not on PATH',
                todo: `needed to unlock through clevis: ${from}`,
            })
    }
}

async function examineGuest(note: Note): Promise<void> {
    let whyNoSecrets = ''
    const guest = await examine(
        note,
        'guest',
        async () => {
            const found = await findGuest({})
            if (!found) whyNoSecrets = await secretsMissing()
            return found
        },
        (found) => {
            if (!found) return noGuest(whyNoSecrets)
            const { via, path, tried } = found.probe
            const looked = tried.map((attempt) => `${attempt.path}: ${attempt.found}`).join('; ')
            return `${found.tee} through ${via} (${path})${EMULATED ? ', EMULATED' : ''}; ${looked}`
        },
    )
    if (guest?.evidence) {
        const { notes } = await pluginOf(guest.tee).forms()
        await examine(
            note,
            'evidence',
            () => guest.evidence?.(Buffer.alloc(64, 1)),
            (evidence) => ['it answers', ...(evidence ? notes(evidence) : [])].join('; '),
        )
    }
    if (guest?.secrets) {
        const { secrets } = guest
        await examine(
            note,
            'secrets',
            () => secrets.list(),
            (guids) => (guids.length === 0 ? 'every one was taken' : guids.join(', ')),
        )
    }
    guest?.close()
}

/** Why nothing that was injected is shown: a guest that is known by it alone is none then. */
async function secretsMissing(): Promise<string> {
    try {
        const { efiSecrets } = await linuxDoors(readConfig().get(DRIVERS_CONFIG)).secrets()
        efiSecrets.requireShown()
        return ''
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return `; of ${pluginOf(LAUNCHED.id).title}: ${messageOf(error)} (${error.code})`
    }
}

function noGuest(whyNoSecrets: string): Omit<Finding, 'what'> {
    const { tsm, sevDevice, tdxDevice, secretArea } = linuxDoors(readConfig().get(DRIVERS_CONFIG))
    const paths = [tsm, sevDevice, tdxDevice, secretArea].map(({ path }) => path)
    const titles = PLUGINS.map(({ title }) => title).join(', ')
    return {
        state: 'unknown',
        detail: `none of ${titles}: looked at ${paths.join(', ')}`,
        todo: `needed where this should be a guest: a kernel with the driver of its technology${whyNoSecrets}`,
    }
}

async function examineTrust(note: Note): Promise<void> {
    try {
        const anchors = await guestAnchors(readConfig())
        const volumes = readVolumes(CONFIG_FOLDER)
        if (anchors.length === 0 && volumes.length > 0 && volumes.every(opensBySecret))
            note({
                state: 'good',
                what: 'trust',
                detail: 'no broker is trusted, and none is needed: every volume opens with what is injected',
            })
        else if (anchors.length === 0)
            note({
                state: 'unknown',
                what: 'trust',
                detail: 'no broker is trusted',
                todo: 'guest-attest trust add URL --pin … --allow-path …',
            })
        for (const anchor of anchors) {
            const { origin, allowPaths } = anchor
            const { known, text } = inInitrd(anchor)
            const state = known === false ? 'bad' : 'good'
            note({ state, what: 'trust', detail: `${origin.origin} for ${allowPaths.join(', ')}; initrd: ${text}` })
        }
    } catch (error) {
        noteError(note, 'trust', error)
    }
}
