// The line of a volume in crypttab, and what becomes of the others; and which volume the root is on.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { nameOf, withVolume } from '#cli/luks/crypttab.ts'
import { isRootVolume } from '#cli/luks/machine.ts'
import { parseResourcePath } from '#kbs/messages.ts'
import { temporaryFolder } from '#test/folder.ts'
import type { Volume } from '#unlock/volumes.ts'

const UUID = '0b5317c0-ff25-49bd-b85d-45c1d000098a'

const volume = (more: Partial<Volume> = {}): Volume => ({
    name: 'root',
    uuid: UUID,
    servers: ['https://kbs.example:8443'],
    path: parseResourcePath('default/luks/web-1'),
    frontEnd: 'socket',
    profile: 'strict',
    onFailure: 'poweroff',
    deadlineS: 300,
    root: true,
    ...more,
})

const line = (more: Partial<Volume>, text = '', systemd = true): string =>
    withVolume(text, { volume: volume(more), systemd }, '/dev/vda3')

const WAITS = 'x-systemd.device-timeout=0'
const HDR = 'header=/run/guest-attest/root.hdr'
const SOCK = '/run/guest-attest/keys/root.sock'

for (const { name, more, systemd, want } of [
    {
        name: 'socket, strict, root',
        more: {},
        want: [SOCK, `luks,${HDR},headless=true,tries=1,${WAITS},x-initrd.attach`],
    },
    {
        name: 'socket, strict, data',
        more: { root: false },
        want: [SOCK, `luks,${HDR},headless=true,tries=1,${WAITS},_netdev`],
    },
    {
        name: 'socket, strict, data, no network',
        more: { root: false, servers: ['vsock://2:8443'] },
        want: [SOCK, `luks,${HDR},headless=true,tries=1,${WAITS}`],
    },
    { name: 'socket, compat', more: { profile: 'compat' }, want: ['none', `luks,${HDR},${WAITS},x-initrd.attach`] },
    {
        name: 'keyscript',
        more: { frontEnd: 'keyscript' },
        want: ['root', `luks,initramfs,keyscript=/usr/lib/guest-attest/keyscript,${HDR}`],
    },
    {
        name: 'clevis, initramfs-tools',
        more: { frontEnd: 'clevis', profile: 'compat' },
        systemd: false,
        want: ['none', 'luks,initramfs'],
    },
    {
        name: 'clevis, dracut',
        more: { frontEnd: 'clevis', profile: 'compat' },
        want: ['none', `luks,${WAITS},x-initrd.attach`],
    },
] as { name: string; more: Partial<Volume>; systemd?: boolean; want: [string, string] }[])
    test(`its line: ${name}`, (t) => t.is(line(more, '', systemd ?? true), `root\tUUID=${UUID}\t${want.join('\t')}\n`))

const OTHERS = `# <target> <source>\nswap /dev/vda2 /dev/urandom swap\n`
const OURS = `root\tUUID=${UUID}\troot\tluks,initramfs,keyscript=/usr/lib/guest-attest/keyscript,${HDR}`

for (const { name, before, after } of [
    { name: 'the other lines, and what is said of them', before: OTHERS, after: `${OTHERS}${OURS}\n` },
    { name: 'a last line without its end', before: OTHERS.trimEnd(), after: `${OTHERS}${OURS}\n` },
    { name: 'the place of its line', before: `root UUID=${UUID} none luks\n${OTHERS}`, after: `${OURS}\n${OTHERS}` },
    {
        name: 'the owner’s options',
        before: `root UUID=${UUID.toUpperCase()} /k luks,discard,keyfile-size=32,no-read-workqueue\n`,
        after: `${OURS},discard,no-read-workqueue\n`,
    },
    { name: 'a line by its device', before: 'root /dev/vda3 none luks,discard\n', after: `${OURS},discard\n` },
    { name: 'a line by its device’s old name', before: 'root /dev/sda3 none luks\n', after: `${OURS}\n` },
    { name: 'quotes around the UUID', before: `root "UUID=${UUID}" none\n`, after: `${OURS}\n` },
    {
        name: 'what a front end before had',
        before: `root UUID=${UUID} ${SOCK} luks,headless=true,tries=1,${WAITS},x-initrd.attach,noauto\n`,
        after: `${OURS}\n`,
    },
    { name: 'itself', before: `${OURS}\n`, after: `${OURS}\n` },
])
    test(`kept: ${name}`, (t) => t.is(line({ frontEnd: 'keyscript' }, before), after))

for (const { name, before, says } of [
    {
        name: 'the same volume under another name',
        before: `vda3_crypt UUID=${UUID} none luks\n`,
        says: /crypttab calls this volume vda3_crypt: expected --name vda3_crypt/,
    },
    {
        name: 'another volume under its name',
        before: 'root UUID=1b5317c0-ff25-49bd-b85d-45c1d000098a none\n',
        says: /root is another volume in crypttab/,
    },
])
    test(`refused: ${name}`, (t) => void t.throws(() => line({}, before), { code: 'ERR_USAGE', message: says }))

for (const [text, want] of [
    [`a UUID=${UUID}`, 'a'],
    [`# a UUID=${UUID}\nb /dev/disk/by-uuid/${UUID} none`, 'b'],
    ['c /dev/vda3 none luks', 'c'],
    ['c /dev/vda4 none luks', undefined],
    ['', undefined],
] as const)
    test(`its name in ${JSON.stringify(text)}`, (t) => t.is(nameOf(text, UUID, '/dev/vda3'), want))

const mounted = (device: string) =>
    `22 1 ${device} / / rw,relatime shared:1 - ext4 /dev/mapper/root rw\n23 22 0:5 / /proc rw - proc proc rw\n`

for (const { name, mounts, want } of [
    { name: 'it is mounted', mounts: mounted('254:0'), want: true },
    { name: 'a logical volume on it is', mounts: mounted('254:1'), want: true },
    { name: 'something else is', mounts: mounted('8:1'), want: false },
    { name: 'memory is', mounts: '22 1 0:30 / / rw - tmpfs none rw\n', want: false },
    { name: 'a folder of a container is', mounts: '22 1 0:30 / / rw - overlay overlay rw\n', want: false },
])
    test(`is it the root: ${name}`, (t) => {
        const sys = temporaryFolder(t)
        for (const [device, uuid] of [
            ['254:0', `CRYPT-LUKS2-${UUID.replaceAll('-', '')}-root`],
            ['254:1', 'LVM-abc'],
        ] as const) {
            mkdirSync(join(sys, 'dev/block', device, 'dm'), { recursive: true })
            mkdirSync(join(sys, 'dev/block', device, 'slaves'))
            writeFileSync(join(sys, 'dev/block', device, 'dm/uuid'), `${uuid}\n`)
        }
        mkdirSync(join(sys, 'dev/block/8:1'))
        symlinkSync('../../254:0', join(sys, 'dev/block/254:1/slaves/dm-0'))
        const file = join(sys, 'mountinfo')
        writeFileSync(file, mounts)
        t.is(isRootVolume(UUID, sys, file), want)
        t.false(isRootVolume(UUID.replace('0', '1'), sys, file))
    })
