// A launch that a host does by hand, as one would that means no good: it asks the launch service with curl, and speaks to
// QEMU's monitor by itself.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FIRMWARE } from '../plugins/sev/minted.ts'
import { guestOf, type Machine, POLICY, qemu, WEB } from './platform.ts'
import type { Scene } from './scene.ts'
import type { Shell } from './shell.ts'

interface ByHand {
    /** The command that starts it paused, under this policy. */
    paused(policy: number): string
    /** Starts it so, and asks it for its measurement. */
    start(policy: number): Promise<void>
    /** Has the measurement judged, and expects this status. */
    validate(status: number): Promise<void>
    /** What the service answered, as `sev-inject-launch-secret` takes it. */
    packet(): string
    /** Injects a packet that the processor must refuse. */
    injectInVain(packet: string): Promise<void>
}

/** What it tries, and why none of it is of use. */
export async function rogueHost(scene: Scene, guest: Shell): Promise<void> {
    const { note, run } = guest
    const first = await byHand(scene, guest, { name: 'first' })
    note('another policy than the owner’s, without ES: the session is bound to it')
    await run({ place: 'host', command: first.paused(POLICY & ~4), code: 1, says: /the session is for another policy/ })
    await first.start(POLICY)
    await first.validate(200)
    note('the same launch once more: it is answered once')
    await first.validate(403)
    note('the guest of the launch before: since this one was validated, its key counts no more')
    await run({
        place: 'guest',
        command: 'guest-attest get-resource kbs:///web/luks/data --use luks-key --out stolen',
        code: 1,
        says: /its key has ended/,
    })
    note('the answer to that launch, injected into the next')
    const second = await byHand(scene, guest, { name: 'second', initrd: 'greedy' })
    await second.start(POLICY)
    await second.injectInVain(first.packet())
    note('and that guest run without anybody’s yes: it has no secret')
    await run({ place: 'host', command: 'qmp second.qmp cont' })
    await guestOf(scene, 'second').run({
        place: 'guest',
        command: 'clevis luks pass -d root.img -s 1',
        code: 1,
        says: /ERR_SECRETS_NONE/,
    })
}

/** Asks for a session of a guest that its owner expects. */
async function byHand({ folder, broker, write, background }: Scene, { run }: Shell, machine: Machine): Promise<ByHand> {
    const { name } = machine
    const json = (path: string): Record<string, string> => JSON.parse(readFileSync(join(folder, path), 'utf8'))
    const ask = (step: string, body: string, answer: string): string =>
        `curl -sk -H "authorization: Bearer $(cat web.token)" -H 'content-type: application/json' ${broker.url}/v1/vm/${WEB}/${step} -d @${body} -o ${answer} -w '%{http_code}\\n'`
    const paused = (policy: number): string =>
        `${qemu(machine)} -S -qmp unix:${name}.qmp,server=on,wait=off -object sev-guest,id=sev0,policy=${policy},cbitpos=51,reduced-phys-bits=1,dh-cert-file=${name}.godh,session-file=${name}.session,kernel-hashes=on`

    await run({ place: 'host', command: ask('launch', 'emulated/capabilities.json', `${name}.launch`), says: /^200/ })
    const member = (what: string, file: string): string =>
        `jose fmt -j ${name}.launch -Og ${what} -Su- > ${name}.${file}`
    await run({ place: 'host', command: `${member('owner-cert', 'godh')} && ${member('session', 'session')}` })

    return {
        paused,
        async start(policy) {
            background('host', paused(policy))
            for (let i = 0; i < 200 && !existsSync(join(folder, `${name}.qmp`)); i++) await sleep(50)
            const said = await run({ place: 'host', command: `qmp ${name}.qmp query-sev-launch-measure`, says: /data/ })
            const { data } = JSON.parse(said.output) as { data: string }
            const { apiMajor, apiMinor, buildId } = FIRMWARE
            const claim = {
                'api-major': apiMajor,
                'api-minor': apiMinor,
                'build-id': buildId,
                policy,
                measurement: data,
                'launch-id': json(`${name}.launch`)['launch-id'],
            }
            write(`${name}.claim`, JSON.stringify(claim))
            await run({ place: 'host', command: `cat ${name}.claim` })
        },
        async validate(status) {
            const answer = `${name}.${status === 200 ? 'answer' : 'denied'}`
            await run({
                place: 'host',
                command: ask('validate', `${name}.claim`, answer),
                says: new RegExp(`^${status}`),
            })
        },
        packet() {
            const { 'secret-header': header, 'secret-payload': secret } = json(`${name}.answer`)
            return JSON.stringify({ 'packet-header': header, secret })
        },
        async injectInVain(packet) {
            write(`${name}.packet`, packet)
            await run({
                place: 'host',
                command: `qmp ${name}.qmp sev-inject-launch-secret "$(cat ${name}.packet)"`,
                code: 1,
                says: /for another launch/,
            })
        },
    }
}
