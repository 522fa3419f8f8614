// The roots of the test guests: Debian trixie by mmdebstrap, once with initramfs-tools and once with dracut, as an image
// builder makes them. Kept between runs by the hash of the recipe.
// SPDX-License-Identifier: Apache-2.0

import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cached, hashOf, sh } from './shell.ts'

export type Flavour = 'initramfs-tools' | 'dracut'

const COMMON = [
    ...['linux-image-cloud-amd64', 'kmod', 'udev', 'systemd-sysv', 'zstd', 'xz-utils', 'cpio'],
    ...['cryptsetup-bin', 'clevis', 'clevis-luks', 'jose', 'curl', 'jq', 'ca-certificates', 'iproute2'],
    ...['e2fsprogs', 'procps', 'libatomic1', 'libstdc++6', 'dbus', 'busybox', 'netbase'],
]

const PACKAGES: Readonly<Record<Flavour, readonly string[]>> = {
    'initramfs-tools': [...COMMON, 'initramfs-tools', 'cryptsetup-initramfs', 'clevis-initramfs'],
    dracut: [...COMMON, 'dracut', 'dracut-network', 'systemd-cryptsetup', 'clevis-dracut', 'clevis-systemd'],
}

const OPTIONS = [
    '--variant=minbase',
    '--aptopt=Acquire::Languages "none"',
    ...['doc', 'man', 'locale', 'info'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`),
]

/** @returns the folder of the root; nobody writes to it */
export function baseRoot(flavour: Flavour): Promise<string> {
    const include = PACKAGES[flavour].join(',')
    return cached(`base-${flavour}`, hashOf([include, ...OPTIONS]), async (path) => {
        // INITRD=No: the kernel's package makes no initrd; the one that is wanted is made when all is installed.
        await sh(['mmdebstrap', ...OPTIONS, `--include=${include}`, 'trixie', path, mirror()], {
            env: { INITRD: 'No' },
        })
    })
}

/** The kernel's version and file. */
export function kernelOf(root: string): { version: string; path: string } {
    const [name = ''] = readdirSync(join(root, 'boot')).filter((file) => file.startsWith('vmlinuz-'))
    return { version: name.slice('vmlinuz-'.length), path: join(root, 'boot', name) }
}

const SECRETS_MODULE = fileURLToPath(new URL('guest/efi_secret.c', import.meta.url))

/** The module that shows injected secrets, which no kernel of Debian has. @returns the file */
export function secretsModule(version: string): Promise<string> {
    return cached('efi-secret', hashOf([version], [SECRETS_MODULE]), async (path) => {
        const root = await compilerRoot(version)
        const source = join(root, 'build')
        rmSync(source, { recursive: true, force: true })
        mkdirSync(source)
        copyFileSync(SECRETS_MODULE, join(source, 'efi_secret.c'))
        writeFileSync(join(source, 'Makefile'), 'obj-m := efi_secret.o\n')
        await sh(['chroot', root, 'make', '-C', `/usr/src/linux-headers-${version}`, 'M=/build', 'modules'])
        await sh(['strip', '--strip-debug', '-o', path, join(source, 'efi_secret.ko')])
    })
}

// Where the mirror has these headers no more, the roots in the cache are older than what it has: remove them.
const compilerRoot = (version: string): Promise<string> =>
    cached('compiler', hashOf([version, ...OPTIONS]), async (path) => {
        await sh(['mmdebstrap', ...OPTIONS, `--include=make,linux-headers-${version}`, 'trixie', path, mirror()])
    })

/** A command inside a root, with its /proc, /dev and /sys; the mounts end with it. */
export const inRoot = (root: string, command: string, env: NodeJS.ProcessEnv = {}): Promise<string> =>
    sh(
        [
            ...['unshare', '--mount', '--propagation', 'private', 'sh', '-euc'],
            `mount -t proc proc "$0/proc"; mount --bind /dev "$0/dev"; mount -t sysfs -o ro sys "$0/sys"
             mount -t tmpfs tmp "$0/tmp"; mount -t tmpfs run "$0/run"
             exec chroot "$0" sh -euc "$1"`,
            ...[root, command],
        ],
        { env: { LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive', ...env } },
    )

// The mirror that this machine uses for Debian itself.
function mirror(): string {
    const files = ['/etc/apt/sources.list', ...listed('/etc/apt/sources.list.d')]
    for (const file of files.filter((path) => existsSync(path))) {
        const found = /^(?:URIs:|deb(?: \[[^\]]*\])?)\s+(https?:\/\/\S*debian\/?)(?:\s|$)/m.exec(
            readFileSync(file, 'utf8'),
        )
        if (found?.[1]) return found[1]
    }
    return 'http://deb.debian.org/debian'
}

const listed = (folder: string): string[] =>
    existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []
