// The hooks of the initrd builders and the units: every script is clean under shellcheck, the generator writes what the
// volume table asks for, the root is told from a disk of the host's, name servers are not shell. What an initrd contains
// where GUEST_ATTEST_INITRDS names built ones.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { CLIENT_GUID } from '#plugins/sev/client-secret.ts'
import { formatVolume, type Volume } from '#unlock/volumes.ts'
import { run } from '../cli/run.ts'
import { temporaryFolder } from '../folder.ts'
import { programs, ROOT as ROOT_USER } from '../machine.ts'
import { needs } from '../needs.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PACKAGING = join(ROOT, 'packaging')
const UUID = '11111111-2222-4333-8444-555555555555'

const SCRIPTS = {
    sh: [
        'sh/boot.sh',
        'sh/build.sh',
        'sh/on-failure',
        'sh/check-root',
        'sh/wipe-secrets',
        'initramfs-tools/hooks/guest-attest',
        'initramfs-tools/scripts/local-top/guest-attest',
        'initramfs-tools/scripts/init-bottom/guest-attest',
        'initramfs-tools/keyscript',
        'initramfs-tools/network',
        'systemd/guest-attest-generator',
        'dracut/59guest-attest/init',
        'dracut/59guest-attest/network-down',
        'dracut/59guest-attest/resolv-conf',
    ],
    bash: ['dracut/59guest-attest/module-setup.sh', 'mkinitcpio/install/guest-attest'],
} as const

const inOrder = (names: readonly string[]) => names.toSorted((a, b) => (a < b ? -1 : 1))

const FOLDERS = ['sh', 'initramfs-tools', 'systemd', 'dracut', 'mkinitcpio']

test('the table of scripts has every one', (t) => {
    const found = FOLDERS.flatMap((folder) =>
        readdirSync(join(PACKAGING, folder), { recursive: true, withFileTypes: true })
            .filter((entry) => entry.isFile())
            .map((entry) => join(entry.parentPath, entry.name))
            .filter((path) => path.endsWith('.sh') || readFileSync(path, 'utf8').startsWith('#!'))
            .map((path) => path.slice(PACKAGING.length + 1)),
    )
    t.deepEqual(inOrder(found), inOrder([...SCRIPTS.sh, ...SCRIPTS.bash]))
})

for (const [shell, scripts] of Object.entries(SCRIPTS))
    for (const script of scripts)
        needs(programs('shellcheck'))(`shellcheck: ${script}`, async (t) => {
            const ran = await run('shellcheck', ['-x', '-s', shell, join('packaging', script)], { cwd: ROOT })
            t.is(ran.stdout + ran.stderr, '')
        })

const volume = (name: string, more: Partial<Volume> = {}): Volume => ({
    name,
    uuid: UUID,
    servers: ['https://kbs.example:8443'],
    path: { repository: 'default', type: 'luks', tag: name },
    frontEnd: 'socket',
    profile: 'strict',
    onFailure: 'poweroff',
    deadlineS: 300,
    root: true,
    ...more,
})

function configured(folder: string, volumes: readonly Volume[]): string {
    mkdirSync(join(folder, 'volumes.d'))
    for (const one of volumes) writeFileSync(join(folder, 'volumes.d', `${one.name}.toml`), formatVolume(one))
    return folder
}

const TAB = '\t'
const line = (...columns: string[]) => `${columns.join(TAB)}\n`

const TABLES: readonly { name: string; text: string; want: string }[] = [
    {
        name: 'a volume as `luks enroll` writes it',
        text: formatVolume(volume('x')),
        want: line('x', UUID, 'socket', 'strict', 'poweroff', 'yes', 'yes', '300'),
    },
    {
        name: 'a volume as a person writes it',
        text: `# ours\nuuid='${UUID}'\nfrontEnd   =  "keyscript" # Debian\nprofile = "compat"\nonFailure="reboot"\nroot=false#no\ndeadlineS = 60`,
        want: line('x', UUID, 'keyscript', 'compat', 'reboot', 'no', 'yes', '60'),
    },
    {
        name: 'what is not a word is passed over',
        text: 'uuid = "$(reboot)"\nfrontEnd = "socket"\nprofile = "strict"\n',
        want: '',
    },
    { name: 'what is half a volume is passed over', text: `uuid = "${UUID}"\n`, want: '' },
]

for (const { name, text, want } of TABLES)
    test(`volume table in shell: ${name}`, async (t) => {
        const folder = temporaryFolder(t)
        mkdirSync(join(folder, 'volumes.d'))
        writeFileSync(join(folder, 'volumes.d', 'x.toml'), text)
        writeFileSync(join(folder, 'volumes.d', 'no-name.toml'), text)
        const script = `. ${join(PACKAGING, 'sh/boot.sh')}; volumes`
        t.is((await run('sh', ['-c', script], { env: { ATTEST_CONFIG: folder } })).stdout, want)
    })

const DEVICE = `dev-disk-by\\x2duuid-${UUID.replaceAll('-', '\\x2d')}.device`
const KEY = 'guest-attest-key@x.service.d'
const CRYPTSETUP = 'systemd-cryptsetup@x.service.d/50-guest-attest.conf'
const TIMEOUTS = [`${DEVICE}.d/zz-guest-attest.conf`, 'dev-mapper-x.device.d/zz-guest-attest.conf']
const WANTED = 'cryptsetup.target.wants/guest-attest-key@x.service'
const IN_INITRD = [
    CRYPTSETUP,
    WANTED,
    ...TIMEOUTS,
    `${KEY}/50-volume.conf`,
    'guest-attest-key@x.socket.d/50-volume.conf',
]

const GENERATED: readonly { name: string; volume: Volume; initrd: 'yes' | 'no'; want: readonly string[] }[] = [
    {
        name: 'initrd, strict root',
        volume: volume('x', { onFailure: 'reboot' }),
        initrd: 'yes',
        want: [...IN_INITRD, `${KEY}/50-network.conf`, `${KEY}/50-on-failure.conf`],
    },
    {
        name: 'initrd, compat root',
        volume: volume('x', { profile: 'compat' }),
        initrd: 'yes',
        want: [...IN_INITRD, `${KEY}/50-network.conf`],
    },
    { name: 'initrd, keyscript', volume: volume('x', { frontEnd: 'keyscript' }), initrd: 'yes', want: [] },
    {
        name: 'initrd, clevis',
        volume: volume('x', { frontEnd: 'clevis', profile: 'compat' }),
        initrd: 'yes',
        want: [CRYPTSETUP],
    },
    { name: 'running system, its root', volume: volume('x'), initrd: 'no', want: [] },
    {
        name: 'running system, a data volume',
        volume: volume('x', { root: false }),
        initrd: 'no',
        want: [CRYPTSETUP, ...TIMEOUTS, `${KEY}/50-volume.conf`, `${DEVICE}.wants/systemd-cryptsetup@x.service`],
    },
]

const ABOVE_THE_PROMPT =
    /^\[Service\]\nExecStartPre=-\/bin\/sh -c 'echo "<2>guest-attest: x: the host can read this console: rotate this key after use" >\/dev\/kmsg'\n$/

for (const { name, volume: one, initrd, want } of GENERATED)
    test(`generator: ${name}`, async (t) => {
        const { files, out } = await generated(t, [one], initrd)
        t.deepEqual(inOrder(files), inOrder(want))
        if (!want.includes(CRYPTSETUP)) return
        if (one.frontEnd === 'clevis') {
            t.regex(readFileSync(join(out, CRYPTSETUP), 'utf8'), ABOVE_THE_PROMPT)
            return
        }
        // Not Requires=: whoever stops the key service would close the open volume.
        t.regex(readFileSync(join(out, CRYPTSETUP), 'utf8'), /^After=guest-attest-key@x.service$/m)
        t.notRegex(readFileSync(join(out, CRYPTSETUP), 'utf8'), /Requires|BindsTo/)
        const failure = join(out, KEY, '50-on-failure.conf')
        if (existsSync(failure))
            t.regex(readFileSync(failure, 'utf8'), new RegExp(`^FailureAction=${one.onFailure}-force$`, 'm'))
    })

async function generated(t: { teardown(end: () => unknown): void }, volumes: readonly Volume[], initrd: string) {
    const out = temporaryFolder(t)
    const config = configured(temporaryFolder(t), volumes)
    const env = { ATTEST_CONFIG: config, ATTEST_INITRD: initrd, ATTEST_LIB: join(PACKAGING, 'sh') }
    const ran = await run(join(PACKAGING, 'systemd/guest-attest-generator'), [out, out, out], { env })
    if (ran.code !== 0 || ran.stderr !== '') throw new Error(ran.stderr)
    const files = readdirSync(out, { recursive: true, withFileTypes: true })
        .filter((entry) => !entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name).slice(out.length + 1))
    return { files, out }
}

const OURS = `CRYPT-LUKS2-${UUID.replaceAll('-', '')}-x`
const MOUNTED = '30 1 254:0 / /sysroot ro,relatime shared:1 - ext4 /dev/mapper/x ro'

const ROOTS: readonly { name: string; mounts: string; dm?: Record<string, string>; profile?: 'compat'; want: 0 | 1 }[] =
    [
        { name: 'the mapping that was opened', mounts: MOUNTED, dm: { 'dev/block/254:0': OURS }, want: 0 },
        { name: 'a disk without dm', mounts: MOUNTED, dm: {}, want: 1 },
        { name: 'another UUID', mounts: MOUNTED, dm: { 'dev/block/254:0': OURS.replace('1111', '2222') }, want: 1 },
        { name: 'another name', mounts: MOUNTED, dm: { 'dev/block/254:0': `${OURS}y` }, want: 1 },
        { name: 'LUKS1', mounts: MOUNTED, dm: { 'dev/block/254:0': OURS.replace('LUKS2', 'LUKS1') }, want: 1 },
        { name: 'nothing mounted', mounts: '', dm: { 'dev/block/254:0': OURS }, want: 1 },
        {
            name: 'something of the host’s mounted over it',
            mounts: `${MOUNTED}\n31 30 8:1 / /sysroot rw - ext4 /dev/sda1 rw`,
            dm: { 'dev/block/254:0': OURS },
            want: 1,
        },
        { name: 'a network file system', mounts: '30 1 0:40 / /sysroot rw - nfs4 host:/ rw', dm: {}, want: 1 },
        {
            name: 'btrfs on it',
            mounts: '30 1 0:40 / /sysroot rw - btrfs /dev/mapper/x rw',
            dm: { 'fs/btrfs/aa/devices/dm-0': OURS },
            want: 0,
        },
        {
            name: 'btrfs, a part of it on the host’s disk',
            mounts: '30 1 0:40 / /sysroot rw - btrfs /dev/mapper/x rw',
            dm: { 'fs/btrfs/aa/devices/dm-0': OURS, 'fs/btrfs/aa/devices/sda': '' },
            want: 1,
        },
        { name: 'compat does not look', mounts: '', profile: 'compat', want: 0 },
    ]

for (const { name, table, read, launched = false, want } of [
    { name: 'a volume of a broker', table: 'servers = ["https://kbs"]\n', read: false, want: '' },
    { name: 'a volume that opens with one', table: 'secret = "736869e5"\n', read: false, want: 'wipe-secrets\n' },
    {
        name: 'the key of a launch',
        table: 'servers = ["https://kbs"]\n',
        read: false,
        launched: true,
        want: 'wipe-secrets\n',
    },
    { name: 'one that clevis has read', table: 'servers = ["https://kbs"]\n', read: true, want: 'wipe-secrets\n' },
])
    test(`wipe-secrets starts the program where a secret is in play: ${name}`, async (t) => {
        const folder = temporaryFolder(t)
        for (const path of ['volumes.d', 'run/guest-attest']) mkdirSync(join(folder, path), { recursive: true })
        writeFileSync(join(folder, 'volumes.d/root.toml'), `uuid = "a"\n${table}`)
        if (read) writeFileSync(join(folder, 'run/guest-attest/secrets'), '736869e5\n')
        writeFileSync(join(folder, 'guest-attest-initrd'), '#!/bin/sh\necho "$@"\n', { mode: 0o755 })
        if (launched) writeFileSync(join(folder, CLIENT_GUID), '')
        const own = { ATTEST_CONFIG: folder, ATTEST_LIB: folder, ATTEST_SECRETS: folder }
        const env = { ...own, ATTEST_RUN: join(folder, 'run') }
        const { code, stdout } = await run(join(PACKAGING, 'sh/wipe-secrets'), [], { env })
        t.is(code, 0)
        t.is(stdout, want)
    })

for (const { name, mounts, dm = {}, profile = 'strict', want } of ROOTS)
    test(`check-root: ${name}`, async (t) => {
        const folder = temporaryFolder(t)
        for (const [path, id] of Object.entries(dm)) {
            mkdirSync(join(folder, path, 'dm'), { recursive: true })
            if (id) writeFileSync(join(folder, path, 'dm/uuid'), `${id}\n`)
        }
        writeFileSync(join(folder, 'mountinfo'), `1 1 0:1 / / rw - rootfs rootfs rw\n${mounts}\n`)
        const env = {
            ATTEST_CONFIG: configured(temporaryFolder(t), [volume('x', { profile })]),
            ATTEST_LIB: join(PACKAGING, 'sh'),
            ATTEST_SYS: folder,
            ATTEST_MOUNTS: join(folder, 'mountinfo'),
            ATTEST_RUN: join(folder, 'run'),
        }
        t.is((await run(join(PACKAGING, 'sh/check-root'), ['/sysroot'], { env })).code, want)
        // Of a strict root only: no partition is taken for swap or /home by its type.
        const masked = existsSync(join(folder, 'run/systemd/system-generators'))
        t.is(masked, want === 0 && profile === 'strict')
    })

for (const { profile, want } of [
    { profile: 'strict', want: 'CREDENTIALS_DIRECTORY=RUN/credentials/@system\n' },
    { profile: 'compat', want: '' },
] as const)
    test(`the systemd of a ${profile} root and the credentials of the firmware`, async (t) => {
        const folder = temporaryFolder(t)
        const config = configured(temporaryFolder(t), [volume('x', { profile })])
        const [run_, conf] = [join(folder, 'run'), join(folder, 'param.conf')]
        // Its last part, with the folders of this test in the place of its own.
        const source = readFileSync(join(PACKAGING, 'initramfs-tools/scripts/init-bottom/guest-attest'), 'utf8')
        const last = source.slice(source.indexOf('\nroot_volume &&')).replaceAll('/run/', `${run_}/`)
        const script = `. ${join(PACKAGING, 'sh/boot.sh')}\n${last.replaceAll('/conf/param.conf', conf)}`
        t.is((await run('sh', ['-ec', script], { env: { ATTEST_CONFIG: config } })).code, 0)
        // As the init of initramfs-tools reads that file, and then runs the init of the root.
        const chain = `[ ! -e ${conf} ] || . ${conf}; exec env`
        const env = { ENCRYPTED_CREDENTIALS_DIRECTORY: '/x', PATH: process.env['PATH'] }
        const told = (await run('sh', ['-c', chain], { env })).stdout.replaceAll(run_, 'RUN')
        t.is(told.match(/^CREDENTIALS_DIRECTORY=.*\n/m)?.[0] ?? '', want)
        t.is(told.includes('ENCRYPTED'), profile === 'compat')
        t.is(existsSync(join(run_, 'credentials/@system')), profile === 'strict')
    })

const OF_SECRET = { secret: '736869e5-84f0-4973-92ec-06879ce3da0b' }
const WIPES = '[Service]\nExecStartPre=-LIB/wipe-secrets\n'

// As root: what goes into an initrd must be root’s.
for (const { name, systemd = true, table, code = 0, says = /^$/, wipes, files } of [
    {
        name: 'a volume that opens with an injected secret',
        table: line('x', UUID, 'socket', 'compat', 'poweroff', 'yes', 'no', '300'),
        wipes: WIPES,
        files: ['boot.sh', 'on-failure', 'check-root', 'wipe-secrets'],
    },
    {
        name: 'an initrd of busybox',
        systemd: false,
        table: line('x', UUID, 'socket', 'compat', 'poweroff', 'yes', 'no', '300'),
        code: 1,
        says: /an initrd of systemd is needed: HOOKS=\(base systemd/,
        wipes: null,
        files: [],
    },
    {
        name: 'a front end that it has not',
        table: line('x', UUID, 'keyscript', 'strict', 'poweroff', 'yes', 'no', '300'),
        code: 1,
        says: /the front end of x is keyscript/,
        wipes: null,
        files: [],
    },
    {
        name: 'a volume that is opened after the switch',
        table: line('x', UUID, 'socket', 'compat', 'poweroff', 'no', 'no', '300'),
        says: /nothing is put into it/,
        wipes: null,
        files: [],
    },
])
    needs(ROOT_USER)(`mkinitcpio: ${name}`, async (t) => {
        const folder = temporaryFolder(t)
        const [lib, etc, initrd] = ['lib', 'etc', 'initrd'].map((path) => join(folder, path)) as [
            string,
            string,
            string,
        ]
        for (const path of [lib, join(etc, 'volumes.d'), join(initrd, 'usr/lib/systemd')])
            mkdirSync(path, { recursive: true })
        const { servers: _servers, path: _path, ...row } = volume('x', { profile: 'compat' })
        writeFileSync(join(etc, 'volumes.d/x.toml'), formatVolume({ ...row, ...OF_SECRET }), { mode: 0o644 })
        writeFileSync(join(etc, 'crypttab'), `x UUID=${UUID} none luks\n`)
        if (systemd) writeFileSync(join(initrd, 'usr/lib/systemd/systemd'), '', { mode: 0o755 })
        writeFileSync(join(lib, 'guest-attest-initrd'), `#!/bin/sh\nprintf '%s' '${table}'\n`, { mode: 0o755 })
        writeFileSync(join(lib, 'koffi.node'), '')
        // With the folders of this test in the place of their own.
        const placed = (path: string) =>
            readFileSync(join(PACKAGING, path), 'utf8')
                .replaceAll('/usr/lib/guest-attest', lib)
                .replaceAll(/(?<![\w$/])\/etc\/crypttab/g, join(etc, 'crypttab'))
                .replace('ATTEST_CONFIG=/etc/guest-attest', `ATTEST_CONFIG=${etc}`)
        writeFileSync(join(lib, 'build.sh'), placed('sh/build.sh'))
        const theirs = ['add_binary', 'add_module', 'add_systemd_unit', 'warning'].map((word) => `${word}() { :; }`)
        const script = `${theirs.join('\n')}\nadd_file() { echo "$1"; }\n${placed('mkinitcpio/install/guest-attest')}\nbuild`
        const env = { BUILDROOT: initrd, KERNELVERSION: '6.12', ATTEST_KERNELS: folder }
        const ran = await run('bash', ['-c', script], { env })
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr.replace(/^guest-attest: the kernel .*\n/m, ''), says)
        t.deepEqual(
            ran.stdout.trim().split('\n').filter(Boolean),
            files.map((file) => join(lib, file)),
        )
        const dropIn = join(initrd, 'etc/systemd/system/initrd-switch-root.service.d/45-guest-attest-secrets.conf')
        t.is(existsSync(dropIn) ? readFileSync(dropIn, 'utf8').replace(lib, 'LIB') : null, wipes)
        if (wipes !== null) t.is(readFileSync(join(initrd, 'etc/crypttab'), 'utf8'), `x UUID=${UUID} none luks\n`)
    })

test('what the network answered is not run as shell', async (t) => {
    const folder = temporaryFolder(t)
    const conf = join(folder, 'net-eth0.conf')
    const said = [
        'IPV4DNS0=10.0.2.3',
        "IPV4DNS1='0.0.0.0'",
        `IPV4DNS2='$(touch ${folder}/run)'`,
        `X=$(touch ${folder}/run)`,
    ]
    writeFileSync(conf, `${said.join('\n')}\n`)
    // The function alone, with the path of this file in the place of its own.
    const source = readFileSync(join(PACKAGING, 'initramfs-tools/network'), 'utf8')
    const body = /^resolv_conf\(\) \{.*?^\}/ms.exec(source)?.[0].replace('"/run/net-$1.conf"', `'${conf}'`) ?? ''
    const ran = await run('sh', ['-c', `${body}\nresolv_conf eth0`])
    t.is(ran.stdout, 'nameserver 10.0.2.3\noptions timeout:2 attempts:2\n')
    t.false(existsSync(join(folder, 'run')))
})

test('what was started in the background ends, with what it started', async (t) => {
    const mark = `9${process.pid}`
    const sleeps = `for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <"$file"; echo; done 2>/dev/null | grep -c "^sleep ${mark}"`
    const script = `. ${join(PACKAGING, 'sh/boot.sh')}
        { sleep ${mark}1 | sh -c "sleep ${mark}2; echo the child has failed"; } >/dev/null 2>&1 & top=$!
        until [ "$(${sleeps})" = 2 ]; do sleep 0.1; done
        end_tree $top
        sleep 1
        ${sleeps}`
    t.is((await run('sh', ['-c', script])).stdout, '0\n')
})

const OWNERS: readonly { name: string; mode: number; want: RegExp }[] = [
    { name: 'root’s own', mode: 0o644, want: /^$/ },
    { name: 'the group may write', mode: 0o664, want: /only root may own/ },
    { name: 'everybody may write', mode: 0o646, want: /only root may own/ },
]

for (const { name, mode, want } of OWNERS)
    needs(ROOT_USER)(`configuration for the initrd: ${name}`, async (t) => {
        const folder = temporaryFolder(t)
        mkdirSync(join(folder, 'trust.d'))
        writeFileSync(join(folder, 'trust.d/kbs.toml'), '')
        chmodSync(join(folder, 'trust.d/kbs.toml'), mode)
        const script = `. ${join(PACKAGING, 'sh/build.sh')}; ATTEST_CONFIG=${folder}; attest_owners`
        t.regex((await run('sh', ['-c', script])).stderr, want)
    })

needs(programs('gcc'))('a library that is missing fails the build', async (t) => {
    const folder = temporaryFolder(t)
    const build = (source: string, ...args: string[]) =>
        spawnSync('gcc', ['-x', 'c', '-', ...args], { cwd: folder, input: source })
    build('int gone(void) { return 1; }', '-shared', '-fPIC', '-o', 'libgone.so')
    build('int gone(void); int main(void) { return gone(); }', '-x', 'none', '-o', 'program', '-L.', '-lgone')
    const check = (env: Record<string, string>) =>
        run('sh', ['-c', `. ${join(PACKAGING, 'sh/build.sh')}; attest_libraries ${join(folder, 'program')}`], { env })
    t.regex((await check({})).stderr, /lacks libraries:.*libgone\.so/)
    t.is((await check({ LD_LIBRARY_PATH: folder })).code, 0)
})

/** `BUILDER=FILE` words, as `GUEST_ATTEST_INITRDS="initramfs-tools=/boot/initrd.img dracut=/boot/initrd.dracut"`. */
const INITRDS = new Map(
    (process.env['GUEST_ATTEST_INITRDS'] ?? '')
        .split(' ')
        .filter(Boolean)
        .map((word) => word.split('=', 2) as [string, string]),
)

const EVERY_INITRD = [
    'etc/guest-attest/volumes.tsv',
    'etc/guest-attest/trust.d',
    'etc/nsswitch.conf',
    'usr/lib/guest-attest/guest-attest-initrd',
    'usr/lib/guest-attest/koffi.node',
    'usr/lib/guest-attest/check-root',
    'usr/lib/guest-attest/wipe-secrets',
    'usr/lib/guest-attest/on-failure',
    /sev-guest\.ko/,
    /tdx-guest\.ko/,
    /tsm\w*\.ko/,
    /vmw_vsock_virtio_transport\.ko/,
    /virtio_net\.ko/,
    /dm-crypt\.ko/,
]

const CONTENTS: Readonly<Record<string, readonly (string | RegExp)[]>> = {
    'initramfs-tools': [
        ...EVERY_INITRD,
        'scripts/local-top/guest-attest',
        'scripts/init-bottom/guest-attest',
        'usr/lib/guest-attest/keyscript',
        'usr/lib/guest-attest/network',
    ],
    dracut: [
        ...EVERY_INITRD,
        'usr/lib/systemd/system/guest-attest-key@.socket',
        'usr/lib/systemd/system/guest-attest-key@.service',
        'usr/lib/systemd/system-generators/guest-attest-generator',
        'etc/crypttab',
        'etc/cmdline.d/20-guest-attest.conf',
    ],
}

for (const [builder, contents] of Object.entries(CONTENTS)) {
    const file = INITRDS.get(builder)
    const built = { what: `GUEST_ATTEST_INITRDS="${builder}=FILE"`, met: file !== undefined }
    needs(built, programs('lsinitramfs'))(`what is in an initrd of ${builder}`, async (t) => {
        const listed = (await run('lsinitramfs', [file ?? ''])).stdout.split('\n')
        const has = (wanted: string | RegExp) =>
            listed.some((path) => (typeof wanted === 'string' ? path === wanted : wanted.test(path)))
        t.deepEqual(
            contents.filter((wanted) => !has(wanted)),
            [],
            dirname(file ?? ''),
        )
    })
}
