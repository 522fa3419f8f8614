// `get-resource`: attest this guest to a trusted broker and fetch one resource.
// SPDX-License-Identifier: Apache-2.0

import { wipe } from '#core/bytes.ts'
import { AttestError, coreError, restated } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import { lineLogger, stderrSink } from '#core/log.ts'
import { deadline } from '#core/wait.ts'
import { libc } from '#drivers/linux/libc.ts'
import { attest } from '#kbs/client.ts'
import { formatResourcePath, LUKS_KEY, parseResourcePath } from '#kbs/messages.ts'
import { type Anchor, requireAnchor } from '#unlock/anchors.ts'
import { UNLOCK_CONFIG } from '#unlock/release.ts'
import { guestAnchors } from './anchors.ts'
import { command as define } from './command.ts'
import { dial } from './dial.ts'
import { requireNewFile } from './options/new-file.ts'
import { readConfig } from './settings.ts'
import { note, PROGRAM } from './term.ts'
import { openAttester } from './unlock-deps.ts'

export const command = define({
    positionals: { uri: 'the resource, kbs:///REPOSITORY/TYPE/TAG' },
    options: {
        url: { type: 'string', describe: 'the broker; the one that is trusted, where there is only one' },
        out: { type: 'string', demandOption: true, describe: 'write it to this new file (mode 0600)' },
        use: { type: 'string', choices: [LUKS_KEY], describe: 'ask for a resource of this kind alone' },
        'resource-version': { type: 'number', describe: 'ask for this version alone; the current one unless told' },
    },
    examples: [
        ['kbs:///default/tls/web-key --out /run/web.key', 'from the one broker that is trusted'],
        ['kbs:///default/tls/web-key --url vsock://2:8443 --out /run/web.key', 'through `relay` on the host'],
    ],
    details:
        'The broker must be trusted (`guest-attest trust add`) for this path. Nothing is retried; `clevis` and the initrd do.',
    async run(args) {
        const path = parseResourcePath(String(args['uri']))
        const config = readConfig()
        const anchors = await guestAnchors(config)
        const { origin, trust } = requireAnchor(anchors, brokerOf(args.url, anchors), path)
        requireNewFile(args.out)
        libc().forbidCoreDumps()
        const { deadlineMs, requestTimeoutMs } = config.get(UNLOCK_CONFIG)
        using signal = deadline(deadlineMs, formatResourcePath(path))
        const log = lineLogger(PROGRAM, [stderrSink])
        using attester = await openAttester(config)
        using session = await attest({ origin, trust }, attester, { log, signal, requestTimeoutMs, dial })
        const { use, resourceVersion: wanted } = args
        const { bytes, version } = await session.resource(path, { use, version: wanted }).catch((error: unknown) => {
            throw use === undefined ? withUse(error) : error
        })
        try {
            createFile(args.out, bytes)
            const which = version === null ? '' : ` (version ${version})`
            note(`${bytes.length} bytes of ${formatResourcePath(path)} from ${origin.origin} in ${args.out}${which}`)
        } finally {
            wipe(bytes)
        }
        return 0
    },
})

// The broker speaks of the query; here it is an option.
function withUse(error: unknown): unknown {
    if (!(error instanceof AttestError) || !error.message.includes(`?use=${LUKS_KEY}`)) return error
    return restated(error, error.message, `it opens a disk: --use ${LUKS_KEY}`)
}

function brokerOf(url: string | undefined, [anchor, other]: readonly Anchor[]): string {
    if (url !== undefined) return url
    if (anchor && !other) return anchor.origin.origin
    throw coreError('ERR_USAGE', anchor ? 'several brokers are trusted: name one with --url' : 'no broker is trusted', {
        hint: '`guest-attest trust list` shows them, `guest-attest trust add` adds one',
    })
}
