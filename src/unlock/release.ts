// From anchors to a key: check what the caller named against what is trusted, attest to the brokers, and take the first
// key that opens what it is for, until the deadline. Every front end (clevis pin, key socket, keyscript) unlocks here.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { type Secret, wipe } from '#core/bytes.ts'
import { section, setting } from '#core/config.ts'
import { AttestError, canPass, errnoOf, messageOf } from '#core/errors.ts'
import type { Dial } from '#core/http.ts'
import type { Logger } from '#core/log.ts'
import { backoff, deadline, pause } from '#core/wait.ts'
import { type AttestedSession, type Attester, attest } from '#kbs/client.ts'
import { formatResourcePath, LUKS_KEY, type ResourcePath } from '#kbs/messages.ts'
import { type Anchor, requireAnchor } from './anchors.ts'
import { decisive, hasNoNetwork, isDenial, lacks } from './answers.ts'
import type { Denials } from './denials.ts'
import { asDiskKey } from './disk-key.ts'
import { unlockError } from './errors.ts'
import { NO_STATUS, type Status } from './status.ts'
import { type Trial, trial } from './trial.ts'

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
    staggerMs: setting(
        () => z.int().check(z.gte(0), z.lte(600_000)),
        2000,
        'how long a broker may be silent before the next one is asked as well',
    ),
    sendEventLog: setting(
        () => z.boolean(),
        false,
        'send the log of what was measured (TDX) to the broker, which judges its claims, and refuses a guest whose registers were extended beside it',
    ),
})

/** What is asked for, as a disk's header or the volume table names it. */
export interface KeyRequest {
    /** In the order in which they are asked. */
    readonly servers: readonly string[]
    readonly path: ResourcePath
    /** The versions that would do, the best first; null is the current one, whichever that is. That alone unless told. */
    readonly versions?: readonly (number | null)[]
}

/** The 32 bytes of a key, and which version of it they are; null where the broker counts none. Wiped after its use. */
export interface Released {
    readonly key: Secret
    readonly version: number | null
    /** What was asked for. */
    readonly asked: number | null
}

export interface ReleaseDeps {
    readonly anchors: readonly Anchor[]
    /** Opened only after everything that was named is allowed. */
    readonly attester: () => Promise<Attester>
    readonly denials: Denials
    readonly log: Logger
    readonly deadlineMs: number
    readonly requestTimeoutMs: number
    readonly staggerMs: number
    /** Goes on until the deadline whatever a broker or the device says: a boot that waits for its disk. */
    readonly persistent?: boolean
    readonly status?: Status
    /** The way to brokers that are on no network. */
    readonly dial?: Dial
}

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 8000

/** Where the network is not up yet, nobody is asked by trying. */
const NETWORK_PAUSE_MS = 150

/**
 * Gets the key from the first broker whose key opens what it is for, and returns what `use` makes of it. `use` throws
 * where the key does not open it, and never runs twice at a time, nor after a key that opened. Each broker is asked with a
 * TEE key of its own; the next one begins when the one before has failed or has been silent for `staggerMs`.
 * @throws AttestError ERR_UNLOCK_*, what a broker said that decides
 */
export async function release<T>(
    request: KeyRequest,
    deps: ReleaseDeps,
    use: (released: Released) => T | Promise<T>,
): Promise<T> {
    // Every server that is named must be trusted: one that is not shows that the header was written by somebody else.
    const anchors = request.servers.map((server) => requireAnchor(deps.anchors, server, request.path))
    const done = new AbortController()
    using signal = deadline(deps.deadlineMs, `the key ${formatResourcePath(request.path)}`, done.signal)
    using attester = opener(deps.attester)
    const tried = trial(() => done.abort())
    const asking: Asking = { ...deps, signal, trial: tried, attester: attester.open }
    const useAlone = (released: Released) => tried.attempt(signal, () => use(released))
    const starts = anchors.map(() => Promise.withResolvers<void>())
    let last: unknown
    const ask = async (anchor: Anchor, index: number): Promise<T> => {
        await turn(starts[index]?.promise, index * deps.staggerMs, signal)
        try {
            return await askUntilItEnds(anchor, request, asking, useAlone, (error) => {
                last = error
                starts[index + 1]?.resolve()
            })
        } finally {
            starts[index + 1]?.resolve()
        }
    }
    starts[0]?.resolve()
    try {
        return await Promise.any(anchors.map(ask))
    } catch (error) {
        if (signal.aborted) throw gaveUp(deps.deadlineMs, last, anchors[0])
        throw error instanceof AggregateError ? decisive(error.errors) : error
    } finally {
        done.abort()
    }
}

/** Waits for the broker before to fail, or to be silent for too long. */
async function turn(before: Promise<void> | undefined, ms: number, signal: AbortSignal): Promise<void> {
    const late = pause(ms, signal)
    late.catch(() => undefined)
    await Promise.race([before, late])
    signal.throwIfAborted()
}

interface Asking extends Omit<ReleaseDeps, 'attester'> {
    readonly signal: AbortSignal
    readonly trial: Trial
    readonly attester: () => Promise<Attester>
}

// One broker, until it has given the key, or waiting does not help any more.
async function askUntilItEnds<T>(
    anchor: Anchor,
    request: KeyRequest,
    deps: Asking,
    use: (released: Released) => T | Promise<T>,
    failed: (error: unknown) => void,
): Promise<T> {
    const { denials, signal, log, status = NO_STATUS } = deps
    const { origin } = anchor.origin
    const path = formatResourcePath(request.path)
    const pauses = backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
    const persistent = deps.persistent ?? false
    for (;;) {
        let released = false
        try {
            await deps.trial.free(signal)
            denials.refuseIfDenied(origin, path)
            status.say('asking', `asking ${origin} for ${path}`)
            return await askOnce(anchor, request, deps, (given) => {
                released = true
                return use(given)
            })
        } catch (error) {
            signal.throwIfAborted()
            failed(error)
            if (isDenial(error) || (persistent && lacks(error))) denials.remember(origin, path, messageOf(error))
            // A key that does not open is the same one the next time, and each time is counted as a release.
            const goesOn = !released && (canPass(error) || (persistent && error instanceof AttestError))
            if (!goesOn) throw error
            log.warn(messageOf(error), { broker: origin })
            tell(status, error, origin)
            const ms = hasNoNetwork(error) ? NETWORK_PAUSE_MS : pauses.next().value
            await pause(Math.max(denials.waitMs(origin, path), ms), signal)
        }
    }
}

function tell(status: Status, error: unknown, origin: string): void {
    const message = messageOf(error)
    const state = canPass(error) ? 'waiting' : 'refused'
    status.say(state, `${state}: ${message.includes(origin) ? message : `${origin}: ${message}`}`)
}

async function askOnce<T>(
    anchor: Anchor,
    { path, versions = [null] }: KeyRequest,
    { log, requestTimeoutMs, signal, trial, attester, dial }: Asking,
    use: (released: Released) => T | Promise<T>,
): Promise<T> {
    const options = { log, signal, requestTimeoutMs, dial }
    using session = await attest({ origin: anchor.origin, trust: anchor.trust }, attester(), options)
    let retired: unknown
    for (const asked of versions)
        try {
            await trial.free(signal)
            return await useOne(session, path, asked, use)
        } catch (error) {
            // In the middle of a rotation a header knows two versions, and the broker one of them.
            if (errnoOf(error) !== 'ERR_KBS_VERSION_RETIRED') throw error
            retired = error
        }
    throw retired
}

async function useOne<T>(
    session: AttestedSession,
    path: ResourcePath,
    asked: number | null,
    use: (released: Released) => T | Promise<T>,
): Promise<T> {
    const { bytes, version } = await session.resource(path, {
        use: LUKS_KEY,
        ...(asked === null ? {} : { version: asked }),
    })
    const key = asDiskKey(bytes)
    try {
        return await use({ key, version, asked })
    } finally {
        wipe(key)
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

/** The last that a broker said is why; without that, only who was being asked is known. */
const gaveUp = (ms: number, last: unknown, asking: Anchor | undefined) =>
    unlockError(
        'ERR_UNLOCK_GAVE_UP',
        last === undefined
            ? `gave up after ${ms / 1000} s, with no answer from ${asking?.origin.origin}`
            : `gave up after ${ms / 1000} s: ${messageOf(last)}`,
        { cause: last, hint: last instanceof AttestError ? last.hint : undefined },
    )
