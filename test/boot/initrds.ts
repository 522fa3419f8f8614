// The initrds that boot: a front end and a profile each, from crypttab lines and a volume table as `luks enroll` writes
// them. What differs from run to run (the broker's port and key) comes in a segment behind them.
// SPDX-License-Identifier: Apache-2.0

import { anchorFileName, formatAnchor } from '#unlock/anchors.ts'
import { formatVolume, parseVolume } from '#unlock/volumes.ts'
import type { Entry } from './cpio.ts'
import type { Flavour } from './image.ts'
import type { InitrdRecipe } from './root.ts'

/** Of every root disk: what crypttab and the volume table name. */
export const ROOT_UUID = '6b1f2c1e-0f5e-4a57-9a33-9d0c3b9d7a11'

export type FrontEnd = 'tang' | 'clevis' | 'keyscript' | 'socket'

export interface InitrdKind {
    readonly flavour: Flavour
    readonly frontEnd: FrontEnd
    readonly profile: 'strict' | 'compat'
    /** Its broker is reached over vsock. */
    readonly vsock?: boolean
}

export const INITRDS = {
    'initramfs-tang': { flavour: 'initramfs-tools', frontEnd: 'tang', profile: 'compat' },
    'initramfs-clevis': { flavour: 'initramfs-tools', frontEnd: 'clevis', profile: 'compat' },
    'initramfs-keyscript': { flavour: 'initramfs-tools', frontEnd: 'keyscript', profile: 'strict' },
    'initramfs-keyscript-compat': { flavour: 'initramfs-tools', frontEnd: 'keyscript', profile: 'compat' },
    'dracut-tang': { flavour: 'dracut', frontEnd: 'tang', profile: 'compat' },
    'dracut-clevis': { flavour: 'dracut', frontEnd: 'clevis', profile: 'compat' },
    'dracut-socket': { flavour: 'dracut', frontEnd: 'socket', profile: 'strict' },
    'dracut-socket-vsock': { flavour: 'dracut', frontEnd: 'socket', profile: 'strict', vsock: true },
    'dracut-socket-compat': { flavour: 'dracut', frontEnd: 'socket', profile: 'compat' },
} as const satisfies Readonly<Record<string, InitrdKind>>

export type InitrdName = keyof typeof INITRDS

const HEADER = 'header=/run/guest-attest/root.hdr'

/** The options of crypttab's line, after the key file. */
const CRYPTTAB: Readonly<Record<string, string>> = {
    tang: 'none luks,initramfs',
    clevis: 'none luks,initramfs',
    keyscript: `root luks,initramfs,keyscript=/usr/lib/guest-attest/keyscript,${HEADER}`,
    'keyscript-compat': `root luks,initramfs,keyscript=/usr/lib/guest-attest/keyscript,${HEADER}`,
    socket: `/run/guest-attest/keys/root.sock luks,${HEADER},headless=true,tries=1,x-systemd.device-timeout=0,x-initrd.attach`,
    'socket-compat': `none luks,${HEADER},x-systemd.device-timeout=0,x-initrd.attach`,
}

/** A broker as a guest knows it. */
export interface KnownBroker {
    readonly url: string
    readonly pin: string
}

/** Where nothing is known yet: each boot brings its own. */
export const NOBODY: KnownBroker = { url: 'https://10.0.2.2:8443', pin: `sha256/${'A'.repeat(43)}=` }

export interface VolumeOptions {
    readonly path?: string
    /** The GUID of what was injected, instead of a broker's key. */
    readonly secret?: string
    readonly deadlineS?: number
}

/** The broker's anchor, for the keys of disks. */
export const trustFile = ({ url, pin }: KnownBroker): Record<string, Entry> => ({
    [`etc/guest-attest/trust.d/${anchorFileName(new URL(url))}`]: {
        bytes: formatAnchor({ url, pins: [pin], allowPaths: ['default/luks/*'] }),
    },
})

/** The configuration of a guest: whom it trusts, and what it opens. */
export function guestFiles(
    { frontEnd, profile }: InitrdKind,
    { url, pin }: KnownBroker,
    { path = 'default/luks/root', secret, deadlineS = 300 }: VolumeOptions = {},
): Record<string, Entry> {
    if (frontEnd === 'tang') return {}
    const opens = secret === undefined ? { servers: [url], path } : { secret }
    const volume = { uuid: ROOT_UUID, ...opens, frontEnd, profile, deadlineS, root: true }
    const network = url.startsWith('vsock:') || secret !== undefined ? 'no' : 'yes'
    return {
        ...trustFile({ url, pin }),
        'etc/guest-attest/volumes.d/root.toml': { bytes: formatVolume(parseVolume(volume, 'root.toml')) },
        'etc/guest-attest/volumes.tsv': {
            bytes: `${['root', ROOT_UUID, frontEnd, profile, 'poweroff', 'yes', network, deadlineS].join('\t')}\n`,
        },
    }
}

/** What a guest calls its broker that has no network. */
export const VSOCK_URL = 'vsock://1:8443'

const WITH_TANG = ['--add', 'clevis clevis-pin-tang systemd-networkd systemd-cryptsetup']

/** clevis' module for tang brings a network, whether or not there is a tang. */
const WITHOUT_CLEVIS = ['--omit', 'clevis clevis-pin-null clevis-pin-sss clevis-pin-tang']

/** How it is built. */
export function recipeOf(name: InitrdName): InitrdRecipe {
    const kind: InitrdKind = INITRDS[name]
    const { flavour, frontEnd, profile, vsock = false } = kind
    const line = CRYPTTAB[profile === 'compat' ? `${frontEnd}-compat` : frontEnd] ?? CRYPTTAB[frontEnd]
    const files = Object.entries(guestFiles(kind, vsock ? { ...NOBODY, url: VSOCK_URL } : NOBODY)).filter(
        ([path]) => !path.endsWith('.tsv'),
    )
    return {
        name,
        flavour,
        files: {
            'etc/crypttab': `root UUID=${ROOT_UUID} ${line}\n`,
            'etc/fstab': '/dev/mapper/root / ext4 defaults 0 1\n',
            ...Object.fromEntries(files.map(([path, { bytes }]) => [path, String(bytes)])),
        },
        dracut: frontEnd === 'tang' ? WITH_TANG : vsock ? WITHOUT_CLEVIS : [],
    }
}
