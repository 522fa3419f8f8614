// The initrd's program as scripts call it: what it says, and where; and what it does not load.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { formatVolume } from '#unlock/volumes.ts'
import { programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'
import { run } from './run.ts'

const source = (path: string) => fileURLToPath(new URL(`../../src/cli/initrd/${path}`, import.meta.url))

/** Runs it with a volume whose disk is not there, and gathers what the kernel's log would have. */
async function withoutDisk(t: ExecutionContext, command: string) {
    const folder = temporaryFolder(t)
    mkdirSync(join(folder, 'volumes.d'))
    const volume = {
        name: 'root',
        uuid: '0b5317c0-ff25-49bd-b85d-45c1d000098a',
        servers: ['https://kbs.example'],
        path: { repository: 'default', type: 'luks', tag: 'a' },
        frontEnd: 'keyscript',
        profile: 'compat',
        onFailure: 'poweroff',
        deadlineS: 5,
        root: true,
    } as const
    writeFileSync(join(folder, 'volumes.d/root.toml'), formatVolume(volume))
    const kernelLog = join(folder, 'kmsg')
    writeFileSync(kernelLog, '')
    const script = `mount -t tmpfs run /run && mount --bind ${kernelLog} /dev/kmsg && exec ${process.execPath} ${source('main.ts')} "$@"`
    const ran = await run('unshare', ['--mount', 'sh', '-c', script, 'sh', command, 'root'], {
        env: { GUEST_ATTEST_CONFIG: folder },
    })
    return { ...ran, lines: readFileSync(kernelLog, 'utf8').trim().split('\n') }
}

const possible = needs(ROOT, programs('unshare'))

// Scripts lead standard error to the kernel's log.
possible('key: what goes wrong is one line of the kernel’s log', async (t) => {
    const { code, stdout, stderr, lines } = await withoutDisk(t, 'key')
    t.is(code, 3)
    t.is(stdout, '')
    t.is(stderr, '')
    t.is(lines.length, 1)
    t.regex(lines[0] ?? '', /^<3>guest-attest: root: not opened: no disk with the LUKS UUID 0b5317c0/)
})

possible('luks-open: a person reads the same line', async (t) => {
    const { code, stderr, lines } = await withoutDisk(t, 'luks-open')
    t.is(code, 3)
    t.regex(stderr, /^guest-attest: root: not opened: no disk with the LUKS UUID 0b5317c0[^\n]*\n$/)
    t.is(lines.length, 1)
})

test('no front end of a boot loads what starts processes', async (t) => {
    const loaded = `import(${JSON.stringify(source('front-ends.ts'))}).then(() => console.log(process.moduleLoadList.join()))`
    const { code, stdout } = await run(process.execPath, ['-e', loaded])
    t.is(code, 0)
    t.regex(stdout, /NativeModule net/)
    t.notRegex(stdout, /child_process/)
})
