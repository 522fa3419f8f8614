// `luks enroll` from nothing to a disk that opens: a guest that trusts nobody, a broker, a credential. What builds the
// initrd is played by a script: the real ones build and boot in test/boot.
// SPDX-License-Identifier: Apache-2.0

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import test from 'ava'
import { readVolumes } from '#unlock/volumes.ts'
import { MAIN, type Ran, run } from '../cli/run.ts'
import { protectedFor } from '../luks/forge.ts'
import { FUSE, programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'
import { openStage, type Stage } from '../stage.ts'

const all = [FUSE, ROOT, programs('cryptsetup')]
const e2e = needs(...all).serial
const POLICY = `@id("disks")
@insecureCustomRoot
permit (principal, action == Action::"release", resource)
when { principal.references.contains("web") && resource.repository == "default" };
`

const stage: Stage = all.every(({ met }) => met) ? await openEnrolling() : (undefined as never)
test.after.always(() => stage?.close())

async function openEnrolling(): Promise<Stage> {
    const opened = await openStage()
    const policy = join(opened.folder, 'disks.cedar')
    writeFileSync(policy, POLICY)
    await opened.broker('policy', 'put', 'disks', policy)
    const words = ['--allow-path', 'default/luks/*', '--may', 'create,rotate']
    await opened.broker('credential', 'add', 'ops', ...words, '--out', join(opened.folder, 'ops'))
    return opened
}

interface Machine {
    readonly image: string
    readonly config: string
    readonly crypttab: string
    readonly path: string
    /** The options of every call, with the path of the key. */
    readonly options: readonly string[]
    guest(...words: string[]): Promise<Ran>
    outside(...words: string[]): Promise<Ran>
}

/** A disk with a passphrase, a crypttab, a configuration that is empty, and perhaps a script in the place of dracut. */
async function machine(name: string, dracut?: string): Promise<Machine> {
    const folder = join(stage.folder, name)
    mkdirSync(join(folder, 'etc'), { recursive: true })
    mkdirSync(join(folder, 'bin'))
    const [image, crypttab, config] = ['image', 'crypttab', 'etc'].map((file) => join(folder, file)) as [
        string,
        string,
        string,
    ]
    writeFileSync(`${image}.key`, 'correct horse')
    writeFileSync(image, Buffer.alloc(8 * 1024 * 1024))
    const format = [
        'luksFormat',
        '--batch-mode',
        '--type',
        'luks2',
        '--pbkdf',
        'pbkdf2',
        '--pbkdf-force-iterations',
        '1000',
    ]
    const small = ['--luks2-keyslots-size', '2m', '--offset', '8192', image, `${image}.key`]
    const made = await run('cryptsetup', [...format, ...small], { env: stage.env })
    if (made.code !== 0) throw new Error(made.stderr)
    writeFileSync(crypttab, `# a comment\nvol ${image} none luks,discard\n`, { mode: 0o644 })
    writeFileSync(join(config, 'config.toml'), '[drivers]\nspacingMs = 0\n', { mode: 0o644 })
    if (dracut !== undefined) {
        writeFileSync(join(folder, 'bin/dracut'), `#!/bin/sh\n${dracut}\n`)
        chmodSync(join(folder, 'bin/dracut'), 0o755)
    }
    const env = {
        ...stage.env,
        GUEST_ATTEST_CONFIG: config,
        PATH: [join(folder, 'bin'), stage.env['PATH']].join(delimiter),
    }
    const path = `default/luks/${name}`
    const options = [
        image,
        '--path',
        path,
        '--crypttab',
        crypttab,
        '--backup-dir',
        join(folder, 'backup'),
        '--key-file',
        `${image}.key`,
    ]
    return {
        image,
        config,
        crypttab,
        path,
        options,
        guest: (...words) => stage.guest(['guest-attest', 'luks', ...words], { env }),
        outside: (...words) => run(process.execPath, [MAIN, 'luks', ...words], { env }),
    }
}

const trust = () => ['--url', stage.url, '--pin', stage.pin]
const create = () => ['--create', '--credential', join(stage.folder, 'ops')]

e2e('from nothing to a disk that opens: trust, key, binding, table, crypttab, initrd, a try', async (t) => {
    const { options, guest, image, config, crypttab, path } = await machine('all', 'echo built "$@"')
    const ran = await guest('enroll', ...options, ...trust(), ...create(), '--root')
    t.is(ran.code, 0, ran.stderr)
    t.is(ran.stdout, 'next boot opens: yes\n')
    for (const says of [
        /is trusted for default\/luks\/all/,
        /default\/luks\/all, version 1, is made/,
        /is bound to default\/luks\/all, version 1: key slot 1, which has opened/,
        /volumes\.d\/vol\.toml: socket, strict, the root/,
        /its line of vol is written \(before: .*before-guest-attest\)/,
        /rebuilding the initrd: dracut --force\nbuilt --force/,
        /tried: the broker released the key to this guest, and key slot 1 opens with it/,
        /AMD SEV-SNP: its measurement covers the firmware/,
        /the next boot has another measurement/,
    ])
        t.regex(ran.stderr, says)
    const [volume, ...more] = readVolumes(config)
    t.deepEqual(more, [])
    t.like(volume, {
        name: 'vol',
        servers: [stage.url],
        frontEnd: 'socket',
        profile: 'strict',
        root: true,
        deadlineS: 300,
    })
    const [comment, line] = readFileSync(crypttab, 'utf8').split('\n')
    t.is(comment, '# a comment')
    t.is(
        line,
        `vol\tUUID=${volume?.uuid}\t/run/guest-attest/keys/vol.sock\tluks,header=/run/guest-attest/vol.hdr,headless=true,tries=1,x-systemd.device-timeout=0,x-initrd.attach,discard`,
    )
    t.regex(readFileSync(`${crypttab}.before-guest-attest`, 'utf8'), /none luks,discard/)
    const list = JSON.parse((await stage.broker('list', '--json')).stdout)
    t.like(
        list.find((entry: { path: string }) => entry.path === path),
        { kind: 'luks-key', version: 1 },
    )
    // From here on the table says what to ask for.
    const opened = await guest('open', image, '--test-passphrase')
    t.is(opened.code, 0, opened.stderr)
    const rotated = await guest(
        'rebind',
        image,
        '--credential',
        join(stage.folder, 'ops'),
        '--backup-dir',
        `${image}.backup`,
    )
    t.is(rotated.code, 0, rotated.stderr)
    const report = await guest('report', image)
    t.is(report.code, 0, report.stdout)
    t.regex(report.stdout, /opened as vol by socket, profile strict/)
    t.regex(report.stdout, /default\/luks\/all, version 2/)
    // Once more: nothing is made anew, nothing is lost.
    const again = await guest('enroll', ...options, '--root')
    t.is(again.code, 0, again.stderr)
    t.regex(again.stderr, /bound to default\/luks\/all, version 2 already/)
    t.regex(again.stderr, /its line of vol is as it must be/)
})

e2e('a data volume of a key that is there: nothing is built, compat', async (t) => {
    const { options, guest, crypttab, path } = await machine('data', 'echo built')
    await stage.broker('put', path, '--random')
    const ran = await guest('enroll', ...options, ...trust(), '--profile', 'compat', '--name', 'vol')
    t.is(ran.code, 0, ran.stderr)
    t.notRegex(ran.stderr, /built/)
    t.regex(
        readFileSync(crypttab, 'utf8'),
        /^vol\tUUID=\S+\tnone\tluks,header=\S+,x-systemd.device-timeout=0,_netdev,discard$/m,
    )
})

e2e('clevis: its own token, its own line', async (t) => {
    const { options, guest, crypttab, image, path } = await machine('clevis', 'exit 0')
    await stage.broker('put', path, '--random')
    const ran = await guest('enroll', ...options, ...trust(), '--root', '--front-end', 'clevis')
    t.is(ran.code, 0, ran.stderr)
    t.regex(readFileSync(crypttab, 'utf8'), /\tnone\tluks,x-systemd.device-timeout=0,x-initrd.attach,discard$/m)
    const { stdout } = await guest('report', image)
    t.regex(stdout, /clevis +key slot 1 +kbs \(clevis luks list shows: unknown pin 'kbs'\)/)
    t.regex(stdout, /exchange the header after it was read: clevis opens from the disk/)
    t.regex(stdout, /read a passphrase that is typed at the console/)
})

for (const { name, dracut, words, because } of [
    {
        name: 'the initrd is not built',
        dracut: 'echo no space >&2; exit 1',
        words: ['--root'],
        because: /^next boot opens: no, because dracut --force: exit status 1 \(ERR_INITRD_BUILD\)\n$/,
    },
    {
        name: 'the initrd is left alone',
        dracut: 'exit 0',
        words: ['--root', '--no-initrd'],
        because: /no, because the initrd was not rebuilt \(--no-initrd\)/,
    },
    {
        name: 'nobody knows what builds it',
        dracut: undefined,
        words: ['--root', '--front-end', 'socket'],
        because: /no, because nothing is known that rebuilds the initrd here/,
    },
])
    e2e(`the next boot does not open it: ${name}`, async (t) => {
        const { options, guest, path } = await machine(`no${name.replaceAll(/\W/g, '')}`, dracut)
        await stage.broker('put', path, '--random')
        const ran = await guest('enroll', ...options, ...trust(), ...words)
        t.is(ran.code, 1, ran.stderr)
        t.regex(ran.stdout, because)
    })

e2e('the next boot does not open it: a pin that was accepted here, and is by nobody at boot', async (t) => {
    const { options, guest, image, path } = await machine('pin', 'exit 0')
    await stage.broker('put', path, '--random')
    const token = { type: 'clevis', keyslots: ['0'], jwe: { protected: protectedFor('tang') } }
    const file = join(stage.folder, 'token')
    writeFileSync(file, JSON.stringify(token))
    const made = await run('cryptsetup', ['token', 'import', '--json-file', file, image], { env: stage.env })
    t.is(made.code, 0, made.stderr)
    const ran = await guest('enroll', ...options, ...trust(), '--root', '--insecure-pin', 'tang')
    t.is(ran.code, 1, ran.stderr)
    t.regex(
        ran.stdout,
        /no, because the header of \S+ may not be opened: .*clevis pin kbs, sev, got tang \(ERR_UNLOCK_HEADER\)/,
    )
})

e2e('on a machine that is no guest: the key is made here, the binding is there, and nobody has tried', async (t) => {
    const { options, guest, outside, image } = await machine('built', 'exit 0')
    const refused = await outside('enroll', ...options, ...trust())
    t.is(refused.code, 2)
    t.regex(refused.stderr, /this machine is no guest: no broker gives it the key/)
    const ran = await outside('enroll', ...options, ...trust(), ...create())
    t.is(ran.code, 1, ran.stderr)
    t.regex(ran.stdout, /^next boot opens: no, because this machine is no guest: in the guest, guest-attest luks open/)
    const opened = await guest('open', image, '--test-passphrase')
    t.is(opened.code, 0, opened.stderr)
})

for (const { name, words, says, code = 2 } of [
    { name: 'no trust', words: () => [], says: /no broker is trusted/ },
    {
        name: 'a broker that is not trusted',
        words: () => ['--url', 'https://127.0.0.1:1'],
        says: /ERR_UNLOCK_NOT_ANCHORED/,
        code: 1,
    },
    {
        name: 'creation without a credential',
        words: () => [...trust(), '--create'],
        says: /--create needs --credential/,
    },
    {
        name: 'a credential without creation',
        words: () => [...trust(), '--credential', 'x'],
        says: /--credential is for --create/,
    },
    {
        name: 'strict by clevis',
        words: () => [...trust(), '--front-end', 'clevis', '--profile', 'strict'],
        says: /clevis opens from the disk/,
    },
    {
        name: 'a keyscript in dracut',
        words: () => [...trust(), '--root', '--front-end', 'keyscript'],
        says: /an initrd of dracut opens its root by socket or clevis/,
    },
    { name: 'a name with a dash', words: () => [...trust(), '--name', 'a-b'], says: /letters, digits/ },
    {
        name: 'another name than in crypttab',
        words: () => [...trust(), '--name', 'other'],
        says: /crypttab calls this volume vol/,
    },
])
    e2e(`refused, and nothing is written: ${name}`, async (t) => {
        const { options, guest, image, config, crypttab } = await machine(`r${name.replaceAll(/\W/g, '')}`, 'exit 0')
        const before = [readFileSync(image), readFileSync(crypttab)].map((bytes) => bytes.toString('latin1'))
        const ran = await guest('enroll', ...options, ...words())
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr, says)
        t.is(ran.stdout, '')
        t.deepEqual(
            [readFileSync(image), readFileSync(crypttab)].map((bytes) => bytes.toString('latin1')),
            before,
        )
        t.false(existsSync(join(config, 'volumes.d')))
        t.deepEqual(readdirSync(config), ['config.toml'])
    })
