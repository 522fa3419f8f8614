// The story of a guest that can ask its device for a report: SNP, TDX.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { trustWords } from '../stage.ts'
import { forgeries, replays } from './attacks.ts'
import type { Scene, Story } from './scene.ts'
import type { Shell } from './shell.ts'

/** What of it depends on the technology. */
export interface Guest {
    /** Options of the emulator, for every guest; and for one that its host may debug. */
    readonly emulate: readonly string[]
    readonly debug: readonly string[]
    readonly device: string
    /** What a verifier says that trusts the real vendor alone. */
    readonly rejected: RegExp
}

const MEASUREMENT = createHash('sha384').update('firmware, kernel, initrd and command line of guest A').digest('hex')
const OTHER = createHash('sha384').update('something else').digest('hex')

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

export const attested =
    (guest: Guest): Story =>
    (scene) =>
        tell(scene, guest)

async function tell(scene: Scene, guest: Guest): Promise<void> {
    const { tee, broker, write } = scene
    const trust = (await trustWords(tee, 'vendor')).join(' ')
    const guestWith = (measurement: string, ...more: readonly string[]): Shell =>
        scene.shell(...guest.emulate, '--trust-dir', 'vendor', '--measurement', measurement, ...more)
    const guestA = guestWith(MEASUREMENT)
    const guestB = guestWith(OTHER)
    const debugGuest = guestWith(MEASUREMENT, ...guest.debug)
    const { title, note, run } = guestA

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
    await broker.start(trust)
    const { url, pin } = broker
    await run({ place: 'owner', command: 'guest-attest broker put default/luks/a --random --data broker' })
    await run({ place: 'owner', command: 'guest-attest broker put default/luks/b --random --data broker' })
    await run({
        place: 'owner',
        command:
            'guest-attest broker reference add --from-evidence evidence.json --name guest-a --coverage firmware+kernel+initrd+cmdline --data broker',
        show: /known|^measurements/,
    })
    write('disks.cedar', CEDAR)
    await run({ place: 'owner', command: 'cat disks.cedar', show: 20 })
    await run({ place: 'owner', command: 'guest-attest broker policy put disks disks.cedar --data broker' })
    await run({ place: 'owner', command: `guest-attest trust add ${url} --pin ${pin} --allow-path default/luks/a` })

    title('3. A volume is bound, and opens in the guest')
    const config = `'{"url":"${url}","path":"default/luks/a"}'`
    write('passphrase', 'correct horse battery staple')
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
    await sameGuestOtherPath(guestB, url)
    await replays(scene, guestA)
    await forgeries(scene, guestA, { image: 'disk.img', path: 'default/luks/a', other: 'default/luks/b' })

    title('5. The broker dies and comes back')
    await broker.crash(guestA, { place: 'guest', command: 'clevis luks unlock -t 1 -d disk.img', show: 3 })

    title('6. What happened')
    await run({ place: 'owner', command: 'guest-attest broker audit --data broker', show: 40 })
    await run({
        place: 'owner',
        command: 'guest-attest broker audit --verify --data broker',
        says: /sound|nothing|intact|verif/i,
    })
}

async function sameGuestOtherPath({ note, run }: Shell, url: string): Promise<void> {
    note('guest B, which the broker knows, asks for the path of guest A')
    await run({
        place: 'guest',
        command: 'guest-attest evidence --report-data hex:00 --out b.json',
        quiet: true,
    })
    await run({
        place: 'owner',
        command:
            'guest-attest broker reference add --from-evidence b.json --name guest-b --coverage firmware+kernel+initrd+cmdline --data broker',
        quiet: true,
    })
    await run({
        place: 'guest',
        command: `guest-attest get-resource kbs:///default/luks/a --use luks-key --url ${url} --out stolen`,
        code: 1,
        says: /ERR_KBS_DENIED/,
    })
}
