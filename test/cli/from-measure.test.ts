// `broker reference add --from-measure`: what of a prediction becomes a reference set, and what is refused.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { readReference } from '#broker/decision/references.ts'
import { readPrediction, writeMeasured } from '#cli/broker/from-measure.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { sevVerifier } from '#plugins/sev/verifier.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'

const prediction = (byte: string, changes = {}) => ({
    tee: 'snp',
    measurements: { measurement: byte.repeat(48) },
    coverage: 'firmware+kernel+initrd+cmdline',
    coverageNote: 'where the firmware refuses what does not match',
    unpredicted: {},
    ...changes,
})
const read = (value: unknown) => readPrediction(Buffer.from(JSON.stringify(value)), 'x.json')

test('predictions become a set that the broker reads', (t) => {
    const text = writeMeasured('web', [read(prediction('07')), read(prediction('08')), read(prediction('07'))])
    const set = readReference(text, 'web', new Map([['snp', snpVerifier(STRICT_TRUST)]]))
    t.deepEqual(set.measurements, ['07'.repeat(48), '08'.repeat(48)])
    t.is(set.coverage, 'firmware+kernel+initrd+cmdline')
    t.is(set.name, 'web')
})

test('SEV-ES proves itself as SEV', (t) => {
    const es = { tee: 'sev-es', measurements: { measurement: '01'.repeat(32) } }
    const text = writeMeasured('web', [read(prediction('00', es))])
    const set = readReference(text, 'web', new Map([['sev', sevVerifier(STRICT_TRUST)]]))
    t.is(set.tee, 'sev')
    t.deepEqual(set.measurements, ['01'.repeat(32)])
})

test('registers stand under their own names, behind the launch measurement', (t) => {
    const tdx = { tee: 'tdx', measurements: { mrTd: '01'.repeat(48), rtmr1: '02'.repeat(48), rtmr2: '03'.repeat(48) } }
    const text = writeMeasured('td', [read(prediction('00', tdx))])
    t.true(
        text.endsWith(
            `[policy]\nmeasurements = ["${'01'.repeat(48)}"]\nrtmr1 = ["${'02'.repeat(48)}"]\nrtmr2 = ["${'03'.repeat(48)}"]\n`,
        ),
    )
})

for (const [name, values, message] of [
    [
        'two coverages',
        [prediction('07'), prediction('08', { coverage: 'firmware' })],
        /one technology and one coverage/,
    ],
    ['two technologies', [prediction('07'), prediction('08', { tee: 'sev' })], /one technology and one coverage/],
    [
        'a part of a measurement',
        [prediction('07', { unpredicted: { measurement: 'more' } })],
        /a part of a measurement/,
    ],
    ['no measurement', [prediction('07', { measurements: {} })], /a part of a measurement/],
    ['a note of two lines', [prediction('07', { coverageNote: 'a\nb' })], /one line of text/],
    ['no hex', [prediction('07', { measurements: { measurement: 'AB' } })], /lower-case hex/],
    ['a name that is none', [prediction('07', { measurements: { 'a = 1\n': '07' } })], /measurements/],
    ['an unknown coverage', [prediction('07', { coverage: 'all' })], /coverage/],
] as const)
    test(`refused: ${name}`, (t) => {
        t.throws(() => writeMeasured('web', values.map(read)), { message })
    })
