// `trust add`: trust a broker by its key or its CA, for the paths that may open a disk.
// SPDX-License-Identifier: Apache-2.0

import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { coreError } from '#core/errors.ts'
import { createFile, makeFolder, readInput, writeFileAtomic } from '#core/files.ts'
import { isNameless, type Origin, parseOrigin } from '#core/origin.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { PATH_PATTERN } from '#kbs/patterns.ts'
import {
    type AnchorFile,
    anchorFileName,
    findAnchor,
    formatAnchor,
    PIN,
    parseAnchor,
    readAnchors,
    TRUST_FOLDER,
} from '#unlock/anchors.ts'
import { requireFilesCount } from '../anchors.ts'
import { command as define, many } from '../command.ts'
import { readConfig } from '../settings.ts'
import { hint, note } from '../term.ts'
import { initrdHint } from './initrd.ts'

export const command = define({
    positionals: { url: 'the broker, https://HOST[:PORT]; from a guest without network, vsock://CID:PORT' },
    options: {
        pin: many('SHA-256 of its public key, as `broker serve` prints it: sha256/…; may be repeated'),
        ca: {
            type: 'string',
            describe: 'a CA (PEM) that vouches for it; then names and dates of its certificate count',
        },
        'allow-path': many(
            'a path that may open a disk, REPOSITORY/TYPE/TAG; * stands for any text within a name; may be repeated',
        ),
        replace: { type: 'boolean', default: false, describe: 'replace what is known of this broker' },
        'insecure-http': { type: 'boolean', default: false, describe: 'allow plain http, to a loopback address only' },
    },
    examples: [
        [
            'https://kbs.example:8443 --pin sha256/4vF…= --allow-path default/luks/web-1',
            'a broker that may open one disk',
        ],
        ["https://kbs.example:8443 --ca ca.pem --allow-path 'default/luks/*'", 'by its CA, for every disk key'],
        [
            'vsock://2:8443 --pin sha256/4vF…= --allow-path default/luks/web-1',
            'from a guest without network, through `relay` on its host',
        ],
    ],
    details:
        `Written to ${join(CONFIG_FOLDER, TRUST_FOLDER)}. The initrd has its own copy: rebuild it afterwards.\n` +
        '--allow-path is required: a disk’s header names its path too, but the host can write it. With a path that the host ' +
        'may choose, it would serve its own volume with a key that it knows.\n' +
        'Refused in a guest of SEV whose owner injected a broker: that one alone counts there.',
    async run(args) {
        await requireFilesCount(readConfig())
        addAnchor(args, parseOrigin(String(args['url']), { insecureHttp: args.insecureHttp }), args.replace)
        hint(initrdHint())
        return 0
    },
})

/** Writes an anchor and says so. @throws AttestError ERR_USAGE, ERR_FILE */
export function addAnchor(args: AddArgs, origin: Origin, replace: boolean): void {
    const anchor = readAnchor(args, origin)
    const folder = join(CONFIG_FOLDER, TRUST_FOLDER)
    const file = join(folder, anchorFileName(origin))
    parseAnchor(JSON.parse(JSON.stringify(anchor)), file)
    const known = findAnchor(readAnchors(CONFIG_FOLDER), origin.origin)
    if (known && !replace)
        throw coreError('ERR_USAGE', `${origin.origin} is trusted already (${known.source.file})`, {
            hint: '--replace writes it anew',
        })
    makeFolder(folder, 0o755)
    if (known) writeFileAtomic(known.source.file, formatAnchor(anchor), 0o644)
    else createFile(file, formatAnchor(anchor), 0o644)
    note(`${origin.origin} is trusted for ${anchor.allowPaths.join(', ')}`)
}

export interface AddArgs {
    readonly pin: readonly string[]
    readonly ca?: string | undefined
    readonly allowPath: readonly string[]
}

function readAnchor({ pin, ca, allowPath }: AddArgs, origin: Origin): AnchorFile {
    if (allowPath.length === 0)
        throw coreError('ERR_USAGE', '--allow-path is missing: name the paths that may open a disk')
    const stray = allowPath.find((text) => !PATH_PATTERN.test(text))
    if (stray !== undefined)
        throw coreError(
            'ERR_USAGE',
            `--allow-path: expected REPOSITORY/TYPE/TAG, * within a name, got ${JSON.stringify(stray)}`,
        )
    const base = { url: origin.origin, allowPaths: allowPath }
    if (origin.protocol === 'http:') {
        if (pin.length > 0 || ca !== undefined)
            throw coreError('ERR_USAGE', 'plain http has no key: --pin and --ca mean nothing')
        return { ...base, insecureHttp: true }
    }
    if (ca !== undefined && isNameless(origin))
        throw coreError('ERR_USAGE', `--ca: ${origin.origin} has no name that a CA could vouch for: expected --pin`)
    if (pin.length > 0 === (ca !== undefined))
        throw coreError('ERR_USAGE', 'say by what the broker is known: --pin, or --ca, and not both')
    const bad = pin.find((text) => !PIN.test(text))
    if (bad !== undefined)
        throw coreError('ERR_USAGE', `--pin: expected sha256/ and 44 characters of base64, got ${JSON.stringify(bad)}`)
    return ca === undefined ? { ...base, pins: pin } : { ...base, ca: readCertificates(ca) }
}

// The certificates alone: a private key that stands beside them must not get into a file that everybody may read.
function readCertificates(path: string): string {
    const blocks = readInput(path).toString('latin1').match(PEM_CERTIFICATE) ?? []
    if (blocks.length === 0 || !blocks.every(isCertificate))
        throw coreError(
            'ERR_USAGE',
            `--ca: expected certificates in PEM, ${path} holds ${blocks.length === 0 ? 'none' : 'one that is malformed'}`,
        )
    return `${blocks.join('\n')}\n`
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g

function isCertificate(pem: string): boolean {
    try {
        return new X509Certificate(pem).raw.length > 0
    } catch {
        return false
    }
}
