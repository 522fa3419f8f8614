// Services run until somebody stops them.
// SPDX-License-Identifier: Apache-2.0

/** Ends with the first SIGTERM or SIGINT; the next one ends the program, as ever. */
export function toldToStop(): Promise<void> {
    return new Promise((resolve) => {
        for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
    })
}
