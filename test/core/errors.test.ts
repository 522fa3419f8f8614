// Errors: every code of every table has its one row, that a person can read and a program can act on.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { BROKER_ERRORS } from '#broker/errors.ts'
import { CLEVIS_ERRORS } from '#clevis/errors.ts'
import { ERRORS } from '#cli/errors.ts'
import { MACHINE_ERRORS } from '#cli/luks/errors.ts'
import {
    AttestError,
    CORE_ERRORS,
    canPass,
    coreError,
    type ErrorRow,
    type ErrorTable,
    errnoOf,
    errorsOf,
    messageOf,
} from '#core/errors.ts'
import { LAUNCH_ERRORS } from '#core/launch/errors.ts'
import { DRIVER_ERRORS } from '#drivers/errors.ts'
import { FIRMWARE_ERRORS } from '#drivers/linux/sev-firmware.ts'
import { EMULATOR_ERRORS } from '#emulator/errors.ts'
import { EVIDENCE_ERRORS } from '#evidence/errors.ts'
import { KBS_ERRORS } from '#kbs/errors.ts'
import { LUKS_ERRORS } from '#luks/errors.ts'
import { sources } from '#packaging/house.ts'
import { PLUGINS } from '#plugins.ts'
import { UNLOCK_ERRORS } from '#unlock/errors.ts'

const TABLES: Readonly<Record<string, ErrorTable>> = {
    core: CORE_ERRORS,
    drivers: DRIVER_ERRORS,
    firmware: FIRMWARE_ERRORS,
    evidence: EVIDENCE_ERRORS,
    kbs: KBS_ERRORS,
    unlock: UNLOCK_ERRORS,
    clevis: CLEVIS_ERRORS,
    luks: LUKS_ERRORS,
    machine: MACHINE_ERRORS,
    launch: LAUNCH_ERRORS,
    broker: BROKER_ERRORS,
    emulator: EMULATOR_ERRORS,
    ...Object.fromEntries(PLUGINS.map(({ id, errors }) => [id, errors])),
}

const ROWS = Object.entries(TABLES).flatMap(([table, rows]) =>
    Object.entries(rows).map(([code, row]): { table: string; code: string; row: ErrorRow } => ({ table, code, row })),
)

test('the joined table has every row of every folder, and no code twice', (t) => {
    const codes = ROWS.map(({ code }) => code)
    t.deepEqual([...new Set(codes)], codes)
    t.deepEqual([...new Set(Object.keys(ERRORS)).symmetricDifference(new Set(codes))], [])
    for (const { code, row } of ROWS) t.is(ERRORS[code as keyof ErrorTable], row)
})

test('each code: its name, how a command exits, what it means', (t) => {
    for (const { table, code, row } of ROWS) {
        t.regex(code, /^ERR(?:_[A-Z0-9]+)+$/)
        t.true([1, 2, 3].includes(row.exit), code)
        t.regex(row.means, /^[a-z][^\n]*[^\s.!]$/, code)
        t.true(row.means.length <= 120, code)
        for (const member of Object.keys(row))
            t.true(['exit', 'means', 'passes'].includes(member), `${code}: ${member}`)
        // What may pass cannot be a "no", and a wrong command line stays wrong.
        if (row.passes) t.is(row.exit, 3, code)
        if (PLUGINS.some(({ id }) => id === table)) t.true(code.startsWith(`ERR_${table.toUpperCase()}_`), code)
    }
})

test('each code stands somewhere outside its table', (t) => {
    const texts = sources()
        .filter(({ path }) => /^(?:src|plugins|drivers)\//.test(path))
        .map(({ text }) => text)
    // The table itself does not quote its codes; those of the firmware are put together from the names of its statuses.
    const unused = ROWS.filter(
        ({ code }) => !code.startsWith('ERR_SEV_FW_') && !texts.some((text) => text.includes(`'${code}'`)),
    )
    t.deepEqual(
        unused.map(({ code }) => code),
        [],
    )
    t.true(texts.some((text) => text.includes('fail(`ERR_SEV_FW_$')))
})

const FAIL = errorsOf({
    ERR_ONE: { exit: 1, means: 'one' },
    ERR_PASSING: { exit: 3, passes: true, means: 'passing' },
})

test('an error has what its row says, the cause and the hint', (t) => {
    const cause = new Error('below')
    const error = FAIL('ERR_PASSING', 'expected 1, got 2', { cause, hint: 'try again' })
    t.true(error instanceof AttestError)
    t.like(error, { code: 'ERR_PASSING', exit: 3, passes: true, hint: 'try again', cause, name: 'AttestError' })
    t.is(error.message, 'expected 1, got 2')
    t.false('cause' in FAIL('ERR_ONE', 'x'))
    t.is(FAIL('ERR_ONE', 'x', { hint: undefined }).hint, undefined)
})

test('the stack begins where it was thrown, not where it was made', (t) => {
    t.regex(FAIL('ERR_ONE', 'x').stack?.split('\n')[1] ?? '', /errors\.test\.ts/)
})

test('a code that no table has is a mistake of ours', (t) => {
    t.throws(() => FAIL('ERR_TWO' as 'ERR_ONE', 'x'), { instanceOf: TypeError, message: /no such error code/ })
})

for (const { name, error, want } of [
    { name: 'an error whose row says so', error: FAIL('ERR_PASSING', 'x'), want: true },
    { name: 'an error whose row does not', error: FAIL('ERR_ONE', 'x'), want: false },
    { name: 'a connection that is refused', error: coreError('ERR_HTTP_CONNECT', 'x'), want: true },
    { name: 'a server that is not trusted', error: coreError('ERR_HTTP_TLS', 'x'), want: false },
    { name: 'an error of the system', error: Object.assign(new Error('x'), { code: 'ECONNRESET' }), want: false },
    { name: 'an object that only looks like one', error: { passes: true }, want: false },
    { name: 'nothing', error: undefined, want: false },
])
    test(`${want ? 'can pass' : 'is final'}: ${name}`, (t) => t.is(canPass(error), want))

for (const { thrown, want } of [
    { thrown: new Error('one'), want: 'one' },
    { thrown: new Error('one\n  two\r\n\n three'), want: 'one; two; three' },
    { thrown: 'text', want: 'text' },
    { thrown: undefined, want: 'undefined' },
])
    test(`the message of ${String(thrown).replaceAll(/\s+/g, ' ')} is one line`, (t) => t.is(messageOf(thrown), want))

test('the name of an error of the system', (t) => {
    t.is(errnoOf(Object.assign(new Error('x'), { code: 'ENOENT' })), 'ENOENT')
    t.is(errnoOf(FAIL('ERR_ONE', 'x')), 'ERR_ONE')
    for (const other of [new Error('x'), { code: 'ENOENT' }, Object.assign(new Error('x'), { code: 5 }), null])
        t.is(errnoOf(other), undefined)
})
