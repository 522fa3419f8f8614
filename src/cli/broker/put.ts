// `broker put`: stores a resource. Its bytes come from a file, from standard input, or are made by the broker; never from
// the command line, which every process of the machine can read.
// SPDX-License-Identifier: Apache-2.0

import { BROKER_CONFIG } from '#broker/config.ts'
import { RESOURCE_KINDS, type ResourceEntry } from '#broker/state.ts'
import { wipe } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { readStdin } from '#core/stdio.ts'
import { formatResourcePath, parseResourcePath } from '#kbs/messages.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { readConfig } from '../settings.ts'
import { note, printJson } from '../term.ts'
import { admin, DATA_OPTION, urlPath } from './admin.ts'

export const command = define({
    positionals: { path: 'REPOSITORY/TYPE/TAG', file: 'the bytes; - is standard input' },
    options: {
        ...DATA_OPTION,
        random: {
            type: 'boolean',
            default: false,
            describe: 'a key for a disk (luks-key): 32 bytes that the broker makes and nobody sees',
        },
        kind: {
            choices: RESOURCE_KINDS,
            describe: 'what a file holds: anything (opaque), or 32 random bytes that open a disk (luks-key)',
        },
        replace: {
            type: 'boolean',
            default: false,
            describe: 'also over a disk key, which shuts every disk that it opens',
        },
        'max-releases': { type: 'number', describe: 'release this version so often, then never again' },
        ...JSON_OPTION,
    },
    examples: [
        ['default/luks/web-1 --random', 'a disk key that only attested guests ever get'],
        ['default/tls/web-key server.key', 'the content of a file'],
        ['default/tls/web-key - < server.key', 'standard input'],
        ['default/luks/web-1 web-1.key --kind luks-key', 'a disk key that its owner has made'],
    ],
    details:
        'Each put makes a new version, which alone is released from then on. A disk key is replaced with --replace alone.',
    async run(args) {
        const path = formatResourcePath(parseResourcePath(String(args['path'])))
        const file = args['file'] === undefined ? undefined : String(args['file'])
        if (args.random && file !== undefined)
            throw coreError('ERR_USAGE', `--random and ${file}: the bytes come from one of them`)
        if (!args.random && file === undefined)
            throw coreError('ERR_USAGE', 'say where the bytes come from: a file, - for standard input, or --random')
        if (args.random && args.kind === 'opaque')
            throw coreError('ERR_USAGE', '--random makes a luks-key: it cannot be of the kind opaque')
        const query = new URLSearchParams({
            ...(args.maxReleases === undefined ? {} : { maxReleases: String(releases(args.maxReleases)) }),
            ...(args.random || args.kind === undefined ? {} : { kind: args.kind }),
            ...(args.replace ? { replace: 'true' } : {}),
        })
        const entry = await store(admin(args.data), `/v1/resources/${urlPath(path)}`, query, file)
        if (args.json) printJson(entry)
        else note(`${path} is stored: version ${entry.version}, ${entry.kind}`)
        return 0
    },
})

async function store(
    { json }: ReturnType<typeof admin>,
    url: string,
    query: URLSearchParams,
    file: string | undefined,
): Promise<ResourceEntry> {
    if (file === undefined) return json({ method: 'POST', path: `${url}/random?${query}` })
    const { maxResourceBytes } = readConfig().get(BROKER_CONFIG)
    const bytes = file === '-' ? readStdin(maxResourceBytes) : readInput(file, maxResourceBytes)
    try {
        if (bytes.length === 0) throw coreError('ERR_USAGE', `${file}: nothing is in it`)
        return await json({ method: 'PUT', path: `${url}?${query}`, body: bytes })
    } finally {
        wipe(bytes)
    }
}

function releases(count: number): number {
    if (Number.isSafeInteger(count) && count >= 1) return count
    throw coreError('ERR_USAGE', `--max-releases: expected a number from 1 on, got ${count}`)
}
