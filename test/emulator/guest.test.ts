// A whole emulated guest, as root and as an ordinary user: the drivers of this program at the kernel's own paths,
// faults on their way, and a machine that is afterwards what it was before.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type Implementation } from 'ava'
import { fromHex } from '#core/bytes.ts'
import { openVendor } from '#plugins/snp/emulated/vendor.ts'
import { parseReport } from '#plugins/snp/report.ts'
import { temporaryFolder } from '#test/folder.ts'
import { guestAttest } from '../cli/run.ts'
import { FUSE, programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'
import { emulate, type GuestOptions, inTurn } from './guest.ts'
import { AS_NOBODY, nobody, nodeForAll } from './nobody.ts'

const possible = needs(FUSE, programs('unshare', 'setsid'))
const it = (title: string, body: Implementation<[]>) => possible(title, inTurn(body))

// As root, also in another role: as a user who is nobody else, and who needs a Node that everybody may run.
const asRoot = needs(FUSE, ROOT, programs('unshare', 'setpriv'))
const itAsRoot = (title: string, body: Implementation<[]>) => asRoot(title, inTurn(body))
const asNobody = needs(FUSE, ROOT, programs('unshare', 'setpriv'), nodeForAll)
const itAsNobody = (title: string, body: Implementation<[]>) => asNobody(title, inTurn(body))

const CLIENT = fileURLToPath(new URL('./client.ts', import.meta.url))
const client = (...words: string[]): string[] => [process.execPath, CLIENT, ...words]

const work = temporaryFolder({ teardown: test.after.always })
const vendor = join(work, 'vendor')
test.before(async () => {
    await openVendor({ folder: vendor, now: new Date(), progress: () => undefined })
})

interface Answer {
    readonly report?: string
    readonly certificates?: string
    readonly key?: string
    readonly code?: string
    readonly message?: string
}

/** Runs the client to its end, and gives its answers. */
async function ask(options: Omit<GuestOptions, 'command'>, ...words: string[]): Promise<Answer[]> {
    const running = emulate({
        ...options,
        args: ['--trust-dir', vendor, ...(options.args ?? [])],
        command: client(...words),
    })
    const status = await running.ended
    if (status !== 0 || running.barked()) throw new Error(`status ${status}: ${running.err()}`)
    const left = await running.left()
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`)
    return running
        .out()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Answer)
}

const parsed = (answer: Answer | undefined) => parseReport(fromHex(answer?.report ?? '', 'report'))

it('both doors give the same guest, and each what it was asked for', async (t) => {
    const args = [
        '--measurement',
        'ab'.repeat(48),
        '--host-data',
        'cd'.repeat(32),
        '--policy',
        '0xb0000',
        '--vmpl',
        '1',
    ]
    const [first, second, third, derived, again] = await ask(
        { args },
        ...'report configfs aa 1 , report ioctl bb 2 , report ioctl cc 0 , derive 8 , report configfs dd 0'.split(' '),
    )
    const [a, b] = [parsed(first), parsed(second)]
    t.is(a.measurement.toString('hex'), 'ab'.repeat(48))
    t.is(a.hostData.toString('hex'), 'cd'.repeat(32))
    t.is(a.policy, 0xb0000n)
    t.is(a.reportData.toString('hex'), 'aa'.padEnd(128, '0'))
    t.is(b.reportData.toString('hex'), 'bb'.padEnd(128, '0'))
    t.deepEqual([a.vmpl, b.vmpl], [1, 2])
    t.deepEqual(a.reportId, b.reportId)
    t.true((first?.certificates?.length ?? 0) > 2 * 4096)
    t.is(third?.code, 'ERR_SEV_FW_INVALID_PARAM') // less than the level that the guest runs at
    t.is(derived?.code, 'ERR_SEV_FW_INVALID_PARAM')
    t.is(again?.code, 'ERR_DEVICE_REQUEST')
})

it('two guests with one trust-dir: one chip, two launches, the same derived key', async (t) => {
    const words = 'report ioctl 00 , derive 8'.split(' ')
    const [[one, key], [two, other]] = await Promise.all([ask({}, ...words), ask({}, ...words)])
    t.deepEqual(parsed(one).chipId, parsed(two).chipId)
    t.notDeepEqual(parsed(one).reportId, parsed(two).reportId)
    t.is(key?.key, other?.key)
    t.regex(key?.key ?? '', /^[0-9a-f]{64}$/)
})

for (const { name, script, words, want } of [
    {
        name: 'a refusal',
        script: 'on = "getExtReport"\nkind = "firmware-status"\nstatus = 0x27\nat = 1',
        words: 'report ioctl 01 , report ioctl 02',
        want: ['ERR_SEV_FW_INVALID_KEY', 'ok'],
    },
    {
        name: 'a refusal through configfs',
        script: 'on = "configfs"\nkind = "firmware-status"\nstatus = 0x16',
        words: 'report configfs 01',
        want: ['ERR_DEVICE_REQUEST'],
    },
    {
        name: 'a host that errs, and the lost key',
        script: 'kind = "vmm-status"\nstatus = 0xffffffff\nat = 1',
        words: 'report ioctl 01 , report ioctl 02 , report configfs 03',
        want: ['ERR_DEVICE_IO', 'ERR_DEVICE_KEY_LOST', 'ERR_DEVICE_KEY_LOST'],
    },
    {
        name: 'a host that is busy, on an old kernel',
        script: 'kind = "vmm-status"\nstatus = 2\nat = 1',
        words: 'report ioctl 01',
        want: ['ERR_DEVICE_BUSY'],
    },
    {
        name: 'a host that throttles for good',
        script: 'kind = "timeout"\nms = 100\nat = 1',
        words: 'report configfs 01 , derive 8',
        want: ['ERR_DEVICE_THROTTLED', 'ERR_DEVICE_KEY_LOST'],
    },
    {
        name: 'a host that throttles for a moment',
        script: 'kind = "busy"\nms = 300',
        words: 'report ioctl 01 , report configfs 02',
        want: ['ok', 'ok'],
    },
    {
        name: 'a burst',
        script: 'kind = "key-lost-on-burst"\nmore = 2\nwithinMs = 60_000',
        words: 'report ioctl 01 , report ioctl 02 , report ioctl 03 , report ioctl 04',
        want: ['ok', 'ok', 'ERR_DEVICE_THROTTLED', 'ERR_DEVICE_KEY_LOST'],
    },
    {
        name: 'a table that has grown',
        script: 'on = "getExtReport"\nkind = "short-buffer"\nsize = 0x5000\nat = 1',
        words: 'report ioctl 01',
        want: ['ERR_DEVICE_REQUEST'],
    },
    {
        name: 'a race, which passes',
        script: 'on = "configfs"\nkind = "generation-race"\nat = 1',
        words: 'report configfs 01',
        want: ['ok'],
    },
    {
        name: 'races without an end',
        script: 'on = "configfs"\nkind = "generation-race"',
        words: 'report configfs 01',
        want: ['ERR_TSM_RACE'],
    },
    {
        name: 'an errno',
        script: 'on = "configfs"\nkind = "errno"\nerrno = "EBUSY"\nat = 1',
        words: 'report configfs 01 , report configfs 02',
        want: ['ERR_DEVICE_BUSY', 'ok'],
    },
])
    it(`faults reach the driver: ${name}`, async (t) => {
        const path = join(work, `${name.replaceAll(/\W+/g, '-')}.toml`)
        writeFileSync(path, `[[fault]]\n${script}\n`)
        const answers = await ask({ args: ['--faults', path] }, ...words.split(' '))
        t.deepEqual(
            answers.map(({ code }) => code ?? 'ok'),
            want,
            JSON.stringify(answers.map(({ message }) => message)),
        )
    })

it('a caller whose request lies in a file of the emulator itself is answered, too', async (t) => {
    // Reading its memory then means a page fault that this very server has to resolve.
    const script = `
import ctypes, fcntl, os, struct
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
os.mkdir('/sys/kernel/config/tsm/report/x')
page = libc.mmap(None, 4096, 1, 2, os.open('/sys/kernel/config/tsm/report/x/provider', os.O_RDONLY), 0)
response = ctypes.create_string_buffer(4000)
argument = bytearray(struct.pack('<BxxxxxxxQQQ', 1, page, ctypes.addressof(response), 0))
fcntl.ioctl(os.open('/dev/sev-guest', os.O_RDWR), 0xc0205300, argument)
print(response.raw[32 + 0x50:32 + 0x59])
`
    if (spawnSync('python3', ['-c', '']).status !== 0) return t.pass('python3 is not installed')
    const running = emulate({ args: ['--trust-dir', vendor], command: ['python3', '-c', script] })
    t.is(await running.ended, 0, running.err())
    t.is(running.out().trim(), "b'sev_guest'")
    t.deepEqual(await running.left(), [])
})

// What the command finds, and what the machine keeps.

const MACHINE = ['/dev', '/run', '/sys/kernel', '/sys/kernel/config', '/sys/fs/fuse/connections', '/run/guest-attest']

function machine(): Record<string, string[] | string> {
    const list = (path: string): string[] | string => {
        try {
            // Programs of the initrd that other tests run leave their notes there meanwhile.
            return readdirSync(path).filter((name) => name !== 'guest-attest')
        } catch (error) {
            return String(error)
        }
    }
    return {
        ...Object.fromEntries(MACHINE.map((path) => [path, list(path)])),
        mounts: readFileSync('/proc/self/mountinfo', 'latin1'),
    }
}

it('the command finds a guest, and the machine is what it was', async (t) => {
    const before = machine()
    const script = `
        test -f /dev/sev-guest && test -d /sys/kernel/config/tsm/report && test -d /run/guest-attest
        echo "first $?"
        test -z "$(ls -A /run/guest-attest)"; echo "empty $?"
        : > /run/guest-attest/lock; : > /dev/new-node; mkdir /run/guest-attest/new-folder; mount -t tmpfs none /mnt
        for path in null zero urandom tty pts shm stdin; do test -e /dev/$path || echo "no $path"; done
        head -c 4 /dev/zero | wc -c
        grep -c ' /sys/fs/fuse/connections ' /proc/self/mountinfo
        echo "$GUEST_ATTEST_INSECURE_EMULATED_DEVICE"
        for number in 3 4 5 6; do test ! -e /proc/$$/fd/$number || echo "descriptor $number is open"; done; cat`
    const running = emulate({ args: ['--trust-dir', vendor], command: ['sh', '-c', script], input: 'pipe' })
    running.child.stdin?.end('standard input\n')
    t.is(await running.ended, 0, running.err())
    t.deepEqual(running.out().trim().split('\n'), ['first 0', 'empty 0', '4', '0', '1', 'standard input'])
    t.regex(running.err(), /^guest-attest: AMD SEV-SNP \(Milan, .*\) is emulated here: what it says proves nothing$/m)
    t.deepEqual(machine(), before)
    t.deepEqual(await running.left(), [])
})

it('the device serves every process of the guest, on threads and in namespaces below it', async (t) => {
    const script = `
        ${client('report', 'ioctl', '01').join(' ')} > /run/a & ${client('report', 'configfs', '02').join(' ')} > /run/b &
        unshare --pid --fork --mount-proc ${client('report', 'ioctl', '03').join(' ')} > /run/c & wait; cat /run/a /run/b /run/c`
    const running = emulate({ args: ['--trust-dir', vendor], command: ['sh', '-c', script] })
    t.is(await running.ended, 0, running.err())
    const answers = running
        .out()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Answer)
    t.deepEqual(
        answers.map((answer) => parsed(answer).reportData[0]),
        [1, 2, 3],
    )
    t.deepEqual(await running.left(), [])
})

it('verify takes the evidence of a guest, where it is told to trust its root', async (t) => {
    const nonce = 'hex:000102030405060708090a0b0c0d0e0f'
    const words = ['evidence', '--nonce', nonce, '--format', 'raw', '--out', join(work, 'evidence.bin')]
    const ran = await guestAttest([
        'emulate',
        '--tee',
        'snp',
        '--trust-dir',
        vendor,
        '--',
        process.execPath,
        MAIN_FILE,
        ...words,
    ])
    t.is(ran.code, 0, ran.stderr)
    const trusting = ['--trust-root', join(vendor, 'ark.pem'), '--collateral', vendor]
    const verify = ['verify', join(work, 'evidence.bin'), '--nonce', nonce]
    t.is((await guestAttest([...verify, ...trusting])).code, 0)
    t.regex((await guestAttest([...verify, ...trusting])).stdout, /EMULATED/)
    t.is((await guestAttest([...verify, '--collateral', vendor])).code, 1)
})

const MAIN_FILE = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

// Without root: everything as an ordinary user.

itAsNobody('as an ordinary user: root inside, both doors, nothing left', async (t) => {
    const user = nobody(t)
    if (user === null) return t.pass('no nodes can be made here')
    chmodSync(work, 0o755)
    const { sources, ...options } = user
    const running = emulate({
        ...options,
        command: [
            'sh',
            '-c',
            `id -u; ls -ln /dev/sev-guest; ${process.execPath} ${join(sources, 'test/emulator/client.ts')} report ioctl 01 , report configfs 02 , derive 8`,
        ],
    })
    t.is(await running.ended, 0, running.err())
    const [uid, listed, ...answers] = running.out().trim().split('\n')
    t.is(uid, '0')
    t.regex(listed ?? '', /^-rw------- 1 0 0 /)
    t.deepEqual(
        answers.map((line) => Object.keys(JSON.parse(line) as object)[0]),
        ['report', 'report', 'key'],
    )
    t.deepEqual(await running.left(), [])
})

it('as the root of a container: devices open, and nothing is left', async (t) => {
    const running = emulate({
        args: ['--trust-dir', vendor],
        prefix: ['unshare', '--user', '--map-root-user', '--mount', '--'],
        command: ['sh', '-c', `head -c 4 /dev/zero | wc -c; ${client('report', 'ioctl', '01').join(' ')}`],
    })
    t.is(await running.ended, 0, running.err())
    const [read, answer = ''] = running.out().trim().split('\n')
    t.is(read, '4')
    t.is(parsed(JSON.parse(answer) as Answer).reportData[0], 1)
    t.deepEqual(await running.left(), [])
})

// What is missing is said at once.

for (const { name, prepare = ':', become = '', want } of [
    {
        name: 'no /dev/fuse',
        prepare: 'mount -n -t tmpfs none /dev',
        want: /the kernel offers no \/dev\/fuse \(ERR_EMULATOR_MISSING\)/,
    },
    {
        name: 'no right to open it',
        prepare: `mknod -m 600 ${work}/closed c 10 229 && mount -n --bind ${work}/closed /dev/fuse`,
        become: AS_NOBODY,
        want: /\/dev\/fuse may not be opened by this user/,
    },
    {
        name: 'no right to make namespaces',
        become: 'setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin --',
        want: /namespaces may not be made here: .*CAP_SYS_ADMIN/s,
    },
])
    (become === AS_NOBODY ? itAsNobody : itAsRoot)(`said at once: ${name}`, async (t) => {
        const running = emulate({
            args: ['--trust-dir', vendor],
            prefix: ['unshare', '--mount', 'sh', '-c', `${prepare}; exec ${become} "$@"`, 'sh'],
            command: ['true'],
            timeoutMs: 15_000,
        })
        t.is(await running.ended, 3, running.err())
        t.regex(running.err(), want)
        t.regex(running.err(), /hint: /)
        t.deepEqual(await running.left(), [])
    })

for (const { name, args, want } of [
    { name: 'no command', args: ['--tee', 'snp'], want: /no command was given/ },
    { name: 'no technology', args: ['--', 'true'], want: /tee/ },
    { name: 'an unknown technology', args: ['--tee', 'rome', '--', 'true'], want: /tee/ },
    {
        name: 'a measurement that is no hex',
        args: ['--tee', 'snp', '--measurement', 'xy', '--', 'true'],
        want: /--measurement: expected hex digits/,
    },
    { name: 'a policy that is no number', args: ['--tee', 'snp', '--policy', '-1', '--', 'true'], want: /--policy/ },
    {
        name: 'a script that does not exist',
        args: ['--tee', 'snp', '--trust-dir', vendor, '--faults', '/nowhere', '--', 'true'],
        want: /\/nowhere: no such file/,
    },
    {
        name: 'an unknown generation',
        args: ['--tee', 'snp', '--generation', 'rome', '--', 'true'],
        want: /expected one of milan, genoa, turin/,
    },
])
    it(`usage: ${name}`, async (t) => {
        const { code, stdout, stderr } = await guestAttest(['emulate', ...args])
        t.is(code, 2, stderr)
        t.regex(stderr, want)
        t.is(stdout, '')
    })
