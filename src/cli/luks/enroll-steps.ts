// The steps of `luks enroll` with a broker's key, in their order.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { secret, wipe } from '#core/bytes.ts'
import { AttestError, coreError, errnoOf, messageOf, restated } from '#core/errors.ts'
import { parseOrigin } from '#core/http.ts'
import { formatResourcePath, LUKS_KEY_SIZE } from '#kbs/messages.ts'
import type { Resource } from '#luks/bind.ts'
import { findAnchor, requireAnchor } from '#unlock/anchors.ts'
import { tryDisk } from '#unlock/open-disk.ts'
import { readSoundHeader } from '#unlock/volume-header.ts'
import type { Volume } from '#unlock/volumes.ts'
import { guestAnchors, requireFilesCount } from '../anchors.ts'
import { findGuest } from '../find-guest.ts'
import { readConfig } from '../settings.ts'
import { note } from '../term.ts'
import { addAnchor } from '../trust/add.ts'
import { bindDisk, type ResourceArgs, resourceOf } from './bind.ts'
import { enrollAt, readCredential } from './credential.ts'
import { conclude, type Machine, reasonsOf, rebuildInitrd, requirePlace, writeTables } from './enroll-machine.ts'
import { personalDeps, type rewriteOf, type Target } from './target.ts'

export interface Enrollment extends Machine {
    readonly rewrite: ReturnType<typeof rewriteOf>
    readonly target: Target
    readonly volume: Volume
    readonly options: Machine['options'] &
        ResourceArgs & {
            readonly pin: readonly string[]
            readonly ca?: string | undefined
            readonly credential?: string | undefined
            readonly keyFile?: string | undefined
            readonly replace: boolean
        }
}

/** @returns how the program exits: 0 where the next boot opens the volume */
export async function enroll(enrollment: Enrollment): Promise<0 | 1> {
    const { rewrite, target, volume, options } = enrollment
    requirePlace(enrollment)
    await trust(enrollment)
    const tee = await guestKind()
    const resource = await theResource(enrollment, tee !== null)
    try {
        const clevis = volume.frontEnd === 'clevis'
        const { keyFile, replace } = options
        await bindDisk({ rewrite, target, resource, keyFile, clevis, replace, isGuest: tee !== null })
    } finally {
        wipe(resource.bytes)
    }
    writeTables(enrollment)
    const reasons = [...(await rebuildInitrd(enrollment)), ...(await tryIt(enrollment, tee !== null))]
    return conclude(enrollment, tee, reasons)
}

/** Each broker is trusted for this path, or is from here on. @throws AttestError ERR_UNLOCK_*, ERR_USAGE */
async function trust({ target, options }: Enrollment): Promise<void> {
    const path = formatResourcePath(target.path)
    const told = options.pin.length > 0 || options.ca !== undefined
    if (told) await requireFilesCount(readConfig())
    for (const server of target.servers) {
        const origin = parseOrigin(server, { insecureHttp: true })
        if (told && !findAnchor(await guestAnchors(readConfig()), origin.origin))
            addAnchor({ pin: options.pin, ca: options.ca, allowPath: [path] }, origin, false)
        requireAnchor(await guestAnchors(readConfig()), server, target.path)
    }
}

/** Which technology this guest is of; null on a machine that is none. */
async function guestKind(): Promise<string | null> {
    const guest = await findGuest({}, readConfig())
    guest?.close()
    return guest?.tee ?? null
}

async function theResource({ target, options, device }: Enrollment, isGuest: boolean): Promise<Resource> {
    const path = formatResourcePath(target.path)
    if (options.credential !== undefined) {
        const made = await create(target, options.credential, isGuest).catch((error: unknown) => {
            if (errnoOf(error) !== 'ERR_KBS_EXISTS' || !(error instanceof AttestError)) throw error
            throw restated(error, messageOf(error), 'without --create, the volume is bound to the key that is there')
        })
        note(`${path}, version ${made.version}, is made`)
        if (made.bytes !== null) return { ...made, bytes: made.bytes }
    } else if (!isGuest && options.resourceFile === undefined)
        throw coreError('ERR_USAGE', 'this machine is no guest: no broker gives it the key', {
            hint: `enroll ${device} in the guest; or make a key here, with --create; or have its bytes, with --resource-file`,
        })
    return resourceOf(options, target)
}

// In a guest the broker makes it, and nobody sees it before the release; elsewhere it has to be made here.
async function create(target: Target, file: string, isGuest: boolean) {
    const credential = readCredential(file)
    const path = formatResourcePath(target.path)
    const bytes = isGuest ? null : secret(randomBytes(LUKS_KEY_SIZE))
    try {
        const broker = enrollAt(target, await personalDeps(), credential)
        const version = bytes ? await broker.store(target.path, bytes, 0) : await broker.create(target.path)
        return { path, version, bytes }
    } catch (error) {
        wipe(bytes ?? undefined)
        throw error
    } finally {
        wipe(credential.secret)
    }
}

/** Opens the volume up to its passphrase, as the next boot will. */
async function tryIt({ device, target, rewrite, volume }: Enrollment, isGuest: boolean): Promise<string[]> {
    if (!isGuest)
        return [`this machine is no guest: in the guest, guest-attest luks open ${device} --test-passphrase tells`]
    return reasonsOf(async () => {
        // Without the pins that were accepted here: at boot nobody accepts them.
        if (volume.frontEnd !== 'clevis') readSoundHeader(volume, device)
        const expected = { ...rewrite.expected, uuid: volume.uuid }
        const { keyslot } = await tryDisk({ ...target, device, expected }, await personalDeps())
        note(`tried: the broker released the key to this guest, and key slot ${keyslot} opens with it`)
    })
}
