// A key for a TD: a broker of our own, an emulated vendor, and guests that get the key, or do not, for each reason that
// the technology gives.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { bootLog } from '#plugins/tdx/emulated/measurements.ts'
import { encodeCcel, parseCcel } from '#plugins/tdx/event-log/ccel.ts'
import { temporaryFolder } from '#test/folder.ts'
import { MAIN } from '../cli/run.ts'
import { FUSE, programs } from '../machine.ts'
import { needs } from '../needs.ts'
import { KEY_PATH, openStage, type Stage } from '../stage.ts'

const NEEDS = [FUSE, programs('unshare', 'setsid')]
const it = needs(...NEEDS).serial

// A boot of which one event was another, with its log.
const OTHER_BOOT = join(temporaryFolder({ teardown: test.after.always }), 'log.bin')
writeFileSync(
    OTHER_BOOT,
    encodeCcel(
        parseCcel(bootLog()).events.map(({ register, type, data }, index) => {
            const measured = register === 'rtmr1' ? Buffer.concat([data, Buffer.of(index)]) : data
            return { register, type, digest: createHash('sha384').update(measured).digest(), data: measured }
        }),
    ),
)

let stage: Stage
test.before(async () => {
    if (NEEDS.every(({ met }) => met)) stage = await openStage(undefined, 'tdx')
})
test.after.always(async () => stage?.close())

for (const { name, measurement, emulate = [], denied } of [
    { name: 'the guest that the broker knows' },
    { name: 'the same on a later kernel', emulate: ['--body-type', '3'] },
    { name: 'another firmware', measurement: '00'.repeat(48), denied: true },
    { name: 'another kernel', emulate: ['--event-log', OTHER_BOOT], denied: true },
    { name: 'a guest that its host may debug', emulate: ['--attributes', '10000001'], denied: true },
    { name: 'an outdated platform', emulate: ['--tcb-status', 'OutOfDate'], denied: true },
    { name: 'a revoked platform', emulate: ['--tcb-status', 'Revoked'], denied: true },
] as { name: string; measurement?: string; emulate?: string[]; denied?: boolean }[])
    it(`${name}: ${denied ? 'no key' : 'the key'}`, async (t) => {
        const out = join(stage.folder, name.replaceAll(' ', '-'))
        const words = ['get-resource', `kbs:///${KEY_PATH}`, '--use', 'luks-key', '--url', stage.url, '--out', out]
        const ran = await stage.guest([process.execPath, MAIN, ...words], {
            emulate,
            ...(measurement && { measurement }),
        })
        if (denied) {
            t.is(ran.code, 1, ran.stderr)
            t.regex(ran.stderr, /ERR_KBS_DENIED/)
            t.false(existsSync(out))
            const audit = await stage.broker('audit')
            t.regex(audit.stdout.trimEnd().split('\n').at(-1) ?? '', /denial .*code=ERR_BROKER_DENIED_REFERENCE/)
        } else {
            t.is(ran.code, 0, ran.stderr)
            t.is(statSync(out).size, 32)
        }
    })
