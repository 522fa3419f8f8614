// `npm run demo`: a LUKS volume opens with a key that a verifying broker released to an attested guest, and everything
// that must be refused is refused. Real: cryptsetup, clevis, jose, TLS, the verifier, the broker. Emulated: the guest's
// device, and the vendor that made its keys.
//   --tee T   the technology of the guest: snp unless told
//   --yes     install missing Debian packages without asking (as root)
//   --keep    leave the folder behind, to poke about
// SPDX-License-Identifier: Apache-2.0

import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ecJwk } from '#core/jwe.ts'
import { installMissing } from './demo-packages.ts'
import { openShell } from './demo-shell.ts'
import { reforge } from './luks/forge.ts'
import { FUSE } from './machine.ts'
import { readOptions } from './options.ts'
import { trustWords } from './stage.ts'

/** What of the story depends on the technology. */
interface Guest {
    /** Options of the emulator, for every guest; and for one that its host may debug. */
    readonly emulate: readonly string[]
    readonly debug: readonly string[]
    readonly device: string
    /** What a verifier says that trusts the real vendor alone. */
    readonly rejected: RegExp
}

const GUESTS: Readonly<Record<string, Guest>> = {
    snp: {
        emulate: ['--generation', 'genoa'],
        debug: ['--policy', 'b0000'],
        device: '/dev/sev-guest',
        rejected: /REJECTED: ERR_SNP_CHAIN/,
    },
    tdx: {
        emulate: [],
        debug: ['--attributes', '10000001'],
        device: '/dev/tdx_guest',
        rejected: /REJECTED: ERR_TDX_CHAIN/,
    },
}

const options = readOptions(
    `npm run demo [-- OPTIONS]
  --tee T  the technology of the guest: ${Object.keys(GUESTS).join(' or ')}; snp unless told
  --yes    install missing Debian packages without asking (as root)
  --keep   leave the folder behind, to poke about`,
    {
        yes: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        tee: { type: 'string', default: 'snp' },
    },
)

if (!FUSE.met) {
    console.error('demo: /dev/fuse is not there, or may not be opened: the emulator of the guest needs it')
    process.exit(3)
}
const { tee } = options
const guest = guestOf(tee)
const trust = (await trustWords(tee, 'vendor')).join(' ')
if (!(await installMissing(options.yes))) process.exit(3)

const started = performance.now()
const folder = mkdtempSync(join(tmpdir(), 'guest-attest-demo-'))
mkdirSync(join(folder, 'etc'))
writeFileSync(join(folder, 'etc/config.toml'), '[drivers]\nspacingMs = 100 # an emulated host does not throttle\n', {
    mode: 0o644,
})
const programs = fileURLToPath(new URL('../packaging/bin', import.meta.url))
const env = {
    ...process.env,
    GUEST_ATTEST_CONFIG: join(folder, 'etc'),
    PATH: [programs, join(process.execPath, '..'), process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter),
}

const MEASUREMENT = createHash('sha384').update('firmware, kernel, initrd and command line of guest A').digest('hex')
const OTHER = createHash('sha384').update('something else').digest('hex')
const emulate =
    (...more: string[]) =>
    (command: string): string[] => [
        'guest-attest',
        'emulate',
        '--tee',
        tee,
        ...guest.emulate,
        '--trust-dir',
        'vendor',
        ...more,
        '--',
        'sh',
        '-c',
        command,
    ]
const guestA = openShell(env, folder, emulate('--measurement', MEASUREMENT))
const guestB = openShell(env, folder, emulate('--measurement', OTHER))
const debugGuest = openShell(env, folder, emulate('--measurement', MEASUREMENT, ...guest.debug))
const { title, note, run } = guestA
const LOG = join(folder, 'broker.log')
let broker: ChildProcess | undefined

/** The owner's rules. The switch is needed because an emulated vendor's root is none of the real vendor's. */
const CEDAR = ['a', 'b']
    .map(
        (name) => `@id("disk-${name}")
@insecureCustomRoot
permit (principal, action == Action::"release", resource)
when { principal.references.contains("guest-${name}") && resource.path == "default/luks/${name}" };
`,
    )
    .join('\n')

// Keys and a passphrase are in the folder, and the broker would go on without us.
for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
] as const)
    process.once(signal, () => {
        tidyUp()
        process.exit(128 + number)
    })

try {
    await story()
} finally {
    tidyUp()
}

function tidyUp(): void {
    broker?.kill('SIGKILL')
    if (options.keep)
        console.log(
            `\nkept: ${folder}; try: export GUEST_ATTEST_CONFIG=${folder}/etc PATH=${programs}:$PATH; cd ${folder}`,
        )
    else rmSync(folder, { recursive: true, force: true })
}

const failures = [...guestA.failures, ...guestB.failures, ...debugGuest.failures]
const seconds = ((performance.now() - started) / 1000).toFixed(0)
console.log(
    failures.length === 0
        ? `\nEverything went as it should, in ${seconds} s.`
        : `\n${failures.length} steps went WRONG:\n  ${failures.join('\n  ')}`,
)
process.exitCode = failures.length === 0 ? 0 : 1

function guestOf(name: string): Guest {
    const found = Object.hasOwn(GUESTS, name) ? GUESTS[name] : undefined
    if (found) return found
    console.error(`demo: --tee ${name}: only ${Object.keys(GUESTS).join(' and ')} can be rehearsed`)
    process.exit(2)
}

async function story(): Promise<void> {
    console.log('A disk that opens only in the right guest.')
    note('$ is the owner’s trusted machine, guest# is inside a confidential VM.')
    note('REAL: cryptsetup, clevis, jose, TLS, the verifier, the broker. EMULATED: the VM’s device')
    note(
        `(${guest.device}, configfs-tsm, through FUSE) and the vendor behind it. A file stands for the disk, so no device mapper is needed.`,
    )

    title('1. A guest proves what it is')
    await run({ place: 'guest', command: 'guest-attest detect', says: new RegExp(tee) })
    await run({ place: 'guest', command: 'guest-attest evidence --report-data hex:00 --out evidence.json' })
    await run({
        place: 'owner',
        command: `guest-attest verify evidence.json ${trust} --authentic-only`,
        says: /AUTHENTIC, NOT APPRAISED/,
        show: 20,
    })

    title('2. The owner runs a broker, and says who may have which key')
    await startBroker()
    const { url, pin } = announced()
    await run({ place: 'owner', command: 'guest-attest broker put default/luks/a --random --data broker' })
    await run({ place: 'owner', command: 'guest-attest broker put default/luks/b --random --data broker' })
    await run({
        place: 'owner',
        command:
            'guest-attest broker reference add --from-evidence evidence.json --name guest-a --coverage firmware+kernel+initrd+cmdline --data broker',
        show: /known|^measurements/,
    })
    writeFileSync(join(folder, 'disks.cedar'), CEDAR)
    await run({ place: 'owner', command: 'cat disks.cedar', show: 20 })
    await run({ place: 'owner', command: 'guest-attest broker policy put disks disks.cedar --data broker' })
    await run({ place: 'owner', command: `guest-attest trust add ${url} --pin ${pin} --allow-path default/luks/a` })

    title('3. A volume is bound, and opens in the guest')
    const config = `'{"url":"${url}","path":"default/luks/a"}'`
    writeFileSync(join(folder, 'passphrase'), 'correct horse battery staple')
    await run({
        place: 'owner',
        command:
            'truncate -s 20M disk.img && cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 disk.img passphrase',
    })
    await run({ place: 'guest', command: `clevis luks bind -y -d disk.img -k passphrase kbs ${config}` })
    await run({ place: 'guest', command: 'clevis luks unlock -t 1 -d disk.img' })
    await run({ place: 'guest', command: `clevis encrypt kbs ${config} < passphrase > bound.jwe` })
    await run({
        place: 'guest',
        command: 'clevis luks pass -d disk.img -s 1 | cryptsetup open --test-passphrase --key-file - disk.img',
    })
    await run({
        place: 'owner',
        command: 'guest-attest luks check disk.img',
        says: /PASS/,
        show: /PASS|host can| {2}- /,
    })
    await run({ place: 'owner', command: 'clevis luks pass -d disk.img -s 1', code: 1, says: /ERR_NO_TEE/, show: 2 })

    title('4. What must be refused')
    note('the same evidence, by a verifier that trusts the real vendor alone')
    await run({
        place: 'owner',
        command: 'guest-attest verify evidence.json --offline --authentic-only',
        code: 1,
        says: guest.rejected,
        show: /FAIL|REJECTED/,
    })
    note('another measurement: a guest that runs something else')
    await guestB.run({ place: 'guest', command: 'clevis-decrypt-kbs < bound.jwe', code: 1, says: /ERR_KBS_DENIED/ })
    note('a guest with the right measurement that its host may debug')
    await debugGuest.run({ place: 'guest', command: 'clevis-decrypt-kbs < bound.jwe', code: 1, says: /ERR_KBS_DENIED/ })
    await sameGuestOtherPath(url)
    await replays(url)
    await forgeries(url)

    title('5. The broker dies and comes back')
    await crash()

    title('6. What happened')
    await run({ place: 'owner', command: 'guest-attest broker audit --data broker', show: 40 })
    await run({
        place: 'owner',
        command: 'guest-attest broker audit --verify --data broker',
        says: /sound|nothing|intact|verif/i,
    })
}

async function sameGuestOtherPath(url: string): Promise<void> {
    note('guest B, which the broker knows, asks for the path of guest A')
    await guestB.run({
        place: 'guest',
        command: 'guest-attest evidence --report-data hex:00 --out b.json',
        quiet: true,
    })
    await guestB.run({
        place: 'owner',
        command:
            'guest-attest broker reference add --from-evidence b.json --name guest-b --coverage firmware+kernel+initrd+cmdline --data broker',
        quiet: true,
    })
    await guestB.run({
        place: 'guest',
        command: `guest-attest get-resource kbs:///default/luks/a --use luks-key --url ${url} --out stolen`,
        code: 1,
        says: /ERR_KBS_DENIED/,
    })
}

/** An attestation as it goes over the wire, with a key of the demo's own: what somebody who listens could have recorded. */
async function replays(url: string): Promise<void> {
    note('an attestation that was used already, sent again (recorded: its challenge was answered once)')
    const curl = `curl -sk -b jar -c jar -H 'content-type: application/json' ${url}/kbs/v0`
    const auth = await run({
        place: 'owner',
        command: `${curl}/auth -d '{"version":"0.4.0","tee":"${tee}","extra-params":""}'`,
        says: /nonce/,
        quiet: true,
    })
    const { nonce } = JSON.parse(auth.output) as { nonce: string }
    const teePubkey = ecJwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)
    writeFileSync(
        join(folder, 'runtime.json'),
        JSON.stringify({ 'additional-evidence': '', nonce, 'tee-pubkey': teePubkey }),
    )
    await run({
        place: 'guest',
        command: 'guest-attest evidence --runtime-data runtime.json --out recorded.json',
        quiet: true,
    })
    const evidence: unknown = JSON.parse(readFileSync(join(folder, 'recorded.json'), 'utf8'))
    const attestation = {
        'runtime-data': { nonce, 'tee-pubkey': teePubkey },
        'tee-evidence': { primary_evidence: evidence, additional_evidence: '' },
    }
    writeFileSync(join(folder, 'attestation.json'), JSON.stringify(attestation))
    await run({
        place: 'owner',
        command: `cp jar first; ${curl}/attest -d @attestation.json -o answer -w '%{http_code}\\n'`,
        says: /^200/,
    })
    const answered = `-w ' (%{http_code})\\n'`
    await run({
        place: 'owner',
        command: `cp first jar; ${curl}/attest -d @attestation.json ${answered} | tee answer; ! grep -qF '(200)' answer`,
        says: /401/,
    })
    note('… and into a new session, with a challenge of its own')
    await run({
        place: 'owner',
        command: `${curl}/auth -d '{"version":"0.4.0","tee":"${tee}","extra-params":""}' -o /dev/null; ${curl}/attest -d @attestation.json ${answered} | tee answer; ! grep -qF '(200)' answer`,
        says: /401/,
    })
}

/** What a host does to the header of the disk, under checksums that hold. */
async function forgeries(url: string): Promise<void> {
    const image = readFileSync(join(folder, 'disk.img'))
    const token = await run({ place: 'owner', command: 'cryptsetup token export --token-id 0 disk.img', quiet: true })
    const { jwe } = JSON.parse(token.output) as { jwe: { protected: string } }
    const header = Buffer.from(jwe.protected, 'base64url').toString()
    const rebound = (from: string, to: string): string => Buffer.from(header.replace(from, to)).toString('base64url')
    const forged = (name: string, changes: Record<string, unknown>): void =>
        writeFileSync(join(folder, name), reforge(image, changes))

    note('the host writes another path into the header: nothing is sent')
    forged('other-path.img', { 'tokens.0.jwe.protected': rebound('default/luks/a', 'default/luks/b') })
    await run({
        place: 'guest',
        command: 'clevis luks pass -d other-path.img -s 1',
        code: 1,
        says: /ERR_UNLOCK_PATH/,
        show: 2,
    })
    note('the host writes its own broker into the header: nothing is sent')
    forged('other-broker.img', { 'tokens.0.jwe.protected': rebound(url, 'https://evil.example') })
    await run({
        place: 'guest',
        command: 'clevis luks pass -d other-broker.img -s 1',
        code: 1,
        says: /ERR_UNLOCK_NOT_ANCHORED/,
        show: 2,
    })
    note('the host writes a header that encrypts nothing (CVE-2025-59054); cryptsetup itself takes it')
    forged('null-cipher.img', { 'segments.0.encryption': 'cipher_null-ecb' })
    await run({ place: 'owner', command: 'cryptsetup luksDump null-cipher.img', says: /cipher_null/, show: /cipher/ })
    await run({
        place: 'owner',
        command: 'guest-attest luks check null-cipher.img',
        code: 1,
        says: /cipher_null/,
        show: /FAIL/,
    })
}

async function crash(): Promise<void> {
    broker?.kill('SIGKILL')
    note('kill -9; the guest starts to unlock, and waits')
    const unlocking = run({ place: 'guest', command: 'clevis luks unlock -t 1 -d disk.img', show: 3 })
    await sleep(2500)
    await startBroker(new URL(announced().url).host)
    await unlocking
}

async function startBroker(listen = '127.0.0.1:0'): Promise<void> {
    const args = ['broker', 'serve', '--data', 'broker', '--listen', listen, trust]
    console.log(`$ guest-attest ${args.join(' ')} &`)
    writeFileSync(LOG, '')
    broker = spawn('sh', ['-c', `exec guest-attest ${args.join(' ')} 2>${LOG}`], { env, cwd: folder, stdio: 'ignore' })
    for (let i = 0; i < 300 && !/serving/.test(readFileSync(LOG, 'utf8')); i++) {
        if (broker.exitCode !== null) break
        await sleep(50)
    }
    for (const line of readFileSync(LOG, 'utf8').split('\n'))
        if (/WARNING|the key of|serving/.test(line)) console.log(`    ${line}`)
}

function announced(): { url: string; pin: string } {
    const log = readFileSync(LOG, 'utf8')
    return { url: /serving (\S+);/.exec(log)?.[1] ?? '', pin: /the key of this broker is (\S+)/.exec(log)?.[1] ?? '' }
}
