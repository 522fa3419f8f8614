// The one error class of the program, and the tables that close its codes.
// SPDX-License-Identifier: Apache-2.0

/** How a command that ends with this error exits: 1 "no", 2 "the request is wrong", 3 "cannot decide now". */
export type Exit = 1 | 2 | 3

/** One code: how a command exits, what it means, and whether the same request may succeed a little later. */
export interface ErrorRow {
    readonly exit: Exit
    readonly means: string
    readonly passes?: true
}

/** Each folder closes its codes in one such table; `src/cli/errors.ts` joins them. */
export type ErrorTable = Readonly<Record<`ERR_${string}`, ErrorRow>>

/** What an error may carry beside its text. A hint tells the operator what to do; it never holds a secret. */
export interface ErrorDetail {
    readonly cause?: unknown
    readonly hint?: string | undefined
}

/** Something outside the program is not as it must be. A programmer's mistake is a TypeError instead. */
export class AttestError<Code extends string = string> extends Error {
    override readonly name = 'AttestError'
    readonly code: Code
    readonly exit: Exit
    /** True if the cause can pass: a network, a busy device, a full disk. */
    readonly passes: boolean
    readonly hint: string | undefined

    constructor(code: Code, row: ErrorRow, message: string, detail: ErrorDetail = {}) {
        super(message, 'cause' in detail ? { cause: detail.cause } : undefined)
        this.code = code
        this.exit = row.exit
        this.passes = row.passes ?? false
        this.hint = detail.hint
    }
}

/** Makes the constructor of one table's errors: `const fail = errorsOf(SNP_ERRORS)`, `throw fail('ERR_SNP_…', text)`. */
export function errorsOf<Table extends ErrorTable>(table: Table) {
    return function fail<Code extends keyof Table & string>(code: Code, message: string, detail?: ErrorDetail) {
        const row: ErrorRow | undefined = table[code as keyof ErrorTable]
        if (row === undefined) throw new TypeError(`no such error code: ${code}`)
        const error = new AttestError<Code>(code, row, message, detail)
        Error.captureStackTrace(error, fail)
        return error
    }
}

/** The same error in other words. */
export function restated(error: AttestError, message: string, hint = error.hint): AttestError {
    const { code, exit, passes } = error
    return new AttestError(code, { exit, means: '', ...(passes ? { passes } : {}) }, message, { cause: error, hint })
}

/** True for an error whose cause can pass, so that trying again makes sense. */
export const canPass = (error: unknown): boolean => error instanceof AttestError && error.passes

/** The message of anything that was thrown, on one line. */
export const messageOf = (error: unknown): string =>
    (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, '; ')

/** What of a text that somebody else chose is quoted in a message: its beginning, and how long it was. */
export const excerpt = (text: string, most = 200): string =>
    text.length <= most ? text : `${text.slice(0, most).toWellFormed()}… (${text.length} characters)`

/** `ENOENT` and its like, or undefined where it is no error of the operating system. */
export const errnoOf = (error: unknown): string | undefined =>
    error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined

export const CORE_ERRORS = {
    ERR_ENCODING: { exit: 1, means: 'bytes in hex, base64, JSON, TOML, PEM or protobuf are not well formed' },
    ERR_LENGTH: { exit: 1, means: 'a field or a file has not the length that its format demands' },
    ERR_RESERVED: { exit: 1, means: 'bytes that a format reserves are not zero' },
    ERR_JSON: { exit: 1, means: 'a JSON text is malformed, too deep, too large or repeats a key' },
    ERR_JWE: { exit: 1, means: 'an encrypted message does not open, or is of a kind that is not accepted' },
    ERR_CERTIFICATE: { exit: 1, means: 'a certificate or revocation list is malformed' },
    ERR_CONFIG: { exit: 2, means: 'the configuration is malformed or names something unknown' },
    ERR_UNTRUSTED_FILE: {
        exit: 1,
        means: 'somebody other than root or the caller could have written a file that decides trust',
    },
    ERR_FILE: { exit: 3, means: 'a file could not be read or written' },
    ERR_USAGE: { exit: 2, means: 'the command line is wrong' },
    ERR_FILE_KIND: { exit: 2, means: 'a folder stands where a file was expected, or a file where a folder was' },
    ERR_NOT_FOUND_FILE: { exit: 2, means: 'a file that was named does not exist' },
    ERR_HTTP_CONNECT: { exit: 3, passes: true, means: 'a server could not be reached, or broke off' },
    ERR_HTTP_TIMEOUT: { exit: 3, passes: true, means: 'a server did not answer in time' },
    ERR_LISTEN: { exit: 3, means: 'an address that should be listened on is taken, not here, or not allowed' },
    ERR_HTTP_TLS: { exit: 1, means: 'the server is not the one that is trusted' },
    ERR_HTTP_RESPONSE: { exit: 1, means: 'an HTTP answer is too large, redirects, or is malformed' },
    ERR_URL: { exit: 2, means: 'an address is neither https nor vsock, or is no origin' },
    ERR_TTRPC: { exit: 1, means: 'a frame of ttrpc is malformed or too large, or answers nothing that was asked' },
    ERR_QMP: { exit: 1, means: 'what came over the monitor of QEMU is not QMP' },
    ERR_QMP_REFUSED: { exit: 1, means: 'the monitor of QEMU refuses a command' },
    ERR_INTERRUPTED: { exit: 3, passes: true, means: 'the caller gave up, or the deadline passed' },
} as const satisfies ErrorTable

export type CoreCode = keyof typeof CORE_ERRORS

export const coreError = errorsOf(CORE_ERRORS)
