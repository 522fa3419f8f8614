// The environment of the initrd's program: what stays, what goes, and what makes it begin anew.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { emptyEnvironment } from '#cli/environment.ts'

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

function emptied(given: Record<string, string>) {
    const env: Record<string, string | undefined> = { ...given }
    const begun: unknown[] = []
    const argv = ['/usr/lib/guest-attest/guest-attest-initrd', 'clevis-decrypt-kbs', 'word']
    emptyEnvironment({ env, argv, execPath: argv[0] ?? '', again: (...call) => begun.push(call) })
    return { env, begun }
}

for (const { name, given, kept } of [
    { name: 'nothing', given: {}, kept: {} },
    {
        name: 'words of the kernel command line',
        given: { quiet: '1', BOOT_IMAGE: '/vmlinuz', rootmnt: '/root' },
        kept: {},
    },
    { name: 'a search path', given: { PATH: '/nowhere' }, kept: {} },
    { name: 'proxies', given: { HTTPS_PROXY: 'http://127.0.0.1:1', no_proxy: '*' }, kept: {} },
    { name: 'our own', given: { GUEST_ATTEST_CONFIG: '/tmp', GUEST_ATTEST_INSECURE_EMULATED_DEVICE: '1' }, kept: {} },
    { name: 'a language, which every service has', given: { LANG: 'C.UTF-8', LC_ALL: 'C' }, kept: {} },
    {
        name: 'what a service manager says',
        given: { LISTEN_FDS: '1', LISTEN_PID: '7', NOTIFY_SOCKET: '/run/systemd/notify', INVOCATION_ID: 'x' },
        kept: { LISTEN_FDS: '1', LISTEN_PID: '7', NOTIFY_SOCKET: '/run/systemd/notify' },
    },
    { name: 'what cryptsetup says to a keyscript', given: { CRYPTTAB_NAME: 'root' }, kept: { CRYPTTAB_NAME: 'root' } },
])
    test(`goes, and the program goes on: ${name}`, (t) => {
        t.deepEqual(emptied(given as Record<string, string>), { env: { ...kept, PATH }, begun: [] })
    })

for (const name of [
    'NODE_OPTIONS',
    'NODE_EXTRA_CA_CERTS',
    'NODE_DEBUG',
    'OPENSSL_CONF',
    'OPENSSL_ia32cap',
    'LD_PRELOAD',
    'GLIBC_TUNABLES',
    'UV_THREADPOOL_SIZE',
    'ICU_TIMEZONE_FILES_DIR',
    'TZ',
])
    test(`was read before: the program begins anew without ${name}`, (t) => {
        const { begun } = emptied({ [name]: 'x', TERM: 'linux', quiet: '1' })
        const [file, argv, env] = (begun[0] ?? []) as [string, string[], object]
        t.is(begun.length, 1)
        t.is(file, '/usr/lib/guest-attest/guest-attest-initrd')
        // Under the name that it was called by, with the same words.
        t.deepEqual(argv, ['clevis-decrypt-kbs', 'word'])
        t.deepEqual(env, { TERM: 'linux', PATH })
    })
