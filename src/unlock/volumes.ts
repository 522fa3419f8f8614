// The volume table: which volumes this guest opens by itself, each a root-owned file `volumes.d/NAME.toml` that is
// measured with the initrd. It names the disk, the brokers and the path, so that nothing which the host can write (the
// header of the disk, the kernel command line) decides whom the guest asks for what.
// SPDX-License-Identifier: Apache-2.0

import { basename, join } from 'node:path'
import { stringify as stringifyToml } from 'smol-toml'
import * as z from 'zod/mini'
import { readToml, tomlFiles } from '#core/config.ts'
import { LOWER_CASE_UUID } from '#core/guid.ts'
import { parseOrigin } from '#core/http.ts'
import { issues } from '#core/schema.ts'
import { formatResourcePath, parseResourcePath, type ResourcePath } from '#kbs/messages.ts'
import { unlockError } from './errors.ts'
import { SECRET_GUID } from './injected.ts'

/** How the key reaches cryptsetup: systemd's key socket, crypttab's keyscript, or clevis' own loop. */
export const FRONT_ENDS = ['socket', 'keyscript', 'clevis'] as const

export type FrontEnd = (typeof FRONT_ENDS)[number]

/** `strict`: the key or nothing. `compat`: a person can type a passphrase at the console, which the host can read. */
export const PROFILES = ['strict', 'compat'] as const

export type Profile = (typeof PROFILES)[number]

/** What a strict volume does that did not open in time. */
export const ON_FAILURE = ['poweroff', 'reboot'] as const

export type OnFailure = (typeof ON_FAILURE)[number]

/** What every row has, however its volume opens. */
export interface VolumeEntry {
    /** crypttab's target, and the mapping's name. */
    readonly name: string
    readonly uuid: string
    readonly frontEnd: FrontEnd
    readonly profile: Profile
    readonly onFailure: OnFailure
    readonly deadlineS: number
    /** The root file system is on it, and on nothing else. */
    readonly root: boolean
}

/** One that opens with a key which brokers release. */
export interface Volume extends VolumeEntry {
    readonly servers: readonly string[]
    readonly path: ResourcePath
}

/** One that opens with what was injected into this guest before it ran: the passphrase itself, but for clevis. */
export interface SecretVolume extends VolumeEntry {
    /** The GUID of the secret, in lower case. */
    readonly secret: string
}

export type BootVolume = Volume | SecretVolume

export const opensBySecret = (volume: BootVolume): volume is SecretVolume => 'secret' in volume

/** The folder of the table within the configuration's. */
export const VOLUMES_FOLDER = 'volumes.d'

/** What a mapping may be called; also a file, an instance of a systemd unit and a word in a shell script. */
export const VOLUME_NAME = /^[A-Za-z0-9][A-Za-z0-9_.]{0,63}$/

const DEFAULT_DEADLINE_S = 300

const VOLUME_FILE = z.strictObject({
    uuid: z.string().check(z.regex(LOWER_CASE_UUID, 'expected a UUID in lower case')),
    servers: z.optional(z.array(z.string()).check(z.minLength(1), z.maxLength(8))),
    path: z.optional(z.string()),
    secret: z.optional(SECRET_GUID),
    frontEnd: z.enum(FRONT_ENDS),
    profile: z.enum(PROFILES),
    onFailure: z._default(z.enum(ON_FAILURE), 'poweroff'),
    deadlineS: z._default(z.int().check(z.gte(5), z.lte(7 * 86_400)), DEFAULT_DEADLINE_S),
    root: z._default(z.boolean(), false),
})

/**
 * In the order of their names.
 * @param except the name of one that is not read
 * @throws AttestError ERR_UNLOCK_VOLUME_FILE, ERR_UNTRUSTED_FILE, ERR_CONFIG
 */
export function readVolumes(configFolder: string, except?: string): BootVolume[] {
    const volumes: BootVolume[] = []
    for (const file of tomlFiles(join(configFolder, VOLUMES_FOLDER))) {
        if (basename(file, '.toml') === except) continue
        const volume = parseVolume(readToml(file), file)
        const other = volumes.find(({ uuid }) => uuid === volume.uuid)
        if (other) throw malformed(file, `${volume.uuid} is the volume ${other.name} already`)
        if (volume.root && volumes.some(({ root }) => root)) throw malformed(file, 'another volume is the root already')
        volumes.push(volume)
    }
    return volumes
}

/** @throws AttestError ERR_UNLOCK_NO_VOLUME, and as `readVolumes` */
export function requireVolume(configFolder: string, name: string): BootVolume {
    const volumes = readVolumes(configFolder)
    const volume = volumes.find((known) => known.name === name)
    if (volume) return volume
    throw unlockError('ERR_UNLOCK_NO_VOLUME', `${JSON.stringify(name)} is no volume that this guest opens`, {
        hint: `known: ${volumes.map((known) => known.name).join(', ') || 'none'}; \`guest-attest luks enroll\` adds one`,
    })
}

/** @throws AttestError ERR_UNLOCK_VOLUME_FILE, ERR_URL, ERR_KBS_URI */
export function parseVolume(value: unknown, file: string): BootVolume {
    const name = basename(file, '.toml')
    if (!VOLUME_NAME.test(name)) throw malformed(file, 'its name must be letters, digits, `_` and dots, at most 64')
    const result = VOLUME_FILE.safeParse(value)
    if (!result.success) throw malformed(file, issues(result.error))
    const { servers, path, secret, ...entry } = result.data
    const rest = { ...entry, name }
    if (rest.frontEnd === 'clevis' && rest.profile === 'strict')
        throw malformed(file, 'clevis opens from the disk and leaves the prompt open: its profile is compat')
    if (secret !== undefined && servers === undefined && path === undefined) return { ...rest, secret }
    if (secret !== undefined || servers === undefined || path === undefined)
        throw malformed(file, 'expected servers and path of a broker’s key, or the secret that was injected')
    return {
        ...rest,
        servers: servers.map((server) => parseOrigin(server, { insecureHttp: true }).origin),
        path: parseResourcePath(path),
    }
}

/** The text of a volume's file. */
export function formatVolume({ name: _name, ...volume }: BootVolume): string {
    const key = 'secret' in volume ? {} : { servers: [...volume.servers], path: formatResourcePath(volume.path) }
    return `# A volume that this guest opens by itself; \`guest-attest luks enroll\` writes these files.\n${stringifyToml(
        {
            ...volume,
            ...key,
        },
    )}\n`
}

/** Whether any of its brokers is reached over a network; one behind the host's own socket is not. */
export const needsNetwork = (volume: BootVolume): boolean =>
    !opensBySecret(volume) && volume.servers.some((server) => /^https?:/.test(server))

/** Whether the initrd opens it: others are opened by the running system. */
export const isOpenedInInitrd = ({ root, frontEnd }: BootVolume): boolean => root || frontEnd === 'keyscript'

/** The file of a volume. */
export const volumeFile = (configFolder: string, name: string): string =>
    join(configFolder, VOLUMES_FOLDER, `${name}.toml`)

const malformed = (file: string, what: string) => unlockError('ERR_UNLOCK_VOLUME_FILE', `${file}: ${what}`)
