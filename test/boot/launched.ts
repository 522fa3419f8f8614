// Guests of SEV for the machines that boot: a real broker that launches them, and a host with an emulated secure processor.
// What the processor finds in the packet of secrets becomes a file of the initrd, which guest/efi_secret.c shows there.
// SPDX-License-Identifier: Apache-2.0

import { randomUUID } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { join } from 'node:path'
import { CLIENT_GUID } from '#plugins/sev/client-secret.ts'
import { parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { capabilities, claim, IMAGE, packetOf, started, thePlatform } from '#test/broker/launch-rig.ts'
import { type Answer, asker } from '#test/broker/rig.ts'
import { openGround } from '#test/stage.ts'
import type { Entry } from './cpio.ts'

export interface LaunchOptions {
    /** What the owner has injected, by GUIDs or their aliases. */
    readonly secrets?: Readonly<Record<string, string | Buffer>>
    /** With this address of the broker: a key of the launch too. */
    readonly brokerUrl?: string
}

export interface Launched {
    /** Of its registration. */
    readonly uuid: string
    /** What of it is in the initrd. */
    readonly files: Readonly<Record<string, Entry>>
}

/** Puts secrets into a guest. @param secrets told of every text that no console may show */
export type Launch = (options: LaunchOptions, secrets: Set<string>) => Promise<Launched>

/** ES, and nobody may move it. */
const POLICY = '15'

const PROCESSORS = '--cpu-family 25 --cpu-model 1 --cpu-stepping 1 --profile kvm-legacy'.split(' ')

/** As if the hashes of kernel, initrd and command line were measured with the firmware: no host of SEV is here to add them. */
const referenceOf = (digest: string): string => `name = "web"
tee = "sev"
coverage = "firmware+kernel+initrd+cmdline"
[policy]
measurements = ["${digest}"]
`

/** A broker whose guests of the reference set `web` are those that its host launches. */
export async function openLaunchStage(config?: string) {
    const ground = openGround(config ?? '')
    const { folder, cli } = ground
    const serving = await ground.serve()
    const { broker, url } = serving
    const platform = await thePlatform()
    const write = (name: string, bytes: string | Buffer): string => {
        const file = join(folder, name)
        writeFileSync(file, bytes, { mode: 0o600 })
        return file
    }
    const firmware = write('AmdSev.fd', IMAGE)
    const root = write('ark', platform.certificates.ark)
    const predicted = await cli('measure', 'sev-es', '--firmware', firmware, '--vcpus', '2', ...PROCESSORS)
    await broker('reference', 'add', write('web.toml', referenceOf(predicted.stdout.trim())))
    const agent = new Agent({ keepAlive: true, rejectUnauthorized: false })
    const ask = asker(url, agent)
    const post = async (path: string, body: unknown, shown: Record<string, string>): Promise<Answer> => {
        const answer = await ask('POST', path, body, shown)
        if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.body}`)
        return answer
    }

    const launch: Launch = async ({ secrets = {}, brokerUrl }, hidden) => {
        const uuid = randomUUID()
        const given = Object.entries(secrets).map(([guid, bytes], i) => `${guid}:${write(`${uuid}-${i}`, bytes)}`)
        const token = join(folder, `${uuid}.token`)
        const key = brokerUrl === undefined ? [] : ['--broker-url', brokerUrl, '--allow-path', 'default/luks/*']
        await broker(
            ...['launch', 'register', uuid, '--policy', POLICY, '--trust-root', root],
            ...['--firmware', firmware, '--num-cpus', '2', ...PROCESSORS],
            ...given.flatMap((secret) => ['--secret', secret]),
            ...key,
            ...['--host-token', token],
        )
        const shown = { authorization: `Bearer ${readFileSync(token, 'utf8').trim()}` }
        const session = await post(`/v1/vm/${uuid}/launch`, capabilities(platform), shown)
        const processor = started(platform, session)
        const { json } = await post(`/v1/vm/${uuid}/validate`, claim(processor, session.json['launch-id']), shown)
        const table = processor.inject(packetOf(json))
        for (const { guid, data } of parseSecretTable(table))
            hidden.add(guid === CLIENT_GUID ? JSON.parse(data.toString()).key : data.toString('latin1'))
        return { uuid, files: { 'etc/guest-attest-emulator/secrets': { bytes: table, mode: 0o600 } } }
    }
    return {
        ...ground,
        ...serving,
        launch,
        async close() {
            agent.destroy()
            await serving.close()
        },
    }
}
