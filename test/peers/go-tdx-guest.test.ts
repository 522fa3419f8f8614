// A peer of the emulator: the `attest` tool of google/go-tdx-guest, unmodified, from Debian's packages (install.sh beside
// this file). It finds the TD at the kernel's own paths, through configfs-tsm and through the device. (Its `check` does not build from
// the package, which lacks the root that it embeds.)
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type Implementation } from 'ava'
import { openVendor } from '#plugins/tdx/emulated/vendor.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { temporaryFolder } from '#test/folder.ts'
import { guestAttest } from '../cli/run.ts'
import { emulate, inTurn } from '../emulator/guest.ts'
import { FUSE } from '../machine.ts'
import { needs } from '../needs.ts'
import { trustWords } from '../stage.ts'
import { buildGo, goProgram } from './go.ts'

const PROGRAM = {
    source: 'github.com/google/go-tdx-guest/tools/attest',
    debian: 'golang-github-google-go-tdx-guest-dev',
}
const installed = goProgram(PROGRAM)

const possible = needs(FUSE, installed)
const it = (title: string, body: Implementation<[]>) => possible(title, inTurn(body))

const work = temporaryFolder({ teardown: test.after.always })
const attest = join(work, 'attest')
const vendor = join(work, 'vendor')

test.before(async () => {
    if (!installed.met) return
    buildGo(PROGRAM.source, attest)
    await openVendor({ folder: vendor, now: new Date(), progress: () => undefined })
})

const NONCE = Buffer.alloc(64, 0x5a)

for (const door of ['configfs', 'ioctl'] as const)
    it(`go-tdx-guest attest, ${door}`, async (t) => {
        const out = join(work, `${door}.bin`)
        const tool = [attest, '-inform', 'hex', '-in', NONCE.toString('hex'), '-outform', 'bin', '-out', out]
        // Without configfs the tool takes the device.
        const script = door === 'ioctl' ? 'umount -n /sys/kernel/config && exec "$@"' : 'exec "$@"'
        const command = ['sh', '-c', script, 'sh', ...tool]
        const running = emulate({ tee: 'tdx', args: ['--trust-dir', vendor], command })
        t.is(await running.ended, 0, running.err())
        t.deepEqual(await running.left(), [])
        t.deepEqual(parseQuote(readFileSync(out)).body.reportData, NONCE)

        const nonce = ['--nonce', `hex:${NONCE.toString('hex')}`]
        const verified = await guestAttest(['verify', out, ...nonce, ...(await trustWords('tdx', vendor))])
        t.is(verified.code, 0, verified.stdout)
    })
