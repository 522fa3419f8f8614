// The first module of the program of the initrd: it takes next to nothing from its environment. Unknown words of the
// kernel's command line, which a host may write, become the environment of PID 1 and of whatever that starts.
//
// Node, V8, OpenSSL, ICU, libuv and the C library read variables before any line of a program does (NODE_EXTRA_CA_CERTS,
// NODE_DEBUG, OPENSSL_ia32cap …). Where one of theirs is set the program begins once more without it: the same process,
// a new image. Everything else goes without that: what is read later is not there any more.
// NODE_OPTIONS and OPENSSL_CONF mean nothing already: packaging/executable.ts.
// SPDX-License-Identifier: Apache-2.0

import { ROLE } from '#core/role.ts'

/** What is kept: a terminal's kind, and what a service manager tells the service that it starts. */
const KEPT: readonly string[] = [
    'TERM',
    'NOTIFY_SOCKET',
    'LISTEN_FDS',
    'LISTEN_PID',
    'LISTEN_FDNAMES',
    'CREDENTIALS_DIRECTORY',
    'CRYPTTAB_NAME',
    'CRYPTTAB_SOURCE',
    'CRYPTTAB_KEY',
    'CRYPTTAB_OPTIONS',
    'CRYPTTAB_TRIED',
]

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * Of what has read its variables by now. Not LANG and its like, which choose among data that is built in: services have
 * them, and a socket that a service was started with would be lost with a new beginning.
 * LD_*: what it named is loaded, and stays outside from the next start on.
 */
const READ_EARLY =
    /^(?:NODE|V8|OPENSSL|CTLOG|QLOG|SIMDUTF|ICU|UV|LD|GLIBC|MALLOC|GCONV|CARES|ASAN|LSAN)_|^(?:LOCPATH|NLSPATH|TZ|TZDIR)$/

export interface Surroundings {
    readonly env: Record<string, string | undefined>
    readonly argv: readonly string[]
    readonly execPath: string
    readonly again: (file: string, argv: readonly string[], env: Readonly<Record<string, string>>) => void
}

/** Empties the environment, or begins anew where that is too late. */
export function emptyEnvironment({ env, argv, execPath, again }: Surroundings): void {
    const kept: Record<string, string> = { PATH }
    let late = false
    for (const [name, value] of Object.entries({ ...env })) {
        if (KEPT.includes(name) && value !== undefined) kept[name] = value
        else {
            late ||= READ_EARLY.test(name)
            delete env[name]
        }
    }
    env['PATH'] = PATH
    // The program's own name stays the first word: it says which program this is.
    if (late) again(execPath, argv.slice(1), kept)
}

if (ROLE === 'initrd')
    emptyEnvironment({
        env: process.env,
        argv: process.argv,
        execPath: process.execPath,
        again: (file, argv, env) => process.execve?.(file, argv, env),
    })
