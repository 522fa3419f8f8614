// The way of each request to the model: one at a time, as the mutex of the real drivers has it, and past the faults
// that a script has for it.
// SPDX-License-Identifier: Apache-2.0

import { pause } from '#core/wait.ts'
import { Errno } from './errno.ts'
import type { FaultPlan } from './faults.ts'
import type { Answer, Call, ErrnoName, Fault } from './model.ts'

export interface Gate {
    /**
     * Runs one request when it is its turn. What the model leaves to be committed is committed here, once.
     * @param name what scripts of faults call the request; null where it has no name
     * @param signal aborted when the caller is being killed: the wait ends, what was committed stays
     * @throws Errno
     */
    pass<A extends Answer>(
        name: string | null,
        signal: AbortSignal,
        run: (call: Call) => Promise<A>,
    ): Promise<Passed<A>>
}

export interface Passed<A extends Answer> {
    readonly answer: A
    readonly faults: readonly Fault[]
}

/** The kinds of fault that need no model. */
const DELAY = 'delay'
const DIE = 'die'
const ERRNO = 'errno'

/** @param die ends this process before the request is answered */
export function gate(plan: FaultPlan, nowMs: () => number, die: () => void): Gate {
    let last: Promise<unknown> = Promise.resolve()

    async function pass<A extends Answer>(
        name: string | null,
        signal: AbortSignal,
        run: (call: Call) => Promise<A>,
    ): Promise<Passed<A>> {
        if (signal.aborted) throw new Errno('EINTR')
        const { faults, commit } = name === null ? NONE : plan.meet(name)
        const refused = faults.find(({ kind }) => kind === ERRNO)?.params['errno'] as ErrnoName | undefined
        const answer = refused ? null : await run({ faults, nowMs: nowMs() })
        commit()
        answer?.commit?.()
        if (faults.some(({ kind }) => kind === DIE)) die()
        const delays = faults.filter(({ kind }) => kind === DELAY).map(({ params }) => Number(params['ms']))
        await pause(
            delays.reduce((sum, ms) => sum + ms, answer?.delayMs ?? 0),
            signal,
        ).catch(() => {
            throw new Errno('EINTR')
        })
        if (refused || !answer) throw new Errno(refused ?? 'EIO')
        return { answer, faults }
    }

    return {
        pass(name, signal, run) {
            const mine = last.then(() => pass(name, signal, run))
            last = mine.catch(() => undefined)
            return mine
        },
    }
}

const NONE = { faults: [], commit: () => undefined } as const
