// What `doctor --json` has found, compared with a table.
// SPDX-License-Identifier: Apache-2.0

import type { ExecutionContext } from 'ava'
import type { Finding } from '#cli/doctor/machine.ts'
import type { Inside } from './inside.ts'
import type { Ran } from './run.ts'

/** Findings by what was looked at: the state, the text, what to do. */
export type Wanted = Readonly<Record<string, readonly [state: Finding['state'], says: RegExp, todo?: RegExp]>>

export interface DoctorCase extends Inside {
    readonly name: string
    readonly want: Wanted
    /** What must not have been looked at. */
    readonly not?: readonly string[]
}

export const findingsOf = ({ stdout }: Ran): Finding[] =>
    (JSON.parse(Buffer.from(stdout, 'latin1').toString()) as { findings: Finding[] }).findings

/** Each wanted finding is there, the others are not, and the exit status is 1 where anything is wrong. */
export function checkFindings(t: ExecutionContext, ran: Ran, { want, not = [] }: Omit<DoctorCase, 'args'>): void {
    const findings = findingsOf(ran)
    for (const [what, [state, says, todo = /^/]] of Object.entries(want))
        t.true(
            findings.some(
                (found) =>
                    found.what === what &&
                    found.state === state &&
                    says.test(found.detail) &&
                    todo.test(found.todo ?? ''),
            ),
            `${what} ${state} ${says} ${todo}: ${ran.stdout}`,
        )
    for (const what of not)
        t.false(
            findings.some((found) => found.what === what),
            `${what}: ${ran.stdout}`,
        )
    t.is(ran.code, findings.some(({ state }) => state === 'bad') ? 1 : 0, ran.stderr)
    t.is(ran.code, Object.values(want).some(([state]) => state === 'bad') ? 1 : 0, ran.stdout)
}
