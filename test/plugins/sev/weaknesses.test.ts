// Which published attacks are said of which platform.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { toBase64 } from '#core/bytes.ts'
import { NO_KERNEL } from '#plugins/sev/launch/terms.ts'
import { sevLaunch } from '#plugins/sev/launch-service.ts'
import { WEAKNESSES, weaknessesOf } from '#plugins/sev/weaknesses.ts'
import { MILAN, makeFirmware } from './rig.ts'

const CURVE = 'invalid curve points'
const GLITCH = 'One Glitch to Rule Them All'
const ALWAYS = ['undeSErVed trust', 'SEVered']

for (const { line, api = [1, 55] as const, want } of [
    { line: 'Naples', want: [GLITCH, ...ALWAYS] },
    { line: 'Naples', api: [0, 17], want: [GLITCH, CURVE, ...ALWAYS] },
    { line: 'Naples', api: [0, 18], want: [GLITCH, ...ALWAYS] },
    { line: 'Rome', api: [0, 17], want: [GLITCH, ...ALWAYS] },
    { line: 'Rome', want: [GLITCH, ...ALWAYS] },
    { line: 'Milan', want: [GLITCH, ...ALWAYS] },
    { line: 'Genoa', want: ALWAYS },
    { line: 'Turin', want: ALWAYS },
    { line: null, want: [GLITCH, ...ALWAYS] },
    { line: null, api: [0, 17], want: [GLITCH, CURVE, ...ALWAYS] },
] as { line: string | null; api?: readonly [number, number]; want: string[] }[])
    test(`weaknesses: ${line ?? 'any line'}, API ${api.join('.')}`, (t) => {
        t.deepEqual(
            weaknessesOf({ productLine: line, madeBy: { apiMajor: api[0], apiMinor: api[1] } }).map(({ name }) => name),
            want,
        )
    })

const BROKER = { url: 'https://kbs.example', pins: [`sha256/${'A'.repeat(43)}=`], allowPaths: ['web/*/*'] }
const CHIPS = { chips: ['ab'.repeat(32)] }
const FIRMWARE = {
    firmware: toBase64(makeFirmware()),
    'cpu-count': 1,
    cpus: [MILAN],
    profiles: ['kvm-legacy'],
}
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

// Naming the chips keeps out the keys of others; the owner of these has them in hand.
for (const { name, asked, want } of [
    { name: 'any chip', asked: { 'launch-digests': ['ab'.repeat(32)] }, want: [GLITCH] },
    { name: 'chips that are named', asked: { 'launch-digests': ['ab'.repeat(32)], ...CHIPS }, want: [GLITCH] },
    {
        name: 'a firmware without a kernel',
        asked: { 'firmware-hashes': ['ab'.repeat(32)], policy: 0xb, 'insecure-unmeasured-cpu-state': true },
        want: [GLITCH, NO_KERNEL],
    },
    { name: 'a firmware without a kernel, whole', asked: FIRMWARE, want: [GLITCH, NO_KERNEL] },
    { name: 'a firmware with a kernel', asked: { ...FIRMWARE, 'kernel-hash': 'cd'.repeat(32) }, want: [GLITCH] },
])
    test(`what is said of a registration: ${name}`, (t) => {
        const { weaknesses } = sevLaunch.register({ policy: 0xf, ...SECRETS, ...asked }, null)
        for (const text of [GLITCH, NO_KERNEL])
            t.is(weaknesses.filter((one) => one.startsWith(text)).length, want.includes(text) ? 1 : 0, text)
    })

test('weaknesses: each has a date and a source', (t) => {
    for (const { name, published, source } of WEAKNESSES) {
        t.regex(published, /^\d{4}-\d\d-\d\d$/, name)
        t.regex(source, /arXiv:\d{4}\.\d{5}|CVE-\d{4}-\d+/, name)
    }
})
