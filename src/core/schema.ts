// Shapes of data from outside: zod's small build with English messages, and one way to apply a shape.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import english from 'zod/v4/locales/en.js'
import { type CoreCode, coreError, excerpt } from './errors.ts'

z.config(english())

export type Schema<T> = z.ZodMiniType<T>

/**
 * The value as the schema sees it.
 * @throws AttestError of the given code, naming the members that do not fit
 */
export function shape<T>(schema: Schema<T>, value: unknown, title: string, code: CoreCode = 'ERR_JSON'): T {
    const result = schema.safeParse(value)
    if (result.success) return result.data
    throw coreError(code, `${title}: ${issues(result.error)}`)
}

/**
 * What a schema says against a value, on one line, with the path of each member: the first few that do not fit, and not
 * every unknown key that somebody made up.
 */
export function issues({ issues: all }: z.core.$ZodError): string {
    const told = all.slice(0, MAX_TOLD).map((issue) => {
        const at = issue.path.map(String).join('.')
        return excerpt(at ? `${at}: ${issue.message}` : issue.message)
    })
    const more = all.length - told.length
    return told.join('; ') + (more > 0 ? `; and ${more} more` : '')
}

const MAX_TOLD = 5
