// Of several brokers' keys one is tried at a time: a keyscript prints one passphrase, a mapping is made once. While one is
// tried nobody is asked for another, since a broker counts what it releases.
// SPDX-License-Identifier: Apache-2.0

import { interruptible } from '#core/wait.ts'

export interface Trial {
    /** Until no key is being tried. @throws the signal's reason */
    free(signal: AbortSignal): Promise<void>
    /** Tries a key as soon as no other one is. @throws what the try throws, the signal's reason before it has begun */
    attempt<T>(signal: AbortSignal, open: () => T | Promise<T>): Promise<T>
}

/** @param won a key has opened: nothing is tried any more. Called before anybody who waits goes on, to end their signals */
export function trial(won: () => void): Trial {
    let trying: Promise<void> | null = null

    async function free(signal: AbortSignal): Promise<void> {
        signal.throwIfAborted()
        while (trying) await interruptible(trying, signal)
        signal.throwIfAborted()
    }

    return {
        free,
        async attempt(signal, open) {
            signal.throwIfAborted()
            while (trying) await free(signal) // again, where somebody else who waited was first
            const { promise, resolve } = Promise.withResolvers<void>()
            trying = promise
            try {
                const opened = await open()
                won()
                return opened
            } finally {
                trying = null
                resolve()
            }
        },
    }
}
