// The folder of certificates and revocation lists: what is refused at the start, and what a running broker keeps.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openVerifiers } from '#broker/trust.ts'
import { errnoOf } from '#core/errors.ts'
import { silent } from '#core/log.ts'
import { judge } from '#evidence/judge.ts'
import type { Trust, Verifier } from '#evidence/verifier.ts'
import { snp } from '#plugins/snp/index.ts'
import { tdx } from '#plugins/tdx/index.ts'
import { temporaryFolder } from '#test/folder.ts'
import { named } from '#test/plugins/snp/minted.ts'
import { identityOf, infoOf, quote, vendor as tdxVendor } from '#test/plugins/tdx/minted.ts'
import { theVendor } from './rig.ts'

/** Verifiers over a folder; how many lists the last ones know, and what was logged. */
async function opened(t: ExecutionContext, path: string, isNamed: boolean) {
    const own = await theVendor()
    let lists = 0
    const log: string[] = []
    const verifiers = await openVerifiers({
        plugins: [
            {
                ...snp,
                verifier: async (trust: Trust) => {
                    const verifier = await snp.verifier(trust)
                    lists = trust.revocationLists.length
                    return verifier
                },
            },
        ],
        roots: [named('ark', own.certificates.ark)],
        collateral: { path, named: isNamed },
        log: {
            ...silent,
            info: (message) => void log.push(message),
            error: (message, fields) => void log.push(`${message}: ${JSON.stringify(fields)}`),
        },
    })
    t.teardown(verifiers.close)
    return { verifiers, log, lists: () => lists }
}

async function folderWithList(t: ExecutionContext): Promise<string> {
    const path = join(temporaryFolder(t), 'collateral')
    mkdirSync(path)
    writeFileSync(join(path, 'a.crl'), (await theVendor()).list)
    return path
}

for (const { name, spoil, isNamed, code } of [
    { name: 'a named folder that is not there', spoil: remove, isNamed: true, code: 'ERR_BROKER_COLLATERAL' },
    { name: 'an empty file in its place', spoil: replaceByFile, isNamed: true, code: 'ERR_EVIDENCE_TRUST' },
    { name: 'a link to nothing', spoil: dangle, isNamed: false, code: 'ERR_NOT_FOUND_FILE' },
    { name: 'a file that is no list', spoil: scribble, isNamed: false, code: 'ERR_EVIDENCE_TRUST' },
])
    test(`refused at the start: ${name}`, async (t) => {
        const path = await folderWithList(t)
        spoil(path)
        await t.throwsAsync(opened(t, path, isNamed), { code })
    })

test('an own folder that is not there is an empty one, at the start and later', async (t) => {
    const path = await folderWithList(t)
    const { verifiers, lists, log } = await opened(t, path, false)
    t.is(lists(), 1)
    remove(path)
    await verifiers.refresh()
    t.is(lists(), 0)
    t.deepEqual(log, ['certificates and revocation lists were read again'])
    t.is((await opened(t, path, false)).lists(), 0)
})

for (const { name, spoil, reason } of [
    { name: 'a link to nothing', spoil: dangle, reason: /b\.crl: no such file/ },
    { name: 'a file that is no list', spoil: scribble, reason: /b\.crl/ },
    { name: 'the folder has gone', spoil: remove, reason: /no such file or folder/ },
    { name: 'the folder has become an empty file', spoil: replaceByFile, reason: /an empty file/ },
    { name: 'the folder has become a link to itself', spoil: loop, reason: /ELOOP/ },
])
    test(`what was read before stays, and it is said once: ${name}`, async (t) => {
        const path = await folderWithList(t)
        const { verifiers, lists, log } = await opened(t, path, true)
        const before = verifiers.current
        spoil(path)
        await verifiers.refresh()
        await verifiers.refresh()
        t.is(verifiers.current, before)
        t.is(lists(), 1)
        t.is(log.length, 1)
        t.regex(log[0] ?? '', /those read before stay/)
        t.regex(log[0] ?? '', reason)

        remove(path)
        mkdirSync(path)
        for (const file of ['a.crl', 'b.crl']) writeFileSync(join(path, file), (await theVendor()).list)
        await verifiers.refresh()
        t.is(lists(), 2, 'what was mended is read')
    })

/** A broker of TDX over a folder with all that a quote is judged by. */
async function openedTdx(t: ExecutionContext) {
    const intel = await tdxVendor()
    const folder = temporaryFolder(t)
    const write = (name: string, bytes: Buffer | string) => writeFileSync(join(folder, name), bytes)
    write('info.json', infoOf(intel).bytes)
    write('identity.json', identityOf(intel).bytes)
    write('root.crl', intel.lists.root)
    write('pck.crl', intel.lists.pck)
    write('signing.der', intel.certificates.tcbSigning)
    const log: string[] = []
    const record = (message: string, fields?: object) => void log.push(`${message}: ${JSON.stringify(fields)}`)
    const open = (roots = [named('root', intel.certificates.root)]) =>
        openVerifiers({
            plugins: [tdx],
            roots,
            collateral: { path: folder, named: true },
            log: { ...silent, warn: record, error: record },
        })
    const verifiers = await open()
    t.teardown(verifiers.close)
    const evidence = { tee: 'tdx', report: quote(intel) }
    const verdict = (): string => {
        const verifier = verifiers.current.get('tdx') as Verifier
        return judge(verifier, evidence, {}, new Date()).verdict
    }
    return { write, open, verifiers, log, verdict }
}

for (const [name, file, bytes] of [
    ['a statement that is half written', 'info.json', '{"tcbInfo":'],
    ['a new file that is half written', 'new.json', '{"tcbInfo":'],
    ['JSON of something else', 'new.json', '{"cloudInit":1}'],
] as const)
    test(`statements that were read before stay, and it is said once: ${name}`, async (t) => {
        const { write, open, verifiers, log, verdict } = await openedTdx(t)
        t.is(verdict(), 'authentic')
        write(file, bytes)
        await verifiers.refresh()
        await verifiers.refresh()
        t.is(verdict(), 'authentic')
        t.is(log.length, 1)
        t.regex(log[0] ?? '', /those read before stay/)
        t.true(log[0]?.includes(file))
        const refused = await t.throwsAsync(open(), undefined, 'at the start it must be readable')
        t.regex(errnoOf(refused) ?? '', /^ERR_(?:JSON|TDX_COLLATERAL)$/)
        const { certificates } = await theVendor()
        const others = await open([named('ark', certificates.ark)])
        t.teardown(others.close)
        t.pass('but not where no root of TDX is trusted')
    })

test('a statement that nobody has signed costs itself only, and it is said', async (t) => {
    const { write, verifiers, log, verdict } = await openedTdx(t)
    write('forged.json', infoOf(await tdxVendor(), { tcbEvaluationDataNumber: 500 }).bytes)
    await verifiers.refresh()
    t.is(verdict(), 'authentic')
    t.is(log.length, 1)
    t.regex(log[0] ?? '', /counts for nothing.*forged\.json is not signed/)
})

test('one file in the place of a folder', async (t) => {
    const path = await folderWithList(t)
    t.is((await opened(t, join(path, 'a.crl'), true)).lists(), 1)
})

test('a link to nothing among files that are not read hinders nobody', async (t) => {
    const path = await folderWithList(t)
    symlinkSync('/nowhere', join(path, 'README'))
    t.is((await opened(t, path, true)).lists(), 1)
})

function dangle(path: string): void {
    symlinkSync('/nowhere', join(path, 'b.crl'))
}

function scribble(path: string): void {
    writeFileSync(join(path, 'b.crl'), 'no list')
}

function remove(path: string): void {
    rmSync(path, { recursive: true, force: true })
}

function replaceByFile(path: string): void {
    remove(path)
    writeFileSync(path, '')
}

function loop(path: string): void {
    remove(path)
    symlinkSync(path, path)
}
