// The vendor of an emulated TD, and the folder that keeps it.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parseCertificates, parseRevocationList } from '#core/x509.ts'
import type { DeviceModel } from '#emulator/model.ts'
import { type TdxOptions, tdxEmulator } from '#plugins/tdx/emulate.ts'
import { openVendor } from '#plugins/tdx/emulated/vendor.ts'
import { mintLists } from '#plugins/tdx/mint/mint.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { temporaryFolder } from '#test/folder.ts'

const work = temporaryFolder({ teardown: test.after.always })
const trustDir = join(work, 'vendor')
const now = new Date()
const quiet = { now, progress: () => undefined }

test('one folder, one platform; keys are for their owner alone', async (t) => {
    const emulator = (options: TdxOptions) => tdxEmulator.model(options, quiet)
    const [one, two] = await Promise.all([emulator({ trustDir }), emulator({ trustDir })])
    const nonce = { inblob: Buffer.alloc(64), privlevel: 0, faults: [], nowMs: 0 }
    const chainOf = ({ tsm }: DeviceModel) =>
        parseQuote(tsm?.report(nonce).outblob ?? Buffer.alloc(0)).certification.data.toString()
    t.is(chainOf(one), chainOf(two))
    t.not(chainOf(one), chainOf(await emulator({})))
    t.deepEqual(readdirSync(trustDir).toSorted(), ['collateral', 'private', 'root.pem'])
    t.deepEqual(readdirSync(join(trustDir, 'collateral')).toSorted(), ['bundle.json', 'pck-crl.der', 'root-crl.der'])
    t.is(statSync(join(trustDir, 'private')).mode & 0o777, 0o700)
    for (const name of readdirSync(join(trustDir, 'private')).filter((name) => name.endsWith('.key')))
        t.is(statSync(join(trustDir, 'private', name)).mode & 0o777, 0o600)
    const [root] = parseCertificates(readFileSync(join(trustDir, 'root.pem')), 'root.pem')
    t.true(chainOf(one).includes(root?.x509.toString() ?? 'no root'))
})

test('two who make one folder at once get the same vendor', async (t) => {
    const folder = join(work, 'race')
    const [one, two] = await Promise.all([openVendor({ folder, ...quiet }), openVendor({ folder, ...quiet })])
    t.deepEqual(one.certificates, two.certificates)
    t.deepEqual(one.platform, two.platform)
})

test('lists and statements that are about to expire are made anew', async (t) => {
    const folder = join(work, 'old')
    const vendor = await openVendor({ folder, ...quiet })
    const list = join(folder, 'collateral/root-crl.der')
    const bundle = join(folder, 'collateral/bundle.json')
    const soon = new Date(now.getTime() + 29 * 24 * 3600 * 1000)
    const lists = await mintLists(vendor.keys, now, { root: { nextUpdate: soon } })
    writeFileSync(list, lists.root)
    utimesSync(bundle, 0, 0)
    await openVendor({ folder, ...quiet })
    t.true((parseRevocationList(readFileSync(list), list).nextUpdate ?? now) > soon)
    t.not(statSync(bundle).mtimeMs, 0)
    const again = readFileSync(bundle)
    await openVendor({ folder, ...quiet })
    t.deepEqual(readFileSync(bundle), again)
})

test('a folder with other files is refused', async (t) => {
    await t.throwsAsync(openVendor({ folder: work, ...quiet }), { code: 'ERR_USAGE', message: /holds other files/ })
})

for (const { name, file, bytes, want } of [
    { name: 'a key', file: 'private/attestation.key', bytes: 'no key', want: /attestation\.key: not a private key/ },
    { name: 'what makes the platform', file: 'private/platform.json', bytes: '{"version":2}', want: /platform\.json/ },
    { name: 'a certificate', file: 'private/pck.pem', bytes: 'no certificate', want: /pck\.pem/ },
    { name: 'a list', file: 'collateral/root-crl.der', bytes: 'no list', want: /root-crl\.der/ },
])
    test(`what is broken in it is said: ${name}`, async (t) => {
        const folder = join(work, name.replaceAll(' ', '-'))
        await openVendor({ folder, ...quiet })
        writeFileSync(join(folder, file), bytes)
        await t.throwsAsync(openVendor({ folder, ...quiet }), { message: want })
    })

test('an empty folder is used', async (t) => {
    const folder = join(work, 'empty')
    mkdirSync(folder)
    await openVendor({ folder, ...quiet })
    t.true(readdirSync(folder).includes('root.pem'))
})
