// What a failed connection by vsock, or to a socket that stands in a file, comes from; what to do is the caller's to say.
// SPDX-License-Identifier: Apache-2.0

export interface VsockHints {
    /** The machine has no vsock device. */
    readonly noDevice: string
    /** Nobody listens at that address. */
    readonly nobody: string
}

const CAUSES: Readonly<Record<string, keyof VsockHints>> = {
    ENODEV: 'noDevice',
    EAFNOSUPPORT: 'noDevice',
    ECONNRESET: 'nobody',
    ECONNREFUSED: 'nobody',
    ENOENT: 'nobody',
}

/** @param code of the system call */
export function vsockHint(code: string | undefined, hints: VsockHints): string | undefined {
    const cause = CAUSES[code ?? '']
    return cause && hints[cause]
}
