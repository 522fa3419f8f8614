// What `trust` and `doctor` say of the initrd, which has its own copy of the anchors: real images, listed by the real
// lsinitramfs, at /boot of a mount namespace.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'
import { guestAttest, MAIN, type Ran, run } from './run.ts'

const PIN = `sha256/${'A'.repeat(43)}=`
const IMAGE = `initrd.img-${readFileSync('/proc/sys/kernel/osrelease', 'latin1').trim()}`

/** A broker is trusted, and /boot holds this image, so old. */
async function machine(t: ExecutionContext, image: Uint8Array | null, ageMs = 0) {
    const folder = temporaryFolder(t)
    const [config, boot] = [join(folder, 'etc'), join(folder, 'boot')]
    mkdirSync(boot)
    const env = { GUEST_ATTEST_CONFIG: config }
    const words = ['trust', 'add', 'https://kbs.example', '--pin', PIN, '--allow-path', 'a/b/c']
    const added = await guestAttest(words, { env })
    if (added.code !== 0) throw new Error(added.stderr)
    const path = join(boot, IMAGE)
    if (image) {
        writeFileSync(path, image)
        const time = new Date(Date.now() + 10_000 - ageMs)
        utimesSync(path, time, time)
    }
    const script = `mount --bind ${boot} /boot && exec ${process.execPath} ${MAIN} "$@"`
    return {
        folder,
        anchor: join(config, 'trust.d/kbs.example.toml'),
        guestAttest: (...args: string[]): Promise<Ran> =>
            run('unshare', ['--mount', 'sh', '-c', script, 'sh', ...args], { env }),
    }
}

/** A compressed newc archive that holds this file, as an initrd does. */
async function archive(t: ExecutionContext, file: string): Promise<Buffer> {
    const root = temporaryFolder(t)
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), 'anchor')
    const ran = await run('sh', ['-c', 'find . | cpio --quiet -o -H newc | gzip'], { cwd: root })
    if (ran.code !== 0) throw new Error(ran.stderr)
    return Buffer.from(ran.stdout, 'latin1')
}

async function told(t: ExecutionContext, machine: { guestAttest(...args: string[]): Promise<Ran> }) {
    const [{ initrd }] = JSON.parse((await machine.guestAttest('trust', 'list', '--json')).stdout)
    const doctor = await machine.guestAttest('doctor', '--json')
    const { findings } = JSON.parse(doctor.stdout) as { findings: { state: string; what: string; detail: string }[] }
    const finding = findings.find(({ what }) => what === 'trust')
    t.is(finding?.detail, `https://kbs.example for a/b/c; initrd: ${initrd.text}`)
    if (finding?.state === 'bad') t.is(doctor.code, 1)
    return { known: initrd.known, text: initrd.text, state: finding?.state }
}

const possible = needs(ROOT, programs('unshare'))
const listed = needs(ROOT, programs('unshare', 'lsinitramfs', 'cpio'))

possible('no initrd', async (t) => {
    const there = await machine(t, null)
    t.deepEqual(await told(t, there), {
        known: null,
        text: 'no initrd of the running kernel was found',
        state: 'good',
    })
    const { stderr } = await there.guestAttest('trust', 'rm', 'https://kbs.example')
    t.regex(stderr, /^ {2}hint: an initrd that unlocks with it has to be rebuilt$/m)
})

possible('an initrd from before the broker was trusted', async (t) => {
    const there = await machine(t, Buffer.from('anything'), 60_000)
    t.deepEqual(await told(t, there), {
        known: false,
        text: `not yet: /boot/${IMAGE} is older; run update-initramfs -u`,
        state: 'bad',
    })
    const { stderr } = await there.guestAttest('trust', 'rm', 'https://kbs.example')
    t.regex(stderr, /^ {2}hint: the initrd has its own copy: run update-initramfs -u$/m)
})

listed('an initrd that cannot be read', async (t) => {
    const there = await machine(t, Buffer.from('no archive'))
    t.like(await told(t, there), { known: null, state: 'good' })
})

listed('an initrd that has the anchor, and one that has another', async (t) => {
    const there = await machine(t, null)
    for (const { file, want } of [
        { file: there.anchor, want: { known: true, text: `known to /boot/${IMAGE}`, state: 'good' } },
        {
            file: there.anchor.replace('kbs.example', 'other.example'),
            want: { known: false, text: `not in /boot/${IMAGE}; run update-initramfs -u`, state: 'bad' },
        },
    ]) {
        writeFileSync(join(there.folder, 'boot', IMAGE), await archive(t, file))
        t.deepEqual(await told(t, there), want)
    }
})
