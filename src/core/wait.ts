// Time: deadlines, the clock of a boot, and pauses that grow and scatter so that many guests do not knock at once.
// SPDX-License-Identifier: Apache-2.0

import { setTimeout as sleep } from 'node:timers/promises'
import { coreError } from './errors.ts'

/** A signal that ends with the earlier of a time limit and a parent; its reason is an ERR_INTERRUPTED that says which. */
export function deadline(ms: number, what: string, parent?: AbortSignal): AbortSignal & Disposable {
    const controller = new AbortController()
    const timer = setTimeout(
        () => controller.abort(coreError('ERR_INTERRUPTED', `${what}: gave up after ${ms / 1000} s`)),
        ms,
    )
    const follow = () => controller.abort(parent?.reason)
    const stop = () => {
        clearTimeout(timer)
        parent?.removeEventListener('abort', follow)
    }
    controller.signal.addEventListener('abort', stop, { once: true })
    if (parent?.aborted) follow()
    else parent?.addEventListener('abort', follow, { once: true })
    return Object.assign(controller.signal, { [Symbol.dispose]: stop })
}

/** @throws the signal's reason */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (ms <= 0) return
    try {
        await sleep(ms, undefined, { signal })
    } catch {
        signal.throwIfAborted()
    }
}

/** Waits for an event, or for the signal. @throws the signal's reason */
export function interruptible<T>(event: Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted()
    const stopped = Promise.withResolvers<never>()
    const stop = () => stopped.reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    return Promise.race([event, stopped.promise]).finally(() => signal.removeEventListener('abort', stop))
}

/** Milliseconds of CLOCK_MONOTONIC, which every process of a boot shares: the clock of the day is the host's. */
export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n)

/** The pauses between tries: doubling from `firstMs` to `mostMs`, each scattered over its second half ("equal jitter"). */
export function* backoff(
    firstMs: number,
    mostMs: number,
    random: () => number = Math.random,
): Generator<number, never> {
    for (let ms = firstMs; ; ms = Math.min(ms * 2, mostMs)) yield ms / 2 + (random() * ms) / 2
}
