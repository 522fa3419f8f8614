// A peer of the emulator: the `attest` tool of google/go-tdx-guest, unmodified, from Debian's packages (install.sh beside
// this file). It finds the TD at the kernel's own paths, through configfs-tsm and through the device. (Its `check` does not build from
// the package, which lacks the root that it embeds.)
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type Implementation } from 'ava'
import { openVendor } from '#plugins/tdx/emulated/vendor.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { temporaryFolder } from '#test/folder.ts'
import { guestAttest } from '../cli/run.ts'
import { emulate, inTurn } from '../emulator/guest.ts'
import { FUSE, type Need } from '../machine.ts'
import { needs } from '../needs.ts'
import { trustWords } from '../stage.ts'

const GO = '/usr/lib/go-1.24/bin/go'
const PACKAGE = 'github.com/google/go-tdx-guest/tools/attest'

const installed: Need = {
    what: 'golang-1.24-go and golang-github-google-go-tdx-guest-dev of Debian 13 (test/peers/install.sh)',
    met: existsSync(GO) && existsSync(`/usr/share/gocode/src/${PACKAGE}`),
}

const possible = needs(FUSE, installed)
const it = (title: string, body: Implementation<[]>) => possible(title, inTurn(body))

const work = temporaryFolder({ teardown: test.after.always })
const attest = join(work, 'attest')
const vendor = join(work, 'vendor')

test.before(async () => {
    if (!installed.met) return
    // Everything is in the packages: no module is fetched.
    const env = {
        ...process.env,
        GO111MODULE: 'off',
        GOPATH: '/usr/share/gocode',
        GOFLAGS: '',
        GOCACHE: process.env['GOCACHE'] ?? join(tmpdir(), 'guest-attest-go-cache'),
    }
    const built = spawnSync(GO, ['build', '-o', attest, PACKAGE], { env, encoding: 'utf8', timeout: 170_000 })
    if (built.status !== 0) throw new Error(`${PACKAGE} does not build: ${built.stderr}`)
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
