// `trust rm`: trust a broker no more.
// SPDX-License-Identifier: Apache-2.0

import { rmSync } from 'node:fs'
import { coreError } from '#core/errors.ts'
import { fileError } from '#core/files.ts'
import { parseOrigin } from '#core/http.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { findAnchor, readAnchors } from '#unlock/anchors.ts'
import { command as define } from '../command.ts'
import { hint, note } from '../term.ts'
import { initrdHint } from './initrd.ts'

export const command = define({
    positionals: { url: 'the broker' },
    options: {},
    examples: [
        ['https://kbs.example:8443', 'forget it'],
        ['vsock://2:8443', 'the same of one behind `relay`'],
    ],
    async run({ url }) {
        const { origin } = parseOrigin(String(url), { insecureHttp: true })
        const known = findAnchor(readAnchors(CONFIG_FOLDER), origin)
        if (!known)
            throw coreError('ERR_USAGE', `no file says that ${origin} is trusted`, {
                hint: '`guest-attest trust list` shows those that are; one that was injected, its owner ends: broker launch revoke',
            })
        try {
            rmSync(known.source.file)
        } catch (cause) {
            throw fileError(known.source.file, cause)
        }
        note(`${origin} is trusted no more`)
        hint(initrdHint())
        return 0
    },
})
