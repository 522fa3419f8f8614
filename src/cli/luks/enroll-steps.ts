// The steps of `luks enroll`, in their order.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { secret, wipe } from '#core/bytes.ts'
import { AttestError, coreError, errnoOf, messageOf, restated } from '#core/errors.ts'
import { makeFolder, readInput, writeFileAtomic } from '#core/files.ts'
import { parseOrigin } from '#core/http.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { formatResourcePath, LUKS_KEY_SIZE } from '#kbs/messages.ts'
import type { Resource } from '#luks/bind.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { metadataOf } from '#luks/metadata.ts'
import { report } from '#luks/report.ts'
import { readSound } from '#luks/rewrite.ts'
import { pluginOf } from '#plugins.ts'
import { findAnchor, requireAnchor } from '#unlock/anchors.ts'
import { tryDisk } from '#unlock/open-disk.ts'
import { formatVolume, isOpenedInInitrd, VOLUMES_FOLDER, type Volume, volumeFile } from '#unlock/volumes.ts'
import { guestAnchors } from '../anchors.ts'
import { findGuest } from '../find-guest.ts'
import { readConfig } from '../settings.ts'
import { hint, note, print, styled } from '../term.ts'
import { addAnchor } from '../trust/add.ts'
import { bindDisk, type ResourceArgs, resourceOf } from './bind.ts'
import { enrollAt, readCredential } from './credential.ts'
import { withVolume } from './crypttab.ts'
import { type Builder, rebuild } from './machine.ts'
import { personalDeps, type rewriteOf, type Target } from './target.ts'

export interface Enrollment {
    readonly device: string
    readonly rewrite: ReturnType<typeof rewriteOf>
    readonly target: Target
    readonly volume: Volume
    readonly builder: Builder | null
    readonly options: ResourceArgs & {
        readonly pin: readonly string[]
        readonly ca?: string | undefined
        readonly credential?: string | undefined
        readonly keyFile?: string | undefined
        readonly replace: boolean
        readonly crypttab: string
        readonly initrd: boolean
    }
}

/** @returns how the program exits: 0 where the next boot opens the volume */
export async function enroll(enrollment: Enrollment): Promise<0 | 1> {
    const { rewrite, target, volume, options } = enrollment
    // What crypttab has against it is said before anything is written.
    plannedCrypttab(enrollment)
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
    writeTable(enrollment)
    writeCrypttab(enrollment)
    const reasons = [...(await rebuildInitrd(enrollment)), ...(await tryIt(enrollment, tee !== null))]
    tellCoverage(tee)
    for (const warning of report(metadataOf(copyWholeHeader(rewrite.device))).warnings) note(`warning: ${warning}`)
    if (reasons.length === 0) print('next boot opens: ', styled('green', 'yes'))
    else print('next boot opens: ', styled('red', 'no'), `, because ${reasons.join('; ')}`)
    return reasons.length === 0 ? 0 : 1
}

/** Each broker is trusted for this path, or is from here on. @throws AttestError ERR_UNLOCK_*, ERR_USAGE */
async function trust({ target, options }: Enrollment): Promise<void> {
    const path = formatResourcePath(target.path)
    for (const server of target.servers) {
        const origin = parseOrigin(server, { insecureHttp: true })
        const told = options.pin.length > 0 || options.ca !== undefined
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

function writeTable({ volume }: Enrollment): void {
    makeFolder(join(CONFIG_FOLDER, VOLUMES_FOLDER), 0o755)
    const file = volumeFile(CONFIG_FOLDER, volume.name)
    writeFileAtomic(file, formatVolume(volume), 0o644)
    note(`${file}: ${volume.frontEnd}, ${volume.profile}${volume.root ? ', the root' : ''}`)
}

/** What stood there is kept once, as the owner had it. */
function writeCrypttab(enrollment: Enrollment): void {
    const { volume, options } = enrollment
    const { crypttab } = options
    const { before, after } = plannedCrypttab(enrollment)
    if (after === before) {
        note(`${crypttab}: its line of ${volume.name} is as it must be`)
        return
    }
    const backup = `${crypttab}.before-guest-attest`
    if (before !== '' && !existsSync(backup)) writeFileAtomic(backup, before, 0o644)
    writeFileAtomic(crypttab, after, 0o644)
    note(`${crypttab}: its line of ${volume.name} is written${existsSync(backup) ? ` (before: ${backup})` : ''}`)
}

function plannedCrypttab({ volume, builder, device, options: { crypttab } }: Enrollment) {
    const before = existsSync(crypttab) ? readInput(crypttab).toString() : ''
    const systemd = !volume.root || (builder?.systemd ?? true)
    return { before, after: withVolume(before, { volume, systemd }, device) }
}

/** What is opened after boot is not in an initrd. */

async function rebuildInitrd({ volume, builder, options }: Enrollment): Promise<string[]> {
    if (!isOpenedInInitrd(volume)) return []
    if (!options.initrd) return ['the initrd was not rebuilt (--no-initrd)']
    if (!builder) return ['nothing is known that rebuilds the initrd here']
    note(`rebuilding the initrd: ${builder.command.join(' ')}`)
    try {
        await rebuild(builder)
        return []
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        if (error.hint) hint(error.hint)
        return [`${messageOf(error)} (${error.code})`]
    }
}

/** Opens the volume up to its passphrase, as the next boot will. */
async function tryIt({ device, target, rewrite }: Enrollment, isGuest: boolean): Promise<string[]> {
    if (!isGuest)
        return [`this machine is no guest: in the guest, guest-attest luks open ${device} --test-passphrase tells`]
    const { volume } = readSound(device, rewrite.expected)
    try {
        const expected = { ...rewrite.expected, uuid: volume.uuid }
        const { keyslot } = await tryDisk({ ...target, device, expected }, await personalDeps())
        note(`tried: the broker released the key to this guest, and key slot ${keyslot} opens with it`)
        return []
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        if (error.hint) hint(error.hint)
        return [`${messageOf(error)} (${error.code})`]
    }
}

// The guest that was tried has the old initrd; the one that boots has the new one.
function tellCoverage(tee: string | null): void {
    if (tee === null) return
    const { title, coverage } = pluginOf(tee)
    note(`${title}: ${coverage}`)
    note('where it covers the initrd, the next boot has another measurement: let the broker know it before')
}
