// What a guest is told of an error: no refusal looks like a failure that passes.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { BROKER_ERRORS, brokerError } from '#broker/errors.ts'
import { adminProblemOf, problemOf } from '#broker/http/problems.ts'
import { KBS_ERRORS, kbsError } from '#kbs/errors.ts'

type Denial = keyof typeof BROKER_ERRORS & `ERR_BROKER_DENIED_${string}`

const denials = Object.keys(BROKER_ERRORS).filter((code): code is Denial => /^ERR_BROKER_DENIED_/.test(code))

for (const code of denials)
    test(`a denial is 403: ${code}`, (t) => {
        const { status, code: told, detail } = problemOf(brokerError(code, 'why'))
        t.deepEqual({ status, told, detail }, { status: 403, told: code, detail: 'why' })
    })

for (const code of Object.keys(KBS_ERRORS) as (keyof typeof KBS_ERRORS)[])
    test(`the protocol's errors have a status of their own: ${code}`, (t) => {
        const { status, detail } = problemOf(kbsError(code, 'why'))
        if (code === 'ERR_KBS_SERVER') t.is(status, 500)
        else {
            t.true(status >= 400 && status < 500)
            t.is(detail, 'why')
            // What passes is asked again: only that may look as if it did.
            t.is(status === 401 || status === 429, 'passes' in KBS_ERRORS[code])
        }
    })

for (const { name, error } of [
    { name: 'a row that does not open', error: brokerError('ERR_BROKER_ROW', 'secret') },
    { name: 'a mistake of ours', error: new TypeError('secret') },
])
    test(`what is not for guests stays in the log: ${name}`, (t) => {
        const { status, code, detail } = problemOf(error)
        t.is(status, 500)
        t.is(code, 'ERR_KBS_SERVER')
        t.notRegex(detail, /secret/)
    })

test('an administrator is told all of it', (t) => {
    const { status, detail, hint } = adminProblemOf(brokerError('ERR_BROKER_ROW', 'why', { hint: 'what to do' }))
    t.deepEqual({ status, detail, hint }, { status: 400, detail: 'why', hint: 'what to do' })
})
