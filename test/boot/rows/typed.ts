// Boots where a person types (compat).
// SPDX-License-Identifier: Apache-2.0

import { PASSPHRASE } from '../kit.ts'
import type { Row } from '../row.ts'
import { door, HOST } from '../stage.ts'
import { PROMPT, plain, TYPES } from './words.ts'

/** Waiting for a network that is not there takes longer, in either builder. */
const HELD_UP_S = 90

/** The program has said that it waits, and the prompt is there. */
const TRIES_AGAIN =
    /guest-attest: root: .*waiting[\s\S]*Please (?:unlock|enter)|Please (?:unlock|enter)[\s\S]*guest-attest: root: .*waiting/

export const TYPED: readonly Row[] = [
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
            expect: [/guest-attest: .*the host can read this console/, PROMPT],
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
