// Disks with the real cryptsetup, in an emulated guest, against a broker of our own: bound, opened, rotated, reported; and
// killed at each step of a rotation.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { readBindings } from '#luks/binding.ts'
import { checkHeader } from '#luks/check.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { metadataOf } from '#luks/metadata.ts'
import { MAIN, type Ran, run } from '../cli/run.ts'
import { FUSE, programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'
import { MEASUREMENT, openStage, type Stage } from '../stage.ts'

const all = [FUSE, ROOT, programs('cryptsetup', 'clevis')]
// One after the other: each is a guest, and a few programs in it.
const e2e = needs(...all).serial

const PASSPHRASE = 'correct horse battery staple'
const CHEAP = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000']
const SMALL = ['--luks2-keyslots-size', '2m', '--offset', '8192']

const POLICY = `@id("disks")
@insecureCustomRoot
permit (principal, action == Action::"release", resource)
when { principal.references.contains("web") && resource.repository == "default" };
`

const stage: Stage = all.every(({ met }) => met) ? await openDisks() : (undefined as never)
test.after.always(() => stage?.close())

async function openDisks(): Promise<Stage> {
    const opened = await openStage()
    const policy = join(opened.folder, 'disks.cedar')
    writeFileSync(policy, POLICY)
    await opened.broker('policy', 'put', 'disks', policy)
    const words = ['--allow-path', 'default/luks/*', '--may', 'create,rotate', '--max-uses', '1000']
    await opened.broker('credential', 'add', 'ops', ...words, '--out', join(opened.folder, 'ops'))
    return opened
}

interface Disk {
    readonly image: string
    readonly path: string
    readonly backups: string
}

/** An image with a passphrase, and a key of its own at the broker. */
async function disk(name: string): Promise<Disk> {
    const image = join(stage.folder, name)
    writeFileSync(`${image}.key`, PASSPHRASE)
    writeFileSync(image, Buffer.alloc(8 * 1024 * 1024))
    const args = ['luksFormat', '--batch-mode', '--type', 'luks2', ...CHEAP, ...SMALL, image, `${image}.key`]
    const made = await run('cryptsetup', args, { env: stage.env })
    if (made.code !== 0) throw new Error(made.stderr)
    const path = `default/luks/${name}`
    await stage.broker('put', path, '--random')
    return { image, path, backups: `${image}.backups` }
}

const luks = (...words: string[]): Promise<Ran> => stage.guest(['guest-attest', 'luks', ...words])

const named = ({ path, backups }: Disk) => ['--path', path, '--backup-dir', backups]

async function bound(name: string, ...more: string[]): Promise<Disk> {
    const made = await disk(name)
    const ran = await luks('bind', made.image, ...named(made), '--key-file', `${made.image}.key`, ...more)
    if (ran.code !== 0) throw new Error(ran.stderr)
    return made
}

const credential = () => ['--credential', join(stage.folder, 'ops')]
const tries = ({ image, path }: Disk) => luks('open', image, '--test-passphrase', '--path', path)
const versions = ({ image }: Disk) => readBindings(copyWholeHeader(image)).map(({ version }) => version)
const slots = ({ image }: Disk) => checkHeader(copyWholeHeader(image)).volume?.keyslots.map(({ id }) => id)

e2e('bind, open, report; the passphrase goes on opening', async (t) => {
    const made = await disk('bind')
    const ran = await luks('bind', made.image, ...named(made), '--key-file', `${made.image}.key`)
    t.is(ran.code, 0, ran.stderr)
    t.regex(ran.stderr, /is bound to default\/luks\/bind, version 1: key slot 1, which has opened/)
    t.deepEqual(readdirSync(made.backups), [], 'no copy of the old header stays')
    const opened = await tries(made)
    t.is(opened.code, 0, opened.stderr)
    t.regex(opened.stderr, /opens: key slot 1, default\/luks\/bind, version 1/)
    const again = await luks('bind', made.image, ...named(made), '--key-file', `${made.image}.key`)
    t.is(again.code, 0, again.stderr)
    t.regex(again.stderr, /already: key slot 1/)
    const person = ['open', '--test-passphrase', '--key-file', `${made.image}.key`, made.image]
    t.is((await run('cryptsetup', person, { env: stage.env })).code, 0)
    const report = await luks('report', made.image)
    t.is(report.code, 0, report.stdout)
    t.regex(report.stdout, /token 0 +guest-attest +key slot 1 +default\/luks\/bind, version 1/)
    t.regex(report.stdout, /passphrases: key slot 0/)
    t.is((await stage.cli('luks', 'check', made.image)).code, 0)
})

e2e('the clevis token opens with the real clevis, and luks report says what clevis shows of it', async (t) => {
    const made = await bound('clevis', '--clevis')
    t.is((await tries(made)).code, 0)
    const passed = await stage.guest(['clevis', 'luks', 'pass', '-d', made.image, '-s', '1'])
    t.is(passed.code, 0, passed.stderr)
    t.regex(passed.stdout, /^[\w-]{43}$/)
    const open = ['open', '--test-passphrase', '--key-file', '-', made.image]
    t.is((await run('cryptsetup', open, { env: stage.env, input: passed.stdout })).code, 0)
    const { stdout } = await stage.guest(['guest-attest', 'luks', 'report', made.image, '--json'])
    const { tokens } = JSON.parse(stdout)
    t.deepEqual(
        tokens.map(({ type, clevisShows }: Record<string, string>) => [type, clevisShows]),
        [
            ['clevis', "unknown pin 'kbs'"],
            ['guest-attest', undefined],
        ],
    )
})

e2e('rebind with a credential: a new version, one key slot; an old header stays shut', async (t) => {
    const made = await bound('rotate', '--clevis')
    const old = join(stage.folder, 'rotate.old')
    copyFileSync(made.image, old)
    const ran = await luks('rebind', made.image, ...named(made), ...credential())
    t.is(ran.code, 0, ran.stderr)
    t.regex(ran.stderr, /step 7 of 7/)
    t.regex(ran.stderr, /is bound to default\/luks\/rotate, version 2: key slot 2, which has opened/)
    t.deepEqual(versions(made), [2])
    t.deepEqual(slots(made), ['0', '2'])
    t.deepEqual(readdirSync(made.backups), [])
    t.is((await tries(made)).code, 0)
    const clevis = await stage.guest(['clevis', 'luks', 'pass', '-d', made.image, '-s', '2'])
    t.is(clevis.code, 0, clevis.stderr)
    const shut = await luks('open', old, '--test-passphrase', '--path', made.path)
    t.is(shut.code, 1)
    t.regex(
        shut.stderr,
        /version 1 of default\/luks\/rotate is not the current one, that is 2.*ERR_KBS_VERSION_RETIRED/,
    )
    t.regex(shut.stderr, /hint: this header is older than the key: `guest-attest luks rebind`/)
    t.not((await stage.guest(['clevis', 'luks', 'pass', '-d', old, '-s', '1'])).code, 0)
    const audit = (await stage.broker('audit')).stdout
    t.regex(audit, /denial +default\/luks\/rotate +code=ERR_KBS_VERSION_RETIRED/)
    t.regex(audit, /retire +default\/luks\/rotate +credential=ops/)
})

for (let step = 1; step <= 7; step++)
    e2e(`rebind, killed at step ${step}: the volume opens, and the next rebind ends it`, async (t) => {
        const made = await bound(`killed-${step}`)
        const killed = await killedAt(step, 'rebind', made.image, ...named(made), ...credential())
        t.true(killed, 'it got there')
        await cryptsetupHasEnded(made.image)
        const opened = await tries(made)
        t.is(opened.code, 0, opened.stderr)
        const person = ['open', '--test-passphrase', '--key-file', `${made.image}.key`, made.image]
        t.is((await run('cryptsetup', person, { env: stage.env })).code, 0)
        const ended = await luks('rebind', made.image, ...named(made), ...credential())
        t.is(ended.code, 0, ended.stderr)
        t.is(versions(made).length, 1)
        t.is(slots(made)?.length, 2)
        t.is((await tries(made)).code, 0)
        t.deepEqual(readdirSync(made.backups), [])
    })

e2e('two bindings: both open after a change of either; --replace leaves one', async (t) => {
    const made = await bound('first')
    await stage.broker('put', 'default/luks/other', '--random')
    const other = { ...made, path: 'default/luks/other' }
    const ran = await luks('bind', made.image, ...named(other), '--key-file', `${made.image}.key`)
    t.is(ran.code, 0, ran.stderr)
    for (const each of [made, other]) t.is((await tries(each)).code, 0)
    t.is((await luks('rebind', made.image, ...named(made), ...credential())).code, 0)
    for (const each of [made, other]) t.is((await tries(each)).code, 0)
    await stage.broker('rm', 'default/luks/other')
    const refused = await luks('rebind', made.image, ...named(made), ...credential())
    t.is(refused.code, 1)
    t.regex(refused.stderr, /is bound to default\/luks\/other too, which would not open any more/)
    t.is((await tries(made)).code, 0)
    t.is((await luks('rebind', made.image, ...named(made), ...credential(), '--replace')).code, 0)
    t.is((await tries(made)).code, 0)
    t.deepEqual(versions(made), [3])
})

e2e('two volumes with one key are rotated together', async (t) => {
    const [one, two] = [await bound('pair'), await disk('pair-two')]
    const both = { ...two, path: one.path }
    t.is((await luks('bind', two.image, ...named(both), '--key-file', `${two.image}.key`)).code, 0)
    const ran = await luks('rebind', one.image, two.image, ...named(one), ...credential())
    t.is(ran.code, 0, ran.stderr)
    t.regex(ran.stderr, /step 9 of 9/)
    for (const each of [one, both]) {
        t.deepEqual(versions(each), [2])
        t.is((await tries(each)).code, 0)
    }
})

e2e(
    'interrupted between header and broker, rebind without a credential goes back to what the broker has',
    async (t) => {
        const made = await bound('half')
        await killedAt(3, 'rebind', made.image, ...named(made), '--credential', join(stage.folder, 'none-at-all'))
        const words = ['--allow-path', 'default/luks/other', '--may', 'rotate']
        await stage.broker('credential', 'add', 'wrong', ...words, '--out', join(stage.folder, 'wrong'))
        const refused = await luks('rebind', made.image, ...named(made), '--credential', join(stage.folder, 'wrong'))
        t.is(refused.code, 1)
        t.regex(refused.stderr, /credential wrong: it is not for default\/luks\/half.*ERR_KBS_CREDENTIAL/)
        t.deepEqual(versions(made), [2, 1])
        t.is((await tries(made)).code, 0)
        t.is((await luks('report', made.image)).code, 1, 'something is to be done')
        t.is((await luks('rebind', made.image, ...named(made))).code, 0)
        t.deepEqual(versions(made), [1])
        t.is((await tries(made)).code, 0)
    },
)

e2e('a key that an administrator replaced: rebind with a passphrase', async (t) => {
    const made = await bound('replaced')
    await stage.broker('put', made.path, '--random', '--replace')
    t.is((await tries(made)).code, 1)
    const ran = await luks('rebind', made.image, ...named(made), '--key-file', `${made.image}.key`)
    t.is(ran.code, 0, ran.stderr)
    t.deepEqual(versions(made), [2])
    t.is((await tries(made)).code, 0)
})

e2e('a header that was changed stays shut until its owner says that it was he', async (t) => {
    const made = await bound('changed')
    const change = ['config', '--priority', 'ignore', '--key-slot', '0', made.image]
    t.is((await run('cryptsetup', change, { env: stage.env })).code, 0)
    const shut = await tries(made)
    t.is(shut.code, 1)
    t.regex(shut.stderr, /ERR_LUKS_HEADER_DIGEST/)
    const refused = await luks('rebind', made.image, ...named(made), ...credential())
    t.is(refused.code, 1)
    t.regex(refused.stderr, /--accept-header/)
    t.is((await luks('rebind', made.image, ...named(made), '--accept-header')).code, 0)
    t.is((await tries(made)).code, 0)
})

e2e('--reencrypt: another volume key; the recovery passphrase stays where it is named', async (t) => {
    const made = await bound('reencrypted')
    const digest = () => JSON.stringify(metadataOf(copyWholeHeader(made.image)).digests)
    const before = digest()
    // Another binding, whose key slot goes too.
    await stage.broker('put', 'default/luks/second', '--random')
    const second = ['--path', 'default/luks/second', '--backup-dir', made.backups, '--key-file', `${made.image}.key`]
    t.is((await luks('bind', made.image, ...second)).code, 0)
    const refused = await luks('rebind', made.image, ...named(made), '--reencrypt')
    t.is(refused.code, 2)
    t.regex(refused.stderr, /removes key slot 0, 2: expected --recovery-file/)
    const recovery = ['--recovery-file', `${made.image}.key`]
    const ran = await luks('rebind', made.image, ...named(made), ...credential(), '--reencrypt', ...recovery)
    t.is(ran.code, 0, ran.stderr)
    t.not(digest(), before)
    t.is((await tries(made)).code, 0)
    const person = ['open', '--test-passphrase', '--key-file', `${made.image}.key`, made.image]
    t.is((await run('cryptsetup', person, { env: stage.env })).code, 0)
})

for (const { name, words, code, says } of [
    {
        name: 'bind with a wrong passphrase',
        words: (d: Disk) => ['bind', d.image, ...named(d), '--key-file', '/etc/hostname'],
        code: 1,
        says: /ERR_LUKS_PASSPHRASE/,
    },
    {
        name: 'bind with no passphrase',
        words: (d: Disk) => ['bind', d.image, ...named(d), '--key-file', '/dev/null'],
        code: 2,
        says: /nothing is in/,
    },
    {
        name: 'bind to a path that is not trusted',
        words: (d: Disk) => ['bind', d.image, '--path', 'other/luks/x'],
        code: 1,
        says: /ERR_UNLOCK_PATH/,
    },
    {
        name: 'bind to a broker that is not trusted',
        words: (d: Disk) => ['bind', d.image, ...named(d), '--url', 'https://127.0.0.1:1'],
        code: 1,
        says: /ERR_UNLOCK_NOT_ANCHORED/,
    },
    { name: 'bind without a path', words: (d: Disk) => ['bind', d.image], code: 2, says: /--path is missing/ },
    {
        name: 'bind what is no disk',
        words: () => ['bind', '/etc/hostname', '--path', 'default/luks/x'],
        code: 1,
        says: /not a LUKS volume/,
    },
    {
        name: 'open what is not in the table',
        words: (d: Disk) => ['open', d.image, 'data'],
        code: 2,
        says: /not in the volume table: expected --path/,
    },
    { name: 'open without a name', words: (d: Disk) => ['open', d.image], code: 2, says: /expected a NAME/ },
    {
        name: 'open under a name with a slash',
        words: (d: Disk) => ['open', d.image, '../x'],
        code: 2,
        says: /letters, digits/,
    },
    {
        name: 'open what is not bound',
        words: (d: Disk) => ['open', d.image, '--test-passphrase', '--path', d.path],
        code: 1,
        says: /ERR_UNLOCK_UNBOUND/,
    },
    {
        name: 'rebind with no credential in the file',
        words: (d: Disk) => ['rebind', d.image, ...named(d), '--credential', '/etc/hostname'],
        code: 2,
        says: /ERR_KBS_CREDENTIAL_FILE/,
    },
    { name: 'report on what is no disk', words: () => ['report', '/etc/hostname'], code: 1, says: /not a LUKS volume/ },
])
    e2e(`exit ${code}, and nothing is written: ${name}`, async (t) => {
        const made = await disk(`refused-${name.replaceAll(/\W/g, '')}`)
        const before = readFileSync(made.image).toString('latin1')
        const ran = await luks(...words(made))
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr, says)
        t.is(ran.stdout, '')
        t.true(readFileSync(made.image).toString('latin1') === before)
    })

e2e('on a machine that is no guest: with the bytes of the resource', async (t) => {
    const made = await disk('owned')
    const key = join(stage.folder, 'owned.resource')
    await stage.guest(['guest-attest', 'get-resource', `kbs:///${made.path}`, '--use', 'luks-key', '--out', key])
    const words = ['--resource-file', key, '--resource-version', '1', '--key-file', `${made.image}.key`]
    const ran = await run(process.execPath, [MAIN, 'luks', 'bind', made.image, ...named(made), ...words], {
        env: stage.env,
    })
    t.is(ran.code, 0, ran.stderr)
    t.is((await tries(made)).code, 0)
    const outside = await run(
        process.execPath,
        [MAIN, 'luks', 'open', made.image, '--test-passphrase', '--path', made.path],
        { env: stage.env },
    )
    t.is(outside.code, 1)
    t.regex(outside.stderr, /ERR_NO_TEE/)
})

/** Runs it in the guest until it says this step, and kills it there, with no time to do anything about it. */
async function killedAt(step: number, ...words: string[]): Promise<boolean> {
    const emulated = [
        'emulate',
        '--tee',
        'snp',
        '--generation',
        'genoa',
        '--trust-dir',
        stage.vendor,
        '--measurement',
        MEASUREMENT,
    ]
    const pidFile = join(stage.folder, `pid-${words[1]?.replaceAll(/\W/g, '')}-${step}`)
    const script = `echo $$ > ${pidFile}; exec guest-attest luks "$@"`
    const child = spawn(process.execPath, [MAIN, ...emulated, '--', 'sh', '-c', script, 'sh', ...words], {
        env: { ...process.env, ...stage.env },
        stdio: ['ignore', 'ignore', 'pipe'],
    })
    let text = ''
    let killed = false
    child.stderr.on('data', (chunk: Buffer) => {
        text += chunk.toString()
        if (killed || !text.includes(`step ${step} of`) || !existsSync(pidFile)) return
        killed = true
        process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL')
    })
    await new Promise((resolve) => child.once('close', resolve))
    return killed
}

/** cryptsetup ends what it has begun: it hears nothing of a signal to the program. */
async function cryptsetupHasEnded(image: string): Promise<void> {
    const isRunning = () =>
        readdirSync('/proc').some((pid) => {
            try {
                return (
                    /^\d+$/.test(pid) &&
                    readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(`cryptsetup\0`) &&
                    readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(image)
                )
            } catch {
                return false
            }
        })
    for (let i = 0; i < 100 && isRunning(); i++) await sleep(50)
}
