// Faults by script: which request meets which fault. The model brings the kinds of its technology; these here need
// none.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { parseTomlText } from '#core/config.ts'
import { issues } from '#core/schema.ts'
import { GENERATION_RACE, TSM_REQUEST } from './configfs-tsm.ts'
import { ERRNO_NAMES } from './errno.ts'
import { emulatorError } from './errors.ts'
import type { DeviceModel, Fault, FaultTable } from './model.ts'

/** Which faults requests meet, in the order in which they come. */
export interface FaultPlan {
    /** The faults of the next request of this name. It counts as having come when `commit` is called. */
    meet(request: string): { readonly faults: readonly Fault[]; readonly commit: () => void }
}

/** Kinds of fault that every technology can play. */
export const COMMON_FAULTS = {
    delay: { means: 'the answer comes late', params: { ms: z.int().check(z.gte(0), z.lte(600_000)) } },
    die: { means: 'the device dies: the caller gets ECONNABORTED, and whoever comes later ENOTCONN', params: {} },
    errno: {
        means: 'the request fails with this errno',
        params: { errno: z.enum(ERRNO_NAMES as [string, ...string[]]) },
    },
    [GENERATION_RACE]: {
        means: 'somebody else writes to the configfs entry while its report is made',
        params: {},
    },
} as const satisfies FaultTable

interface Rule {
    readonly on: string | undefined
    readonly from: number
    readonly until: number
    readonly fault: Fault
    seen: number
}

/** A plan without faults. */
export const noFaults: FaultPlan = { meet: () => ({ faults: [], commit: () => undefined }) }

/**
 * Reads a script: TOML, a `[[fault]]` each.
 * @param own the kinds of the technology
 * @throws AttestError ERR_EMULATOR_FAULTS, ERR_CONFIG where it is no TOML
 */
export function readFaults(text: Uint8Array | string, title: string, model: DeviceModel, own: FaultTable): FaultPlan {
    const script = z.strictObject({ fault: z.array(z.looseObject({})) }).safeParse(parseTomlText(text, title))
    if (!script.success)
        throw emulatorError('ERR_EMULATOR_FAULTS', `${title}: ${issues(script.error)}`, {
            hint: 'a script of faults is a list of [[fault]] tables and nothing else',
        })
    const kinds: FaultTable = { ...COMMON_FAULTS, ...own }
    const requests = requestNames(model)
    const rules = script.data.fault.map((row, index) => readRule(row, `${title}: fault ${index + 1}`, kinds, requests))
    return {
        meet(request) {
            const concerned = rules.filter(({ on }) => on === undefined || on === request)
            const met = concerned.filter(({ seen, from, until }) => seen + 1 >= from && seen + 1 < until)
            return {
                faults: met.map(({ fault }) => fault),
                commit: () => {
                    for (const rule of concerned) rule.seen++
                },
            }
        },
    }
}

/** What `on` can say for this model. */
export const requestNames = ({ devices, tsm, files = {}, folders = {} }: DeviceModel): string[] => [
    ...new Set([
        ...Object.values(devices).flatMap(({ requests }) => Object.values(requests)),
        ...(tsm ? [TSM_REQUEST] : []),
        ...[files, ...Object.values(folders)].flatMap((all) =>
            Object.values(all).flatMap(({ requests = {} }) => Object.values(requests)),
        ),
    ]),
]

const COUNT = z.int().check(z.gte(1))

function readRule(row: Record<string, unknown>, title: string, kinds: FaultTable, requests: string[]): Rule {
    const kind = String(row['kind'])
    const found = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined
    if (!found)
        throw emulatorError(
            'ERR_EMULATOR_FAULTS',
            `${title}: kind: expected one of ${Object.keys(kinds).join(', ')}, got ${JSON.stringify(row['kind'])}`,
        )
    const schema = z.strictObject({
        kind: z.string(),
        on: z.optional(z.enum(requests as [string, ...string[]])),
        at: z.optional(COUNT),
        times: z.optional(COUNT),
        ...found.params,
    })
    const result = schema.safeParse(row)
    if (!result.success) throw emulatorError('ERR_EMULATOR_FAULTS', `${title} (${kind}): ${issues(result.error)}`)
    const { kind: _, on, at, times, ...params } = result.data
    const from = at ?? 1
    // A request that is named by its number meets the fault once, unless told; otherwise all of them do.
    return {
        on,
        from,
        until: from + (times ?? (at === undefined ? Number.POSITIVE_INFINITY : 1)),
        fault: { kind, params },
        seen: 0,
    }
}
