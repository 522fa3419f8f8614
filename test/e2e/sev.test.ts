// A disk of an SEV guest, from its owner to its opening: bound by its owner, a launch that the owner judges, the packet
// that the processor opens, the table in the guest's memory, and the real clevis and cryptsetup in that guest.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DISK_GUID } from '#core/secret-names.ts'
import { GUEST_NEEDS, GUEST_TIMEOUT_MS } from '../cli/inside.ts'
import { guestAttest, type Ran, run } from '../cli/run.ts'
import { temporaryFolder } from '../folder.ts'
import { programs } from '../machine.ts'
import { needs } from '../needs.ts'
import { minted } from '../plugins/sev/minted.ts'
import { launch, makeFirmware } from '../plugins/sev/rig.ts'

const e2e = needs(...GUEST_NEEDS, programs('cryptsetup', 'clevis', 'clevis-luks-bind', 'jose'))

const BIN = fileURLToPath(new URL('../../packaging/bin', import.meta.url))
const env = { PATH: [BIN, process.env['PATH']].join(delimiter), GUEST_ATTEST_CONFIG: '/nowhere/at-all' }

const GUID = '5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e'
const PASSPHRASE = 'correct horse battery staple'

e2e(
    'owner → host → guest → LUKS: the pin opens, until its secret is taken; the raw passphrase is there too',
    async (t) => {
        const folder = temporaryFolder(t)
        const file = (name: string, bytes: Uint8Array | string = ''): string => {
            const path = join(folder, name)
            if (bytes.length > 0) writeFileSync(path, bytes)
            return path
        }
        const ok = (ran: Ran): string => {
            t.is(ran.code, 0, ran.stderr)
            return ran.stdout
        }
        const owner = async (program: string, ...args: string[]) => ok(await run(program, args, { env }))

        // The owner formats the disk, and binds it without being a guest.
        const [image, passphrase] = [file('disk.img'), file('passphrase', PASSPHRASE)]
        const key = file('disk.key', randomBytes(32))
        writeFileSync(image, '')
        await owner('truncate', '-s', '20M', image)
        const cheap = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000']
        await owner('cryptsetup', 'luksFormat', '--batch-mode', '--type', 'luks2', ...cheap, image, passphrase)
        const config = JSON.stringify({ guid: GUID, key_file: key })
        await owner('clevis', 'luks', 'bind', '-y', '-d', image, '-k', passphrase, 'sev', config)

        // The launch: what the processor measured, the owner's yes, and the packet.
        const { keys } = await minted()
        const { processor, words } = launch(folder, keys, { firmware: file('AmdSev.fd', makeFirmware()) })
        const packet = { header: file('header.b64'), payload: file('payload.b64') }
        const secrets = [`${GUID}:${key}`, `luks-key:${file('grub', `${PASSPHRASE}\0`)}`]
        ok(
            await guestAttest([
                ...['sev', 'validate', ...words()],
                ...secrets.flatMap((one) => ['--inject-secret', one]),
                ...['--secret-header', packet.header, '--secret-payload', packet.payload],
            ]),
        )
        const decoded = (path: string): Buffer => Buffer.from(readFileSync(path, 'utf8'), 'base64')
        const table = file(
            'table',
            processor.inject({ header: decoded(packet.header), payload: decoded(packet.payload) }),
        )

        // The guest.
        const guest = (script: string): Promise<Ran> =>
            guestAttest(['emulate', '--tee', 'sev', '--secret-table', table, '--', 'sh', '-euc', script], {
                env,
                timeoutMs: GUEST_TIMEOUT_MS,
            })
        const opened = await guest(
            `clevis luks pass -d ${image} -s 1 > ${folder}/passed
        clevis luks unlock -t 1 -d ${image}
        guest-attest secrets take luks-key --out ${folder}/raw
        guest-attest secrets take ${GUID} --out ${folder}/taken
        if clevis luks pass -d ${image} -s 1; then exit 9; fi
        guest-attest secrets list`,
        )
        t.is(ok(opened), '')
        t.deepEqual(readFileSync(join(folder, 'taken')), readFileSync(key))
        t.is(readFileSync(join(folder, 'raw'), 'utf8'), `${PASSPHRASE}\0`)
        t.regex(opened.stderr, new RegExp(`ERR_SECRET_MISSING|${GUID}`))
        const opens = ['open', '--test-passphrase', '--key-file', join(folder, 'passed'), image]
        await owner('cryptsetup', ...opens)

        // A guest of another launch has not this secret.
        const stranger = await guestAttest(
            [
                'emulate',
                '--tee',
                'sev',
                '--',
                'sh',
                '-c',
                `clevis luks pass -d ${image} -s 1 > ${folder}/stolen; guest-attest secrets list`,
            ],
            { env, timeoutMs: GUEST_TIMEOUT_MS },
        )
        t.is(ok(stranger), `${DISK_GUID} luks-key\n`)
        t.is(existsSync(join(folder, 'stolen')) ? readFileSync(join(folder, 'stolen'), 'utf8') : '', '')
    },
)
