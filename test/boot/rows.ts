// The boots: what opens, what stays shut, and where a person types.
// SPDX-License-Identifier: Apache-2.0

import { copyFileSync, writeFileSync } from 'node:fs'
import { reforge } from '#test/luks/forge.ts'
import { fileSystem, markerRoot } from './disk.ts'
import { ROOT_UUID } from './initrds.ts'
import { copyDisk, type Kit, PASSPHRASE, pathOf } from './kit.ts'
import { lyingDisk } from './nbd.ts'
import { DEAD_NETWORK, fileDrive, USER_NETWORK } from './qemu.ts'
import { recipeBoots } from './recipe.ts'
import type { Row } from './row.ts'
import { door, HOST, resolver } from './stage.ts'
import { dataGuest, vsockGuest } from './system.ts'

const ASKING = /guest-attest: root: asking https/
const OPEN = /guest-attest: root: .*handed over/
const REFUSED = /guest-attest: root: refused/
const OFF = /(?:guest-attest: root: .*: poweroff|reboot: Power down|Powering off)/

/** Where a person types. */
const PROMPT = /Please (?:unlock disk|enter passphrase for disk)/
const TYPES = [{ at: PROMPT, text: `${PASSPHRASE}\n` }]

/** A shell, in any of its forms. */
const SHELLS = [
    /\(initramfs\)/,
    /Entering emergency mode/,
    /Press Enter for maintenance/,
    /sh: can't access tty/,
    /debug shell/i,
]
const NO_PROMPT = [...SHELLS, PROMPT]

const OTHER = 'b2'.repeat(48)

/** A line of tmpfiles.d(5). */
const TELLS_THE_CONSOLE = 'w /dev/kmsg - - - - the host has written this'

/** As the host passes it to the systemd of a guest, past every measurement. */
const credential = (name: string, text: string): string[] => [
    '-smbios',
    `type=11,value=io.systemd.credential.binary:${name}=${Buffer.from(text).toString('base64')}`,
]

/** A disk that is bound as the initrd wants it. */
const plain = async (kit: Kit, name: string, bind: 'ours' | 'clevis' | 'tang') => ({
    drives: [fileDrive(await kit.disk(name, { bind: [bind] }))],
    volume: { path: pathOf(name) },
})

const opens = (
    name: string,
    initrd: Row['initrd'],
    bind: 'ours' | 'clevis' | 'tang',
    expect: readonly RegExp[],
): Row => ({
    name,
    initrd,
    end: 'opens',
    expect,
    prepare: (kit) => plain(kit, name, bind),
})

/** What the host has of its own: a root that says so. */
const HOSTS_MARKER = "the host's root"

export const ROWS: readonly Row[] = [
    {
        name: 'broker away for four minutes, then back',
        initrd: 'dracut-socket',
        end: 'opens',
        long: true,
        timeoutS: 600,
        expect: [/guest-attest: root: .*waiting|guest-attest: root: waiting/, OPEN],
        never: NO_PROMPT,
        async prepare(kit) {
            const front = await door(kit.boot.port)
            front.shut()
            let timer: NodeJS.Timeout | undefined
            return {
                ...(await plain(kit, this.name, 'ours')),
                url: `https://${HOST}:${front.port}`,
                volume: { path: pathOf(this.name), deadlineS: 900 },
                onLine(line) {
                    if (/guest-attest: root: /.test(line))
                        timer ??= setTimeout(() => void front.open(), FOUR_MINUTES_MS)
                },
                verdict: ({ seconds }) =>
                    seconds * 1000 > FOUR_MINUTES_MS ? null : 'it opened while the broker was away',
                close() {
                    clearTimeout(timer)
                    front.shut()
                },
            }
        },
    },
    {
        name: "README's recipe, from the packages to the reboot",
        initrd: 'initramfs-tang',
        end: 'opens',
        long: true,
        expect: [/next boot opens: yes/, /RECIPE ENDS: 0/, /SECOND BOOT/, ASKING, OPEN, /REAL ROOT REACHED/],
        boots(kit, built) {
            return recipeBoots(kit, built, this.name)
        },
    },
    opens('clevis and tang, initramfs-tools', 'initramfs-tang', 'tang', []),
    opens('clevis and tang, dracut', 'dracut-tang', 'tang', []),
    opens('clevis, initramfs-tools', 'initramfs-clevis', 'clevis', [/asking https/]),
    opens('keyscript, initramfs-tools', 'initramfs-keyscript', 'ours', [ASKING, OPEN]),
    opens('clevis, dracut', 'dracut-clevis', 'clevis', [/asking https/]),
    opens('key socket, dracut', 'dracut-socket', 'ours', [ASKING, OPEN]),
    {
        ...opens('a broker by its DNS name', 'initramfs-keyscript', 'ours', [/asking https:\/\/kbs\.boot\.test/, OPEN]),
        async prepare(kit) {
            const names = await resolver(HOST, '127.0.0.53')
            const file = kit.file('resolv.conf')
            writeFileSync(file, 'nameserver 127.0.0.53\n')
            return {
                ...(await plain(kit, this.name, 'ours')),
                url: `https://kbs.boot.test:${kit.boot.port}`,
                resolver: file,
                close: () => names.close(),
            }
        },
    },
    {
        ...opens('a broker by its DNS name, dracut', 'dracut-socket', 'ours', [
            /asking https:\/\/kbs\.boot\.test/,
            OPEN,
        ]),
        async prepare(kit) {
            const names = await resolver(HOST, '127.0.0.54')
            const file = kit.file('resolv2.conf')
            writeFileSync(file, 'nameserver 127.0.0.54\n')
            return {
                ...(await plain(kit, this.name, 'ours')),
                url: `https://kbs.boot.test:${kit.boot.port}`,
                resolver: file,
                close: () => names.close(),
            }
        },
    },
    {
        ...opens('two network cards, the first one dead', 'initramfs-keyscript', 'ours', [ASKING, OPEN]),
        prepare: async (kit) => ({
            ...(await plain(kit, 'two network cards, the first one dead', 'ours')),
            network: [...DEAD_NETWORK, ...USER_NETWORK],
        }),
    },
    {
        ...opens('two network cards, dracut', 'dracut-socket', 'ours', [ASKING, OPEN]),
        prepare: async (kit) => ({
            ...(await plain(kit, 'two network cards, dracut', 'ours')),
            network: [...DEAD_NETWORK, ...USER_NETWORK],
        }),
    },
    {
        ...opens('a relay instead of a network, over vsock', 'dracut-socket-vsock', 'ours', [
            /asking vsock:\/\/1:8443/,
            OPEN,
        ]),
        never: [/Starting .*(?:systemd-networkd|guest-attest-network)/, /IP-Config/],
        prepare: (kit, built) => vsockGuest(kit, built, 'a relay instead of a network, over vsock'),
    },
    {
        ...opens('data volumes after the boot', 'dracut-socket', 'ours', [
            OPEN,
            /REAL ROOT REACHED/,
            /DATA: the first volume, the second volume/,
        ]),
        timeoutS: 600,
        prepare: (kit, built) => dataGuest(kit, built, 'data volumes after the boot'),
    },
    {
        ...opens('credentials of the firmware are left alone', 'dracut-socket', 'ours', [OPEN]),
        never: [...NO_PROMPT, /Received regular credentials/, /the host has written this/],
        async prepare(kit) {
            const prepared = await plain(kit, this.name, 'ours')
            return { ...prepared, network: [...USER_NETWORK, ...credential('tmpfiles.extra', TELLS_THE_CONSOLE)] }
        },
    },
    {
        name: 'wrong measurement',
        initrd: 'dracut-socket',
        end: 'stays shut',
        expect: [ASKING, /guest-attest: root: .*no reference set knows this guest/, OFF],
        never: NO_PROMPT,
        async prepare(kit) {
            return {
                ...(await plain(kit, this.name, 'ours')),
                measurement: OTHER,
                volume: { path: pathOf(this.name), deadlineS: 30 },
            }
        },
    },
    {
        name: 'wrong measurement, keyscript',
        initrd: 'initramfs-keyscript',
        end: 'stays shut',
        expect: [ASKING, /guest-attest: root: .*no reference set knows this guest/, OFF],
        never: NO_PROMPT,
        async prepare(kit) {
            return {
                ...(await plain(kit, this.name, 'ours')),
                measurement: OTHER,
                volume: { path: pathOf(this.name), deadlineS: 30 },
            }
        },
    },
    ...(['initramfs-keyscript', 'dracut-socket'] as const).map(
        (initrd): Row => ({
            name: `null cipher in the header, ${initrd}`,
            initrd,
            end: 'stays shut',
            expect: [REFUSED, OFF],
            never: [...NO_PROMPT, ASKING],
            async prepare(kit) {
                const disk = await kit.disk(this.name, { bind: ['ours'] })
                forgeHeader(disk, disk, { 'segments.0.encryption': 'cipher_null-ecb' })
                return { drives: [fileDrive(disk)], volume: { path: pathOf(this.name) } }
            },
        }),
    ),
    ...(
        [
            // The label of the disk is read long before the header is copied.
            ['a disk that lies after its first read', 0, [REFUSED, OFF]],
            // The last byte of the area of our key slot: after it, the header has been copied.
            ['a disk that lies after the copy of its header', KEYSLOT_1_END(), [OFF]],
        ] as const
    ).map(
        ([name, until, expect]): Row => ({
            name,
            initrd: 'dracut-socket',
            end: 'stays shut',
            expect,
            never: NO_PROMPT,
            timeoutS: 400,
            async prepare(kit) {
                const good = await kit.disk(name, { bind: ['ours'] })
                const forged = await hostsDisk(kit, `${name}-forged`, good)
                const disk = await lyingDisk({ good, forged, until, socket: kit.file(`${until}.nbd`) })
                return {
                    drives: [disk.drive],
                    volume: { path: pathOf(name), deadlineS: 20 },
                    verdict: () => (disk.forged() > 0 ? null : 'nobody has read the forged disk'),
                    close: () => disk.close(),
                }
            },
        }),
    ),
    ...(['initramfs-keyscript', 'dracut-socket'] as const).map(
        (initrd): Row => ({
            name: `the host's own LUKS disk, ${initrd}`,
            initrd,
            end: 'stays shut',
            expect: [REFUSED, OFF],
            never: NO_PROMPT,
            async prepare(kit) {
                const good = await kit.disk(`${this.name}-good`, { bind: ['ours'], path: pathOf(this.name) })
                const disk = await hostsDisk(kit, this.name, good)
                return { drives: [fileDrive(disk)], volume: { path: pathOf(this.name), deadlineS: 60 }, types: TYPES }
            },
        }),
    ),
    ...(['initramfs-keyscript', 'dracut-socket'] as const).map(
        (initrd): Row => ({
            name: `an unencrypted disk with the same UUID and label, ${initrd}`,
            initrd,
            end: 'stays shut',
            expect: [OFF],
            never: NO_PROMPT,
            async prepare(kit) {
                const tree = kit.file(`${this.name}.tree`)
                markerRoot(tree, kit.busyboxRoot, HOSTS_MARKER)
                const image = kit.file(`${this.name}.ext4`)
                await fileSystem(image, tree, 24, ['-U', ROOT_UUID, '-L', 'root'])
                return { drives: [fileDrive(image)], volume: { path: pathOf(this.name), deadlineS: 30 } }
            },
        }),
    ),
    {
        name: 'a token that points at another path',
        initrd: 'dracut-socket',
        end: 'stays shut',
        expect: [REFUSED, OFF],
        never: [...NO_PROMPT, ASKING],
        async prepare(kit) {
            // A resource whose bytes the host knows: it would be released, and open the host's disk.
            const disk = await kit.disk(this.name, { bind: ['ours'], path: 'default/host/known' })
            return { drives: [fileDrive(disk)], volume: { path: pathOf(this.name), deadlineS: 30 } }
        },
    },
    {
        name: 'a JWE that points at another path',
        initrd: 'initramfs-clevis',
        end: 'waits',
        expect: [
            /default\/host\/known.*(?:not allowed|may not|no path|not trusted|refused)|refused.*default\/host\/known/,
        ],
        async prepare(kit) {
            const disk = await kit.disk(this.name, { bind: ['clevis'], path: 'default/host/known' })
            return { drives: [fileDrive(disk)], volume: { path: pathOf(this.name) } }
        },
    },
    {
        name: 'an old header after a rebind',
        initrd: 'initramfs-keyscript',
        end: 'stays shut',
        expect: [ASKING, REFUSED, OFF],
        never: NO_PROMPT,
        async prepare(kit) {
            const prepared = await plain(kit, this.name, 'ours')
            await kit.boot.put(pathOf(this.name))
            return { ...prepared, volume: { ...prepared.volume, deadlineS: 60 } }
        },
    },
    ...(
        [
            ['init=/bin/sh', 'initramfs-keyscript', 'root=/dev/mapper/root ro init=/bin/sh'],
            ['break=mount', 'initramfs-keyscript', 'root=/dev/mapper/root ro break=mount'],
            ["the root on the host's disk", 'initramfs-keyscript', 'root=/dev/vdb ro'],
            ['rd.break', 'dracut-socket', 'root=/dev/mapper/root ro rd.break=pre-mount rd.shell'],
            ['a debug shell', 'dracut-socket', 'root=/dev/mapper/root ro systemd.debug_shell=ttyS0'],
            ['another unit', 'dracut-socket', 'root=/dev/mapper/root ro systemd.unit=emergency.target'],
            ["the root on the host's disk, dracut", 'dracut-socket', 'root=/dev/vdb ro'],
        ] as const
    ).map(
        ([what, initrd, commandLine]): Row => ({
            name: `hostile command line: ${what}`,
            initrd,
            end: 'stays shut',
            expect: [OFF],
            never: NO_PROMPT,
            async prepare(kit) {
                const prepared = await plain(kit, this.name, 'ours')
                const other = kit.file(`${this.name}.host`)
                copyFileSync(await kit.marker(HOSTS_MARKER), other)
                return {
                    ...prepared,
                    drives: [...prepared.drives, fileDrive(other)],
                    commandLine,
                    volume: { ...prepared.volume, deadlineS: 30 },
                }
            },
        }),
    ),
    ...(
        [
            ['keyscript', 'initramfs-keyscript-compat', 'ours'],
            ['clevis, initramfs-tools', 'initramfs-clevis', 'clevis'],
            ['password agent, dracut', 'dracut-socket-compat', 'ours'],
            ['clevis, dracut', 'dracut-clevis', 'clevis'],
        ] as const
    ).map(
        ([what, initrd, bind]): Row => ({
            name: `a typed passphrase while it tries again: ${what}`,
            initrd,
            end: 'opens',
            expect: bind === 'ours' ? [/the host can read this console/, PROMPT] : [PROMPT],
            async prepare(kit) {
                const front = await door(kit.boot.port)
                front.shut()
                return {
                    ...(await plain(kit, this.name, bind)),
                    url: `https://${HOST}:${front.port}`,
                    types: [{ at: bind === 'ours' ? TRIES_AGAIN : PROMPT, text: `${PASSPHRASE}\n` }],
                }
            },
        }),
    ),
    ...(['initramfs-keyscript-compat', 'dracut-socket-compat'] as const).map(
        (initrd): Row => ({
            name: `offline, a prompt at once: ${initrd}`,
            initrd,
            end: 'opens',
            expect: [PROMPT],
            async prepare(kit) {
                let begun: number | undefined
                let opened: number | undefined
                return {
                    ...(await plain(kit, this.name, 'ours')),
                    network: [],
                    types: TYPES,
                    onLine(line, seconds) {
                        if (/boot-test: .*begins/.test(line)) begun ??= seconds
                        if (/REAL ROOT REACHED/.test(line)) opened ??= seconds
                    },
                    verdict: () =>
                        begun !== undefined && opened !== undefined && opened - begun < HELD_UP_S
                            ? null
                            : 'it was held up',
                }
            },
        }),
    ),
]

/** The same as another boot with the other builder, or with another word of its kind: booted with `--all`. */
export const VARIANTS: readonly RegExp[] = [
    /^a broker by its DNS name, dracut$/,
    /^two network cards, dracut$/,
    /^wrong measurement, keyscript$/,
    /^null cipher in the header, dracut-socket$/,
    /^a disk that lies after its first read$/,
    /^the host's own LUKS disk, initramfs-keyscript$/,
    /^an unencrypted disk .*, dracut-socket$/,
    /^hostile command line: (?!init=|rd\.break)/,
    /^a typed passphrase .*: clevis/,
    /^offline, a prompt at once: dracut/,
]

const FOUR_MINUTES_MS = 240_000

/** Waiting for a network that is not there takes longer, in either builder. */
const HELD_UP_S = 90

/** The program has said that it waits, and the prompt is there. */
const TRIES_AGAIN =
    /guest-attest: root: .*waiting[\s\S]*Please (?:unlock|enter)|Please (?:unlock|enter)[\s\S]*guest-attest: root: .*waiting/

/** cryptsetup's layout: two copies of 16 KiB, then slots of 258048 bytes for a key of 64. */
function KEYSLOT_1_END(): number {
    return 2 * 16384 + 2 * 258048 - 1
}

/** Changes the metadata of a disk's header. */
function forgeHeader(from: string, to: string, changes: Readonly<Record<string, unknown>>): void {
    const image = copyDisk(from, to)
    writeFileSync(to, reforge(image, changes))
}

/** A LUKS disk of the host's, with its own key and root, and the token of the genuine one. */
async function hostsDisk(kit: Kit, name: string, genuine: string): Promise<string> {
    const disk = await kit.disk(name, { marker: HOSTS_MARKER })
    const { execFileSync } = await import('node:child_process')
    const dump = JSON.parse(
        execFileSync('cryptsetup', ['luksDump', '--dump-json-metadata', genuine], { encoding: 'utf8' }),
    ) as {
        tokens: Record<string, { keyslots: string[] }>
    }
    const token = { ...dump.tokens['0'], keyslots: ['0'] }
    execFileSync('cryptsetup', ['token', 'import', '--json-file', '-', disk], { input: JSON.stringify(token) })
    return disk
}
