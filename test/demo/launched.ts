// The story of a guest that its owner proves before it runs: SEV-ES. A broker judges the launch, the host carries the messages
// between it and the secure processor, the guest finds what was injected.
// SPDX-License-Identifier: Apache-2.0

import { forgeries, replays } from './attacks.ts'
import { rogueHost } from './by-hand.ts'
import { CMDLINE, DB, GUID, guestOf, type Machine, POLICY, prepare, qemu, WEB } from './platform.ts'
import type { Scene } from './scene.ts'
import type { Shell } from './shell.ts'

/** The processor that the emulated QEMU makes the state for, and how its KVM would. */
const MILAN = '--cpu-family 25 --cpu-model 1 --cpu-stepping 1 --profile kvm-legacy'

export async function launched(scene: Scene): Promise<void> {
    const { broker } = scene
    const guest = guestOf(scene, 'web')
    const { title, note, run } = guest
    await prepare(scene)

    console.log('A guest that its owner proves before it runs, and a disk that opens in it alone.')
    note('$ is the owner’s trusted machine, host# is the host, which nobody trusts, guest# is inside the VM.')
    note('REAL: cryptsetup, clevis, jose, TLS, the broker, the launch service, the host’s program.')
    note('EMULATED: the secure processor, the vendor behind it, and QEMU, which speaks its monitor’s messages and runs')
    note('its initrd in an emulated guest, with the memory that the processor has decrypted the secrets into.')

    title('1. Is that platform the vendor’s?')
    const chain = 'guest-attest sev chain verify --pdh pdh --cert-chain cert-chain'
    const verified = await run({
        place: 'owner',
        command: `${chain} --trust-root ark.cert`,
        show: 20,
    })
    const chip = /[0-9a-f]{64}/.exec(verified.output)?.[0] ?? ''

    title('2. The owner runs a broker, and says which guest gets what')
    await broker.start()
    await formatRoot(guest)
    const measured = `--firmware AmdSev.fd --kernel vmlinuz --initrd initrd`
    await run({
        place: 'owner',
        command: `guest-attest measure sev-es ${measured} --append ${CMDLINE} --vcpus 2 ${MILAN} --json > web.json`,
    })
    await run({
        place: 'owner',
        command: 'guest-attest broker reference add --from-measure web.json --name web --data broker',
        show: /known|^measurements/,
    })
    await run({ place: 'owner', command: 'cat web.cedar', show: 20 })
    await run({ place: 'owner', command: 'guest-attest broker policy put web web.cedar --data broker' })
    await run({ place: 'owner', command: 'guest-attest broker put web/luks/data --random --data broker' })
    const register = (uuid: string, initrd: string, more = ''): string =>
        `guest-attest broker launch register ${uuid} --policy ${POLICY} --firmware AmdSev.fd --kernel vmlinuz --initrd ${initrd} --cmdline ${CMDLINE} --num-cpus 2 ${MILAN} --chip ${chip} --trust-root ark.cert --broker-url ${broker.url} --allow-path 'web/*/*'${more} --data broker`
    await run({
        place: 'owner',
        command: register(
            WEB,
            'initrd',
            ` --secret ${GUID}:disk.key --secret luks-key:passphrase --host-token web.token --max-launches 3`,
        ),
        show: 3,
    })

    title('3. The host launches it: paused, measured, judged, injected; then it runs, and opens its root')
    const launchHost = (machine: Machine, uuid = WEB, token = ' --token web.token'): string =>
        `guest-attest sev launch-host --vm ${uuid}${token} --qmp ${machine.name}.qmp --service ${broker.url} --pin ${broker.pin} --kernel-hashes -- ${qemu(machine)}`
    await run({ place: 'host', command: launchHost({ name: 'web' }), says: /the root is open\n/ })
    await run({ place: 'owner', command: 'guest-attest broker launch list --data broker', says: /1 of 3/ })

    title('4. The guest proves itself, with a key of this launch, to the broker that launched it')
    await run({ place: 'guest', command: 'guest-attest detect', says: /^technology +sev$/m })
    await run({ place: 'guest', command: 'guest-attest secrets list', says: new RegExp(GUID), show: 8 })
    await run({ place: 'guest', command: 'guest-attest trust list', says: new RegExp(broker.url), show: 8 })
    await run({
        place: 'guest',
        command:
            'guest-attest secrets show luks-key --out raw && cryptsetup open --test-passphrase --key-file raw root.img',
    })
    await bindData(guest, broker.url)
    await broker.crash(guest, { place: 'guest', command: 'clevis luks unlock -t 1 -d data.img', show: 3 })

    title('5. What must be refused: before it runs')
    note('the same platform, by an owner who trusts AMD alone')
    await run({ place: 'owner', command: chain, code: 1, says: /REJECTED/, show: /REJECTED|FAIL/ })
    note('a guest whose processors start where the host likes: a policy without ES')
    await run({
        place: 'owner',
        command: `guest-attest broker launch register ${DB} --policy ${POLICY & ~4} ${measured} --cmdline ${CMDLINE} --secret luks-key:passphrase --data broker`,
        code: 2,
        says: /insecure-unmeasured-cpu-state/,
        show: 2,
    })
    note('a host that was not told the owner’s token')
    await run({
        place: 'host',
        command: launchHost({ name: 'web' }, WEB, ''),
        code: 1,
        says: /denies the launch/,
    })
    note('a host that changes the initrd: the guest ends before it ran, and only its owner learns why')
    await run({
        place: 'host',
        command: launchHost({ name: 'greedy', initrd: 'greedy' }),
        code: 1,
        says: /denies the launch/,
    })
    await run({
        place: 'owner',
        command: `guest-attest broker launch show ${WEB} --data broker`,
        says: /ERR_SEV_MEASUREMENT/,
        show: /denied/,
    })

    title('6. What must be refused: of a guest that runs')
    await inTheGuest(scene, guest)
    await replays(scene, guest)
    await forgeries(scene, guest, { image: 'data.img', path: 'web/luks/data', other: 'db/luks/data' })
    note('a guest of the same broker that runs something else, with the key of its own launch')
    await run({ place: 'owner', command: register(DB, 'greedy', ' --host-token db.token'), quiet: true })
    await run({
        place: 'host',
        command: launchHost({ name: 'db', initrd: 'greedy' }, DB, ' --token db.token'),
        says: /I would send/,
        quiet: true,
    })
    await guestOf(scene, 'db').run({
        place: 'guest',
        command: 'guest-attest get-resource kbs:///web/luks/data --use luks-key --out stolen',
        code: 1,
        says: /ERR_KBS_DENIED/,
    })

    title('7. What must be refused: of a host that does it by hand')
    await rogueHost(scene, guest)

    title('8. The owner ends it')
    await run({ place: 'host', command: launchHost({ name: 'web-3' }), says: /the root is open\n/ })
    const last = guestOf(scene, 'web-3')
    const data = 'clevis luks pass -d data.img -s 1 | cryptsetup open --test-passphrase --key-file - data.img'
    await last.run({ place: 'guest', command: data })
    await run({ place: 'owner', command: `guest-attest broker launch revoke ${WEB} --data broker` })
    await last.run({ place: 'guest', command: 'clevis luks pass -d data.img -s 1', code: 1, says: /its key has ended/ })
    note('three launches were allowed')
    await run({
        place: 'host',
        command: launchHost({ name: 'web-4' }),
        code: 1,
        says: /denies the launch/,
    })

    title('9. What happened')
    await run({
        place: 'owner',
        command: `guest-attest broker launch show ${WEB} --data broker`,
        says: /3 launches were validated: no more are allowed/,
        show: / launch |validated|denied|refused|key/,
    })
    await run({ place: 'owner', command: 'guest-attest broker audit --data broker', show: 60 })
    await run({ place: 'owner', command: 'guest-attest broker audit --verify --data broker', says: /verified/ })
}

const FORMAT = 'cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000'

/** The root opens with a secret that the owner gives to each launch. */
async function formatRoot({ run }: Shell): Promise<void> {
    await run({ place: 'owner', command: `truncate -s 20M root.img && ${FORMAT} root.img passphrase` })
    await run({ place: 'owner', command: 'head -c 32 /dev/urandom > disk.key' })
    const config = `'{"guid":"${GUID}","key_file":"disk.key"}'`
    await run({ place: 'owner', command: `clevis luks bind -y -d root.img -k passphrase sev ${config}` })
}

/** Another disk opens with a key that only the broker has. */
async function bindData({ run }: Shell, url: string): Promise<void> {
    await run({ place: 'guest', command: `truncate -s 20M data.img && ${FORMAT} data.img passphrase` })
    const config = `'{"url":"${url}","path":"web/luks/data"}'`
    await run({ place: 'guest', command: `clevis luks bind -y -d data.img -k passphrase kbs ${config}` })
    await run({
        place: 'guest',
        command: 'clevis luks pass -d data.img -s 1 | cryptsetup open --test-passphrase --key-file - data.img',
    })
    await run({
        place: 'owner',
        command: 'guest-attest luks check data.img',
        says: /PASS/,
        show: /PASS|host can| {2}- /,
    })
}

async function inTheGuest({ broker }: Scene, { note, run }: Shell): Promise<void> {
    note('a broker that the image trusts: only the one that launched this guest counts')
    const other = 'https://evil.example'
    await run({
        place: 'owner',
        command: `guest-attest trust add ${other} --pin ${broker.pin} --allow-path 'web/*/*'`,
    })
    await run({
        place: 'guest',
        command: 'guest-attest trust list > trusted; cat trusted; ! grep -F evil trusted',
        says: new RegExp(broker.url),
        show: /^http/,
    })
    await run({
        place: 'guest',
        command: `guest-attest get-resource kbs:///web/luks/data --use luks-key --url ${other} --out stolen`,
        code: 1,
        says: /is no broker that this guest trusts/,
    })
    note('a secret that was taken: the root stays shut')
    const pass = 'clevis luks pass -d root.img -s 1'
    await run({
        place: 'guest',
        command: `${pass} > /dev/null && guest-attest secrets take ${GUID} --out taken && ${pass}`,
        code: 1,
        says: /ERR_SECRET_MISSING/,
        show: 2,
    })
}
