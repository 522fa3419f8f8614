// Trust anchors: which brokers this guest believes, by what it knows them, and which paths may open its disks. One
// root-owned file each under `trust.d/`. The header of a disk names a broker and a path too, but the host writes it:
// without an anchor that agrees, nothing is sent, or the host would serve its own volume with a key that it knows.
// SPDX-License-Identifier: Apache-2.0

import { join } from 'node:path'
import { stringify as stringifyToml } from 'smol-toml'
import * as z from 'zod/mini'
import { readToml, tomlFiles } from '#core/config.ts'
import { type Origin, parseOrigin, type ServerTrust } from '#core/http.ts'
import { isNameless } from '#core/origin.ts'
import { issues } from '#core/schema.ts'
import type { InjectedBroker } from '#drivers/driver.ts'
import { formatResourcePath, type ResourcePath } from '#kbs/messages.ts'
import { matchesPath, PATH_PATTERN } from '#kbs/patterns.ts'
import { unlockError } from './errors.ts'

export interface Anchor {
    readonly origin: Origin
    /** Null for plain http on loopback, which the file says in so many words. */
    readonly trust: ServerTrust | null
    readonly allowPaths: readonly string[]
    /** Where it stands: in a file, or in the guest's memory, into which its owner had it put before it ran. */
    readonly source: { readonly file: string } | 'injected'
}

/** One that stands in a file. */
export interface FileAnchor extends Anchor {
    readonly source: { readonly file: string }
}

/** What is written; the origin's own text is the key that anchors are found by. */
export interface AnchorFile {
    readonly url: string
    readonly pins?: readonly string[] | undefined
    readonly ca?: string | undefined
    readonly allowPaths: readonly string[]
    readonly insecureHttp?: true | undefined
}

/** The folder of the anchors within the configuration's. */
export const TRUST_FOLDER = 'trust.d'

/** `sha256/` and 44 characters of base64. */
export const PIN = /^sha256\/[A-Za-z0-9+/]{43}=$/

export const ANCHOR_FILE = z.strictObject({
    url: z.string(),
    pins: z.optional(z.array(z.string().check(z.regex(PIN, 'expected sha256/ and base64'))).check(z.minLength(1))),
    ca: z.optional(z.string().check(z.includes('-----BEGIN CERTIFICATE-----'))),
    allowPaths: z
        .array(z.string().check(z.regex(PATH_PATTERN, 'expected REPOSITORY/TYPE/TAG, * within a name')))
        .check(z.minLength(1)),
    insecureHttp: z.optional(z.literal(true)),
})

/** @throws AttestError ERR_UNLOCK_ANCHOR_FILE, ERR_UNTRUSTED_FILE, ERR_CONFIG */
export function readAnchors(configFolder: string): FileAnchor[] {
    const anchors: FileAnchor[] = []
    for (const file of tomlFiles(join(configFolder, TRUST_FOLDER))) {
        const anchor = parseAnchor(readToml(file), file)
        const other = findAnchor(anchors, anchor.origin.origin)
        if (other)
            throw malformed(
                file,
                `${anchor.origin.origin} is in ${other.source.file} already: only one of them can hold`,
            )
        anchors.push(anchor)
    }
    return anchors
}

/**
 * The anchor of the broker that the guest's owner injected: beside it nobody is trusted.
 * @throws AttestError ERR_UNLOCK_ANCHOR_FILE
 */
export const injectedAnchor = ({ url, pins, allowPaths }: InjectedBroker): Anchor => ({
    ...parse({ url, pins, allowPaths }, INJECTED),
    source: 'injected',
})

const INJECTED = 'injected at the launch'

/** Where an anchor stands, for a person. */
export const sourceOf = ({ source }: Anchor): string => (source === 'injected' ? INJECTED : source.file)

/** The anchor of a broker, named by its origin. */
export const findAnchor = <A extends Anchor>(anchors: readonly A[], origin: string): A | undefined =>
    anchors.find((anchor) => anchor.origin.origin === origin)

/** @throws AttestError ERR_UNLOCK_ANCHOR_FILE */
export const parseAnchor = (value: unknown, file: string): FileAnchor => ({ ...parse(value, file), source: { file } })

function parse(value: unknown, title: string): Omit<Anchor, 'source'> {
    const result = ANCHOR_FILE.safeParse(value)
    if (!result.success) throw malformed(title, issues(result.error))
    const { url, pins, ca, allowPaths, insecureHttp } = result.data
    const origin = parseOrigin(url, { insecureHttp: insecureHttp ?? false })
    if (origin.protocol === 'http:') return { origin, trust: null, allowPaths }
    if (ca !== undefined && isNameless(origin))
        throw malformed(title, `${origin.origin} has no name that a CA could vouch for: expected pins`)
    if (pins && ca === undefined) return { origin, trust: { pins }, allowPaths }
    if (ca !== undefined && !pins) return { origin, trust: { ca }, allowPaths }
    throw malformed(title, 'expected either pins or ca')
}

/** The text of an anchor's file. */
export const formatAnchor = (anchor: AnchorFile): string =>
    `# A key broker that this guest trusts; \`guest-attest trust\` writes and lists these files.\n${stringifyToml(
        Object.fromEntries(Object.entries(anchor).filter(([, value]) => value !== undefined)),
    )}\n`

/** The name of an anchor's file: one for each origin. */
export function anchorFileName({ protocol, host, pathname }: Origin): string {
    // Two paths never have one name.
    if (protocol === 'unix:')
        return `${pathname.replaceAll(/[^A-Za-z0-9.-]/g, (sign) => `_${sign.charCodeAt(0).toString(16)}`)}_unix.toml`
    const kind = protocol === 'https:' ? '' : `_${protocol.slice(0, -1)}`
    return `${host.replaceAll(/[^A-Za-z0-9.-]/g, '_')}${kind}.toml`
}

/** @throws AttestError ERR_UNLOCK_NOT_ANCHORED */
export function requireTrusted(anchors: readonly Anchor[], origin: string): Anchor {
    const anchor = findAnchor(anchors, origin)
    if (anchor) return anchor
    throw unlockError(
        'ERR_UNLOCK_NOT_ANCHORED',
        `${origin} is no broker that this guest trusts: nothing was sent to it`,
        {
            hint:
                anchors[0]?.source === 'injected'
                    ? `this guest’s owner injected another broker, the only one that it trusts: ${anchors[0].origin.origin}`
                    : `if it should be: guest-attest trust add ${origin} --pin … --allow-path …, and rebuild the initrd`,
        },
    )
}

/**
 * The anchor of a broker, if it is trusted for this path.
 * @throws AttestError ERR_UNLOCK_NOT_ANCHORED, ERR_UNLOCK_PATH
 */
export function requireAnchor(anchors: readonly Anchor[], server: string, path: ResourcePath): Anchor {
    const { origin } = parseOrigin(server, { insecureHttp: true })
    const anchor = requireTrusted(anchors, origin)
    const wanted = formatResourcePath(path)
    if (anchor.allowPaths.some((pattern) => matchesPath(pattern, wanted))) return anchor
    throw unlockError('ERR_UNLOCK_PATH', `${origin} is not trusted for ${wanted}: nothing was sent to it`, {
        hint: `allowed: ${anchor.allowPaths.join(', ')} (${sourceOf(anchor)})`,
    })
}

const malformed = (title: string, what: string) => unlockError('ERR_UNLOCK_ANCHOR_FILE', `${title}: ${what}`)
