// `luks enroll --secret` in an emulated guest of SEV: what is written where the injected secret opens the disk, and that
// nothing is where anything is wrong. What builds the initrd is played by a script: the real ones are in test/boot.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { DISK_GUID, LAUNCH_KEY_GUID } from '#core/secret-names.ts'
import { readVolumes } from '#unlock/volumes.ts'
import { GUEST_NEEDS, GUEST_TIMEOUT_MS, type Inside, insideCommand, readInside } from '../cli/inside.ts'
import { guestAttest, type Ran } from '../cli/run.ts'
import { temporaryFolder } from '../folder.ts'
import { CHEAP, must } from '../luks/cryptsetup.ts'
import { protectedFor } from '../luks/forge.ts'
import { programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'

const all = [...GUEST_NEEDS, ROOT, programs('cryptsetup')]
const e2e = needs(...all)

const BIN = fileURLToPath(new URL('../../packaging/bin', import.meta.url))
const folder = temporaryFolder({ teardown: test.after.always })

const PASSPHRASE = 'correct horse'
const KEY_GUID = '5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e'
/** A key whose last byte is zero, which counts. */
const KEY = Buffer.concat([randomBytes(31), Buffer.alloc(1)])
const STRAY_GUID = 'e6f5a162-d67f-4750-a67c-5d065f2a9910'

const secretFile = (name: string, bytes: Uint8Array | string): string => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
}
const SECRETS = [
    `luks-key:${secretFile('grub', `${PASSPHRASE}\0`)}`,
    `${KEY_GUID}:${secretFile('key', KEY)}`,
    `${STRAY_GUID}:${secretFile('stray', 'another')}`,
].join(',')

const guest = (command: readonly string[]): Promise<Ran> =>
    guestAttest(['emulate', '--tee', 'sev', '--secrets', SECRETS, '--', ...command], {
        env: { PATH: [BIN, process.env['PATH']].join(delimiter) },
        timeoutMs: GUEST_TIMEOUT_MS,
    })

/** A disk with the passphrase and the key, a crypttab, an empty configuration, and a script in the place of dracut. */
function machine(name: string, dracut = 'echo built "$@"', token?: object) {
    const own = join(folder, name)
    const file = (path: string): string => join(own, path)
    mkdirSync(file('etc'), { recursive: true })
    mkdirSync(file('bin'))
    writeFileSync(file('image'), Buffer.alloc(8 * 1024 * 1024))
    writeFileSync(file('passphrase'), PASSPHRASE)
    const format = [
        'luksFormat',
        '--batch-mode',
        '--type',
        'luks2',
        ...CHEAP,
        '--luks2-keyslots-size',
        '2m',
        '--offset',
        '8192',
    ]
    must('cryptsetup', ...format, file('image'), file('passphrase'))
    const added = [...CHEAP, '--key-file', file('passphrase'), file('image'), join(folder, 'key')]
    must('cryptsetup', 'luksAddKey', '--batch-mode', ...added)
    if (token) {
        writeFileSync(file('token'), JSON.stringify(token))
        must('cryptsetup', 'token', 'import', '--json-file', file('token'), file('image'))
    }
    writeFileSync(file('crypttab'), `# a comment\nvol ${file('image')} none luks,discard\n`, { mode: 0o644 })
    writeFileSync(file('etc/config.toml'), '[drivers]\nspacingMs = 0\n', { mode: 0o644 })
    writeFileSync(file('bin/dracut'), `#!/bin/sh\n${dracut}\n`)
    chmodSync(file('bin/dracut'), 0o755)
    const env = {
        GUEST_ATTEST_CONFIG: file('etc'),
        PATH: [file('bin'), BIN, process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter),
    }
    const state = () => [file('image'), file('crypttab')].map((path) => readFileSync(path).toString('latin1'))
    return {
        config: file('etc'),
        crypttab: file('crypttab'),
        image: file('image'),
        env,
        state,
        before: state(),
        luks: (command: string, ...words: string[]): Inside => ({
            args: ['luks', command, file('image'), ...words],
            env,
        }),
        enroll: (...words: string[]): Inside => ({
            args: [
                ...['luks', 'enroll', file('image'), ...words],
                ...(words.includes('--crypttab') ? [] : ['--crypttab', file('crypttab')]),
            ],
            env,
        }),
    }
}

async function inGuest(...commands: Inside[]): Promise<Ran[]> {
    return readInside(await guest(insideCommand(commands)))
}

e2e(
    'the passphrase that GRUB has: table, crypttab, initrd, a try; the disk and the secret stay as they are',
    async (t) => {
        const { enroll, luks, env, config, crypttab, image, state, before } = machine('all')
        const wanted = enroll('--secret', 'luks-key', '--root')
        const open = luks('open', '--test-passphrase')
        const [ran, again, opened, report, json, doctor, left, renamed, unnamed] = (await inGuest(
            wanted,
            wanted,
            open,
            luks('report'),
            luks('report', '--json'),
            { args: ['doctor', '--disk', image], env },
            { args: ['secrets', 'list'], env },
            enroll('--secret', 'luks-key', '--name', 'other', '--crypttab', `${crypttab}.new`),
            enroll(),
        )) as [Ran, Ran, Ran, Ran, Ran, Ran, Ran, Ran, Ran]
        t.is(ran.code, 0, ran.stderr)
        t.is(ran.stdout, 'next boot opens: yes\n')
        for (const says of [
            /the zero byte behind the injected passphrase is left out/,
            new RegExp(`the injected secret ${DISK_GUID} opens ${image}; it is left where it is`),
            /volumes\.d\/vol\.toml: socket, strict, the root/,
            /its line of vol is written \(before: .*before-guest-attest\)/,
            /rebuilding the initrd: dracut --force\nbuilt --force/,
            /tried as at boot: the header is sound, and the secret of vol opens it/,
            /the next launch has another measurement: its owner is to expect that one/,
        ])
            t.regex(ran.stderr, says)
        t.notRegex(ran.stderr, /no broker|correct horse/)
        const [volume, ...more] = readVolumes(config)
        t.deepEqual(more, [])
        t.like(volume, { name: 'vol', secret: DISK_GUID, frontEnd: 'socket', profile: 'strict', root: true })
        t.regex(
            readFileSync(crypttab, 'utf8'),
            /^vol\tUUID=\S+\t\/run\/guest-attest\/keys\/vol\.sock\tluks,header=\/run\/guest-attest\/vol\.hdr,headless=true,tries=1,x-systemd\.device-timeout=0,x-initrd\.attach,discard$/m,
        )
        t.is(state()[0], before[0])
        t.is(again.code, 0, again.stderr)
        t.regex(again.stderr, /its line of vol is as it must be/)
        t.is(opened.code, 0, opened.stderr)
        t.regex(opened.stderr, new RegExp(`image opens: the injected secret ${DISK_GUID}`))
        t.is(report.code, 0, report.stdout)
        t.regex(
            report.stdout,
            new RegExp(`opened as vol by socket, profile strict, with the injected secret ${DISK_GUID}\\n`),
        )
        t.notRegex(report.stdout, /bound to nothing/)
        t.like(JSON.parse(json.stdout).volume, { name: 'vol', secret: DISK_GUID })
        t.regex(doctor.stdout, new RegExp(`the volume vol: socket, strict, the injected secret ${DISK_GUID}`))
        t.regex(doctor.stdout, /no broker is trusted, and none is needed/)
        t.notRegex(doctor.stderr, /bound to nothing|trust add/)
        t.is(left.stdout, `${KEY_GUID}\n${DISK_GUID} luks-key\n${STRAY_GUID}\n`)
        t.is(renamed.code, 2, renamed.stderr)
        t.regex(
            renamed.stderr,
            /vol\.toml: this volume is enrolled as vol already[\s\S]*hint: --name vol enrolls it anew/,
        )
        t.deepEqual(readdirSync(join(config, 'volumes.d')), ['vol.toml'])
        t.is(unnamed.code, 2)
        t.regex(unnamed.stderr, /--path is missing[\s\S]*vol: it opens with an injected secret/)
    },
)

e2e('other front ends, another secret, an initrd that is not built', async (t) => {
    const script = machine('script')
    const data = machine('data', 'exit 1')
    const failing = machine('failing', 'echo no space >&2; exit 1')
    const [scripted, later, failed] = (await inGuest(
        script.enroll('--secret', KEY_GUID.toUpperCase(), '--front-end', 'keyscript', '--profile', 'compat'),
        data.enroll('--secret', KEY_GUID),
        failing.enroll('--secret', 'luks-key', '--root'),
    )) as [Ran, Ran, Ran]
    t.is(scripted.code, 0, scripted.stderr)
    t.notRegex(scripted.stderr, /zero byte/)
    t.like(readVolumes(script.config)[0], { secret: KEY_GUID, frontEnd: 'keyscript', profile: 'compat', root: false })
    t.regex(readFileSync(script.crypttab, 'utf8'), /\tluks,initramfs,keyscript=\/usr\/lib\/guest-attest\/keyscript,/)
    t.is(later.code, 0, later.stderr)
    t.notRegex(later.stderr, /rebuilding/)
    t.regex(later.stderr, /stays in memory until the volume is open, and then: guest-attest-initrd wipe-secrets/)
    // Nobody waits for a network.
    t.regex(readFileSync(data.crypttab, 'utf8'), /headless=true,tries=1,x-systemd\.device-timeout=0,discard$/m)
    t.is(failed.code, 1, failed.stderr)
    t.is(failed.stdout, 'next boot opens: no, because dracut --force: exit status 1 (ERR_INITRD_BUILD)\n')
    t.is(readVolumes(failing.config).length, 1)
})

const KEYRING = { type: 'luks2-keyring', keyslots: ['0'], key_description: 'x' }
const TANG = { type: 'clevis', keyslots: ['0'], jwe: { protected: protectedFor('tang') } }

const REFUSED: readonly {
    name: string
    words: readonly string[]
    /** Of the disk. */
    token?: object
    code?: number
    says: RegExp
}[] = [
    {
        name: 'a header that somebody else can open',
        words: ['--secret', 'luks-key'],
        token: TANG,
        code: 1,
        says: /may not be opened: tokens: .*got tang \(ERR_LUKS_UNSOUND\)/,
    },
    {
        name: 'a header that something else may open, strict',
        words: ['--secret', 'luks-key'],
        token: KEYRING,
        code: 1,
        says: /may not be opened: token 0: luks2-keyring may open it without the secret \(ERR_UNLOCK_HEADER/,
    },
    {
        name: 'it does not open the disk',
        words: ['--secret', STRAY_GUID],
        code: 1,
        says: /image does not open with the secret e6f5a162.*ERR_LUKS_PASSPHRASE/,
    },
    {
        name: 'it was not injected',
        words: ['--secret', '11111111-2222-4333-8444-555555555555'],
        code: 1,
        says: /ERR_SECRET_MISSING[\s\S]*secrets list/,
    },
    { name: 'the key of a launch', words: ['--secret', LAUNCH_KEY_GUID], says: /the key of a launch opens no disk/ },
    { name: 'no GUID', words: ['--secret', 'disk'], says: /--secret: expected a GUID or luks-key, got "disk"/ },
    {
        name: 'a broker, a key and a binding beside it',
        words: '--secret luks-key --url https://kbs.example --pin sha256/a --path a/b/c --create --credential f'.split(
            ' ',
        ),
        says: /--secret: no broker is asked.*, so --url, --path, --pin, --create, --credential would mean nothing/,
    },
    {
        name: 'another way to the key beside it',
        words: '--secret luks-key --ca f --resource-file f --key-file f --replace --insecure-pin tang'.split(' '),
        says: /so --ca, --resource-file, --replace, --key-file, --insecure-pin would mean nothing/,
    },
    {
        name: 'clevis, which is not bound to it',
        words: ['--secret', KEY_GUID, '--front-end', 'clevis'],
        says: /--front-end clevis: \S+ is not bound to the secret 5d7a3f42[\s\S]*hint: clevis luks bind -d \S+ sev '\{"guid": "5d7a3f42\S+"\}'/,
    },
    {
        name: 'clevis and strict',
        words: ['--secret', KEY_GUID, '--front-end', 'clevis', '--profile', 'strict'],
        says: /clevis opens from the disk/,
    },
    {
        name: 'another name than in crypttab',
        words: ['--secret', 'luks-key', '--name', 'x'],
        says: /calls this volume vol/,
    },
    {
        name: 'a crypttab that cannot be written',
        words: ['--secret', 'luks-key', '--name', 'vol', '--crypttab', '/none/crypttab'],
        says: /\/none\/crypttab/,
    },
]

let refusals: Promise<{ ran: Ran; on: ReturnType<typeof machine> }[]> | undefined

async function refuseAll() {
    const machines = REFUSED.map(({ token }, i) => machine(`refused-${i}`, 'exit 0', token))
    const ran = await inGuest(...REFUSED.map(({ words }, i) => (machines[i] as (typeof machines)[0]).enroll(...words)))
    return ran.map((one, i) => ({ ran: one, on: machines[i] as (typeof machines)[0] }))
}

for (const [i, { name, code = 2, says }] of REFUSED.entries())
    e2e(`refused, and nothing is written: ${name}`, async (t) => {
        refusals ??= refuseAll()
        const { ran, on } = (await refusals)[i] as { ran: Ran; on: ReturnType<typeof machine> }
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr, says)
        t.is(ran.stdout, '')
        t.deepEqual(on.state(), on.before)
        t.deepEqual(readVolumes(on.config), [])
        const volumes = join(on.config, 'volumes.d')
        t.deepEqual(existsSync(volumes) ? readdirSync(volumes) : [], [])
    })

e2e('on a machine that is no guest', async (t) => {
    const { enroll, env, state, before } = machine('outside')
    const ran = await guestAttest([...enroll('--secret', 'luks-key').args], { env })
    t.not(ran.code, 0)
    t.regex(ran.stderr, /ERR_SECRETS_\w+|ERR_NO_TEE/)
    t.deepEqual(state(), before)
})

needs(...all, programs('clevis', 'clevis-luks-bind', 'jose'))(
    'clevis: bound by its pin, enrolled, tried',
    async (t) => {
        const { enroll, luks, image, env, crypttab, config } = machine('clevis', 'exit 0')
        const path = { PATH: env.PATH }
        const bind = `clevis luks bind -y -d ${image} -k ${folder}/clevis/passphrase sev '{"guid": "${KEY_GUID}"}'`
        const commands = insideCommand([
            enroll('--secret', KEY_GUID, '--front-end', 'clevis', '--root'),
            luks('check'),
            luks('report'),
            luks('open', '--test-passphrase'),
            enroll('--secret', 'luks-key', '--front-end', 'clevis'),
        ])
        const words = commands.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
        const inside = await guestAttest(
            ['emulate', '--tee', 'sev', '--secrets', SECRETS, '--', 'sh', '-euc', `${bind} >&2 && exec ${words}`],
            { env: path, timeoutMs: GUEST_TIMEOUT_MS },
        )
        const [ran, check, report, opened, other] = readInside(inside) as [Ran, Ran, Ran, Ran, Ran]
        t.is(ran.code, 0, ran.stderr)
        t.is(ran.stdout, 'next boot opens: yes\n')
        t.like(readVolumes(config)[0], { secret: KEY_GUID, frontEnd: 'clevis', profile: 'compat', root: true })
        t.regex(readFileSync(crypttab, 'utf8'), /\tnone\tluks,x-systemd.device-timeout=0,x-initrd.attach,discard$/m)
        t.is(check.code, 0, check.stdout)
        t.regex(report.stdout, /sev \(clevis luks list shows: unknown pin 'sev'\)/)
        t.regex(report.stdout, /exchange the header after it was read: clevis opens from the disk/)
        t.is(opened.code, 0, opened.stderr)
        t.is(other.code, 2)
        t.regex(other.stderr, /is not bound to the secret 736869e5/)
    },
)
