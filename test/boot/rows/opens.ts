// Boots that open by themselves.
// SPDX-License-Identifier: Apache-2.0

import { writeFileSync } from 'node:fs'
import { pathOf } from '../kit.ts'
import { DEAD_NETWORK, USER_NETWORK } from '../qemu.ts'
import { recipeBoots } from '../recipe.ts'
import type { Row } from '../row.ts'
import { door, HOST, resolver } from '../stage.ts'
import { dataGuest, vsockGuest } from '../system.ts'
import { ASKING, BUILDERS, NO_PROMPT, OPEN, opens, plain } from './words.ts'

const FOUR_MINUTES_MS = 240_000

/** A line of tmpfiles.d(5). */
const TELLS_THE_CONSOLE = 'w /dev/kmsg - - - - the host has written this'

/** As the host passes it to the systemd of a guest, past every measurement. */
const credential = (name: string, text: string): string[] => [
    '-smbios',
    `type=11,value=io.systemd.credential.binary:${name}=${Buffer.from(text).toString('base64')}`,
]

export const OPENS: readonly Row[] = [
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
    { ...opens('key socket of a TDX guest, dracut', 'dracut-socket', 'ours', [ASKING, OPEN]), tee: 'tdx' },
    ...BUILDERS.map(
        (initrd, index): Row => ({
            ...opens(`a broker by its DNS name, ${initrd}`, initrd, 'ours', [/asking https:\/\/kbs\.boot\.test/, OPEN]),
            async prepare(kit) {
                const address = `127.0.0.${53 + index}` // machines boot at the same time
                const names = await resolver(HOST, address)
                const file = kit.file(`${address}.conf`)
                writeFileSync(file, `nameserver ${address}\n`)
                return {
                    ...(await plain(kit, this.name, 'ours')),
                    url: `https://kbs.boot.test:${kit.boot.port}`,
                    resolver: file,
                    close: () => names.close(),
                }
            },
        }),
    ),
    ...BUILDERS.map(
        (initrd): Row => ({
            ...opens(`two network cards, the first one dead, ${initrd}`, initrd, 'ours', [ASKING, OPEN]),
            async prepare(kit) {
                return { ...(await plain(kit, this.name, 'ours')), network: [...DEAD_NETWORK, ...USER_NETWORK] }
            },
        }),
    ),
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
]
