// `collateral status`: what is in a folder (or a file), when it expires, and which guests fail next.
// SPDX-License-Identifier: Apache-2.0

import { DAY_MS } from '#core/dates.ts'
import { AttestError, coreError } from '#core/errors.ts'
import { readCollateral } from '#evidence/collateral.ts'
import { type Served, servedTechnologies } from '#evidence/collateral-platforms.ts'
import type { CollateralItem, GivenCollateral, Outlook } from '#evidence/collateral-service.ts'
import { PLUGINS } from '#plugins.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { readTime, TIME_OPTION } from '../options/trust.ts'
import { columns, note, print, printJson, styled } from '../term.ts'
import { EVIDENCE_OPTION, ROOT_OPTION, readEvidence, readRoots } from './options.ts'

interface Guest extends Outlook {
    readonly file: string
}

export async function statusCommand() {
    const all = await servedTechnologies(PLUGINS)
    return define({
        positionals: { path: 'a folder, or a file' },
        options: { ...TIME_OPTION, ...EVIDENCE_OPTION, ...ROOT_OPTION, ...JSON_OPTION },
        examples: [
            ['/var/lib/guest-attest/collateral', 'what a broker judges by, in the order in which it expires'],
            ['collateral/ --evidence web.bin --evidence db.bin', 'which of these guests fails next, and why'],
            ['collateral/ --at 2027-01-31', 'what will have expired by then'],
        ],
        details:
            'Exit status: 0 everything holds, 1 something has expired, is refused, or is missing for a guest, 3 unreadable.',
        async run(args) {
            const at = readTime(args.at)
            const path = String(args['path'])
            const roots = await readRoots(args.trustRoot)
            const { given, items } = readable(() => {
                const given: GivenCollateral = { ...readCollateral(path), ...roots }
                return { given, items: all.flatMap(({ service }) => service.describe(given, at)) }
            })
            const guests = await outlooks(args.evidence, all, given, at)
            const bad = [...items.filter((item) => isBad(item, at)), ...guests.filter((guest) => hasFailed(guest, at))]
            if (args.json)
                printJson({ path, at, items: items.map((item) => ({ ...item, state: stateOf(item, at) })), guests })
            else show(items, guests, at)
            if (items.length === 0) note(`${path}: nothing that a vendor signed`)
            return bad.length > 0 || items.length === 0 ? 1 : 0
        },
    })
}

async function outlooks(
    files: readonly string[],
    all: readonly Served[],
    given: GivenCollateral,
    at: Date,
): Promise<Guest[]> {
    const guests = (await readEvidence(files, all)).map(({ file, served, evidence }) => ({
        file,
        ...served.service.outlook(given, evidence, at),
    }))
    return guests.toSorted((a, b) => (a.until?.getTime() ?? 0) - (b.until?.getTime() ?? 0))
}

// Neither good nor expired: nobody can say.
function readable<T>(read: () => T): T {
    try {
        return read()
    } catch (error) {
        if (!(error instanceof AttestError) || error.code === 'ERR_NOT_FOUND_FILE') throw error
        throw coreError('ERR_FILE', error.message, { cause: error, hint: error.hint })
    }
}

const hasFailed = ({ until }: Guest, at: Date): boolean => until === null || until < at

export const isBad = (item: CollateralItem, at: Date): boolean => !item.superseded && stateOf(item, at) !== 'good'

export function stateOf(
    { problem, issued, expires }: CollateralItem,
    at: Date,
): 'good' | 'expired' | 'early' | 'refused' {
    if (problem !== null) return 'refused'
    if (expires < at) return 'expired'
    return issued > at ? 'early' : 'good'
}

function show(items: readonly CollateralItem[], guests: readonly Guest[], at: Date): void {
    const rows = items.map((item) => [
        item.superseded ? 'replaced' : stateOf(item, at),
        item.what,
        moment(item.expires),
        left(item.expires, at),
        item.problem ?? item.detail,
        item.source,
    ])
    if (rows.length > 0)
        for (const line of columns([['STATE', 'WHAT', 'EXPIRES', 'LEFT', 'DETAIL', 'SOURCE'], ...rows])) print(line)
    for (const guest of guests) {
        const { file, platform, until, because } = guest
        const when =
            until === null ? because : `${hasFailed(guest, at) ? 'failed' : 'until'} ${moment(until)}: ${because}`
        const text = `${file} (${platform}): ${when}`
        print(hasFailed(guest, at) ? styled('red', text) : text)
    }
}

const moment = (date: Date): string => date.toISOString().replace(/:\d\d\.\d+Z$/, 'Z')

const left = (expires: Date, at: Date): string => `${Math.floor((expires.getTime() - at.getTime()) / DAY_MS)} d`
