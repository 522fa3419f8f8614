// Binding a header with the real cryptsetup: on a copy, verified there, put on the disk in one step.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { changeBindings, openedBy } from '#luks/bind.ts'
import { bindingKeys, bindingsTo, checkDigest } from '#luks/binding.ts'
import { checkHeader } from '#luks/check.ts'
import { opens, reencrypt } from '#luks/cryptsetup.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { backupFile, forgetBackup, type Rewrite, requireOtherKey, rewriteHeader } from '#luks/rewrite.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { CHEAP, format, imageOf, must, PASSPHRASE, SMALL } from './cryptsetup.ts'

const withCryptsetup = needs(programs('cryptsetup'))

const EXISTING = Buffer.from(PASSPHRASE)
const SEVERAL = ['--luks2-keyslots-size', '2m', '--offset', '8192']

const resource = (version: number | null = 1, path = 'default/luks/a') => ({ path, version, bytes: randomBytes(32) })

function made(t: ExecutionContext, args: readonly string[] = SEVERAL): Rewrite {
    const device = format(t, ['--type', 'luks2', ...CHEAP, ...args], 8 * 1024 * 1024)
    const folder = temporaryFolder(t)
    return { device, expected: {}, backupFolder: join(folder, 'backup'), workFolder: join(folder, 'run') }
}

const slotsOf = ({ device }: Rewrite) => checkHeader(copyWholeHeader(device)).volume?.keyslots.map(({ id }) => id)

withCryptsetup('a binding: a key slot that the resource opens, and a digest that holds', async (t) => {
    const rewrite = made(t)
    const one = resource(3)
    const before = readFileSync(rewrite.device)
    const slot = await rewriteHeader(rewrite, (file) => changeBindings(file, { existing: EXISTING, add: one }))
    t.is(slot, '1')
    const copy = copyWholeHeader(rewrite.device)
    const [binding, ...more] = bindingsTo(copy, one.path)
    t.deepEqual(more, [])
    t.like(binding, { keyslot: '1', version: 3 })
    const { passphrase, headerKey } = bindingKeys(one.bytes, binding as NonNullable<typeof binding>)
    t.notThrows(() => checkDigest(copy, binding as NonNullable<typeof binding>, headerKey))
    t.true(await opens(rewrite.device, passphrase, { keyslot: '1' }))
    t.true(await opens(rewrite.device, passphrase))
    t.false(await opens(rewrite.device, passphrase, { keyslot: '0' }))
    t.false(await opens(rewrite.device, passphrase, { keyslot: '7' }))
    t.true(await opens(rewrite.device, EXISTING))
    t.is(checkHeader(copy).verdict, 'pass')
    t.regex(must('cryptsetup', 'luksDump', rewrite.device), /1: luks2[\s\S]*Priority: +preferred[\s\S]*guest-attest/)
    const backup = backupFile(rewrite.backupFolder, checkHeader(copy).volume?.uuid ?? '')
    t.true(readFileSync(backup).equals(copyWholeHeader(imageOf(t, before))), 'what the disk had')
    t.is(statSync(backup).mode & 0o777, 0o600)
    t.is(statSync(rewrite.backupFolder).mode & 0o777, 0o700)
    t.deepEqual(readdirSync(rewrite.workFolder), [])
    forgetBackup(rewrite.backupFolder, checkHeader(copy).volume?.uuid ?? '')
    t.false(existsSync(backup))
})

withCryptsetup(
    'two versions during a rotation, then one: every digest is over the header that stands there',
    async (t) => {
        const rewrite = made(t)
        const [one, two] = [resource(1), resource(2)]
        await rewriteHeader(rewrite, (file) => changeBindings(file, { existing: EXISTING, add: one }))
        const old = await openedBy(rewrite.device, copyWholeHeader(rewrite.device), one)
        t.true(old?.intact)
        if (!old) return
        await rewriteHeader(rewrite, (file) =>
            changeBindings(file, { existing: old.passphrase, add: two, keep: [[old.binding, one]] }),
        )
        for (const each of [one, two])
            t.true((await openedBy(rewrite.device, copyWholeHeader(rewrite.device), each))?.intact)
        const now = await openedBy(rewrite.device, copyWholeHeader(rewrite.device), two)
        if (!now) return t.fail()
        await rewriteHeader(rewrite, (file) =>
            changeBindings(file, {
                existing: now.passphrase,
                keep: [[now.binding, two]],
                remove: [old.binding.keyslot],
            }),
        )
        t.deepEqual(slotsOf(rewrite), ['0', '2'])
        t.is(await openedBy(rewrite.device, copyWholeHeader(rewrite.device), one), null)
        t.true((await openedBy(rewrite.device, copyWholeHeader(rewrite.device), two))?.intact)
        t.deepEqual(
            bindingsTo(copyWholeHeader(rewrite.device), one.path).map(({ version }) => version),
            [2],
        )
        // A header that the owner changes is not the one that was bound.
        must('cryptsetup', 'config', '--priority', 'ignore', '--key-slot', '0', rewrite.device)
        t.false((await openedBy(rewrite.device, copyWholeHeader(rewrite.device), two))?.intact)
    },
)

withCryptsetup('a header that cannot be read is no header that was changed', async (t) => {
    const rewrite = made(t)
    const one = resource()
    await rewriteHeader(rewrite, (file) => changeBindings(file, { existing: EXISTING, add: one }))
    // The areas of the key slots are not in this copy: there is nothing to make a digest of.
    const short = copyWholeHeader(rewrite.device).subarray(0, 32 * 1024)
    await t.throwsAsync(openedBy(rewrite.device, short, one), { code: 'ERR_LUKS_AREA' })
})

const sha = (path: string) => readFileSync(path).toString('latin1')

for (const { name, edit, code } of [
    {
        name: 'a wrong passphrase',
        edit: (file: string) => changeBindings(file, { existing: Buffer.from('wrong'), add: resource() }),
        code: 'ERR_LUKS_PASSPHRASE',
    },
    {
        name: 'a header that would not open at boot',
        edit: async (file: string) =>
            void must('cryptsetup', 'luksUUID', '--uuid', '0b5317c0-ff25-49bd-b85d-45c1d000098a', file),
        code: 'ERR_LUKS_UNSOUND',
    },
    {
        name: 'no room for a key slot',
        edit: async (file: string) => {
            for (let i = 0; i < 8; i++) await changeBindings(file, { existing: EXISTING, add: resource() })
        },
        code: 'ERR_LUKS_CRYPTSETUP',
    },
])
    withCryptsetup(`nothing is written: ${name}`, async (t) => {
        const rewrite = made(t)
        const before = sha(rewrite.device)
        await t.throwsAsync(
            rewriteHeader(rewrite, async (file) => void (await edit(file))),
            { code },
        )
        t.true(sha(rewrite.device) === before)
        t.deepEqual(readdirSync(rewrite.workFolder), [])
    })

withCryptsetup('nothing is written over what somebody else wrote meanwhile', async (t) => {
    const rewrite = made(t)
    await t.throwsAsync(
        rewriteHeader(rewrite, async (file) => {
            await changeBindings(file, { existing: EXISTING, add: resource() })
            must('cryptsetup', 'config', '--label', 'other', rewrite.device)
        }),
        { code: 'ERR_LUKS_CHANGED' },
    )
    t.deepEqual(slotsOf(rewrite), ['0'])
})

withCryptsetup('only the header that was judged is worked on, whatever the disk shows afterwards', async (t) => {
    const rewrite = made(t)
    const judged = copyWholeHeader(rewrite.device)
    must('cryptsetup', 'config', '--label', 'other', rewrite.device)
    await t.throwsAsync(
        rewriteHeader({ ...rewrite, judged }, async () => t.fail()),
        { code: 'ERR_LUKS_CHANGED' },
    )
    t.false(existsSync(rewrite.backupFolder))
})

withCryptsetup('a new volume key is told from the one before', async (t) => {
    const { device } = made(t)
    const before = copyWholeHeader(device)
    must('cryptsetup', 'config', '--label', 'other', device)
    t.throws(() => requireOtherKey(device, before, copyWholeHeader(device)), { code: 'ERR_LUKS_CHANGED' })
    await reencrypt(device, true, '0', EXISTING)
    t.notThrows(() => requireOtherKey(device, before, copyWholeHeader(device)))
})

withCryptsetup('a header that is none is refused before anything', async (t) => {
    const rewrite = made(t)
    writeFileSync(rewrite.device, Buffer.alloc(1024 * 1024))
    await t.throwsAsync(
        rewriteHeader(rewrite, async () => t.fail()),
        { code: 'ERR_LUKS_UNSOUND' },
    )
    t.false(existsSync(rewrite.backupFolder))
})

withCryptsetup('a passphrase of any bytes opens, a zero and a line feed among them', async (t) => {
    const rewrite = made(t, SMALL)
    const strange = Buffer.from([0, 10, 13, 255, 0x20])
    writeFileSync(`${rewrite.device}.old`, PASSPHRASE)
    writeFileSync(`${rewrite.device}.new`, strange)
    must(
        'cryptsetup',
        'luksChangeKey',
        '--batch-mode',
        ...CHEAP,
        '--key-file',
        `${rewrite.device}.old`,
        rewrite.device,
        `${rewrite.device}.new`,
    )
    t.true(await opens(rewrite.device, strange))
    t.false(await opens(rewrite.device, EXISTING))
})
