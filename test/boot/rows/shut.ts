// Boots that must not open: another guest, a header, a disk or a command line of the host's.
// SPDX-License-Identifier: Apache-2.0

import { execFileSync } from 'node:child_process'
import { copyFileSync, writeFileSync } from 'node:fs'
import { reforge } from '#test/luks/forge.ts'
import { fileSystem, markerRoot } from '../disk.ts'
import { ROOT_UUID } from '../initrds.ts'
import { copyDisk, type Kit, pathOf } from '../kit.ts'
import { lyingDisk } from '../nbd.ts'
import { fileDrive } from '../qemu.ts'
import type { Row } from '../row.ts'
import { ASKING, BUILDERS, HOSTS_MARKER, NO_PROMPT, OFF, plain, REFUSED, TYPES } from './words.ts'

/** Of a guest that nobody knows. */
const OTHER = 'b2'.repeat(48)

/** cryptsetup's layout: two copies of 16 KiB, then slots of 258048 bytes for a key of 64. */
const KEYSLOT_1_END = 2 * 16384 + 2 * 258048 - 1

const WRONG_MEASUREMENTS = [
    ...BUILDERS.map((initrd) => ({ name: `wrong measurement, ${initrd}`, initrd, tee: {} })),
    { name: 'wrong measurement of a TDX guest', initrd: 'dracut-socket', tee: { tee: 'tdx' } },
] as const

export const SHUT: readonly Row[] = [
    ...WRONG_MEASUREMENTS.map(
        ({ name, initrd, tee }): Row => ({
            name,
            initrd,
            ...tee,
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
        }),
    ),
    ...BUILDERS.map(
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
            ['a disk that lies after the copy of its header', KEYSLOT_1_END, [OFF]],
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
    ...BUILDERS.map(
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
    ...BUILDERS.map(
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
]

/** Changes the metadata of a disk's header. */
function forgeHeader(from: string, to: string, changes: Readonly<Record<string, unknown>>): void {
    const image = copyDisk(from, to)
    writeFileSync(to, reforge(image, changes))
}

/** A LUKS disk of the host's, with its own key and root, and the token of the genuine one. */
async function hostsDisk(kit: Kit, name: string, genuine: string): Promise<string> {
    const disk = await kit.disk(name, { marker: HOSTS_MARKER })
    const dump = JSON.parse(
        execFileSync('cryptsetup', ['luksDump', '--dump-json-metadata', genuine], { encoding: 'utf8' }),
    ) as { readonly tokens: Readonly<Record<string, { readonly keyslots: readonly string[] }>> }
    const token = { ...dump.tokens['0'], keyslots: ['0'] }
    execFileSync('cryptsetup', ['token', 'import', '--json-file', '-', disk], { input: JSON.stringify(token) })
    return disk
}
