// Guests whose real root is a whole Debian, or that need a program of the host's side within: data volumes after the boot,
// and a relay instead of a network.
// SPDX-License-Identifier: Apache-2.0

import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MEASUREMENT } from '#test/stage.ts'
import { formatVolume, parseVolume } from '#unlock/volumes.ts'
import type { Entry } from './cpio.ts'
import { fileSystem } from './disk.ts'
import { ROOT_UUID, trustFile, VSOCK_URL } from './initrds.ts'
import { GOOD_MARKER, type Kit, pathOf } from './kit.ts'
import { fileDrive } from './qemu.ts'
import type { Built, Prepared } from './row.ts'
import { sh } from './shell.ts'
import { HOST } from './stage.ts'

/** Brings up a card by hand and leads a vsock port to the broker: what stands on the host where there is one. */
const relayScript = (port: number): string => `
modprobe -a virtio_net vsock_loopback
until nic=$(ls /sys/class/net | grep -v '^lo$') && [ -n "$nic" ]; do sleep 0.2; done
ip link set lo up
ip link set "$nic" up
ip addr add 10.0.2.15/24 dev "$nic"
setsid /usr/bin/guest-attest relay --listen vsock:8443 --to ${HOST}:${port} </dev/null >/dev/kmsg 2>&1 &
`

/** A guest whose broker is VSOCK_URL: CID 1 is the guest itself (vsock_loopback), and the relay runs there. */
export async function vsockGuest(kit: Kit, { root }: Built, name: string): Promise<Prepared> {
    return {
        drives: [fileDrive(await kit.disk(name, { bind: ['ours'] }))],
        volume: { path: pathOf(name) },
        url: VSOCK_URL,
        memoryMiB: 2560,
        files: {
            'etc/guest-attest-emulator/also': { bytes: relayScript(kit.boot.port) },
            'usr/bin/guest-attest': { bytes: readFileSync(join(root, 'usr/bin/guest-attest')), mode: 0o755 },
        },
    }
}

const DATA = [
    { name: 'data', uuid: '1c9c3b1e-5d2b-4a0e-8f43-0b2f5a6c7d01', marker: 'the first volume' },
    { name: 'data2', uuid: '1c9c3b1e-5d2b-4a0e-8f43-0b2f5a6c7d02', marker: 'the second volume' },
] as const

/** A guest with a whole Debian as its root, and two further volumes with one key that open after the boot. */
export async function dataGuest(kit: Kit, { root }: Built, name: string): Promise<Prepared> {
    const path = pathOf('data')
    const broker = { url: `https://${HOST}:${kit.boot.port}`, pin: kit.boot.stage.pin }
    const files: Record<string, Entry> = {
        ...systemFiles(
            `echo "DATA: $(cat /data/marker), $(cat /data2/marker)" >/dev/console; guest-attest boot-report >/dev/console 2>&1`,
        ),
        ...kit.boot.chip(MEASUREMENT),
        ...trustFile(broker),
        'etc/crypttab': {
            bytes: [
                `root UUID=${ROOT_UUID} none luks,noauto`,
                ...DATA.map(
                    (data) =>
                        `${data.name} UUID=${data.uuid} /run/guest-attest/keys/${data.name}.sock luks,header=/run/guest-attest/${data.name}.hdr,headless=true,tries=1,x-systemd.device-timeout=0,_netdev`,
                ),
                '',
            ].join('\n'),
        },
        'etc/fstab': {
            bytes: `/dev/mapper/root / ext4 defaults 0 1\n${DATA.map((data) => `/dev/mapper/${data.name} /${data.name} ext4 defaults,_netdev 0 0\n`).join('')}`,
        },
        ...Object.fromEntries(
            DATA.map(({ name: volume, uuid }) => [
                `etc/guest-attest/volumes.d/${volume}.toml`,
                {
                    bytes: formatVolume(
                        parseVolume(
                            { uuid, servers: [broker.url], path, frontEnd: 'socket', profile: 'strict' },
                            `${volume}.toml`,
                        ),
                    ),
                },
            ]),
        ),
    }
    const image = await systemImage(
        kit,
        root,
        name,
        files,
        DATA.map((data) => data.name),
    )
    const disks = [await kit.disk(name, { bind: ['ours'], image })]
    for (const data of DATA)
        disks.push(
            await kit.disk(data.name, {
                bind: ['ours'],
                path,
                uuid: data.uuid,
                image: await markerVolume(kit, data.marker),
            }),
        )
    return { drives: disks.map((disk) => fileDrive(disk)), volume: { path: pathOf(name) }, memoryMiB: 2048 }
}

async function markerVolume(kit: Kit, text: string): Promise<string> {
    const tree = kit.file(`volume-${text}`)
    mkdirSync(tree, { recursive: true })
    writeFileSync(join(tree, 'marker'), text)
    await fileSystem(`${tree}.ext4`, tree, 8)
    return `${tree}.ext4`
}

/** What makes a root with systemd say that it was reached, run something, and switch off. */
export function systemFiles(command: string): Record<string, Entry> {
    return {
        'etc/systemd/network/50-all.network': { bytes: '[Match]\nName=e*\n[Network]\nDHCP=ipv4\n' },
        'usr/local/sbin/boot-test': {
            mode: 0o755,
            bytes: `#!/bin/sh
device=$(findmnt -no SOURCE /)
echo "REAL ROOT REACHED: ${GOOD_MARKER} on $device $(dmsetup info -c --noheadings -o uuid "$device")" >/dev/console
${command}
sync
poweroff -f
`,
        },
        'etc/systemd/system/boot-test.service': {
            bytes: `[Unit]
Description=what this boot is for
After=multi-user.target remote-fs.target guest-attest-emulator.service
[Service]
Type=oneshot
TTYPath=/dev/ttyS0
StandardInput=tty-force
StandardOutput=tty
ExecStart=/usr/local/sbin/boot-test
`,
        },
    }
}

/** For packages that are installed later, and what their installation needs. */
const ROOM_MIB = 1024

/** A file system with a whole root. @param folders empty ones */
export async function systemImage(
    kit: Kit,
    root: string,
    name: string,
    files: Record<string, Entry>,
    folders: readonly string[] = [],
): Promise<string> {
    const tree = kit.file(`${name}.tree`)
    rmSync(tree, { recursive: true, force: true })
    await sh(['cp', '-a', root, tree])
    for (const old of ['etc/guest-attest', 'packages']) rmSync(join(tree, old), { recursive: true, force: true })
    for (const folder of folders) mkdirSync(join(tree, folder), { recursive: true })
    for (const [path, { bytes, mode = 0o644 }] of Object.entries(files)) {
        mkdirSync(dirname(join(tree, path)), { recursive: true })
        writeFileSync(join(tree, path), bytes)
        chmodSync(join(tree, path), mode)
    }
    const system = join(tree, 'etc/systemd/system')
    copyFileSync(
        fileURLToPath(new URL('guest/guest-attest-emulator.service', import.meta.url)),
        join(system, 'guest-attest-emulator.service'),
    )
    const links = {
        'sysinit.target.wants/guest-attest-emulator.service': '../guest-attest-emulator.service',
        'graphical.target.wants/boot-test.service': '../boot-test.service',
        'multi-user.target.wants/systemd-networkd.service': '/usr/lib/systemd/system/systemd-networkd.service',
        'systemd-networkd-wait-online.service': '/dev/null',
        'serial-getty@ttyS0.service': '/dev/null',
    }
    for (const [link, target] of Object.entries(links)) {
        mkdirSync(dirname(join(system, link)), { recursive: true })
        rmSync(join(system, link), { force: true })
        symlinkSync(target, join(system, link))
    }
    const image = kit.file(`${name}.ext4`)
    const used = Number((await sh(['du', '-sm', tree])).split('\t')[0])
    await fileSystem(image, tree, Math.ceil(used * 1.3) + ROOM_MIB)
    rmSync(tree, { recursive: true })
    return image
}
