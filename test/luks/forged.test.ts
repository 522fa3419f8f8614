// Forged headers: each is refused by the check that is named and by no other, and the real cryptsetup says whether it
// would have taken it.
// SPDX-License-Identifier: Apache-2.0

import test, { type ExecutionContext } from 'ava'
import { checkHeader } from '#luks/check.ts'
import { programs } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { imageOf, run } from './cryptsetup.ts'
import { type Case, forge, UUID } from './forge.ts'
import { FORGED_DATA } from './forged-data.ts'
import { FORGED_HEADERS } from './forged-headers.ts'
import { FORGED_KEYSLOTS } from './forged-keyslots.ts'

const CASES: readonly Case[] = [...FORGED_HEADERS, ...FORGED_DATA, ...FORGED_KEYSLOTS]

test('with nothing forged, it passes', (t) => t.is(checkHeader(forge(), { uuid: UUID }).verdict, 'pass'))

for (const { name, forgery, fails, code, says, expected } of CASES)
    test(`refused: ${name}`, (t) => {
        const { verdict, checks, volume, remains } = checkHeader(forge(forgery), expected)
        const failed = checks.filter(({ result }) => result === 'fail')
        t.deepEqual(
            failed.map((check) => check.name),
            [fails],
        )
        t.like(failed[0], { code })
        t.regex(failed[0]?.detail ?? '', says)
        t.is(verdict, 'fail')
        t.is(volume, null)
        t.deepEqual(remains, [])
    })

test('every check refuses something', (t) => {
    const names = checkHeader(forge()).checks.map(({ name }) => name)
    t.deepEqual(
        names.filter((name) => !CASES.some(({ fails }) => fails === name)),
        [],
    )
})

const withCryptsetup = needs(programs('cryptsetup'))

for (const { name, forgery, dump } of CASES)
    withCryptsetup(`cryptsetup ${dump ? 'takes' : 'refuses'} it: ${name}`, (t) => {
        const { status, stdout, stderr } = luksDump(t, forge(forgery))
        t.is(status === 0, dump !== null, stdout + stderr)
        if (dump) t.regex(stdout, dump)
    })

function luksDump(t: ExecutionContext, header: Buffer) {
    // cryptsetup wants the key-slot area to be there.
    const size = header.length > 4096 ? 16 * 1024 * 1024 : header.length
    return run('cryptsetup', ['luksDump', imageOf(t, header, size)])
}
