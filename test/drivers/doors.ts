// Doors that a driver under test must leave alone: those of other technologies.
// SPDX-License-Identifier: Apache-2.0

import type { Doors } from '#drivers/linux/doors.ts'

/** Whoever uses one of these throws by its name. */
export const foreignDoors = <Name extends keyof Doors>(...names: readonly Name[]): Pick<Doors, Name> =>
    Object.fromEntries(names.map((name) => [name, closed(name)])) as Pick<Doors, Name>

function closed(name: string): unknown {
    const refuse = (): never => {
        throw new TypeError(`the door ${name} is another technology’s`)
    }
    return new Proxy(refuse, { get: refuse, apply: refuse })
}
