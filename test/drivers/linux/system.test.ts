// What the kernel says of itself, and the C library under it.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, openSync } from 'node:fs'
import { release } from 'node:os'
import test from 'ava'
import { libc } from '#drivers/linux/libc.ts'
import { CONFIGFS_MAGIC, moduleHint, system } from '#drivers/linux/system.ts'
import { temporaryFolder } from '#test/folder.ts'

const PROC_SUPER_MAGIC = 0x9fa0

/** A descriptor that no process has so many for. */
const NOT_OPEN = 1 << 30

test('the release is that of this kernel, on one line', (t) => t.is(system().kernelRelease, release()))

test('a folder on the file system that it must be on', (t) => {
    t.notThrows(() => system().requireFilesystem('/proc/self', PROC_SUPER_MAGIC, 'proc'))
    t.true(system().exists('/proc/self'))
})

test('a folder that only looks like configfs is refused', (t) =>
    void t.throws(() => system().requireFilesystem(temporaryFolder(t), CONFIGFS_MAGIC, 'configfs'), {
        code: 'ERR_DEVICE_KIND',
        message: /is not on configfs/,
    }))

for (const { kernel, want } of [
    { kernel: '6.1.0-40-cloud-amd64', want: /may be built without sev-guest: apt-get install linux-image-amd64/ },
    { kernel: '6.12.9-amd64', want: /^modprobe sev-guest; it is in Linux since 5\.19.*\(this is 6\.12\.9-amd64\)$/ },
])
    test(`what to do on ${kernel}`, (t) => t.regex(moduleHint(kernel, 'sev-guest', '5.19'), want))

test('a lock on what is not open is an error, not a lock', (t) =>
    void t.throws(() => libc().tryLock(NOT_OPEN), { code: 'ERR_LOCK', message: /errno 9/ }))

test('an ioctl that the kernel refuses comes back with its errno, also of many at once', async (t) => {
    const fd = openSync('/dev/null', 'r')
    t.teardown(() => closeSync(fd))
    const ENOTTY = 25
    const EBADF = 9
    const results = await Promise.all(
        Array.from({ length: 40 }, (_, i) => libc().ioctl(i % 2 ? fd : NOT_OPEN, 0xc0205300, Buffer.alloc(32))),
    )
    for (const [i, { result, errno }] of results.entries()) t.deepEqual([result, errno], [-1, i % 2 ? ENOTTY : EBADF])
})
