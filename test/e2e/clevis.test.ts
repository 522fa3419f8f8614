// The pin with the real clevis, cryptsetup and tang, in an emulated guest, against a broker of our own.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Ran } from '../cli/run.ts'
import { run } from '../cli/run.ts'
import { FUSE, programs } from '../machine.ts'
import { needs } from '../needs.ts'
import { KEY_PATH, openStage, type Stage } from '../stage.ts'
import { startTang } from '../tang.ts'

const all = [FUSE, programs('cryptsetup', 'clevis', 'clevis-luks-bind', 'jose')]
const ready = all.every(({ met }) => met)
const e2e = needs(...all)

const stage: Stage = ready ? await openStage() : (undefined as never)
test.after.always(() => stage?.close())

const SECRET = 'correct horse battery staple'

const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

async function formatted(name: string): Promise<string> {
    const image = join(stage.folder, name)
    const key = join(stage.folder, `${name}.key`)
    writeFileSync(key, SECRET)
    writeFileSync(image, '')
    await run('truncate', ['-s', '20M', image])
    const cheap = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000']
    const ran = await run('cryptsetup', ['luksFormat', '--batch-mode', '--type', 'luks2', ...cheap, image, key], {
        env: stage.env,
    })
    if (ran.code !== 0) throw new Error(ran.stderr)
    return image
}

const config = (path = KEY_PATH): string => JSON.stringify({ url: stage.url, path })

const bind = (image: string, pin = 'kbs', what = config()): Promise<Ran> =>
    stage.guest(['clevis', 'luks', 'bind', '-y', '-d', image, '-k', `${image}.key`, pin, what])

const opensWith = (image: string, passphrase: string): Promise<Ran> =>
    run('cryptsetup', ['open', '--test-passphrase', '--key-file', '-', image], { input: passphrase, env: stage.env })

e2e('clevis luks bind, list, pass and unlock; the passphrase opens the volume', async (t) => {
    const image = await formatted('volume')
    const bound = await bind(image)
    t.is(bound.code, 0, bound.stderr)
    const listed = await stage.guest(['clevis', 'luks', 'list', '-d', image])
    t.regex(listed.stdout, /^1: /) // clevis names only the pins that it ships
    const passed = await stage.guest(['clevis', 'luks', 'pass', '-d', image, '-s', '1'])
    t.is(passed.code, 0, passed.stderr)
    t.is((await opensWith(image, passed.stdout)).code, 0)
    t.not((await opensWith(image, 'wrong')).code, 0)
    const unlocked = await stage.guest(['clevis', 'luks', 'unlock', '-t', '1', '-d', image])
    t.is(unlocked.code, 0, unlocked.stderr)
    const checked = await stage.cli('luks', 'check', image)
    t.regex(checked.stdout, /PASS/)
})

e2e('outside the guest nothing opens', async (t) => {
    const image = await formatted('outside')
    t.is((await bind(image)).code, 0)
    const ran = await run('clevis', ['luks', 'pass', '-d', image, '-s', '1'], { env: stage.env })
    t.not(ran.code, 0)
    t.is(ran.stdout, '')
})

needs(...all, programs('tangd', 'socat'))(
    'sss with tang: either opens, and a threshold of two needs both',
    async (t) => {
        const tang = await startTang(stage.folder)
        t.teardown(tang.stop)
        for (const threshold of [1, 2]) {
            const what = JSON.stringify({
                t: threshold,
                pins: { kbs: [JSON.parse(config())], tang: [{ url: tang.url }] },
            })
            const image = await formatted(`sss-${threshold}`)
            const bound = await bind(image, 'sss', what)
            t.is(bound.code, 0, bound.stderr)
            const passed = await stage.guest(['clevis', 'luks', 'pass', '-d', image, '-s', '1'])
            t.is((await opensWith(image, passed.stdout)).code, 0, passed.stderr)
            const outside = await run('clevis', ['luks', 'pass', '-d', image, '-s', '1'], { env: stage.env })
            t.is(outside.code === 0, threshold === 1)
        }
    },
)

e2e('a wrong passphrase binds nothing', async (t) => {
    const image = await formatted('wrong')
    writeFileSync(`${image}.key`, 'wrong')
    const before = digest(image)
    const ran = await bind(image)
    t.not(ran.code, 0)
    t.is(digest(image), before)
})

for (const { name, pin, says } of [
    {
        name: 'a broker that is not trusted',
        pin: () => JSON.stringify({ url: 'https://127.0.0.1:1', path: KEY_PATH }),
        says: /ERR_UNLOCK_NOT_ANCHORED/,
    },
    { name: 'a path that may not open a disk', pin: () => config('secret/luks/web'), says: /ERR_UNLOCK_PATH/ },
    { name: 'a resource that is not there', pin: () => config('default/luks/none'), says: /ERR_KBS_NOT_FOUND/ },
    { name: 'a configuration that is no JSON', pin: () => '{"url":', says: /ERR_JSON/ },
])
    e2e(`encrypt refuses ${name}`, async (t) => {
        const ran = await stage.guest(['clevis', 'encrypt', 'kbs', pin()], { input: 'x' })
        t.is(ran.code, 1)
        t.regex(ran.stderr, says)
        t.is(ran.stdout, '')
    })

e2e('a JWE that is cut or altered does not open', async (t) => {
    const made = await stage.guest(['clevis', 'encrypt', 'kbs', config()], { input: 'passphrase' })
    t.is(made.code, 0, made.stderr)
    const whole = await stage.guest(['clevis', 'decrypt'], { input: made.stdout })
    t.is(whole.stdout, 'passphrase', whole.stderr)
    const header = made.stdout.split('.')[0] ?? ''
    const altered = made.stdout.replace(
        header,
        Buffer.from(Buffer.from(header, 'base64url').toString().replace('/web"', '/db"')).toString('base64url'),
    )
    for (const [what, jwe] of [
        ['cut', made.stdout.slice(0, -4)],
        ['half', made.stdout.slice(0, made.stdout.length / 2)],
        ['another path', altered],
        ['nothing', ''],
    ]) {
        const ran = await stage.guest(['clevis-decrypt-kbs'], { input: jwe ?? '' })
        t.is(ran.code, 1, what)
        t.is(ran.stdout, '', what)
        t.regex(ran.stderr, /ERR_/, what)
    }
})

e2e('binary plaintexts pass unchanged', async (t) => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    const made = await stage.guest(['clevis', 'encrypt', 'kbs', config()], { input: bytes })
    const opened = await stage.guest(['clevis', 'decrypt'], { input: made.stdout })
    t.deepEqual(Buffer.from(opened.stdout, 'latin1'), bytes)
})

e2e('a full disk: no half-written result, and the exit status says so', async (t) => {
    const made = await stage.guest(['clevis', 'encrypt', 'kbs', config()], { input: 'passphrase' })
    const jwe = join(stage.folder, 'full.jwe')
    writeFileSync(jwe, made.stdout)
    const ran = await stage.guest(['sh', '-c', `clevis-decrypt-kbs < ${jwe} > /dev/full`])
    t.is(ran.code, 1)
    t.regex(ran.stderr, /ENOSPC/)
    const full = join(stage.folder, 'full')
    mkdirSync(full)
    // Mounted within the guest: it goes with it.
    const script = `
        mount -n -t tmpfs -o size=8k tmpfs ${full}; head -c 8192 /dev/zero > ${full}/ballast
        guest-attest get-resource kbs:///${KEY_PATH} --use luks-key --out ${full}/key; code=$?; ls -A ${full}; exit $code`
    const got = await stage.guest(['sh', '-c', script])
    t.is(got.code, 3, got.stderr)
    t.is(got.stdout, 'ballast\n')
})

e2e('a denial is final, and is not asked again in this boot', async (t) => {
    const script = `clevis-encrypt-kbs '${config()}' < /dev/null; echo first=$?; clevis-encrypt-kbs '${config()}' < /dev/null; echo second=$?`
    const ran = await stage.guest(['sh', '-c', script], { measurement: 'ee'.repeat(48) })
    t.regex(ran.stdout, /first=1[\s\S]*second=1/)
    t.regex(ran.stderr, /ERR_KBS_DENIED[\s\S]*ERR_UNLOCK_DENIED_EARLIER/)
    const denials = (await stage.broker('audit', '--json')).stdout.match(/"denial"/g) ?? []
    t.true(denials.length >= 1)
})
