// The volume table: what a file may say, and that what is written can be read.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { CLIENT_GUID } from '#plugins/sev/client-secret.ts'
import {
    type BootVolume,
    formatVolume,
    needsNetwork,
    parseVolume,
    readVolumes,
    requireVolume,
    volumeFile,
} from '#unlock/volumes.ts'
import { temporaryFolder } from '../folder.ts'

const FILE = {
    uuid: '0b5317c0-ff25-49bd-b85d-45c1d000098a',
    servers: ['https://kbs.example:8443'],
    path: 'default/luks/web-1',
    frontEnd: 'socket',
    profile: 'strict',
}

const DISK_GUID = '736869e5-84f0-4973-92ec-06879ce3da0b'

const SECRET_FILE = { ...FILE, servers: undefined, path: undefined, secret: DISK_GUID.toUpperCase() }

const WRONG: readonly (readonly [what: string, file: string, value: unknown, message: RegExp])[] = [
    ['no UUID', 'root.toml', { ...FILE, uuid: 'x' }, /uuid: expected a UUID/],
    ['no broker', 'root.toml', { ...FILE, servers: [] }, /servers/],
    ['a broker with a path', 'root.toml', { ...FILE, servers: ['https://kbs/x'] }, /expected an origin/],
    ['a path of two names', 'root.toml', { ...FILE, path: 'a/b' }, /names no resource/],
    ['another front end', 'root.toml', { ...FILE, frontEnd: 'tty' }, /frontEnd/],
    ['clevis, strict', 'root.toml', { ...FILE, frontEnd: 'clevis' }, /its profile is compat/],
    ['an unknown member', 'root.toml', { ...FILE, pin: 'x' }, /pin/],
    ['a deadline of no time', 'root.toml', { ...FILE, deadlineS: 1 }, /deadlineS/],
    ['a name with a slash', 'ro ot.toml', FILE, /its name/],
    ['nothing', 'root.toml', null, /expected object/i],
    ['a broker and a secret', 'root.toml', { ...FILE, secret: DISK_GUID }, /or the secret that was injected/],
    ['a path and a secret', 'root.toml', { ...SECRET_FILE, path: FILE.path }, /or the secret that was injected/],
    ['neither', 'root.toml', { ...FILE, servers: undefined }, /expected servers and path/],
    ['the key of a launch', 'root.toml', { ...SECRET_FILE, secret: CLIENT_GUID }, /secret: the key of a launch/],
    ['a secret without a GUID', 'root.toml', { ...SECRET_FILE, secret: 'luks-key' }, /secret: expected a GUID/],
]

for (const [what, file, value, message] of WRONG)
    test(`refused: ${what}`, (t) => {
        const error = t.throws(() => parseVolume(value, `/etc/guest-attest/volumes.d/${file}`))
        t.regex(String(error?.message), message)
    })

test('what is written can be read, and what was left out has its default', (t) => {
    const volume = parseVolume(FILE, 'root.toml')
    t.like(volume, { name: 'root', onFailure: 'poweroff', deadlineS: 300, root: false })
    const folder = tableOf(t, {
        root: { ...volume, root: true },
        data: { ...volume, uuid: FILE.uuid.replace('0', '1') },
    })
    t.deepEqual(
        readVolumes(folder).map(({ name, root }) => [name, root]),
        [
            ['data', false],
            ['root', true],
        ],
    )
    t.deepEqual(requireVolume(folder, 'root'), { ...volume, root: true })
    t.throws(() => requireVolume(folder, 'swap'), { code: 'ERR_UNLOCK_NO_VOLUME' })
})

test('one that opens with an injected secret: as it was written, and without a network', (t) => {
    const volume = parseVolume(SECRET_FILE, 'root.toml')
    t.like(volume, { name: 'root', secret: DISK_GUID, deadlineS: 300 })
    t.false('servers' in volume)
    t.false(needsNetwork(volume))
    t.deepEqual(requireVolume(tableOf(t, { root: volume }), 'root'), volume)
})

test('two files of one disk, or two roots, cannot both hold', (t) => {
    const volume = { ...parseVolume(FILE, 'root.toml'), root: true }
    const other = { ...volume, uuid: FILE.uuid.replace('0', '1') }
    t.throws(() => readVolumes(tableOf(t, { a: volume, b: { ...volume, root: false } })), {
        message: /is the volume a/,
    })
    t.throws(() => readVolumes(tableOf(t, { a: volume, b: other })), { message: /another volume is the root/ })
})

function tableOf(t: Parameters<typeof temporaryFolder>[0], volumes: Record<string, BootVolume>): string {
    const folder = temporaryFolder(t)
    mkdirSync(join(folder, 'volumes.d'))
    for (const [name, volume] of Object.entries(volumes))
        writeFileSync(volumeFile(folder, name), formatVolume({ ...volume, name }))
    return folder
}
