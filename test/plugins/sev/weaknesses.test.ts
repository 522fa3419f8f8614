// Which published attacks are said of which platform.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { WEAKNESSES, weaknessesOf } from '#plugins/sev/weaknesses.ts'

const GLITCH = 'One Glitch to Rule Them All'
const ALWAYS = ['undeSErVed trust', 'SEVered']

for (const { line, chips, want } of [
    { line: 'Naples', chips: false, want: [GLITCH, ...ALWAYS] },
    { line: 'Rome', chips: false, want: [GLITCH, ...ALWAYS] },
    { line: 'Milan', chips: false, want: [GLITCH, ...ALWAYS] },
    { line: 'Milan', chips: true, want: ALWAYS },
    { line: 'Genoa', chips: false, want: ALWAYS },
    { line: 'Turin', chips: false, want: ALWAYS },
    { line: null, chips: false, want: [GLITCH, ...ALWAYS] },
    { line: null, chips: true, want: ALWAYS },
])
    test(`weaknesses: ${line ?? 'any line'}${chips ? ', its chips are named' : ''}`, (t) => {
        t.deepEqual(
            weaknessesOf({ line, chips }).map(({ name }) => name),
            want,
        )
    })

test('weaknesses: each has a date and a source', (t) => {
    for (const { name, published, source } of WEAKNESSES) {
        t.regex(published, /^\d{4}-\d\d-\d\d$/, name)
        t.regex(source, /arXiv:\d{4}\.\d{5}|CVE-\d{4}-\d+/, name)
    }
})
