// `trust list`: the brokers that are trusted, and whether the initrd knows them.
// SPDX-License-Identifier: Apache-2.0

import { type Anchor, sourceOf } from '#unlock/anchors.ts'
import { guestAnchors } from '../anchors.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { readConfig } from '../settings.ts'
import { columns, print, printJson } from '../term.ts'
import { inInitrd } from './initrd.ts'

export const command = define({
    options: JSON_OPTION,
    examples: [['', 'each broker, by what it is known, its paths, and whether the initrd has it']],
    async run({ json }) {
        const rows = (await guestAnchors(readConfig())).map((anchor) => ({ anchor, initrd: inInitrd(anchor) }))
        if (json)
            printJson(
                rows.map(({ anchor, initrd }) => ({
                    url: anchor.origin.origin,
                    by: describeTrust(anchor),
                    allowPaths: anchor.allowPaths,
                    file: anchor.source === 'injected' ? null : anchor.source.file,
                    initrd,
                })),
            )
        else if (rows.length === 0) print('no broker is trusted')
        else
            for (const { anchor, initrd } of rows) {
                print(anchor.origin.origin)
                const fields = [
                    ['known by', describeTrust(anchor)],
                    ['paths', anchor.allowPaths.join(', ')],
                    ['file', sourceOf(anchor)],
                    ['initrd', initrd.text],
                ]
                for (const line of columns(fields, '  ')) print(line)
            }
        return 0
    },
})

function describeTrust({ trust }: Anchor): string {
    if (trust === null) return 'nothing: plain http on loopback (insecureHttp)'
    return 'pins' in trust ? trust.pins.join(', ') : 'a CA'
}
