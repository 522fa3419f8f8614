// Boots of SEV guests: what their owner had injected opens their disks, itself or as the proof that a broker wants, and
// nothing of it is left in memory when the real root runs.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { DISK_GUID } from '#core/secret-names.ts'
import { CLIENT_GUID } from '#plugins/sev/client-secret.ts'
import type { InitrdName } from '../initrds.ts'
import { NOBODY } from '../initrds.ts'
import { type Kit, pathOf } from '../kit.ts'
import type { LaunchOptions } from '../launched.ts'
import { fileDrive } from '../qemu.ts'
import type { Prepared, Row } from '../row.ts'
import { HOST } from '../stage.ts'
import { dataGuest } from '../system.ts'
import { ASKING, BUILDERS, NO_PROMPT, OFF, OPEN } from './words.ts'

const PIN_GUID = '5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e'

const SEV = { tee: 'sev' } as const

const wiped = (guid: string): RegExp => new RegExp(`guest-attest: injected secrets: ${guid}.* wiped from memory`)

const NONE_LEFT = /INJECTED AND STILL THERE: \./

/** A disk whose passphrase is injected: that one, or another. */
async function passphraseGuest(kit: Kit, name: string, injected?: string): Promise<Prepared> {
    const passphrase = randomBytes(18).toString('base64url')
    kit.secrets.add(passphrase)
    const { files } = await kit.boot.launch({ secrets: { [DISK_GUID]: injected ?? passphrase } }, kit.secrets)
    return {
        drives: [fileDrive(await kit.disk(name, { passphrase }))],
        network: [],
        volume: { secret: DISK_GUID },
        files,
    }
}

const brokerUrl = ({ boot }: Kit): string => `https://${HOST}:${boot.port}`

/** A disk whose key a broker has, for whoever proves to have the key of its launch. */
async function provingGuest(kit: Kit, name: string, more: LaunchOptions = {}) {
    const { uuid, files } = await kit.boot.launch({ ...more, brokerUrl: brokerUrl(kit) }, kit.secrets)
    const drives = [fileDrive(await kit.disk(name, { bind: ['ours'] }))]
    // What the image trusts counts for nothing: it has another key of the broker.
    return { uuid, prepared: { drives, pin: NOBODY.pin, volume: { path: pathOf(name) }, files } satisfies Prepared }
}

export const LAUNCHED: readonly Row[] = [
    ...BUILDERS.map(
        (initrd): Row => ({
            ...SEV,
            name: `injected passphrase of a SEV guest, ${initrd}`,
            initrd,
            end: 'opens',
            expect: [
                /guest-attest: root: the passphrase of root has been handed over/,
                wiped(DISK_GUID),
                /REAL ROOT REACHED/,
                NONE_LEFT,
            ],
            never: NO_PROMPT,
            prepare: (kit) => passphraseGuest(kit, `injected ${initrd}`),
        }),
    ),
    ...BUILDERS.map(
        (initrd): Row => ({
            ...SEV,
            name: `proof of possession of a SEV guest, ${initrd}`,
            initrd,
            end: 'opens',
            expect: [
                ASKING,
                OPEN,
                wiped(CLIENT_GUID),
                /REAL ROOT REACHED/,
                NONE_LEFT,
                new RegExp(`IN THE KEYRING: guest-attest:${CLIENT_GUID}\\.`),
            ],
            never: NO_PROMPT,
            prepare: async (kit) => (await provingGuest(kit, `proof ${initrd}`)).prepared,
        }),
    ),
    {
        ...SEV,
        name: 'a SEV guest whose key was revoked',
        initrd: 'initramfs-keyscript',
        end: 'stays shut',
        expect: [ASKING, /guest-attest: root: refused: .*its key has ended/, OFF],
        never: NO_PROMPT,
        async prepare(kit) {
            const { uuid, prepared } = await provingGuest(kit, this.name)
            await kit.boot.stage.broker('launch', 'revoke', uuid)
            return { ...prepared, volume: { ...prepared.volume, deadlineS: 15 } }
        },
    },
    {
        ...SEV,
        name: 'a SEV guest with the passphrase of another disk',
        initrd: 'initramfs-keyscript',
        end: 'stays shut',
        expect: [/guest-attest: root: its key does not open it/, OFF],
        never: NO_PROMPT,
        prepare: (kit) => passphraseGuest(kit, 'another passphrase', randomBytes(18).toString('base64url')),
    },
    ...(['initramfs-clevis', 'dracut-clevis'] as const satisfies readonly InitrdName[]).map(
        (initrd): Row => ({
            ...SEV,
            name: `clevis with an injected secret of a SEV guest, ${initrd}`,
            initrd,
            end: 'opens',
            expect: [
                new RegExp(`guest-attest: ${PIN_GUID}: .*handed to clevis`),
                wiped(PIN_GUID),
                /REAL ROOT REACHED/,
                NONE_LEFT,
            ],
            async prepare(kit) {
                const injected = { guid: PIN_GUID, key: randomBytes(32) }
                const { files } = await kit.boot.launch({ secrets: { [PIN_GUID]: injected.key } }, kit.secrets)
                const disk = await kit.disk(this.name, { injected })
                return {
                    drives: [fileDrive(disk)],
                    volume: { secret: PIN_GUID },
                    // Where the firmware tells of an area, udev loads it; clevis has no unit of ours that would.
                    files: { ...files, 'etc/guest-attest-emulator/also': { bytes: 'modprobe efi_secret\n' } },
                }
            },
        }),
    ),
    {
        ...SEV,
        name: 'data volumes of a SEV guest after the boot',
        initrd: 'dracut-socket',
        end: 'opens',
        expect: [wiped(CLIENT_GUID), /REAL ROOT REACHED/, /DATA: the first volume, the second volume/],
        timeoutS: 600,
        async prepare(kit, built) {
            const { files } = await kit.boot.launch({ brokerUrl: brokerUrl(kit) }, kit.secrets)
            const prepared = await dataGuest(kit, built, this.name)
            return { ...prepared, files: { ...prepared.files, ...files } }
        },
    },
]
