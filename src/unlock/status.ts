// What a person at the console is told while a disk opens or does not: one line for each change of state, in the kernel's
// log, and with its time in `boot.jsonl`, which `guest-attest boot-report` reads after the boot. Never a byte of a key.
// SPDX-License-Identifier: Apache-2.0

import { appendFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { kernelSink, type Level, type Sink } from '#core/log.ts'
import { RUN_FOLDER } from '#core/role.ts'
import { CONTROLS } from '#core/text.ts'
import { monotonicMs } from '#core/wait.ts'
import { consoleSink } from './console.ts'

/** Each with how loudly it is said. */
export const STATES = {
    waiting: 'info',
    asking: 'info',
    checked: 'info',
    open: 'info',
    refused: 'error',
    failed: 'error',
    stopped: 'info',
    wiped: 'info',
} as const satisfies Readonly<Record<string, Level>>

export type State = keyof typeof STATES

export interface Status {
    /** Words that were said a moment ago are not said again: `asking a`, `a is busy`, `asking a` are two lines. */
    say(state: State, text: string): void
}

/** One entry of the report. */
export interface BootEvent {
    /** The volume, or the path of a resource. */
    readonly subject: string
    /** Milliseconds since the kernel began. */
    readonly uptimeMs: number
    readonly state: State
    readonly text: string
}

export const NO_STATUS: Status = { say() {} }

/** Of what is said of injected secrets when they are wiped; no volume can be called so. */
export const SECRETS_SUBJECT = 'injected secrets'

/** The file of the report, in the folder of the boot. */
export const BOOT_REPORT = 'boot.jsonl'

/** A host that makes us talk does not fill the memory: from here on nothing is added. */
const MAX_REPORT = 1024 * 1024

const MAX_TEXT = 500

/** Lines of a subject that are remembered. */
const RECENT = 2

/**
 * Tells of one subject. The last lines are kept in a file, because clevis starts its pin anew for each try.
 * @param sinks where a person can read it
 */
export function bootStatus(
    subject: string,
    folder = RUN_FOLDER,
    sinks: readonly Sink[] = [kernelSink, consoleSink],
): Status {
    const recentFile = join(folder, 'state', subject.replaceAll(/[^A-Za-z0-9_.-]/g, '_'))
    let recent = readQuietly(recentFile).split('\n')
    return {
        say(state, said) {
            const text = said.replaceAll(CONTROLS, ' ').slice(0, MAX_TEXT)
            const line = `guest-attest: ${subject}: ${text}`
            if (recent.includes(line)) return
            recent = [line, ...recent].slice(0, RECENT)
            for (const sink of sinks) sink(STATES[state], line)
            quietly(() => {
                mkdirSync(join(folder, 'state'), { recursive: true, mode: 0o700 })
                writeFileSync(recentFile, recent.join('\n'), { mode: 0o600 })
                const report = join(folder, BOOT_REPORT)
                if ((statSync(report, { throwIfNoEntry: false })?.size ?? 0) > MAX_REPORT) return
                const event: BootEvent = { subject, uptimeMs: monotonicMs(), state, text }
                appendFileSync(report, `${JSON.stringify(event)}\n`, { mode: 0o600 })
            })
        },
    }
}

function readQuietly(file: string): string {
    try {
        return readFileSync(file, 'utf8')
    } catch {
        return ''
    }
}

/** Nothing that is said may stop an unlock. */
function quietly(write: () => void): void {
    try {
        write()
    } catch {
        // a full or missing /run
    }
}
