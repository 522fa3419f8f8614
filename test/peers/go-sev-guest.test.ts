// A peer of the emulator: the `attest` tool of google/go-sev-guest, unmodified, from Debian's packages (install.sh
// beside this file). It finds the guest at the kernel's own paths, through configfs-tsm and through the ioctl.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type Implementation } from 'ava'
import { parseCertTable } from '#plugins/snp/cert-table.ts'
import { openVendor } from '#plugins/snp/emulated/vendor.ts'
import { parseReport } from '#plugins/snp/report.ts'
import { temporaryFolder } from '#test/folder.ts'
import { guestAttest } from '../cli/run.ts'
import { emulate, inTurn } from '../emulator/guest.ts'
import { FUSE } from '../machine.ts'
import { needs } from '../needs.ts'
import { buildGo, goProgram } from './go.ts'

const PROGRAM = {
    source: 'github.com/google/go-sev-guest/tools/attest',
    debian: 'golang-github-google-go-sev-guest-dev',
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
    for (const extended of [false, true])
        it(`go-sev-guest attest, ${door}${extended ? ', with certificates' : ''}`, async (t) => {
            const out = join(work, `${door}-${extended}.bin`)
            const words = [
                attest,
                '-inform',
                'hex',
                '-in',
                NONCE.toString('hex'),
                '-out',
                out,
                ...(extended ? ['-extended'] : []),
            ]
            // Without configfs the tool takes the device.
            const script = door === 'ioctl' ? 'umount -n /sys/kernel/config && exec "$@"' : 'exec "$@"'
            const running = emulate({ args: ['--trust-dir', vendor], command: ['sh', '-c', script, 'sh', ...words] })
            t.is(await running.ended, 0, running.err())
            t.deepEqual(await running.left(), [])
            const got = readFileSync(out)
            t.deepEqual(parseReport(got.subarray(0, 1184)).reportData, NONCE)
            t.is(parseCertTable(got.subarray(1184)).length, extended ? 3 : 0)

            const certs = ['vcek.pem', 'ask.pem'].flatMap((name) => ['--certs', join(vendor, name)])
            const trust = ['--trust-root', join(vendor, 'ark.pem'), '--collateral', vendor]
            const nonce = ['--nonce', `hex:${NONCE.toString('hex')}`]
            const verified = await guestAttest(['verify', out, ...nonce, ...certs, ...trust])
            t.is(verified.code, 0, verified.stdout)
        })

it('go-sev-guest attest: a level that the guest may not ask for is refused', async (t) => {
    const words = [attest, '-inform', 'hex', '-in', '00', '-vmpl', '0', '-out', join(work, 'refused.bin')]
    const running = emulate({ args: ['--trust-dir', vendor, '--vmpl', '2'], command: words })
    t.not(await running.ended, 0)
    t.deepEqual(await running.left(), [])
})
