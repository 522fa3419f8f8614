// Counters of a broker in Prometheus' text exposition format 0.0.4, from one table.
// SPDX-License-Identifier: Apache-2.0

/** What is counted, by the label that tells kinds apart; null has none. */
const COUNTERS = {
    challenges: { name: 'guest_attest_challenges_total', label: null, help: 'Challenges that were given out.' },
    attestations: {
        name: 'guest_attest_attestations_total',
        label: 'result',
        help: 'Proofs that were judged: ok, or the code of what was wrong.',
    },
    releases: { name: 'guest_attest_releases_total', label: null, help: 'Resources that were released.' },
    denials: {
        name: 'guest_attest_denials_total',
        label: 'code',
        help: 'Requests of proven guests that were denied, by the code of the reason.',
    },
    refusals: {
        name: 'guest_attest_refusals_total',
        label: 'code',
        help: 'Requests that were refused before anything was proved, by code.',
    },
} as const

const GAUGES = {
    sessions: { name: 'guest_attest_sessions', help: 'Guests that have proved themselves and hold a session.' },
    auditSeq: { name: 'guest_attest_audit_seq', help: 'Number of the last record of the audit log.' },
    resources: { name: 'guest_attest_resources', help: 'Resources that are stored.' },
} as const

/** Upper bounds in seconds. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5] as const

const LATENCY = 'guest_attest_request_seconds'

export type Gauges = Readonly<Record<keyof typeof GAUGES, number>>

export interface Metrics {
    /** The kind is one of a closed set: a route, an error code. */
    count(what: keyof typeof COUNTERS, kind?: string): void
    observe(route: string, seconds: number): void
    text(gauges: Gauges): string
}

export function metrics(): Metrics {
    const counts = Object.fromEntries(Object.keys(COUNTERS).map((what) => [what, new Map<string, number>()]))
    const latencies = new Map<string, { readonly buckets: number[]; sum: number; count: number }>()
    return {
        count(what, kind = '') {
            const map = counts[what] as Map<string, number>
            map.set(kind, (map.get(kind) ?? 0) + 1)
        },
        observe(route, seconds) {
            const seen = latencies.get(route) ?? { buckets: BUCKETS.map(() => 0), sum: 0, count: 0 }
            const index = BUCKETS.findIndex((bound) => seconds <= bound)
            if (index >= 0) seen.buckets[index] = (seen.buckets[index] ?? 0) + 1
            seen.sum += seconds
            seen.count++
            latencies.set(route, seen)
        },
        text(gauges) {
            const lines: string[] = []
            for (const [what, { name, label, help }] of Object.entries(COUNTERS)) {
                lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} counter`)
                const map = counts[what] as Map<string, number>
                if (label === null) lines.push(`${name} ${map.get('') ?? 0}`)
                else for (const [kind, value] of map) lines.push(`${name}{${label}="${kind}"} ${value}`)
            }
            for (const [what, { name, help }] of Object.entries(GAUGES))
                lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, `${name} ${gauges[what as keyof Gauges]}`)
            lines.push(`# HELP ${LATENCY} Time to answer a request.`, `# TYPE ${LATENCY} histogram`)
            for (const [route, { buckets, sum, count }] of latencies) {
                let below = 0
                for (const [index, bound] of BUCKETS.entries()) {
                    below += buckets[index] ?? 0
                    lines.push(`${LATENCY}_bucket{route="${route}",le="${bound}"} ${below}`)
                }
                lines.push(`${LATENCY}_bucket{route="${route}",le="+Inf"} ${count}`)
                lines.push(`${LATENCY}_sum{route="${route}"} ${sum}`, `${LATENCY}_count{route="${route}"} ${count}`)
            }
            return `${lines.join('\n')}\n`
        },
    }
}
