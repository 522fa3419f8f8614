// libvirt's virt-qemu-sev-validate, from Debian's package (install.sh beside this file), beside `sev validate`: the same
// launches, on Debian's firmware and on one with a place for hashes and secrets. It accepts what an emulated processor
// measures, and that processor opens its packets of secrets.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test from 'ava'
import type { Command } from '#cli/command.ts'
import { command } from '#cli/sev/validate.ts'
import { secretGuid } from '#core/secret-names.ts'
import { parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { guestAttest, run } from '../cli/run.ts'
import { debianFiles, debianKernels } from '../debian.ts'
import { temporaryFolder } from '../folder.ts'
import type { Need } from '../machine.ts'
import { needs } from '../needs.ts'
import { flipped, minted } from '../plugins/sev/minted.ts'
import { type LaunchOptions, launch, makeFirmware } from '../plugins/sev/rig.ts'

const PROGRAM = '/usr/bin/virt-qemu-sev-validate'
// Not what `env python3` finds: its package depends on none of the modules that it imports, Debian's have them.
const PYTHON = '/usr/bin/python3'

const installed: Need = {
    what: 'libvirt-clients-qemu, python3-lxml and python3-cryptography of Debian (test/peers/install.sh)',
    met: existsSync(PROGRAM) && spawnSync(PYTHON, ['-c', 'import lxml, cryptography, libvirt']).status === 0,
}
// One after the other: each test starts several programs.
const possible = needs(installed).serial

const { keys } = await minted()
const work = temporaryFolder({ teardown: test.after.always })

const file = (name: string, bytes: Uint8Array | string): string => {
    writeFileSync(join(work, name), bytes)
    return join(work, name)
}

const peer = (words: readonly string[]) => run(PYTHON, [PROGRAM, ...words])
const ours = (words: readonly string[]) => guestAttest(['sev', 'validate', ...words])

const own = file('AmdSev.fd', makeFirmware())
const initrd = file('initrd', Buffer.alloc(1000, 0x69))
const kernel = file('kernel', Buffer.alloc(5000, 0x6b))
// Of each release once: it can be installed and unpacked.
const FIRMWARES = [
    ...new Map(
        ['usr/share/ovmf/OVMF.fd', 'usr/share/OVMF/OVMF_CODE_4M.fd']
            .flatMap(debianFiles)
            .map((path) => [hash('sha256', readFileSync(path)), path]),
    ).values(),
]
const KERNELS = debianKernels()

const LAUNCHES: readonly { readonly name: string; readonly options: LaunchOptions; readonly insecure?: true }[] = [
    { name: 'firmware alone', options: { firmware: own } },
    { name: 'kernel', options: { firmware: own, kernel } },
    { name: 'kernel and initrd', options: { firmware: own, kernel, initrd } },
    { name: 'kernel, initrd and an empty line', options: { firmware: own, kernel, initrd, cmdline: '' } },
    { name: 'a line that is not ASCII', options: { firmware: own, kernel, initrd, cmdline: ' root=UUID=0 ü=1 "q" ' } },
    { name: 'SEV-ES, one processor', options: { firmware: own, policy: 7 } },
    { name: 'SEV-ES, four processors, kernel', options: { firmware: own, policy: 7, cpus: 4, kernel, initrd } },
    { name: 'a policy with the least API', options: { firmware: own, policy: 0x3701_000f } },
    { name: 'a policy without protection', options: { firmware: own, policy: 0 }, insecure: true },
    ...KERNELS.flatMap((linux) => [
        { name: basename(linux), options: { firmware: own, kernel: linux, initrd, cmdline: 'root=/dev/vda1 ro' } },
        { name: `${basename(linux)}, SEV-ES`, options: { firmware: own, policy: 7, cpus: 2, kernel: linux } },
    ]),
    ...FIRMWARES.flatMap((firmware) => [
        { name: `Debian’s ${firmware}`, options: { firmware } },
        { name: `Debian’s ${firmware}, SEV-ES`, options: { firmware, policy: 7, cpus: 2 } },
        // It has no place for hashes: QEMU would not launch it.
        {
            name: `Debian’s ${firmware}, kernel`,
            options: { firmware, kernel: KERNELS[0] ?? kernel, initrd },
            insecure: true as const,
        },
    ]),
]

needs(installed, {
    what: 'firmware and kernels of Debian (test/peers/install.sh)',
    met: FIRMWARES.length > 0 && KERNELS.length > 0,
})('Debian’s firmware and kernels are among them', (t) => {
    t.log([...FIRMWARES, ...KERNELS].join('\n'))
    t.true(LAUNCHES.some(({ options }) => options.kernel !== undefined && KERNELS.includes(options.kernel)))
})

for (const { name, options, insecure } of LAUNCHES)
    possible(`measured: ${name}`, async (t) => {
        const rig = launch(work, keys, options)
        const more = insecure ? ['--insecure'] : []
        const other = rig.words(flipped(rig.measurement, 77))
        const [theirs, theirNo, mine, myNo] = await Promise.all([
            peer(rig.words()),
            peer(other),
            ours([...rig.words(), ...more]),
            ours([...other, ...more]),
        ])
        t.is(theirs.code, 0, theirs.stderr)
        t.is(mine.code, 0, mine.stderr)
        t.is(theirNo.code, 1, theirNo.stderr)
        t.is(myNo.code, 1, myNo.stderr)
        if (insecure) t.true([3, 4].includes((await ours(rig.words())).code ?? 0))
    })

possible('each of its options is one of ours; the connection to a host’s libvirt is refused', async (t) => {
    const { stdout } = await peer(['--help'])
    const { options } = command as Command
    const known = new Set(
        Object.entries(options).flatMap(([name, { alias }]) => [`--${name}`, ...(alias ? [`-${alias}`] : [])]),
    )
    const theirs = [...stdout.matchAll(/^ {2}(-[\w-]+)[^,\n]*?(?:, (-\w))?(?: \w+)?(?: {2}.*)?$/gm)].flatMap(
        ([, ...names]) => names.filter(Boolean),
    )
    t.true(theirs.length > 30, theirs.join(' '))
    t.deepEqual(
        theirs.filter((name) => name !== '-h' && !known.has(name)),
        // To most programs they are numbers: the long names are the same.
        ['-0', '-1'],
    )
    const words = launch(work, keys, { firmware: own }).words()
    for (const more of [['--connect', 'qemu:///system'], ['-o', 'web-1'], ['-g']])
        t.is((await ours([...words, ...more])).code, 2)
})

possible('pages that `measure sev-es` has written, and the digest that it says', async (t) => {
    const pages = join(work, 'pages')
    const rig = launch(work, keys, { firmware: own, policy: 7, cpus: 3, kernel, initrd, cmdline: 'quiet' })
    const said = await guestAttest([
        ...['measure', 'sev-es', '--firmware', own, '--kernel', kernel, '--initrd', initrd, '--append', 'quiet'],
        ...['--vcpus', '3', '--vcpu-type', 'EPYC-Milan', '--profile', 'kvm-legacy', '--dump-vmsa', pages],
    ])
    t.is(said.stdout.trim(), rig.digest.toString('hex'), said.stderr)
    const words = [
        ...['--cpu-family', '--cpu-model', '--cpu-stepping'].reduce(without, rig.words()),
        ...['--vmsa-cpu0', join(pages, 'vmsa0.bin'), '--vmsa-cpu1', join(pages, 'vmsa1.bin')],
    ]
    for (const validate of [peer, ours]) {
        const good = await validate(words)
        t.is(good.code, 0, good.stderr)
        const swapped = [...words.slice(0, -1), join(pages, 'vmsa0.bin')]
        t.is((await validate(swapped)).code, 1)
    }
})

const SECRETS: readonly (readonly [name: string, bytes: Buffer])[] = [
    ['luks-key', Buffer.from('correct horse battery staple')],
    ['e6f5a162-d67f-4750-a67c-5d065f2a9910', Buffer.from('{"key_id1":"cGFz"}')],
    ['1ee27366-0c87-43a6-af48-28543eaf7cb0', Buffer.alloc(24, 1)],
]

for (const [count] of SECRETS.entries())
    for (const [who, validate] of [
        ['libvirt’s', peer],
        ['ours', ours],
    ] as const)
        possible(`secrets: ${count + 1}, ${who}`, async (t) => {
            const rig = launch(work, keys, { firmware: own, policy: 7, cpus: 2 })
            const chosen = SECRETS.slice(0, count + 1)
            const folder = temporaryFolder(t)
            const [header, payload] = [join(folder, 'header'), join(folder, 'payload')]
            const words = chosen.flatMap(([name, bytes], at) => [
                '--inject-secret',
                `${name}:${file(`secret${at}`, bytes)}`,
            ])
            const { code, stderr } = await validate([
                ...rig.words(),
                ...words,
                ...['--secret-header', header, '--secret-payload', payload],
            ])
            t.is(code, 0, stderr)
            const decoded = (path: string) => Buffer.from(readFileSync(path, 'latin1'), 'base64')
            const table = rig.processor.inject({ header: decoded(header), payload: decoded(payload) })
            t.deepEqual(
                parseSecretTable(table).map(({ guid, data }) => [guid, data.toString('hex')]),
                chosen.map(([name, bytes]) => [secretGuid(name) ?? name, bytes.toString('hex')]),
            )
        })

for (const { name, words, code } of [
    { name: 'no keys', words: (all: string[]) => all.slice(4), code: 2 },
    { name: 'no measurement', words: (all: string[]) => without(all, '--measurement'), code: 2 },
    { name: 'no firmware', words: (all: string[]) => without(all, '--firmware'), code: 2 },
    { name: 'an initrd without kernel', words: (all: string[]) => [...all, '--initrd', initrd], code: 2 },
    { name: 'half a model', words: (all: string[]) => [...all, '--cpu-family', '25'], code: 2 },
    {
        name: 'SEV-ES without processors',
        words: (all: string[]) => [...without(all, '--policy'), '--policy', '7'],
        code: 2,
    },
    {
        name: 'a firmware that is not there',
        words: (all: string[]) => [...without(all, '--firmware'), '--firmware', '/none'],
        code: 6,
    },
    {
        name: 'SEV-ES on a firmware without table',
        words: (all: string[]) => [
            ...without(without(all, '--firmware'), '--policy'),
            ...['--firmware', file('none.fd', Buffer.alloc(8192)), '--policy', '7', '--num-cpus', '1'],
            ...['--cpu-family', '25', '--cpu-model', '1', '--cpu-stepping', '1'],
        ],
        code: 6,
    },
])
    possible(`the same exit status: ${name}`, async (t) => {
        const all = words(launch(work, keys, { firmware: own }).words())
        const [theirs, mine] = await Promise.all([peer(all), ours(all)])
        t.is(theirs.code, code, theirs.stderr)
        t.is(mine.code, code, mine.stderr)
    })

function without(words: readonly string[], option: string): string[] {
    const at = words.indexOf(option)
    return words.toSpliced(at, 2)
}
