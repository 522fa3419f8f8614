// The start of a clevis program: no parser of options, nothing that is not needed to get a key.
// SPDX-License-Identifier: Apache-2.0

import { type PinProgram, runPin } from '#clevis/contract.ts'
import type { Release } from '#clevis/pin.ts'
import type { Injected } from '#clevis/sev-pin.ts'
import { lineLogger, stderrSink } from '#core/log.ts'
import { ROLE } from '#core/role.ts'
import { libc } from '#drivers/linux/libc.ts'
import { formatResourcePath } from '#kbs/messages.ts'
import { release } from '#unlock/release.ts'
import { bootStatus, NO_STATUS, type Status } from '#unlock/status.ts'
import { injectedSecrets } from '../injected.ts'
import { readConfig } from '../settings.ts'
import { releaseDeps } from '../unlock-deps.ts'

/** Where keys come from; what a pin does not use is not opened. */
export interface KeySources {
    readonly release: Release
    readonly injected: Injected
}

export interface Pin extends Omit<PinProgram, 'begin' | 'run' | 'complain' | 'maxInput'> {
    run(argv: readonly string[], input: Buffer, sources: KeySources): Promise<Uint8Array>
}

/** Plaintexts are passphrases and shares; a file of this size passes as well. */
const MAX_INPUT = 64 * 1024 * 1024

/** Runs a pin program; the exit status of the process is its answer. */
export function startPin(pin: Pin): void {
    const log = lineLogger(pin.name, [stderrSink])
    // clevis throws standard error away in an initrd: there the kernel's log is where a person can read why.
    let status: Status = ROLE === 'initrd' ? bootStatus(pin.name) : NO_STATUS
    const releaseHere: Release = async (request, use) => {
        if (ROLE === 'initrd') status = bootStatus(formatResourcePath(request.path))
        const opened = await release(request, { ...(await releaseDeps(readConfig(), log)), status }, use)
        status.say('open', 'the key has been handed to clevis')
        return opened
    }
    const injectedHere: Injected = async (guid, use) => {
        if (ROLE === 'initrd') status = bootStatus(guid)
        const opened = await injectedSecrets(readConfig())(guid, use)
        status.say('open', 'what the secret opens has been handed to clevis')
        return opened
    }
    const program = {
        ...pin,
        maxInput: MAX_INPUT,
        begin: () => libc().forbidCoreDumps(),
        run: (argv: readonly string[], input: Buffer) =>
            pin.run(argv, input, { release: releaseHere, injected: injectedHere }),
        complain(message: string) {
            log.error(message)
            status.say('refused', message)
        },
    }
    // Not awaited at the top of a module: bundles in the older module format cannot.
    void runPin(program, process.argv.slice(2)).then((code) => {
        process.exitCode = code
    })
}
