// Which published attacks are said of which platform.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { sevLaunch } from '#plugins/sev/launch-service.ts'
import { WEAKNESSES, weaknessesOf } from '#plugins/sev/weaknesses.ts'

const CURVE = 'invalid curve points'
const GLITCH = 'One Glitch to Rule Them All'
const ALWAYS = ['undeSErVed trust', 'SEVered']

for (const { line, chips, api = [1, 55] as const, want } of [
    { line: 'Naples', chips: false, want: [GLITCH, ...ALWAYS] },
    { line: 'Naples', chips: false, api: [0, 17], want: [GLITCH, CURVE, ...ALWAYS] },
    { line: 'Naples', chips: true, api: [0, 18], want: ALWAYS },
    { line: 'Rome', chips: false, api: [0, 17], want: [GLITCH, ...ALWAYS] },
    { line: null, chips: true, api: [0, 17], want: [CURVE, ...ALWAYS] },
    { line: 'Rome', chips: false, want: [GLITCH, ...ALWAYS] },
    { line: 'Milan', chips: false, want: [GLITCH, ...ALWAYS] },
    { line: 'Milan', chips: true, want: ALWAYS },
    { line: 'Genoa', chips: false, want: ALWAYS },
    { line: 'Turin', chips: false, want: ALWAYS },
    { line: null, chips: false, want: [GLITCH, ...ALWAYS] },
    { line: null, chips: true, want: ALWAYS },
] as { line: string | null; chips: boolean; api?: readonly [number, number]; want: string[] }[])
    test(`weaknesses: ${line ?? 'any line'}, API ${api.join('.')}${chips ? ', its chips are named' : ''}`, (t) => {
        t.deepEqual(
            weaknessesOf({ line, chips, madeBy: { apiMajor: api[0], apiMinor: api[1] } }).map(({ name }) => name),
            want,
        )
    })

const BROKER = { url: 'https://kbs.example', pins: [`sha256/${'A'.repeat(43)}=`], allowPaths: ['web/*/*'] }
const CHIPS = { chips: ['ab'.repeat(32)] }
const SENT = { 'insecure-migration': true }
const WITHOUT_ES = { policy: 3, 'insecure-unmeasured-cpu-state': true, ...SENT }
const SECRETS = { secrets: [{ type: 'luks-passphrase', passphrase: 'correct horse' }] }

// What the floor of its broker would have against it: each switch once, and none for a guest that asks no broker.
for (const { name, asked, broker, want } of [
    { name: 'without a key, nothing', asked: { ...WITHOUT_ES, ...SECRETS }, broker: null, want: [] },
    { name: 'with NOSEND and a chip, nothing', asked: { policy: 15, ...CHIPS }, broker: BROKER, want: [] },
    { name: 'without NOSEND', asked: { policy: 7, ...SENT, ...CHIPS }, broker: BROKER, want: ['insecureMigration'] },
    { name: 'on any chip', asked: { policy: 15 }, broker: BROKER, want: ['insecureNoRevocation'] },
    {
        name: 'without ES and NOSEND, on any chip',
        asked: WITHOUT_ES,
        broker: BROKER,
        want: ['insecureUnmeasuredCpuState', 'insecureMigration', 'insecureNoRevocation'],
    },
])
    test(`a registration names what a rule must say: ${name}`, (t) => {
        const { weaknesses } = sevLaunch.register({ 'launch-digests': ['ab'.repeat(32)], ...asked }, broker)
        t.deepEqual(
            weaknesses.flatMap((text) => /unless a rule says @(\w+)$/.exec(text)?.[1] ?? []),
            want,
        )
    })

// What is said of a guest that its host may send away, whether or not a broker has anything against it.
for (const { policy, want } of [
    { policy: 0x7, want: /the host can read its memory/ },
    { policy: 0x17, want: /the host can read its memory/ },
    { policy: 0x27, want: /whoever has the key of one of AMD’s chips can read its memory/ },
    { policy: 0xf, want: null },
])
    for (const broker of [null, BROKER])
        test(`a registration with the policy 0x${policy.toString(16)}, ${broker ? 'with' : 'without'} a key`, (t) => {
            const { weaknesses } = sevLaunch.register(
                { 'launch-digests': ['ab'.repeat(32)], policy, ...SENT, ...SECRETS },
                broker,
            )
            const said = weaknesses.filter((text) => text.includes('NOSEND'))
            t.is(said.length, want ? 1 : 0)
            if (want) t.regex(said.join(), want)
        })

test('weaknesses: each has a date and a source', (t) => {
    for (const { name, published, source } of WEAKNESSES) {
        t.regex(published, /^\d{4}-\d\d-\d\d$/, name)
        t.regex(source, /arXiv:\d{4}\.\d{5}|CVE-\d{4}-\d+/, name)
    }
})
