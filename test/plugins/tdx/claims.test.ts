// What a quote claims is what the table of claims says, of the types that it says; and every field is shown to a person.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { Checks } from '#core/checks.ts'
import type { ClaimTable } from '#evidence/claims.ts'
import type { Claims, ClaimValue } from '#evidence/verdict.ts'
import type { Trust } from '#evidence/verifier.ts'
import { TDX_CLAIMS } from '#plugins/tdx/claims.ts'
import { encodeCcel } from '#plugins/tdx/event-log/ccel.ts'
import type { QuoteChanges } from '#plugins/tdx/mint/quote.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import { BOOT, registersOf } from './boot.ts'
import { quote, trustIn, vendor } from './minted.ts'

const own = await vendor()
const rtmrs = registersOf(BOOT)
const eventLog = encodeCcel(BOOT)

/** What differs from the table, by the path of each claim. */
function differences(table: ClaimTable, claims: Claims, path = ''): string[] {
    const unknown = Object.keys(claims).filter((name) => !Object.hasOwn(table, name))
    return [
        ...unknown.map((name) => `${path}${name}: not in the table`),
        ...Object.entries(table).flatMap(([name, { type, optional }]) => {
            const value = claims[name]
            if (value === undefined) return optional ? [] : [`${path}${name}: missing`]
            if (typeof type !== 'string') return differences(type, value as Claims, `${path}${name}.`)
            return TYPES[type](value) ? [] : [`${path}${name}: no ${type}: ${String(value)}`]
        }),
    ]
}

const TYPES = {
    string: (value: ClaimValue) => typeof value === 'string',
    strings: (value: ClaimValue) => Array.isArray(value) && value.every((item) => typeof item === 'string'),
    long: (value: ClaimValue) => Number.isSafeInteger(value),
    bool: (value: ClaimValue) => typeof value === 'boolean',
}

const CASES: readonly {
    name: string
    changes: QuoteChanges
    trust?: Partial<Trust>
    log?: Buffer
    has: string[]
    lacks: string[]
}[] = [
    { name: 'version 4', changes: {}, has: ['tcbStatus', 'tcbDate'], lacks: ['mrServiceTd', 'teeTcbSvn2', 'eventLog'] },
    { name: 'version 5', changes: { bodyType: 3 }, has: ['mrServiceTd', 'teeTcbSvn2'], lacks: ['eventLog'] },
    { name: 'with a log', changes: { body: { rtmrs } }, log: eventLog, has: ['eventLog'], lacks: [] },
    {
        name: 'without statements',
        changes: {},
        trust: { statements: [], withoutStatus: true },
        has: [],
        lacks: ['tcbStatus', 'tcbDate', 'tcbEvaluationDataNumber', 'collateralIssued'],
    },
]

for (const { name, changes, trust, log, has, lacks } of CASES)
    test(`the claims are those of the table: ${name}`, (t) => {
        const verifier = tdxVerifier(trustIn(own, trust))
        const evidence = { tee: 'tdx', report: quote(own, changes), ...(log ? { eventLog: log } : {}) }
        const { claims } = verifier.authenticate(evidence, own.now, new Checks([]))
        t.deepEqual(differences(TDX_CLAIMS, claims), [])
        for (const claim of has) t.true(Object.hasOwn(claims, claim), claim)
        for (const claim of lacks) t.false(Object.hasOwn(claims, claim), claim)
    })

test('the claims are the fields of the quote', (t) => {
    const fill = (byte: number) => Buffer.alloc(48, byte)
    const body = {
        mrTd: fill(1),
        mrSeam: fill(2),
        mrConfigId: fill(3),
        mrOwner: fill(4),
        mrOwnerConfig: fill(5),
        rtmrs: [fill(6), fill(7), fill(8), fill(9)] as const,
        mrServiceTd: fill(10),
        tdAttributes: 0x40000080n,
        xfam: 0xe7n,
    }
    const evidence = { tee: 'tdx', report: quote(own, { bodyType: 3, body }) }
    const authentic = tdxVerifier(trustIn(own)).authenticate(evidence, own.now, new Checks([]))
    const hex = (byte: number) => fill(byte).toString('hex')
    t.like(authentic.claims, {
        mrTd: hex(1),
        mrSeam: hex(2),
        mrConfigId: hex(3),
        mrOwner: hex(4),
        mrOwnerConfig: hex(5),
        rtmr0: hex(6),
        rtmr1: hex(7),
        rtmr2: hex(8),
        rtmr3: hex(9),
        mrServiceTd: hex(10),
        tdAttributes: '0000000040000080',
        attributes: { debug: false, protectionKeys: true },
        untrusted: true,
        xfam: '00000000000000e7',
        reportData: '11'.repeat(64),
    })
    t.is(authentic.measurement, hex(1))
    t.is(authentic.guestId, null)
})

test('every claim of the quote itself is shown, with its meaning, and the log with what it proves', (t) => {
    const verifier = tdxVerifier(trustIn(own))
    const lines = verifier.describe({ tee: 'tdx', report: quote(own, { bodyType: 3, body: { rtmrs } }), eventLog })
    const found = Object.entries(TDX_CLAIMS).filter(([, { from }]) => from !== 'verifier')
    const DERIVED = ['attributes', 'untrusted', 'eventLog', 'dynamicPlatform', 'cachedKeys', 'smtEnabled', 'qeIsvSvn']
    for (const [name, { means }] of found)
        if (!DERIVED.includes(name)) t.is(lines.find((line) => line.name === name)?.means, means, name)
    const events = lines.filter(({ name }) => name.startsWith('event of '))
    t.deepEqual(
        events.map(({ name, means }) => [name, /digest is that/.test(means)]),
        BOOT.map(({ register, type }) => [`event of ${register}`, type !== 0x80000003]),
    )
    t.true(lines.some(({ name, value }) => name === 'weakness' && value.startsWith('TEE.fail (2025-10-28')))
})

test('what is shown of a log that is none is why, and the quote is shown none the less', (t) => {
    const verifier = tdxVerifier(trustIn(own))
    const lines = verifier.describe({ tee: 'tdx', report: quote(own), eventLog: Buffer.from('x') })
    t.regex(lines.find(({ name }) => name === 'event log')?.value ?? '', /no event log/)
    t.truthy(lines.find(({ name }) => name === 'mrTd'))
})
