// How a benchmark is told: ratios against a peer or a limit that was measured in the same run, and the budget of each.
// SPDX-License-Identifier: Apache-2.0

export interface Row {
    readonly what: string
    readonly against: string
    /** Ours divided by theirs; of medians of runs that took turns. */
    readonly ratio: number
    readonly budget: string
    readonly within: boolean
    /** The two medians, for orientation: they depend on the machine. */
    readonly detail: string
}

export const median = (values: readonly number[]): number =>
    values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

/** Ours against theirs, lower is better. */
export function atMost(what: string, against: string, ours: number, theirs: number, most: number, unit: string): Row {
    const ratio = ours / theirs
    return { what, against, ratio, budget: `≤ ${most}`, within: ratio <= most, detail: show(ours, theirs, unit) }
}

/** Ours against theirs, higher is better. */
export function atLeast(what: string, against: string, ours: number, theirs: number, least: number, unit: string): Row {
    const ratio = ours / theirs
    return { what, against, ratio, budget: `≥ ${least}`, within: ratio >= least, detail: show(ours, theirs, unit) }
}

/** Runs two things in turn, so that a machine whose speed drifts does so for both. */
export async function inTurn(rounds: number, a: () => Promise<number> | number, b: () => Promise<number> | number) {
    const [as, bs]: [number[], number[]] = [[], []]
    for (let i = 0; i < rounds; i++) {
        as.push(await a())
        bs.push(await b())
    }
    return [median(as), median(bs)] as const
}

export const milliseconds = async (work: () => Promise<unknown> | unknown): Promise<number> => {
    const start = performance.now()
    await work()
    return performance.now() - start
}

const show = (ours: number, theirs: number, unit: string): string => `${digits(ours)} against ${digits(theirs)} ${unit}`

const digits = (value: number): string => value.toPrecision(3)
