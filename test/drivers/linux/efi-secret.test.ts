// The secrets that were injected: read to their end, wiped, and each reason why a kernel shows none.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import type { AttestError } from '#core/errors.ts'
import { efiSecrets, realSecretFs, type SecretFs } from '#drivers/linux/efi-secret.ts'
import { type KernelWords, realKernelWords, SECRETS_DRIVER } from '#drivers/linux/no-secrets.ts'
import { SECRETS_DEVICE, SECRETS_FOLDER, secretArea } from '#drivers/linux/secret-area.ts'
import type { System } from '#drivers/linux/system.ts'

const DISK = '736869e5-84f0-4973-92ec-06879ce3da0b'

interface Kernel {
    readonly paths?: readonly string[]
    readonly files?: Map<string, Buffer>
    readonly log?: readonly string[] | null
    readonly config?: string | null
    readonly fails?: string
}

function kernel({ paths = [SECRETS_FOLDER], files = new Map(), log = [], config = null, fails }: Kernel) {
    const failure = (errno: string) => Object.assign(new Error(`${errno}: it fails`), { code: errno })
    const system: System = {
        kernelRelease: '6.12.0',
        exists: (path) => paths.includes(path),
        hasCpuFlag: () => false,
        requireFilesystem: () => undefined,
    }
    const fs: SecretFs = {
        list: () => [...files.keys()],
        read(path) {
            if (fails !== undefined) throw failure(fails)
            const bytes = files.get(path.slice(SECRETS_FOLDER.length + 1))
            if (!bytes) throw failure('ENOENT')
            return Buffer.from(bytes)
        },
        unlink(path) {
            if (fails !== undefined) throw failure(fails)
            if (!files.delete(path.slice(SECRETS_FOLDER.length + 1))) throw failure('ENOENT')
        },
    }
    const words: KernelWords = { kernelLog: () => log, kernelConfig: () => config }
    return { ...secretArea(system), ...efiSecrets(system, fs, words) }
}

test('listed in their order, without what is no secret; read and left; wiped once', (t) => {
    const files = new Map([
        [DISK, Buffer.from('a passphrase\0')],
        ['1ee27366-0c87-43a6-af48-28543eaf7cb0', Buffer.alloc(0)],
        ['README', Buffer.from('none')],
    ])
    const secrets = kernel({ files })
    t.deepEqual(secrets.list(), ['1ee27366-0c87-43a6-af48-28543eaf7cb0', DISK])
    t.is(secrets.read('1ee27366-0c87-43a6-af48-28543eaf7cb0').length, 0)
    t.is(secrets.read(DISK).toString(), 'a passphrase\0')
    t.is(secrets.read(DISK).toString(), 'a passphrase\0')
    secrets.wipe(DISK)
    t.false(files.has(DISK))
    for (const again of [() => secrets.read(DISK), () => secrets.wipe(DISK)])
        t.throws(again, { code: 'ERR_SECRET_MISSING', message: /736869e5/ })
})

for (const path of ['../../lsm', 'README', `${DISK}/..`])
    test(`no file but a secret is reached: ${path}`, (t) =>
        void t.throws(() => kernel({}).read(path), { instanceOf: TypeError }))

for (const { errno, code } of [
    { errno: 'EACCES', code: 'ERR_DEVICE_ACCESS' },
    { errno: 'EPERM', code: 'ERR_DEVICE_ACCESS' },
    { errno: 'EIO', code: 'ERR_DEVICE_IO' },
])
    test(`the kernel refuses with ${errno}`, (t) => {
        const secrets = kernel({ fails: errno })
        t.throws(() => secrets.read(DISK), { code })
        t.throws(() => secrets.wipe(DISK), { code })
    })

test('more than an area can hold is no secret', (t) => {
    const secrets = kernel({ files: new Map([[DISK, Buffer.alloc(0x4001)]]) })
    t.throws(() => secrets.read(DISK), { code: 'ERR_DEVICE_RESPONSE' })
})

const DEVICE = [SECRETS_DEVICE]
const LOADED = [SECRETS_DEVICE, SECRETS_DRIVER]
const BOUND = [...LOADED, `${SECRETS_DEVICE}/driver`]
const said = (text: string): string[] => ['Linux version', `efi_secret efi_secret.0: ${text}`, 'another line']

for (const { name, kernel: of, code, message } of [
    { name: 'no area', kernel: { paths: [] }, code: 'ERR_SECRETS_NONE', message: /no area/ },
    {
        name: 'no area, as the kernel does not look for one',
        kernel: { paths: [], config: '# CONFIG_EFI_COCO_SECRET is not set\n' },
        code: 'ERR_SECRETS_KERNEL',
        message: /without CONFIG_EFI_COCO_SECRET/,
    },
    {
        name: 'no area, though the kernel looks for one',
        kernel: { paths: [], config: 'CONFIG_EFI_COCO_SECRET=y\n' },
        code: 'ERR_SECRETS_NONE',
        message: /no area/,
    },
    { name: 'no driver', kernel: { paths: DEVICE }, code: 'ERR_SECRETS_MODULE', message: /no driver/ },
    {
        name: 'no driver, which is a module',
        kernel: { paths: DEVICE, config: 'CONFIG_EFI_SECRET=m\n' },
        code: 'ERR_SECRETS_MODULE',
        message: /no driver/,
    },
    {
        name: 'no driver, which is not built',
        kernel: { paths: DEVICE, config: '# CONFIG_EFI_SECRET is not set\n' },
        code: 'ERR_SECRETS_KERNEL',
        message: /without CONFIG_EFI_SECRET$/,
    },
    { name: 'no securityfs', kernel: { paths: BOUND }, code: 'ERR_SECRETS_SECURITYFS', message: /not mounted/ },
    { name: 'nothing injected', kernel: { paths: LOADED }, code: 'ERR_SECRETS_NONE', message: /holds no table/ },
    {
        name: 'no reason, where the log may not be read',
        kernel: { paths: LOADED, log: null },
        code: 'ERR_SECRETS_NONE',
        message: /may not be read/,
    },
    {
        name: 'a GUID twice',
        kernel: { paths: LOADED, log: said('Error creating efi_secret securityfs entry') },
        code: 'ERR_SECRETS_TABLE',
        message: /a GUID stands twice/,
    },
    {
        name: 'a corrupted table',
        kernel: { paths: LOADED, log: said('EFI secret area is corrupted') },
        code: 'ERR_SECRETS_TABLE',
        message: /corrupted \(it says: efi_secret efi_secret\.0: EFI secret area is corrupted\)/,
    },
])
    test(`none is shown: ${name}`, (t) => {
        const secrets = kernel(of)
        t.is(secrets.exists(), of.paths.length > 0)
        for (const ask of [() => secrets.list(), () => secrets.read(DISK), () => secrets.wipe(DISK)]) {
            const error = t.throws<AttestError>(ask, { code, message })
            t.truthy(error?.hint)
        }
    })

test('the real file operations: a file is read to its end, whatever it says of its size', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const path = join(folder, DISK)
    writeFileSync(path, 'x'.repeat(5000))
    t.deepEqual(realSecretFs.list(folder), [DISK])
    t.is(realSecretFs.read(path, 0x4000).length, 5000)
    t.is(realSecretFs.read(path, 100).length, 100)
    // /proc says of its files, as securityfs does, that they are empty.
    t.true(realSecretFs.read('/proc/self/status', 0x4000).length > 100)
    realSecretFs.unlink(path)
    t.deepEqual(realSecretFs.list(folder), [])
    const log = realKernelWords.kernelLog()
    t.true(log === null || log.every((line) => !line.includes('\n')))
})
