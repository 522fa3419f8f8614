// The bounded copy of a header.
// SPDX-License-Identifier: Apache-2.0

import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import test from 'ava'
import { copyHeader } from '#luks/device.ts'
import { temporaryFolder } from '#test/folder.ts'
import { imageOf } from './cryptsetup.ts'
import { forge } from './forge.ts'

const MIB = 1024 * 1024

for (const { name, start, size, want } of [
    { name: 'both copies and nothing behind them', start: forge(), size: 20 * MIB, want: 32768 },
    { name: 'both copies of 4 MiB', start: forge({ hdrSize: 4 * MIB }), size: 20 * MIB, want: 8 * MIB },
    { name: 'what a device has that ends before', start: forge().subarray(0, 20000), size: 20000, want: 20000 },
    { name: 'sixteen bytes', start: Buffer.alloc(16), size: 16, want: 16 },
    { name: 'nothing', start: Buffer.alloc(0), size: 0, want: 0 },
    {
        name: '8 MiB of what is no header, to look for a second one',
        start: Buffer.alloc(0),
        size: 20 * MIB,
        want: 8 * MIB,
    },
    {
        name: '8 MiB of a header of absurd size',
        start: forge({ header: { hdrSize: 2n ** 63n } }),
        size: 20 * MIB,
        want: 8 * MIB,
    },
])
    test(`copied: ${name}`, (t) => {
        const copy = copyHeader(imageOf(t, start, size))
        t.is(copy.length, want)
        t.true(copy.subarray(0, start.length).equals(start.subarray(0, want)))
    })

test('a pipe is refused, and nobody waits for its writer', (t) => {
    const path = join(temporaryFolder(t), 'pipe')
    execFileSync('mkfifo', [path])
    t.throws(() => copyHeader(path), { code: 'ERR_LUKS_DEVICE' })
})

for (const { name, path, code } of [
    { name: 'a folder', path: '/', code: 'ERR_LUKS_DEVICE' },
    { name: 'a character device', path: '/dev/zero', code: 'ERR_LUKS_DEVICE' },
    { name: 'nothing at this path', path: '/nonexistent/image', code: 'ERR_NOT_FOUND_FILE' },
    { name: 'a file for a folder', path: '/etc/passwd/image', code: 'ERR_FILE_KIND' },
])
    test(`refused: ${name}`, (t) => void t.throws(() => copyHeader(path), { code }))
