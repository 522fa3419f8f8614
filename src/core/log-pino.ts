// The log of the long-lived side: pino, one JSON object a line on standard error, with the same names redacted as
// everywhere; a line of text where a person watches.
// SPDX-License-Identifier: Apache-2.0

import { destination, pino } from 'pino'
import { type LogFields, type Logger, lineLogger, redact, stderrSink } from './log.ts'
import { escapeControls } from './text.ts'

export interface ServiceLogOptions {
    /** The name of the program. */
    readonly name: string
    readonly verbose: boolean
    /** File descriptor, for tests; standard error unless told. */
    readonly fd?: number
}

/** Text for a terminal, JSON lines for everything else. */
export const serviceLogger = (options: ServiceLogOptions): Logger =>
    process.stderr.isTTY ? lineLogger(options.name, [stderrSink], options.verbose) : pinoLogger(options)

/** `{"level":"info","time":"…","name":"…","msg":"…",…fields}`, written before the call returns. */
export function pinoLogger({ name, verbose, fd = 2 }: ServiceLogOptions): Logger {
    const log = pino(
        {
            name,
            base: { name },
            level: verbose ? 'debug' : 'info',
            timestamp: pino.stdTimeFunctions.isoTime,
            formatters: { level: (label) => ({ level: label }) },
            // JSON escapes a few of them itself; the others may stand in its strings alone, so each can be escaped.
            hooks: { streamWrite: (line) => `${escapeControls(line.trimEnd())}\n` },
        },
        destination({ dest: fd, sync: true }),
    )
    const fieldsOf = (fields: LogFields = {}) => redact(fields) as object
    return {
        debug: (message, fields) => log.debug(fieldsOf(fields), message),
        info: (message, fields) => log.info(fieldsOf(fields), message),
        warn: (message, fields) => log.warn(fieldsOf(fields), message),
        error: (message, fields) => log.error(fieldsOf(fields), message),
    }
}
