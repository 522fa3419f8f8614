// What stands around the machines that boot: an emulated vendor, a real broker with TLS, tangd, a door to the broker that
// can be shut and opened again, and a resolver.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join, relative } from 'node:path'
import { LAUNCHED } from '#plugins.ts'
import { openStage, type Stage } from '#test/stage.ts'
import { startTang, type Tang } from '#test/tang.ts'
import type { Entry } from './cpio.ts'
import { type Launch, openLaunchStage } from './launched.ts'

/** What a guest sees as the host that it runs on, in QEMU's user-mode network. */
export const HOST = '10.0.2.2'

export interface BootStage {
    readonly stage: Pick<Stage, 'folder' | 'url' | 'pin' | 'env' | 'broker'>
    /** The emulated chip's files in the initrd; none where guests are launched instead. */
    chip(measurement: string): Record<string, Entry>
    /** Of guests of SEV. @throws TypeError where guests are of another technology */
    readonly launch: Launch
    readonly tang: Tang
    /** Of the broker, on the host. */
    readonly port: number
    /** The resources: what each disk is opened with. Kept here to look for them on consoles. */
    readonly secrets: Map<string, Buffer>
    /** Stores a disk key of our own. */
    put(path: string): Promise<Buffer>
    close(): Promise<void>
}

/** AMD publishes no list of chips of SEV that are known to be broken. */
const policyOf = (tee: string): string => `@id("boot")
@insecureCustomRoot
${tee === LAUNCHED.id ? '@insecureNoRevocation' : ''}
permit (principal, action == Action::"release", resource)
when { principal.references.contains("web") };
`

/** @param tee the technology of the guests that ask its broker */
export async function openBootStage(tee: string): Promise<BootStage> {
    const stage = tee === LAUNCHED.id ? await openLaunchStage() : await openStage(undefined, tee)
    const tang = await startTang(stage.folder)
    const policy = join(stage.folder, 'boot.cedar')
    writeFileSync(policy, policyOf(tee))
    await stage.broker('policy', 'put', 'boot', policy)
    const secrets = new Map<string, Buffer>()
    return {
        stage,
        chip: (measurement) => ('vendor' in stage ? chipFiles(stage, measurement) : {}),
        launch(...how) {
            if ('launch' in stage) return stage.launch(...how)
            throw new TypeError(`a guest of ${tee} is not launched`)
        },
        tang,
        port: Number(new URL(stage.url).port),
        secrets,
        async put(path) {
            const key = randomBytes(32)
            const file = join(stage.folder, `key-${path.replaceAll('/', '-')}`) // boots are made at the same time
            writeFileSync(file, key, { mode: 0o600 })
            await stage.broker('put', path, file, '--kind', 'luks-key', '--replace')
            secrets.set(path, key)
            return key
        },
        async close() {
            tang.stop()
            await stage.close()
        },
    }
}

/** Its vendor's keys, and what was launched. */
function chipFiles({ tee, vendor }: Pick<Stage, 'tee' | 'vendor'>, measurement: string): Record<string, Entry> {
    const files = readdirSync(vendor, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    return {
        'etc/guest-attest-emulator/launch.json': { bytes: JSON.stringify({ tee, options: { measurement } }) },
        ...Object.fromEntries(
            files.map(({ parentPath, name }) => [
                `etc/guest-attest-emulator/vendor/${relative(vendor, join(parentPath, name))}`,
                { bytes: readFileSync(join(parentPath, name)), mode: 0o600 },
            ]),
        ),
    }
}

/** A door in front of the broker: shut, it refuses whoever comes. */
export interface Door {
    readonly port: number
    open(): Promise<void>
    shut(): void
}

export async function door(target: number): Promise<Door> {
    const sockets = new Set<Socket>()
    const server = createServer((from) => {
        const to = connect(target, '127.0.0.1')
        for (const [a, b] of [
            [from, to],
            [to, from],
        ] as const) {
            sockets.add(a)
            a.on('error', () => b.destroy()).on('close', () => sockets.delete(a))
            a.pipe(b)
        }
    })
    const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    await listen(0)
    const { port } = server.address() as AddressInfo
    return {
        port,
        open: () => listen(port),
        shut() {
            server.close()
            for (const socket of sockets) socket.destroy()
        },
    }
}

/** A resolver that answers every name with one address. RFC 1035 §4. */
export function resolver(address: string, bind: string): Promise<{ close(): void }> {
    const socket = createSocket('udp4')
    socket.on('message', (query, { port, address: from }) => {
        const end = query.indexOf(0, 12) + 5
        const question = query.subarray(12, end)
        const isA = question.readUInt16BE(question.length - 4) === 1
        const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split('.').map(Number)])
        const header = Buffer.from([query[0] ?? 0, query[1] ?? 0, 0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0])
        socket.send(Buffer.concat([header, question, ...(isA ? [answer] : [])]), port, from)
    })
    return new Promise((resolve, reject) => {
        socket.once('error', reject)
        socket.bind(53, bind, () => resolve(socket))
    })
}
