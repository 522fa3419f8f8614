// What rows of the table make their boots of: disks and how they are bound, the configuration of the guest, the secrets
// that no console may show.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BINDING_SALT_SIZE, bindingKeys, formatBinding, headerDigest } from '#luks/binding.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { fileSystem, luksDisk, markerRoot } from './disk.ts'
import { ROOT_UUID } from './initrds.ts'
import { sh } from './shell.ts'
import { type BootStage, HOST } from './stage.ts'

/** What a person would type; no console may show it. */
export const PASSPHRASE = 'correct-horse-battery-staple'

export type Bind = 'ours' | 'clevis' | 'tang'

/** An injected secret that clevis opens with. */
export interface Injected {
    readonly guid: string
    /** 32 bytes. */
    readonly key: Buffer
}

export interface DiskOptions {
    /** How it is bound, one after the other. */
    readonly bind?: readonly Bind[]
    /** The resource that opens it. */
    readonly path?: string
    /** What its root says of itself. */
    readonly marker?: string
    readonly passphrase?: string
    /** Bound to it, too. */
    readonly injected?: Injected
    /** A file system of its own, instead of one that says the marker. */
    readonly image?: string
    readonly uuid?: string
}

export const GOOD_MARKER = 'the right root'

export interface Kit {
    readonly folder: string
    readonly boot: BootStage
    readonly busyboxRoot: string
    /** What no console may show. */
    readonly secrets: Set<string>
    /** A file of this run. */
    file(name: string): string
    /** A file system that says the marker. */
    marker(text: string): Promise<string>
    /** A disk of its own. */
    disk(name: string, options?: DiskOptions): Promise<string>
}

export function openKit(folder: string, boot: BootStage, busyboxRoot: string): Kit {
    const secrets = new Set([PASSPHRASE])
    const images = new Map<string, Promise<string>>()
    const file = (name: string) => join(folder, name.replaceAll(/[^A-Za-z0-9.-]+/g, '-'))

    async function makeMarker(text: string): Promise<string> {
        const tree = file(`tree-${text}`)
        markerRoot(tree, busyboxRoot, text)
        const image = file(`image-${text}`)
        await fileSystem(image, tree, 24)
        rmSync(tree, { recursive: true })
        return image
    }
    const marker = (text: string): Promise<string> => {
        const made = images.get(text) ?? makeMarker(text)
        images.set(text, made)
        return made
    }

    return {
        folder,
        boot,
        busyboxRoot,
        secrets,
        file,
        marker,
        async disk(name, { bind = [], path = `default/luks/${name.replaceAll(/[^a-z0-9]+/g, '_')}`, ...options } = {}) {
            const disk = file(`${name}.luks`)
            const { passphrase = PASSPHRASE, uuid = ROOT_UUID } = options
            await luksDisk(disk, options.image ?? (await marker(options.marker ?? GOOD_MARKER)), { uuid, passphrase })
            const key = bind.some((how) => how !== 'tang') ? (boot.secrets.get(path) ?? (await boot.put(path))) : null
            const passphraseFile = `${disk}.pass`
            writeFileSync(passphraseFile, passphrase, { mode: 0o600 })
            for (const how of bind) {
                if (how === 'tang') await bindTang(boot, disk, passphraseFile)
                else if (key && how === 'clevis') await bindClevis(boot, disk, passphraseFile, path, key)
                else if (key) await bindOurs(disk, passphraseFile, path, key, secrets)
            }
            if (options.injected) await bindInjected(boot, disk, passphraseFile, options.injected)
            for (const text of key ? (['hex', 'base64', 'base64url', 'latin1'] as const) : [])
                secrets.add(String(key?.toString(text)))
            return disk
        },
    }
}

/** The path of a resource named after a disk. */
export const pathOf = (name: string): string => `default/luks/${name.replaceAll(/[^a-z0-9]+/g, '_')}`

async function bindTang({ tang, stage }: BootStage, disk: string, passphrase: string): Promise<void> {
    const advertisement = join(stage.folder, 'adv.jws')
    await sh(['curl', '-sf', '-o', advertisement, `${tang.url}/adv`])
    const config = { url: tang.url.replace('127.0.0.1', HOST), adv: advertisement }
    await sh(['clevis', 'luks', 'bind', '-y', '-k', passphrase, '-d', disk, 'tang', JSON.stringify(config)])
}

async function bindClevis(boot: BootStage, disk: string, passphrase: string, path: string, key: Buffer): Promise<void> {
    const keyFile = `${disk}.resource`
    writeFileSync(keyFile, key, { mode: 0o600 })
    const config = { url: `https://${HOST}:${boot.port}`, path, key_file: keyFile }
    await sh(['clevis', 'luks', 'bind', '-y', '-k', passphrase, '-d', disk, 'kbs', JSON.stringify(config)], {
        env: boot.stage.env,
    })
}

async function bindInjected({ stage }: BootStage, disk: string, passphrase: string, { guid, key }: Injected) {
    const keyFile = `${disk}.injected`
    writeFileSync(keyFile, key, { mode: 0o600 })
    const config = JSON.stringify({ guid, key_file: keyFile })
    await sh(['clevis', 'luks', 'bind', '-y', '-k', passphrase, '-d', disk, 'sev', config], { env: stage.env })
}

/** As `luks bind` does it, with a resource that is at hand. */
async function bindOurs(
    disk: string,
    passphrase: string,
    path: string,
    key: Buffer,
    secrets: Set<string>,
): Promise<void> {
    const name = { path, version: 1, salt: randomBytes(BINDING_SALT_SIZE) }
    const keys = bindingKeys(key, name)
    secrets.add(keys.passphrase.toString('latin1'))
    const newKey = `${disk}.new`
    writeFileSync(newKey, keys.passphrase, { mode: 0o600 })
    const cheap = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--key-slot', '1']
    await sh(['cryptsetup', 'luksAddKey', '--batch-mode', ...cheap, '--key-file', passphrase, disk, newKey])
    const digest = headerDigest(copyWholeHeader(disk), keys.headerKey)
    const token = JSON.stringify(formatBinding({ keyslot: '1', ...name, digest }))
    await sh(['cryptsetup', 'token', 'import', '--json-file', '-', disk], { input: token })
}

/** A copy of a disk, to change. */
export function copyDisk(from: string, to: string): Buffer {
    copyFileSync(from, to)
    return readFileSync(to)
}
