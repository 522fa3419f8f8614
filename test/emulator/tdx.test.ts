// A whole emulated TD, as root and as an ordinary user: the programs of this project and plain tools at the kernel's own
// paths, and a machine that is afterwards what it was before.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type Implementation } from 'ava'
import { openVendor } from '#plugins/tdx/emulated/vendor.ts'
import { parseEventLog, replay } from '#plugins/tdx/event-log/event-log.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { temporaryFolder } from '#test/folder.ts'
import { guestAttest, MAIN } from '../cli/run.ts'
import { FUSE, programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'
import { trustWords } from '../stage.ts'
import { emulate, type GuestOptions, inTurn } from './guest.ts'
import { nobody, nodeForAll } from './nobody.ts'

const possible = needs(FUSE, programs('unshare', 'setsid'))
const it = (title: string, body: Implementation<[]>) => possible(title, inTurn(body))
const asNobody = needs(FUSE, ROOT, programs('unshare', 'setpriv'), nodeForAll)
const itAsNobody = (title: string, body: Implementation<[]>) => asNobody(title, inTurn(body))

const work = temporaryFolder({ teardown: test.after.always })
const vendor = join(work, 'vendor')
test.before(async () => {
    await openVendor({ folder: vendor, now: new Date(), progress: () => undefined })
})

const MEASUREMENTS = '/sys/devices/virtual/misc/tdx_guest/measurements'
const CLI = `${process.execPath} ${MAIN}`

/** For scripts: `! COMMAND` would go on either way. */
const REFUSED = 'refused() { if sh -c "$1"; then exit 9; fi; }'

/** Runs a script in a TD, and gives what it printed. */
async function inTd(script: string, options: Omit<GuestOptions, 'command'> = {}): Promise<string> {
    const args = ['--trust-dir', vendor, ...(options.args ?? [])]
    const running = emulate({ tee: 'tdx', ...options, args, command: ['sh', '-ec', `${REFUSED}\n${script}`] })
    const status = await running.ended
    const left = await running.left()
    if (status !== 0 || left.length > 0) throw new Error(`status ${status}: ${running.err()} ${left.join(', ')}`)
    return running.out()
}

const evidence = (via: string, out: string) =>
    `${CLI} evidence --via ${via} --report-data hex:aa --format raw --out ${out}`

it('both doors give the same TD; what is extended between them is in the later quote; a verifier accepts both', async (t) => {
    const [first, second, log] = ['first.bin', 'second.bin', 'log.bin'].map((name) => join(work, name)) as [
        string,
        string,
        string,
    ]
    const script = `
        ${evidence('configfs', first)}
        head -c 48 /dev/zero > ${MEASUREMENTS}/rtmr3:sha384
        refused 'head -c 47 /dev/zero > ${MEASUREMENTS}/rtmr3:sha384'
        ${evidence('ioctl', second)}
        od -An -v -tx1 ${MEASUREMENTS}/rtmr3:sha384 | tr -d ' \\n'
        cat /sys/firmware/acpi/tables/data/CCEL > ${log}`
    const rtmr3 = await inTd(script, { args: ['--measurement', 'ab'.repeat(48), '--body-type', '3'] })
    const [a, b] = [parseQuote(readFileSync(first)).body, parseQuote(readFileSync(second)).body]
    t.is(a.mrTd.toString('hex'), 'ab'.repeat(48))
    const { rtmr0, rtmr1, rtmr2 } = replay(parseEventLog(readFileSync(log)))
    t.deepEqual(a.rtmrs, [rtmr0, rtmr1, rtmr2, Buffer.alloc(48)])
    t.is(rtmr3, createHash('sha384').update(Buffer.alloc(96)).digest('hex'))
    t.deepEqual(b, { ...a, rtmrs: [rtmr0, rtmr1, rtmr2, Buffer.from(rtmr3, 'hex')] })
    const trust = await trustWords('tdx', vendor)
    for (const file of [first, second]) {
        const verified = await guestAttest(['verify', file, '--authentic-only', '--report-data', 'hex:aa', ...trust])
        t.is(verified.code, 0, verified.stdout + verified.stderr)
    }
})

for (const { tee, args, absent } of [
    { tee: 'tdx', args: ['--trust-dir', vendor], absent: '/dev/sev-guest' },
    { tee: 'snp', args: [], absent: `/dev/tdx_guest ${MEASUREMENTS} /sys/firmware/acpi/tables/CCEL` },
])
    it(`a guest of ${tee} is seen by its own driver alone`, async (t) => {
        const script = `for path in ${absent}; do [ ! -e "$path" ]; done; ${CLI} detect --json`
        const running = emulate({ tee, args, command: ['sh', '-ec', script] })
        t.is(await running.ended, 0, running.err())
        t.is((JSON.parse(running.out()) as { tee: string }).tee, tee)
        t.deepEqual(await running.left(), [])
    })

it('faults reach reading and extending a register', async (t) => {
    const faults = join(work, 'faults.toml')
    writeFileSync(
        faults,
        `[[fault]]\non = "extendRegister"\nkind = "errno"\nerrno = "EBUSY"\nat = 1\n` +
            `[[fault]]\non = "readRegister"\nkind = "errno"\nerrno = "EIO"\nat = 1\n`,
    )
    const path = `${MEASUREMENTS}/rtmr2:sha384`
    const script = `
        refused 'cat ${path}'
        cp ${path} ${work}/before
        refused 'head -c 48 /dev/zero > ${path}'
        cmp ${path} ${work}/before
        head -c 48 /dev/zero > ${path}
        refused 'cmp -s ${path} ${work}/before'
        echo done`
    t.is((await inTd(script, { args: ['--faults', faults] })).trim().split('\n').at(-1), 'done')
})

it('the files that are there stay, and nothing is seen outside', async (t) => {
    const misc = '/sys/devices/virtual/misc'
    const outside = () => [readdirSync(misc), existsSync('/sys/firmware/acpi/tables/data/CCEL')]
    const before = outside()
    const inside = await inTd(`ls ${misc}; [ -d ${misc}/fuse/power ]`)
    const seen = new Set(inside.trim().split('\n'))
    t.is(new Set([...readdirSync(misc), 'tdx_guest']).symmetricDifference(seen).size, 0, inside)
    t.deepEqual(outside(), before)
})

itAsNobody('as an ordinary user: a quote by hand, registers and the log', async (t) => {
    const user = nobody(t)
    if (user === null) return t.pass('no nodes can be made here')
    const { sources: _, ...options } = user
    const entry = '/sys/kernel/config/tsm/report/mine'
    const script = `
        mkdir ${entry}
        head -c 64 /dev/zero > ${entry}/inblob
        cat ${entry}/provider ${entry}/generation
        od -An -v -tx1 ${entry}/outblob | tr -d ' \\n'
        echo
        head -c 48 /dev/zero > ${MEASUREMENTS}/rtmr3:sha384
        od -An -v -tx1 ${MEASUREMENTS}/rtmr3:sha384 | tr -d ' \\n'
        echo
        head -c 4 /sys/firmware/acpi/tables/CCEL`
    const running = emulate({ ...options, tee: 'tdx', command: ['sh', '-ec', script] })
    t.is(await running.ended, 0, running.err())
    const [provider, generation, quote = '', rtmr3, table] = running.out().split('\n')
    t.deepEqual([provider, generation, table], ['tdx_guest', '1', 'CCEL'])
    t.deepEqual(parseQuote(Buffer.from(quote, 'hex')).body.reportData, Buffer.alloc(64))
    t.is(rtmr3, createHash('sha384').update(Buffer.alloc(96)).digest('hex'))
    t.deepEqual(await running.left(), [])
})
