// The folder of certificates and revocation lists: what is refused at the start, and what a running broker keeps.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openVerifiers } from '#broker/trust.ts'
import { silent } from '#core/log.ts'
import type { Trust } from '#evidence/verifier.ts'
import { snp } from '#plugins/snp/index.ts'
import { temporaryFolder } from '#test/folder.ts'
import { named } from '#test/plugins/snp/minted.ts'
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
