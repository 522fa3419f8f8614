// What README.md says, from the packages to the reboot, in a guest of its own: a Debian with an encrypted root that a person
// opens once more; the commands; then a boot with the kernel and the initrd that are found on its disk.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { MEASUREMENT } from '#test/stage.ts'
import { cpio, withSegment } from './cpio.ts'
import { fileSystem } from './disk.ts'
import { kernelOf } from './image.ts'
import { ROOT_UUID } from './initrds.ts'
import { type Kit, PASSPHRASE, pathOf } from './kit.ts'
import { type Booted, boot, USER_NETWORK } from './qemu.ts'
import { installedRoot } from './root.ts'
import type { Built } from './row.ts'
import { sh } from './shell.ts'
import { HOST } from './stage.ts'
import { systemFiles, systemImage } from './system.ts'

/** As it stands there, but for `reboot`: the host looks for the new initrd first. */
const script = (url: string, pin: string, path: string): string => `
set -eux
cd /root/packages
apt-get install -y ./guest-attest_*.deb ./guest-attest-initramfs_*.deb
guest-attest luks enroll /dev/vda --url ${url} --pin ${pin} \\
    --path ${path} --create --credential credential
`

/** @returns both boots as one: the consoles one after the other */
export async function recipeBoots(kit: Kit, built: Built, name: string): Promise<Booted> {
    const { stage, port, chip } = kit.boot
    const path = pathOf(name)
    const bare = await installedRoot('initramfs-tools', [])
    const { version } = kernelOf(bare)
    const credential = kit.file('recipe.credential')
    await stage.broker('credential', 'add', 'image-builder', '--out', credential, '--allow-path', path)
    const run =
        'if [ -e /root/recipe.sh ]; then mv /root/recipe.sh /root/recipe.done; sh /root/recipe.done; echo "RECIPE ENDS: $?" >/dev/console; fi'
    const packages = readdirSync(join(built.root, 'packages'))
    const image = await systemImage(kit, bare, name, {
        ...systemFiles(run),
        ...chip(MEASUREMENT),
        'etc/crypttab': { bytes: `root UUID=${ROOT_UUID} none luks\n` },
        [`var/lib/initramfs-tools/${version}`]: { bytes: `${sha1(built.initrd)}  /boot/initrd.img-${version}\n` },
        'etc/fstab': { bytes: '/dev/mapper/root / ext4 defaults 0 1\n/dev/vdb /boot ext4 defaults 0 2\n' },
        'root/recipe.sh': { bytes: script(`https://${HOST}:${port}`, stage.pin, path) },
        'root/packages/credential': { bytes: readFileSync(credential), mode: 0o600 },
        ...Object.fromEntries(
            packages.map((file) => [
                `root/packages/${file}`,
                { bytes: readFileSync(join(built.root, 'packages', file)) },
            ]),
        ),
    })
    const root = await kit.disk(name, { image })
    const bootDisk = await bootPartition(kit, bare, name, built.initrd)
    const drives = [root, bootDisk].map((file) => `file=${file},format=raw,if=virtio,cache=unsafe`)
    const log = kit.file(`${name}.console`)
    const machine = { drives, network: USER_NETWORK, memoryMiB: 2048, timeoutS: 1500, log }

    const first = await boot({
        ...machine,
        kernel: built.kernel,
        initrd: built.initrd,
        commandLine: 'root=/dev/mapper/root rw',
        types: [/Please unlock disk/, /Passphrase of \/dev\/vda/].map((at) => ({ at, text: `${PASSPHRASE}\n` })),
    })
    if (!/RECIPE ENDS: 0/.test(first.console)) return first
    const initrd = kit.file(`${name}.initrd`)
    await sh(['debugfs', '-R', `dump /initrd.img-${version} ${initrd}`, bootDisk])
    writeFileSync(initrd, withSegment(readFileSync(initrd), cpio(chip(MEASUREMENT))))
    const second = await boot({ ...machine, kernel: built.kernel, initrd, commandLine: 'root=/dev/mapper/root ro' })
    return {
        console: `${first.console}\nSECOND BOOT\n${second.console}`,
        seconds: first.seconds + second.seconds,
        timedOut: first.timedOut || second.timedOut,
    }
}

/** /boot as a disk of its own, in clear, as installers make it. */
async function bootPartition(kit: Kit, root: string, name: string, initrd: string): Promise<string> {
    const tree = kit.file(`${name}.boot`)
    mkdirSync(tree, { recursive: true })
    for (const file of readdirSync(join(root, 'boot')))
        copyFileSync(join(root, 'boot', file), join(tree, basename(file)))
    copyFileSync(initrd, join(tree, `initrd.img-${kernelOf(root).version}`))
    await fileSystem(`${tree}.ext4`, tree, 300)
    rmSync(tree, { recursive: true })
    return `${tree}.ext4`
}

/** What update-initramfs knows the initrd by that it made. */
const sha1 = (file: string): string => createHash('sha1').update(readFileSync(file)).digest('hex')
