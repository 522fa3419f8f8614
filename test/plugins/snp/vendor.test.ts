// The vendor of an emulated chip: the folder that keeps it, and its certificates beside real ones.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { EMULATION_OID } from '#core/emulation-mark.ts'
import { parseCertificate } from '#core/x509.ts'
import { openVendor } from '#plugins/snp/emulated/vendor.ts'
import { GENERATIONS, type GenerationName } from '#plugins/snp/generations.ts'
import { temporaryFolder } from '#test/folder.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'

const work = temporaryFolder({ teardown: test.after.always })
const now = new Date()
const quiet = { now, progress: () => undefined }
const names = Object.keys(GENERATIONS) as GenerationName[]

test.before(async () => {
    await Promise.all(names.map((generation) => openVendor({ folder: join(work, generation), generation, ...quiet })))
})

test('trust-dir: what is in it, and for whose eyes', (t) => {
    const folder = join(work, 'milan')
    const modes = ['.', 'private'].flatMap((sub) =>
        readdirSync(join(folder, sub)).map((name) => {
            const path = join(sub, name)
            return `${path} ${(statSync(join(folder, path)).mode & 0o777).toString(8)}`
        }),
    )
    t.deepEqual(modes, [
        'ark.pem 644',
        'ask.pem 644',
        'crl.der 644',
        'private 700',
        'vcek.pem 644',
        'private/ark.key 600',
        'private/ask.key 600',
        'private/chip.json 600',
        'private/vcek.key 600',
    ])
    t.deepEqual(
        readdirSync(work).filter((name) => name.includes('.new-')),
        [],
    )
})

test('trust-dir: two that start at once share one vendor', async (t) => {
    const folder = join(work, 'race')
    const made = await Promise.all([1, 2].map(() => openVendor({ folder, ...quiet })))
    t.deepEqual(made[0]?.chipId, made[1]?.chipId)
    t.deepEqual(made[0]?.certificates, made[1]?.certificates)
    t.deepEqual(
        readdirSync(work).filter((name) => name.includes('.new-')),
        [],
    )
})

test('trust-dir: a folder of somebody else is left alone', async (t) => {
    const folder = mkdtempSync(join(work, 'other-'))
    writeFileSync(join(folder, 'letter.txt'), 'dear')
    await t.throwsAsync(openVendor({ folder, ...quiet }), { code: 'ERR_USAGE', message: /holds other files/ })
    t.deepEqual(readdirSync(folder), ['letter.txt'])
})

test('trust-dir: a revocation list that is about to expire is made anew', async (t) => {
    const folder = join(work, 'old')
    await openVendor({ folder, ...quiet })
    const list = () => readFileSync(join(folder, 'crl.der'))
    const first = list()
    await openVendor({ folder, ...quiet })
    t.deepEqual(list(), first)
    const later = new Date(now)
    later.setUTCDate(later.getUTCDate() + 340)
    await openVendor({ folder, ...quiet, now: later })
    t.notDeepEqual(list(), first)
})

test('trust-dir: what is broken in it is said', async (t) => {
    const folder = join(work, 'broken')
    await openVendor({ folder, ...quiet })
    writeFileSync(join(folder, 'private/chip.json'), '{"version":2}')
    await t.throwsAsync(openVendor({ folder, ...quiet }), { code: 'ERR_JSON', message: /chip\.json.*version/ })
    rmSync(join(folder, 'private/chip.json'))
    await t.throwsAsync(openVendor({ folder, ...quiet }), { code: 'ERR_NOT_FOUND_FILE' })
})

// The certificates beside real ones.

const REAL = {
    milan: 'snp-tdx/snp/sev--vcek_milan.der',
    genoa: 'snp-tdx/snp/attestation-rs--live-vcek-genoa.der',
    turin: 'snp-tdx/snp/sev--vcek_turin.der',
} as const

for (const name of names)
    needs(vectors(REAL[name]))(
        `${name}: the VCEK has the extensions of a real one, in their order, and the mark`,
        (t) => {
            const real = parseCertificate(readFileSync(join(VECTORS, REAL[name])), 'real')
            const pem = readFileSync(join(work, name, 'vcek.pem'), 'utf8')
            const der = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64')
            const minted = parseCertificate(der, 'minted')
            t.deepEqual([...minted.extensions.keys()], [...real.extensions.keys(), EMULATION_OID])
            t.is(minted.x509.subject, real.x509.subject)
            t.is(minted.x509.issuer, real.x509.issuer)
            const lengths = ({ extensions }: typeof real) =>
                [...extensions].map(([oid, value]) => `${oid} ${value[0]} ${value.length}`)
            const hwId = '1.3.6.1.4.1.3704.1.4'
            t.is(minted.extensions.get(hwId)?.length, real.extensions.get(hwId)?.length)
            t.deepEqual(lengths(minted).slice(0, 2), lengths(real).slice(0, 2)) // structVersion, productName
        },
    )
