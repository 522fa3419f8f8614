// From anchors to a key: check what the caller named against what is trusted, attest to each broker in turn, and take the
// key, until the deadline. Every front end (clevis pin, key socket, keyscript) unlocks through here.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { section, setting } from '#core/config.ts'
import { AttestError, canPass, errnoOf, messageOf } from '#core/errors.ts'
import { parseJson } from '#core/json.ts'
import type { Logger } from '#core/log.ts'
import { backoff, deadline, pause } from '#core/wait.ts'
import { type Attester, attest } from '#kbs/client.ts'
import { formatResourcePath, LUKS_KEY, LUKS_KEY_SIZE, type ResourcePath } from '#kbs/messages.ts'
import { type Anchor, requireAnchor } from './anchors.ts'
import type { Denials } from './denials.ts'
import { unlockError } from './errors.ts'

export const UNLOCK_CONFIG = section('unlock', {
    deadlineMs: setting(
        () => z.int().check(z.gte(1000), z.lte(24 * 3_600_000)),
        120_000,
        'how long to go on trying to get a key before the caller hears that it failed',
    ),
    requestTimeoutMs: setting(
        () => z.int().check(z.gte(100), z.lte(600_000)),
        15_000,
        'how long a broker may take for one answer',
    ),
})

/** What is asked for: brokers in the order in which they are tried, and the path, as a disk's header or a table names them. */
export interface KeyRequest {
    readonly servers: readonly string[]
    readonly path: ResourcePath
}

export interface ReleaseDeps {
    readonly anchors: readonly Anchor[]
    /** Opened only after everything that was named is allowed. */
    readonly attester: () => Promise<Attester>
    readonly denials: Denials
    readonly log: Logger
    readonly deadlineMs: number
    readonly requestTimeoutMs: number
}

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 8000

/**
 * The 32 bytes of a key. The caller wipes them.
 * @throws AttestError ERR_UNLOCK_*, the last error of a broker
 */
export async function releaseKey({ servers, path }: KeyRequest, deps: ReleaseDeps): Promise<Secret> {
    const named = formatResourcePath(path)
    // Every server that is named must be trusted: one that is not shows that the header was written by somebody else.
    const anchors = servers.map((server) => requireAnchor(deps.anchors, server, path))
    for (const { origin } of anchors) deps.denials.refuseIfDenied(origin.origin, named)
    using signal = deadline(deps.deadlineMs, `the key ${named}`)
    using attester = opener(deps.attester)
    const pauses = backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
    let last: unknown
    for (;;) {
        const failures: unknown[] = []
        for (const anchor of anchors) {
            try {
                return await askOne(anchor, path, attester.open(), deps, signal)
            } catch (error) {
                if (error === signal.reason) throw gaveUp(deps.deadlineMs, last, anchor)
                last = error
                failures.push(error)
                if (errnoOf(error) === 'ERR_KBS_DENIED' || errnoOf(error) === 'ERR_KBS_ATTESTATION')
                    deps.denials.remember(anchor.origin.origin, named, messageOf(error))
                if (isFinal(error)) throw error
                deps.log.warn(messageOf(error), { broker: anchor.origin.origin })
            }
        }
        // What has failed for good everywhere does not get better by waiting.
        if (!failures.some(canPass)) throw last
        try {
            await pause(pauses.next().value, signal)
        } catch {
            throw gaveUp(deps.deadlineMs, last)
        }
    }
}

/** Opens the guest once, and again after that failed: a busy device is not busy for ever. Closes it, opened or not yet. */
function opener(open: () => Promise<Attester>) {
    let opened: Promise<Attester> | undefined
    return {
        open() {
            opened ??= open()
            opened.catch(() => {
                opened = undefined // whoever asks a broker hears of it
            })
            return opened
        },
        [Symbol.dispose]: () =>
            void opened?.then(
                (attester) => attester[Symbol.dispose](),
                () => undefined,
            ),
    }
}

async function askOne(
    anchor: Anchor,
    path: ResourcePath,
    attester: Promise<Attester>,
    deps: ReleaseDeps,
    signal: AbortSignal,
) {
    const { log, requestTimeoutMs } = deps
    using session = await attest({ origin: anchor.origin, trust: anchor.trust }, attester, {
        log,
        signal,
        requestTimeoutMs,
    })
    return asKey(await session.resource(path, LUKS_KEY))
}

// A refusal of this guest: another broker would have to judge otherwise, and asking it would only hide the reason.
const isFinal = (error: unknown): boolean =>
    !(error instanceof AttestError) || ['ERR_KBS_DENIED', 'ERR_KBS_ATTESTATION', 'ERR_UNLOCK_KEY'].includes(error.code)

/**
 * A broker that knows kinds of resources releases 32 random bytes. One that does not may have stored the JSON key of
 * clevis-pin-trustee, whose 32 ASCII characters are the key. Anything else could be a text that somebody guesses.
 */
function asKey(resource: Secret): Secret {
    try {
        if (resource.length === LUKS_KEY_SIZE) return secret(Buffer.from(resource))
        const key = trusteeKey(resource)
        if (key !== null) return secret(Buffer.from(key, 'ascii'))
    } finally {
        wipe(resource)
    }
    throw unlockError('ERR_UNLOCK_KEY', `the resource is no key: expected ${LUKS_KEY_SIZE} random bytes`, {
        hint: 'store one with `guest-attest broker put PATH --random`',
    })
}

function trusteeKey(resource: Secret): string | null {
    if (resource[0] !== 0x7b || resource.length >= 1024) return null
    let json: { readonly key_type?: unknown; readonly key?: unknown }
    try {
        json = parseJson(resource, { title: 'the resource' }) as typeof json
    } catch {
        return null // what is wrong with it would quote it
    }
    return json.key_type === 'oct' && typeof json.key === 'string' && /^[!-~]{32}$/.test(json.key) ? json.key : null
}

/** The last that a broker said is why; without that, only who was being asked is known. */
const gaveUp = (ms: number, last: unknown, asking?: Anchor) =>
    unlockError(
        'ERR_UNLOCK_GAVE_UP',
        last === undefined && asking
            ? `gave up after ${ms / 1000} s, with no answer from ${asking.origin.origin}`
            : `gave up after ${ms / 1000} s: ${messageOf(last)}`,
        { cause: last, hint: last instanceof AttestError ? last.hint : undefined },
    )
