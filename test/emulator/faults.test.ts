// Scripts of faults: what they may say, and which request meets what; and the gate that each request passes.
// SPDX-License-Identifier: Apache-2.0

import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import * as z from 'zod/mini'
import { noFaults, readFaults } from '#emulator/faults.ts'
import { gate } from '#emulator/gate.ts'
import type { DeviceModel } from '#emulator/model.ts'

const MODEL: DeviceModel = {
    title: 'a test',
    devices: { dev: { mode: 0o600, requests: { 1: 'ask', 2: 'tell' }, ioctl: () => ({}) } },
    tsm: {
        name: 'test',
        hasAuxblob: false,
        report: () => ({ outblob: Buffer.alloc(0), auxblob: Buffer.alloc(0) }),
    },
}

const OWN = { status: { means: 'a status', params: { status: z.int() } } }

const read = (script: string) => readFaults(script, 'faults.toml', MODEL, OWN)

for (const { name, script, requests, want } of [
    { name: 'none', script: 'fault = []', requests: 'ask ask', want: ['', ''] },
    {
        name: 'every request',
        script: '[[fault]]\nkind = "die"',
        requests: 'ask tell configfs',
        want: ['die', 'die', 'die'],
    },
    {
        name: 'every request of a name',
        script: '[[fault]]\nkind = "die"\non = "ask"',
        requests: 'tell ask tell ask',
        want: ['', 'die', '', 'die'],
    },
    {
        name: 'the second one',
        script: '[[fault]]\nkind = "die"\nat = 2',
        requests: 'ask ask ask',
        want: ['', 'die', ''],
    },
    {
        name: 'the second of a name',
        script: '[[fault]]\nkind = "die"\nat = 2\non = "ask"',
        requests: 'ask tell ask ask',
        want: ['', '', 'die', ''],
    },
    {
        name: 'from the second, twice',
        script: '[[fault]]\nkind = "die"\nat = 2\ntimes = 2',
        requests: 'ask ask ask ask',
        want: ['', 'die', 'die', ''],
    },
    {
        name: 'the first two',
        script: '[[fault]]\nkind = "die"\ntimes = 2',
        requests: 'ask ask ask',
        want: ['die', 'die', ''],
    },
    {
        name: 'two at once',
        script: '[[fault]]\nkind = "delay"\nms = 5\n[[fault]]\nkind = "status"\nstatus = 0x16\nat = 1',
        requests: 'ask ask',
        want: ['delay{"ms":5} status{"status":22}', 'delay{"ms":5}'],
    },
])
    test(`met: ${name}`, (t) => {
        const plan = read(script)
        const met = requests.split(' ').map((request) => {
            const { faults, commit } = plan.meet(request)
            commit()
            const params = (p: object) => (Object.keys(p).length > 0 ? JSON.stringify(p) : '')
            return faults.map((fault) => `${fault.kind}${params(fault.params)}`).join(' ')
        })
        t.deepEqual(met, want)
    })

test('a request that is looked at twice comes once', (t) => {
    const plan = read('[[fault]]\nkind = "die"\nat = 1')
    t.is(plan.meet('ask').faults.length, 1)
    t.is(plan.meet('ask').faults.length, 1)
    plan.meet('ask').commit()
    t.is(plan.meet('ask').faults.length, 0)
})

for (const { name, script, code = 'ERR_EMULATOR_FAULTS', want } of [
    { name: 'no TOML', script: '[[fault', code: 'ERR_CONFIG', want: /faults\.toml:1/ },
    { name: 'nothing', script: '', want: /fault/ },
    { name: 'another table', script: 'fault = []\n[other]', want: /other/ },
    {
        name: 'no kind',
        script: '[[fault]]\nat = 1',
        want: /fault 1: kind: expected one of delay, die, errno, generation-race, status, got undefined/,
    },
    { name: 'an unknown kind', script: '[[fault]]\nkind = "__proto__"', want: /got "__proto__"/ },
    {
        name: 'an unknown request',
        script: '[[fault]]\nkind = "die"\non = "beg"',
        want: /on: .*"ask"\|"tell"\|"configfs"/,
    },
    { name: 'a parameter of another kind', script: '[[fault]]\nkind = "die"\nms = 3', want: /ms/ },
    { name: 'a parameter that is missing', script: '[[fault]]\nkind = "status"', want: /fault 1 \(status\): status/ },
    { name: 'a request before the first', script: '[[fault]]\nkind = "die"\nat = 0', want: /at/ },
    { name: 'an errno that does not exist', script: '[[fault]]\nkind = "errno"\nerrno = "EWRONG"', want: /errno/ },
    { name: 'the second of two', script: '[[fault]]\nkind = "die"\n[[fault]]\nkind = "dye"', want: /fault 2/ },
])
    test(`refused: ${name}`, (t) => void t.throws(() => read(script), { code, message: want }))

const forever = new AbortController().signal

test('the gate: one at a time, in their order, and commits once each', async (t) => {
    const log: string[] = []
    const way = gate(
        noFaults,
        () => 0,
        () => undefined,
    )
    const pass = (name: string, delayMs: number) =>
        way.pass(name, forever, async () => {
            log.push(`run ${name}`)
            await sleep(1)
            return { delayMs, commit: () => log.push(`commit ${name}`) }
        })
    await Promise.all([pass('a', 20), pass('b', 0), pass('c', 5)])
    t.deepEqual(log, ['run a', 'commit a', 'run b', 'commit b', 'run c', 'commit c'])
})

test('the gate: a caller that is being killed stops waiting; one that has not begun is not run', async (t) => {
    const log: string[] = []
    const way = gate(
        noFaults,
        () => 0,
        () => undefined,
    )
    const kill = new AbortController()
    const slow = way.pass('a', kill.signal, async () => ({ delayMs: 60_000, commit: () => log.push('commit a') }))
    const next = way.pass('b', kill.signal, async () => {
        log.push('run b')
        return {}
    })
    const after = way.pass('c', forever, async () => ({ commit: () => log.push('commit c') }))
    setTimeout(() => kill.abort(), 10)
    await t.throwsAsync(slow, { message: 'EINTR' })
    await t.throwsAsync(next, { message: 'EINTR' })
    await after
    t.deepEqual(log, ['commit a', 'commit c'])
})

test('the gate: errno, delay and death', async (t) => {
    const plan = read(
        '[[fault]]\nkind = "errno"\nerrno = "EBUSY"\non = "ask"\n[[fault]]\nkind = "delay"\nms = 30\n[[fault]]\nkind = "die"\non = "tell"',
    )
    let deaths = 0
    const way = gate(
        plan,
        () => 7,
        () => deaths++,
    )
    const started = performance.now()
    await t.throwsAsync(
        way.pass('ask', forever, async () => t.fail() as never),
        { message: 'EBUSY' },
    )
    t.true(performance.now() - started >= 29)
    t.is(deaths, 0)
    const { answer, faults } = await way.pass('tell', forever, async ({ nowMs }) => ({ delayMs: nowMs }))
    t.deepEqual([answer.delayMs, faults.length, deaths], [7, 2, 1])
    t.deepEqual((await way.pass(null, forever, async () => ({}))).faults, [])
})

test('the gate: what a request throws, the next one does not hear of', async (t) => {
    const way = gate(
        noFaults,
        () => 0,
        () => undefined,
    )
    await t.throwsAsync(
        way.pass('a', forever, async () => Promise.reject(new Error('wrong'))),
        { message: 'wrong' },
    )
    await t.notThrowsAsync(way.pass('b', forever, async () => ({})))
})
