// The kernel command line of a strict volume: what is harmless, and what would hand the guest over.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { checkCommandLine } from '#unlock/command-line.ts'
import type { Volume } from '#unlock/volumes.ts'

const VOLUME = { name: 'root', root: true } as Volume

for (const line of [
    '',
    'BOOT_IMAGE=/vmlinuz root=/dev/mapper/root ro quiet',
    'console=ttyS0 root=/dev/mapper/root ro panic=-1 net.ifnames=0 ip=dhcp',
    'initrd=\\initrd.img systemd.show_status=1 systemd.journald.forward_to_console=1 mitigations=auto initcall_blacklist=x',
    'rd.neednet=1 rd.udev.log_level=3 systemd.log_level=debug loglevel=3 BOOT_IMAGE=/x BOOTIF=01 -- ',
    'systemd.import_credentials=no sysctl.vm.swappiness=1',
    'debugfs=off singleton=1 breakpoint="a b" notinit=/bin/sh rootwait rootflags=subvol=@ 3x 12',
])
    test(`harmless: ${JSON.stringify(line)}`, (t) => {
        t.notThrows(() => checkCommandLine(VOLUME, () => line))
    })

for (const word of [
    'init=/bin/sh',
    'rdinit=/bin/sh',
    'rd.break',
    'rd.break=pre-mount',
    'rd.shell=1',
    'break',
    'break=premount',
    'single',
    'emergency',
    'S',
    '-b',
    'systemd.unit=rescue.target',
    'rd.systemd.unit=emergency.target',
    'systemd.debug_shell',
    'systemd.debug-shell=ttyS0',
    'rd.systemd.debug_shell=1',
    'systemd.run="/bin/sh"',
    'systemd.run_success_action=none',
    'systemd.mask=initrd-cleanup.service',
    'systemd.setenv=LD_PRELOAD=/x',
    'systemd.set_credential=a:b',
    'systemd.set_credential_binary=a:b',
    'rd.luks.key=/x',
    'rd.luks.name=0b5317c0-ff25-49bd-b85d-45c1d000098a=root',
    'luks.crypttab=no',
    'rd.luks=0',
    'resume=/dev/vdb',
    'kgdboc=ttyS0',
    'NODE_OPTIONS=--require=/x',
    'LD_PRELOAD=/x',
    'https_proxy=http://x',
    'nfsroot=10.0.2.2:/',
    'rd.anything',
    '3',
    'fstab=no',
    'rd.luks.data=x=/dev/vdb',
    'systemd.mount-extra=/dev/vdb:/etc',
    'root=/dev/vdb',
    'root=UUID=0b5317c0-ff25-49bd-b85d-45c1d000098a',
    'root=LABEL=root',
    '"init=/bin/sh"',
    'overlayroot=tmpfs',
    'systemd.import_credentials=yes',
    'systemd.import_credentials',
    'dm-mod.create="root,CRYPT-LUKS2-0b5317c0ff2549bdb85d45c1d000098a-root,,ro,0 1 linear /dev/vdb 0"',
    'dm_mod.create=x',
    'sysctl.kernel.core_pattern=|/bin/sh',
    'sysctl.kernel/modprobe=/bin/sh',
])
    for (const line of [word, `root=/dev/mapper/root ro ${word} quiet`, `quiet -- ${word}`])
        test(`refused: ${line}`, (t) => {
            t.throws(() => checkCommandLine(VOLUME, () => line), { code: 'ERR_UNLOCK_COMMAND_LINE' })
        })

test('for a volume that is not the root, the root is somebody else’s', (t) => {
    t.notThrows(() => checkCommandLine({ ...VOLUME, root: false }, () => 'root=/dev/vda2'))
    t.throws(() => checkCommandLine({ ...VOLUME, root: false }, () => 'init=/bin/sh'))
})

test('a long word is cut in the message', (t) => {
    const error = t.throws(() => checkCommandLine(VOLUME, () => `init=${'x'.repeat(4000)}`))
    t.true((error?.message.length ?? 0) < 200)
})
