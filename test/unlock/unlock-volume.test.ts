// A volume from its disk to its passphrase: what opens, what is refused before anything is sent, and what is told.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { encryptTo } from '#core/jwe.ts'
import { silent } from '#core/log.ts'
import { formatResourcePath } from '#kbs/messages.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { parseAnchor } from '#unlock/anchors.ts'
import { bootDenials } from '#unlock/denials.ts'
import { bootStatus } from '#unlock/status.ts'
import { unlockVolume } from '#unlock/unlock-volume.ts'
import { headerFile } from '#unlock/volume-header.ts'
import type { Volume } from '#unlock/volumes.ts'
import { ATTESTER, PATH, refusal, type Script, scripted } from '../kbs/scripted.ts'
import { type Bound, boundImage } from '../luks/bound.ts'
import { must } from '../luks/cryptsetup.ts'

const withCryptsetup = needs(programs('cryptsetup'))

const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => 200 - i))
const gives = (resource: Buffer): Script => ({
    resource: (teeKey) => ({ headers: { 'resource-version': '1' }, body: encryptTo(teeKey, Buffer.from(resource)) }),
})
const DENIES: Script = { resource: { status: 403, body: refusal('PolicyDeny', 'measurement is not on the list') } }

interface Case {
    readonly script?: Script
    /** What the host does to the disk. */
    readonly spoil?: (bound: Bound, folder: string) => void
    readonly volume?: Partial<Volume>
    readonly commandLine?: string
    readonly deadlineS?: number
}

async function open(t: ExecutionContext, { script = gives(KEY), spoil, volume = {}, commandLine = '' }: Case) {
    const bound = boundImage(t, KEY, formatResourcePath(PATH), 1)
    const folder = temporaryFolder(t)
    spoil?.(bound, folder)
    const asked: string[] = []
    const server = createServer(scripted(script, asked)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => {
        server.closeAllConnections()
        server.close()
    })
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const said: string[] = []
    const delivered: string[] = []
    let ready = 0
    const code = await unlockVolume(
        {
            name: 'root',
            uuid: bound.uuid,
            servers: [url],
            path: PATH,
            frontEnd: 'socket',
            profile: 'strict',
            onFailure: 'poweroff',
            deadlineS: 3,
            root: true,
            ...volume,
        },
        {
            ready() {
                ready++
                if (!existsSync(headerFile('root', folder))) throw new TypeError('ready, and no header to open from')
            },
            deliver: async (passphrase) => void delivered.push(passphrase.toString('latin1')),
        },
        {
            anchors: [parseAnchor({ url, insecureHttp: true, allowPaths: [formatResourcePath(PATH)] }, 'a.toml')],
            attester: async () => ATTESTER,
            denials: bootDenials(join(folder, 'denied')),
            log: silent,
            requestTimeoutMs: 5000,
            staggerMs: 100,
            status: bootStatus('root', folder, [(_level, line) => said.push(line)]),
            runFolder: folder,
            injected: () => {
                throw new TypeError('no secret is read for a volume of a broker')
            },
            device: bound.image,
            commandLine: () => commandLine,
        },
    )
    return { code, said, delivered, ready, asked, folder, bound }
}

withCryptsetup(
    'opens: the header is copied first, and what is delivered opens the volume from that copy',
    async (t) => {
        const { code, said, delivered, ready, folder, bound } = await open(t, {})
        t.is(code, 0)
        t.deepEqual(delivered, [bound.passphrase])
        t.is(ready, 1)
        const copy = headerFile('root', folder)
        t.is(statSync(copy).mode & 0o777, 0o600)
        const keyFile = join(folder, 'key')
        writeFileSync(keyFile, delivered[0] ?? '')
        must('cryptsetup', 'open', '--test-passphrase', '--key-file', keyFile, '--header', copy, bound.image)
        t.regex(said[0] ?? '', /^guest-attest: root: the header of \S+ is sound/)
        t.regex(said[1] ?? '', /^guest-attest: root: asking http:\S+ for default\/luks\/a$/)
        t.regex(said[2] ?? '', /^guest-attest: root: the key of root has been handed over$/)
        for (const text of [...said, readFileSync(join(folder, 'boot.jsonl'), 'utf8')])
            t.false(text.includes(bound.passphrase))
    },
)

for (const { name, says, code = 1, sent = false, ...given } of [
    {
        name: 'a null cipher in the header',
        spoil: ({ image }: Bound) => forge(image, (json) => json.replaceAll('aes-xts-plain64', 'cipher_null-ecb')),
        says: /refused: the header of .* may not be opened: .*checksum/,
    },
    {
        name: 'another disk',
        volume: { uuid: '0b5317c0-ff25-49bd-b85d-45c1d000098a' },
        says: /refused: .*expected 0b53/,
    },
    {
        name: 'the host’s own LUKS disk',
        spoil: ({ image, uuid }: Bound) => ownDisk(image, uuid),
        says: /refused: .* is not bound to default\/luks\/a/,
    },
    {
        name: 'a token for another key beside ours',
        spoil: ({ image }: Bound) => addToken(image, { type: 'luks2-keyring', keyslots: ['0'], key_description: 'x' }),
        says: /refused: .*token 1: luks2-keyring may open it without the broker/,
    },
    {
        name: 'a key slot that was changed',
        spoil: ({ image }: Bound) => must('cryptsetup', 'config', '--priority', 'prefer', '-S', '0', image),
        says: /refused: token 0: the header is not the one that was bound/,
        sent: true,
    },
    {
        name: 'another key',
        script: gives(Buffer.alloc(32, 1)),
        says: /refused: .*not the one that was bound/,
        sent: true,
    },
    {
        name: 'a word for a shell',
        commandLine: 'ro rd.break quiet',
        says: /refused: .*"rd.break", which leads to a shell/,
    },
    { name: 'a broker that is not trusted', volume: { servers: ['https://other'] }, says: /refused: .*is no broker/ },
    {
        name: 'a denial',
        script: DENIES,
        says: /not opened: gave up after .*measurement is not on the list/,
        code: 3,
        sent: true,
    },
] as (Case & { name: string; says: RegExp; code?: number; sent?: boolean })[])
    withCryptsetup(`stays shut: ${name}`, async (t) => {
        const { code: got, said, delivered, asked, ready, folder } = await open(t, given)
        t.is(got, code)
        // systemd-cryptsetup tries the empty passphrase where it gets none: so it gets no header either.
        t.is(ready, 0)
        t.false(existsSync(headerFile('root', folder)))
        t.regex(said.at(-1) ?? '', says)
        t.deepEqual(delivered, [])
        t.is(asked.length > 0, sent)
    })

withCryptsetup('a denial is told in one line while it lasts', async (t) => {
    const { said } = await open(t, { script: DENIES })
    t.is(said.filter((line) => line.includes('the broker answers 403')).length, 1 + 1) // and as the reason at the end
})

withCryptsetup('the profile compat does not look at the command line', async (t) => {
    const { code } = await open(t, { volume: { profile: 'compat' }, commandLine: 'rd.break init=/bin/sh' })
    t.is(code, 0)
})

withCryptsetup('compat: a person can type while the broker denies', async (t) => {
    const { code, ready, folder } = await open(t, { script: DENIES, volume: { profile: 'compat' } })
    t.is(code, 3)
    t.is(ready, 1)
    t.true(existsSync(headerFile('root', folder)))
})

withCryptsetup('strict: the header of an earlier try is not left for cryptsetup', async (t) => {
    const leave = (_bound: Bound, folder: string) => writeFileSync(headerFile('root', folder), 'of the host')
    const { ready, folder } = await open(t, { script: DENIES, spoil: leave })
    t.is(ready, 0)
    t.false(existsSync(headerFile('root', folder)))
})

withCryptsetup('a disk that does not appear', async (t) => {
    const folder = temporaryFolder(t)
    const said: string[] = []
    const code = await unlockVolume(
        {
            name: 'data',
            uuid: '0b5317c0-ff25-49bd-b85d-45c1d000098a',
            servers: ['https://kbs'],
            path: PATH,
            frontEnd: 'socket',
            profile: 'compat',
            onFailure: 'poweroff',
            deadlineS: 0.3,
            root: false,
        },
        { ready: () => t.fail(), deliver: async () => t.fail() },
        {
            anchors: [],
            attester: async () => ATTESTER,
            denials: bootDenials(join(folder, 'denied')),
            log: silent,
            requestTimeoutMs: 5000,
            staggerMs: 100,
            status: bootStatus('data', folder, [(_level, line) => said.push(line)]),
            runFolder: folder,
            injected: () => {
                throw new TypeError('no secret is read for a volume of a broker')
            },
        },
    )
    t.is(code, 3)
    t.regex(said[0] ?? '', /not opened: no disk with the LUKS UUID 0b5317c0/)
    t.false(existsSync(headerFile('data', folder)))
})

function forge(image: string, change: (json: string) => string): void {
    const bytes = readFileSync(image)
    for (const at of [0, 16384]) {
        const area = bytes.subarray(at + 4096, at + 16384)
        area.write(change(area.toString('latin1')).slice(0, area.length), 'latin1')
    }
    writeFileSync(image, bytes)
}

function addToken(image: string, token: unknown): void {
    const file = `${image}.token`
    writeFileSync(file, JSON.stringify(token))
    must('cryptsetup', 'token', 'import', '--json-file', file, image)
}

function ownDisk(image: string, uuid: string): void {
    must('cryptsetup', 'luksFormat', '--batch-mode', '--key-file', '-', '--uuid', uuid, '--pbkdf', 'pbkdf2', image)
}
