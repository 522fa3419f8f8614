// A guest of SEV that proves itself: its owner registers it with a broker, its host launches it, and the programs of the
// guest get from that broker, and from no other, what its rules permit.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { KVM_PROFILES } from '#core/launch/options.ts'
import { readVolumes } from '#unlock/volumes.ts'
import { IMAGE, newUuid, packetOf, thePlatform } from '../broker/launch-rig.ts'
import { launcher, open, POLICY } from '../broker/possession-rig.ts'
import { GUEST_NEEDS, GUEST_TIMEOUT_MS } from '../cli/inside.ts'
import { guestAttest, type Ran } from '../cli/run.ts'
import { temporaryFolder } from '../folder.ts'
import { CHEAP, format, PASSPHRASE } from '../luks/cryptsetup.ts'
import { programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'

const BIN = fileURLToPath(new URL('../../packaging/bin', import.meta.url))
const PATH = [BIN, process.env['PATH']].join(delimiter)

const RULE = `
@id("web")
@insecureCustomRoot
@insecureNoRevocation
permit (principal, action == Action::"release", resource)
when { principal.references.contains("web") && resource.repository == "web" };
`

const PIN = `sha256/${'A'.repeat(43)}=`

/** A guest that was launched with a key, and what its image trusts, which counts for nothing. */
async function launched(t: ExecutionContext) {
    const folder = temporaryFolder(t)
    const broker = await launcher(t)
    const owner = async (...args: string[]): Promise<string> => {
        const { code, stdout, stderr } = await guestAttest(['broker', 'launch', ...args, '--data', broker.folder])
        t.is(code, 0, stderr)
        return stdout
    }
    const [firmware, root] = [join(folder, 'AmdSev.fd'), join(folder, 'ark')]
    writeFileSync(firmware, IMAGE)
    writeFileSync(root, (await thePlatform()).certificates.ark)
    const uuid = newUuid()
    const processors = '--num-cpus 2 --cpu-family 25 --cpu-model 1 --cpu-stepping 1'.split(' ')
    const told = ['--broker-url', broker.serving.url, '--allow-path', 'web/*/*', '--policy', String(POLICY)]
    const token = join(folder, 'web.token')
    await owner(
        'register',
        uuid,
        '--firmware',
        firmware,
        ...processors,
        '--trust-root',
        root,
        ...told,
        '--host-token',
        token,
    )
    const add = (...args: string[]): Promise<Ran> =>
        guestAttest(['broker', 'reference', 'add', '--from-launch', uuid, '--data', broker.folder, ...args])
    const unnamed = await add('--name', 'web')
    t.is(unnamed.code, 2)
    t.regex(unnamed.stderr, /--from-launch needs --name and --coverage/)
    const added = await add('--name', 'web', '--coverage', 'firmware+kernel+initrd+cmdline')
    t.is(added.code, 0, added.stderr)
    const { terms } = JSON.parse(await owner('show', uuid, '--json'))
    t.is(terms.digests.length, KVM_PROFILES.length, 'of each way to prepare processors')
    for (const digest of terms.digests) t.true(added.stdout.includes(`"${digest}"`))
    t.is((await broker.admin('PUT', '/v1/policies/main', RULE)).status, 200)
    await broker.admin('PUT', '/v1/resources/web/files/key', Buffer.from('a well known text'))

    const shown = { authorization: `Bearer ${readFileSync(token, 'utf8').trim()}` }
    const launch = await open(broker, uuid, shown)
    const { json } = await launch.validate()
    const table = join(folder, 'table')
    writeFileSync(table, launch.processor.inject(packetOf(json)))

    const config = join(folder, 'etc')
    const anchor = `url = "https://other.example"\npins = ["${PIN}"]\nallowPaths = ["*/*/*"]\n`
    mkdirSync(join(config, 'trust.d'), { recursive: true, mode: 0o755 })
    writeFileSync(join(config, 'trust.d/other.example.toml'), anchor, { mode: 0o644 })
    const guest = (script: string): Promise<Ran> =>
        guestAttest(['emulate', '--tee', 'sev', '--secret-table', table, '--', 'sh', '-euc', script], {
            env: { PATH, GUEST_ATTEST_CONFIG: config },
            timeoutMs: GUEST_TIMEOUT_MS,
        })
    return { folder, config, broker, owner, uuid, launch, guest }
}

needs(...GUEST_NEEDS)('owner → host → guest → broker', async (t) => {
    const { folder, config, broker, owner, uuid, launch, guest } = await launched(t)
    const ran = await guest(`
        guest-attest trust list
        if guest-attest trust add https://more.example --pin ${PIN} --allow-path a/b/c; then exit 7; fi
        guest-attest trust rm https://other.example
        if guest-attest trust rm ${broker.serving.url}; then exit 7; fi
        guest-attest get-resource kbs:///web/files/key --out ${folder}/got
        guest-attest evidence --nonce hex:00112233445566778899aabbccddeeff --out ${folder}/evidence.json
        guest-attest inspect ${folder}/evidence.json
        if guest-attest get-resource kbs:///a/b/c --out ${folder}/not; then exit 8; fi
        if guest-attest get-resource kbs:///web/files/key --url https://other.example --out ${folder}/not; then exit 9; fi
    `)
    t.is(ran.code, 0, ran.stderr)
    t.is(readFileSync(join(folder, 'got'), 'utf8'), 'a well known text')
    t.true(ran.stdout.includes(broker.serving.url))
    t.false(ran.stdout.includes('other.example'))
    t.regex(ran.stdout, new RegExp(launch.id))
    t.regex(
        ran.stderr,
        /this guest’s owner injected the only broker that it trusts, https:\S+: another one would count for nothing[\s\S]*hint: the owner names another one/,
    )
    t.regex(ran.stderr, /https:\/\/other\.example is trusted no more/)
    t.regex(ran.stderr, /no file says that https:\S+ is trusted[\s\S]*broker launch revoke/)
    t.deepEqual(readdirSync(join(config, 'trust.d')), [])
    t.regex(ran.stderr, /is not trusted for a\/b\/c/)
    t.regex(ran.stderr, /https:\/\/other\.example is no broker that this guest trusts/)

    t.regex(await owner('show', uuid), new RegExp(`with the key of launch ${launch.id}, until 20`))
    await owner('revoke', uuid)
    t.regex(await owner('show', uuid), /no launch has a key that counts/)
    const late = await guest(`guest-attest get-resource kbs:///web/files/key --out ${folder}/not`)
    t.is(late.code, 1, late.stderr)
    t.regex(late.stderr, /its key has ended/)

    const undecided = await guestAttest([
        'verify',
        join(folder, 'evidence.json'),
        '--nonce',
        'hex:00112233445566778899aabbccddeeff',
    ])
    t.is(undecided.code, 3, undecided.stdout)
    t.regex(undecided.stdout, /nobody but the broker that launched this guest/)
})

needs(
    ...GUEST_NEEDS,
    ROOT,
    programs('cryptsetup'),
)('a disk is enrolled with the injected broker, and no other', async (t) => {
    const { folder, config, broker, guest } = await launched(t)
    const put = ['PUT', '/v1/resources/web/luks/disk?kind=luks-key', randomBytes(32)] as const
    t.true((await broker.admin(...put)).status < 300)
    const image = format(t, [...CHEAP, '--luks2-keyslots-size', '2m', '--offset', '8192'], 8 * 1024 * 1024)
    writeFileSync(join(folder, 'passphrase'), PASSPHRASE)
    const files = `--crypttab ${folder}/crypttab --backup-dir ${folder}/backup --key-file ${folder}/passphrase`
    const enroll = `guest-attest luks enroll ${image} --path web/luks/disk --name vol ${files}`
    const ran = await guest(`
        if ${enroll} --pin ${PIN}; then exit 7; fi
        if ${enroll} --url ${broker.serving.url} --pin ${PIN}; then exit 8; fi
        if ${enroll} --url https://other.example; then exit 9; fi
        ls ${config} >&2
        ${enroll}
        guest-attest luks open ${image} --test-passphrase
    `)
    t.is(ran.code, 0, ran.stderr)
    t.is(ran.stdout, 'next boot opens: yes\n')
    const [refused, done] = ran.stderr.split('\ntrust.d\n') as [string, string]
    t.is(refused.match(/another one would count for nothing/g)?.length, 2, refused)
    t.regex(
        refused,
        /other\.example is no broker that this guest trusts[\s\S]*hint: this guest’s owner injected another broker/,
    )
    t.notRegex(refused, /is trusted for/)
    t.regex(done, /the broker released the key to this guest/)
    t.regex(done, /AMD SEV: its measurement covers the firmware[\s\S]*its owner is to expect that one/)
    const [volume] = readVolumes(config)
    t.like(volume, { name: 'vol', servers: [broker.serving.url] })
    t.deepEqual(readdirSync(join(config, 'trust.d')), ['other.example.toml'])
})
