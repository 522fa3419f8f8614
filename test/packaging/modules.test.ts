// The kernel modules of an initrd: which of them a kernel has, and that what is loaded there is in it.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { PLUGINS } from '#plugins.ts'
import { run } from '../cli/run.ts'
import { temporaryFolder } from '../folder.ts'

const PACKAGING = fileURLToPath(new URL('../../packaging', import.meta.url))

const KERNELS: readonly { name: string; dep: string; builtin: string; want: string; warns: boolean }[] = [
    {
        name: 'modules, as their authors spell them',
        dep: 'kernel/a/tdx-guest.ko.xz: kernel/b/tsm_report.ko.xz\nkernel/b/tsm_report.ko.xz:\nkernel/c/sev-guest.ko:\n',
        builtin: 'kernel/fs/configfs/configfs.ko\n',
        want: 'sev-guest\ntdx-guest\ntsm_report\n',
        warns: false,
    },
    { name: 'a driver that is built in', dep: '', builtin: 'kernel/c/sev_guest.ko\n', want: '', warns: false },
    {
        name: 'no driver, one of a similar name',
        dep: 'kernel/c/not-sev-guest.ko:\nkernel/d/dm-crypt.ko: kernel/c/x.ko\n',
        builtin: '',
        want: 'dm_crypt\n',
        warns: true,
    },
]

for (const { name, dep, builtin, want, warns } of KERNELS)
    test(`modules of a kernel: ${name}`, async (t) => {
        const folder = temporaryFolder(t)
        writeFileSync(join(folder, 'modules.dep'), dep)
        writeFileSync(join(folder, 'modules.builtin'), builtin)
        const script = `. ${join(PACKAGING, 'sh/build.sh')}; attest_modules .`
        const ran = await run('sh', ['-c', script], { env: { ATTEST_KERNELS: folder } })
        t.is(ran.stdout, want)
        t.is(ran.stderr.includes('it cannot ask for evidence'), warns)
    })

test('what is loaded in an initrd is in it, every driver among it', async (t) => {
    const listed = await run('sh', [
        '-c',
        `. ${join(PACKAGING, 'sh/build.sh')}; echo $ATTEST_DRIVERS; echo $ATTEST_MODULES`,
    ])
    const [drivers = [], modules = []] = listed.stdout.split('\n').map((words) => words.split(' '))
    t.true(drivers.length > 0)
    for (const file of ['systemd/guest-attest-key@.service', 'initramfs-tools/scripts/local-top/guest-attest']) {
        const loads = /modprobe -\w+ (.+)$/m.exec(readFileSync(join(PACKAGING, file), 'utf8'))?.[1]?.split(' ') ?? []
        t.deepEqual(
            drivers.filter((driver) => !loads.includes(driver)),
            [],
            file,
        )
        t.deepEqual(
            loads.filter((module) => ![...drivers, ...modules].includes(module)),
            [],
            file,
        )
    }
})

test('scripts know no plugins: what the manifests name stands in them', (t) => {
    const script = readFileSync(join(PACKAGING, 'sh/build.sh'), 'utf8')
    const drivers = /^ATTEST_DRIVERS='(.*)'$/m.exec(script)?.[1]?.split(' ')
    t.deepEqual(drivers?.toSorted(), PLUGINS.flatMap((plugin) => plugin.modules ?? []).toSorted())
    const copied = [...script.matchAll(/^ *\[ ! -e (\/\S+) \] \|\| cp -L \1 "\$1\/etc\/"$/gm)].map(
        ([, path = '']) => path,
    )
    t.deepEqual(inOrder(copied), inOrder(PLUGINS.flatMap((plugin) => plugin.initrdFiles ?? [])))
})

const inOrder = (words: readonly string[]): string[] => words.toSorted((a, b) => (a < b ? -1 : 1))
