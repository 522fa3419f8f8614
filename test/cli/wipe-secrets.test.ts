// The end of injected secrets in an initrd: what is wiped, what is left for whom, and what is said of it.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { handOver, wipeRead } from '#cli/initrd/secrets.ts'
import { driverError } from '#drivers/errors.ts'
import type { State } from '#unlock/status.ts'
import { type BootVolume, parseVolume } from '#unlock/volumes.ts'

const [A, B, C] = ['a', 'b', 'c'].map((digit) => `736869e5-84f0-4973-92ec-06879ce3da0${digit}`) as [
    string,
    string,
    string,
]

let disks = 0
const volume = (name: string, more: Readonly<Record<string, unknown>>): BootVolume => {
    const uuid = `0b5317c0-ff25-49bd-b85d-45c1d000098${disks++ % 10}`
    return parseVolume({ uuid, frontEnd: 'socket', profile: 'strict', ...more }, `${name}.toml`)
}
const BROKER = { servers: ['https://kbs.example'], path: 'a/b/c' }

interface Case {
    readonly name: string
    readonly volumes: readonly BootVolume[]
    readonly read?: readonly string[]
    readonly open?: readonly string[]
    /** How wiping one of them fails. */
    readonly fails?: Readonly<Record<string, 'ERR_SECRET_MISSING' | 'ERR_SECRETS_MODULE' | 'ERR_DEVICE_IO'>>
    readonly wiped: readonly string[]
    readonly exit?: number
    readonly said: readonly State[]
}

const CASES: readonly Case[] = [
    { name: 'no secret', volumes: [volume('root', { ...BROKER, root: true })], wiped: [], said: [] },
    {
        name: 'that of the root',
        volumes: [volume('root', { secret: A, root: true })],
        open: ['root'],
        wiped: [A],
        said: ['wiped'],
    },
    {
        name: 'that of a root which has not opened: its deadline has passed',
        volumes: [volume('root', { secret: A, root: true })],
        wiped: [A],
        said: ['wiped'],
    },
    {
        name: 'two volumes of the initrd with one secret',
        volumes: [volume('data', { secret: A, frontEnd: 'keyscript' }), volume('root', { secret: A, root: true })],
        wiped: [A],
        said: ['wiped'],
    },
    {
        name: 'left for a volume that the running system opens',
        volumes: [volume('root', { secret: A, root: true }), volume('data', { secret: A })],
        open: ['root'],
        wiped: [],
        said: ['waiting'],
    },
    {
        name: 'the same, when that is open',
        volumes: [volume('root', { secret: A, root: true }), volume('data', { secret: A })],
        open: ['root', 'data'],
        wiped: [A],
        said: ['wiped'],
    },
    {
        name: 'what a pin of clevis has read, beside that of the table; each once',
        volumes: [volume('root', { secret: A, root: true })],
        read: [B, A, B],
        wiped: [A, B],
        said: ['wiped', 'wiped'],
    },
    {
        name: 'wiped already',
        volumes: [volume('root', { secret: A, root: true })],
        fails: { [A]: 'ERR_SECRET_MISSING' },
        wiped: [],
        said: [],
    },
    {
        name: 'one that cannot be wiped does not keep the others',
        volumes: [volume('root', { secret: A, root: true })],
        read: [B, C],
        fails: { [A]: 'ERR_DEVICE_IO', [B]: 'ERR_SECRETS_MODULE' },
        wiped: [C],
        exit: 1,
        said: ['failed', 'failed', 'wiped'],
    },
]

for (const { name, volumes, read = [], open = [], fails = {}, wiped, exit = 0, said } of CASES)
    test(name, (t) => {
        const [gone, states]: [string[], State[]] = [[], []]
        const secrets = {
            wipe(guid: string) {
                const code = fails[guid]
                if (code) throw driverError(code, `${guid} fails`)
                gone.push(guid)
            },
        }
        const status = { say: (state: State) => void states.push(state) }
        t.is(
            wipeRead(volumes, read, secrets, (one) => open.includes(one), status),
            exit,
        )
        t.deepEqual(gone, wiped)
        t.deepEqual(states, said)
    })

const fails = (code: Parameters<typeof driverError>[0]) => async () => Promise.reject(driverError(code, 'no'))

for (const { name, guest, exit, said } of [
    { name: 'no such guest', guest: async () => null, exit: 0, said: [] },
    { name: 'a guest without a key of its launch', guest: async () => ({ close: () => undefined }), exit: 0, said: [] },
    ...(['ERR_SECRETS_NONE', 'ERR_SECRETS_KERNEL', 'ERR_SECRETS_MODULE', 'ERR_SECRETS_SECURITYFS'] as const).map(
        (code) => ({ name: `none is shown: ${code}`, guest: fails(code), exit: 0, said: [] }),
    ),
    ...(['ERR_SECRETS_TABLE', 'ERR_DEVICE_IO', 'ERR_DEVICE_ACCESS', 'ERR_DEVICE_KIND'] as const).map((code) => ({
        name: `it may be there, and cannot be seen: ${code}`,
        guest: fails(code),
        exit: 1,
        said: ['failed'] as State[],
    })),
    {
        name: 'handed over',
        guest: async () => ({ handOver: () => A, close: () => undefined }),
        exit: 0,
        said: ['wiped'],
    },
    {
        name: 'that is not possible',
        guest: async () => ({
            handOver: () => {
                throw driverError('ERR_KEYRING', 'no keyrings')
            },
            close: () => undefined,
        }),
        exit: 1,
        said: ['failed'],
    },
] satisfies readonly { name: string; guest: Parameters<typeof handOver>[0]; exit: number; said: State[] }[])
    test(`the key of a launch: ${name}`, async (t) => {
        const states: State[] = []
        t.is(await handOver(guest, { say: (state) => void states.push(state) }), exit)
        t.deepEqual(states, said)
    })
