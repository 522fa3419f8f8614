// The device model of a TD: the module and the quoting enclave of a platform (module.ts) that an emulated vendor has
// made (vendor.ts), behind the kernel's drivers (kernel.ts).
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { MAX_EVENT_LOG_SIZE } from '#core/sizes.ts'
import type { DeviceModel, ModelDeps } from '#emulator/model.ts'
import type { TdxOptions } from '../emulate.ts'
import { parseEventLog, replay } from '../event-log/event-log.ts'
import { DEFAULT_TD_ATTRIBUTES, DEFAULT_XFAM, tcbSvn } from '../mint/quote.ts'
import { STATUS_SVNS } from '../mint/statements.ts'
import type { BodyType } from '../quote.ts'
import { tdxKernel } from './kernel.ts'
import { bootLog } from './measurements.ts'
import { tdxModule } from './module.ts'
import { openVendor } from './vendor.ts'

const DEFAULT_MEASUREMENT = createHash('sha384').update('guest-attest emulate').digest()

/** x87 and SSE: no module launches a TD without. */
const XFAM_FIXED = 3n

/** @throws AttestError ERR_USAGE, ERR_FILE, ERR_JSON, ERR_TDX_EVENT_LOG */
export async function tdxModel(options: TdxOptions, deps: ModelDeps): Promise<DeviceModel> {
    const { provider, trustDir, tcbStatus = 'UpToDate' } = options
    const { quoteVersion, bodyType } = formOf(options)
    const log = options.eventLog === undefined ? bootLog() : readInput(options.eventLog, MAX_EVENT_LOG_SIZE)
    const { rtmr0, rtmr1, rtmr2, rtmr3 } = replay(parseEventLog(log))
    const launch = {
        mrTd: sized(options.measurement ?? DEFAULT_MEASUREMENT, '--measurement'),
        mrConfigId: sized(options.mrConfigId ?? Buffer.alloc(48), '--mr-config-id'),
        mrOwner: Buffer.alloc(48),
        mrOwnerConfig: Buffer.alloc(48),
        tdAttributes: options.attributes ?? DEFAULT_TD_ATTRIBUTES,
        xfam: checkXfam(options.xfam ?? DEFAULT_XFAM),
        rtmrs: [rtmr0, rtmr1, rtmr2, rtmr3] as const,
        ...modulesOf(tcbStatus, bodyType),
        quoteVersion,
        bodyType,
    }
    const vendor = await openVendor({ folder: trustDir, ...deps })
    const kernel = tdxKernel(tdxModule(vendor, launch), log, provider)
    return { title: `Intel TDX (quote version ${quoteVersion}, body type ${bodyType}, ${tcbStatus})`, ...kernel }
}

// Version 4 has one body; version 5 those of TDX 1.5, too.
function formOf({ quoteVersion: version, bodyType: type }: TdxOptions): {
    quoteVersion: 4 | 5
    bodyType: BodyType
} {
    if (version !== undefined && version !== 4 && version !== 5)
        throw coreError('ERR_USAGE', `--quote-version: expected 4 or 5, got ${version}`)
    if (type !== undefined && type !== 2 && type !== 3 && type !== 4)
        throw coreError('ERR_USAGE', `--body-type: expected 2, 3 or 4, got ${type}`)
    const bodyType = type ?? (version === 5 ? 3 : 2)
    const quoteVersion = version ?? (bodyType === 2 ? 4 : 5)
    if (quoteVersion === 4 && bodyType !== 2)
        throw coreError('ERR_USAGE', `--body-type ${bodyType}: a quote of version 4 has no other than 2`)
    return { quoteVersion, bodyType }
}

/** What a relaunch would help: the module was updated below the TD. */
const RELAUNCH = {
    TDRelaunchAdvised: 'OutOfDate',
    TDRelaunchAdvisedConfigurationNeeded: 'OutOfDateConfigurationNeeded',
} as const

// The vendor's statements know every status, each at a level of its own.
function modulesOf(status: string, bodyType: BodyType): { teeTcbSvn: Buffer; teeTcbSvn2: Buffer } {
    const at = (name: string) =>
        Object.hasOwn(STATUS_SVNS, name) ? STATUS_SVNS[name as keyof typeof STATUS_SVNS] : undefined
    const launched = Object.hasOwn(RELAUNCH, status) ? RELAUNCH[status as keyof typeof RELAUNCH] : undefined
    if (launched !== undefined && bodyType === 2)
        throw coreError('ERR_USAGE', `--tcb-status ${status}: body type 2 does not say which module runs now`, {
            hint: '--body-type 3',
        })
    const microcode = at(launched ?? status)
    if (microcode === undefined)
        throw coreError(
            'ERR_USAGE',
            `--tcb-status: expected one of ${[...Object.keys(STATUS_SVNS), ...Object.keys(RELAUNCH)].join(', ')}, got ${JSON.stringify(status)}`,
        )
    const now = launched === undefined ? microcode : STATUS_SVNS.UpToDate
    return { teeTcbSvn: tcbSvn({ microcode }), teeTcbSvn2: tcbSvn({ microcode: now }) }
}

function sized(bytes: Buffer, option: string): Buffer {
    if (bytes.length === 48) return bytes
    throw coreError('ERR_USAGE', `${option}: expected 48 bytes, got ${bytes.length}`)
}

function checkXfam(xfam: bigint): bigint {
    if ((xfam & XFAM_FIXED) === XFAM_FIXED) return xfam
    throw coreError('ERR_USAGE', `--xfam 0x${xfam.toString(16)}: bits 0 and 1 must be one, no module launches it`)
}
