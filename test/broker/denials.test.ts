// Which denials are recorded whole, and that none of the others is lost.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { type Denial, denials } from '#broker/audit/denials.ts'
import type { Draft } from '#broker/audit/record.ts'

const HOUR = 60 * 60_000

const DENIAL: Denial = {
    code: 'ERR_BROKER_DENIED_REFERENCE',
    path: 'web/disk/root',
    tee: 'snp',
    guestId: 'a',
    measurement: '22',
    session: 's',
    peer: '192.0.2.1',
    correlation: 'c',
}

interface Counts {
    readonly denials: readonly { readonly count: number; readonly guestId: string | null }[]
    readonly others: Readonly<Record<string, number>>
}

function started() {
    const time = { now: 0 }
    const drafts: Draft[] = []
    const all = denials((draft) => void drafts.push(draft), { now: () => new Date(), ticks: () => time.now })
    const denied = (changed: Partial<Denial> = {}) => all.isFirst({ ...DENIAL, ...changed })
    const countedIn = ({ data }: Draft) => {
        const { denials: named, others } = data as unknown as Counts
        return named.reduce((sum, { count }) => sum + count, 0) + Object.values(others).reduce((a, b) => a + b, 0)
    }
    return { time, drafts, all, denied, countedIn }
}

test('a few of each guest and code, again after an hour', (t) => {
    const { time, denied, all } = started()
    const wholeOf = (changed: Partial<Denial>) =>
        Array.from({ length: 20 }, () => denied(changed)).filter(Boolean).length
    t.is(wholeOf({}), 8)
    t.is(wholeOf({ session: 'another', path: 'web/disk/other' }), 0, 'another session of the same guest is no news')
    t.is(wholeOf({ code: 'ERR_KBS_NOT_FOUND' }), 8)
    t.is(wholeOf({ guestId: 'b' }), 8)
    t.is(wholeOf({ guestId: null }), 8)
    t.is(wholeOf({ guestId: null, session: 'z' }), 8, 'without a launch id it is the session that counts')
    time.now += HOUR
    t.is(wholeOf({}), 8)
    all.close()
})

test('of one address a few more, however many guests are launched there', (t) => {
    const { denied, all, drafts, countedIn } = started()
    const total = 300
    const whole = Array.from({ length: total }, (_, i) => denied({ guestId: `${i}` })).filter(Boolean).length
    t.is(whole, 128)
    t.true(denied({ guestId: 'elsewhere', peer: '192.0.2.2' }))
    all.flush()
    t.is(drafts.length, 1)
    const [draft] = drafts as [Draft]
    t.is(countedIn(draft), total - whole, 'none is lost')
    const { denials: named, others } = draft.data as unknown as Counts
    t.is(named.length, 100, 'the record has an end')
    t.is(others[DENIAL.code], total - whole - 100)
    all.flush()
    t.is(drafts.length, 1, 'nothing since')
    all.close()
})
