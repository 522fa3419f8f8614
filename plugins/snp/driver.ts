// The guest's side of SNP: reports through configfs-tsm or /dev/sev-guest, whichever the kernel has.
// SPDX-License-Identifier: Apache-2.0

import { equalBytes, isZero } from '#core/bytes.ts'
import { REPORT_DATA_SIZE } from '#core/sizes.ts'
import type { Attempt, Driver, Evidence, EvidenceOptions, Guest, KeySelector, Probe, Via } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import type { Doors } from '#drivers/linux/doors.ts'
import { KEY_LOST_HINT, SEV_GUEST_LOCK, SNP_PLATFORM_DEVICE } from '#drivers/linux/sev-device.ts'
import type { SevGuest } from '#drivers/linux/sev-guest.ts'
import { moduleHint } from '#drivers/linux/system.ts'
import { snpError } from './errors.ts'
import { KEY_FIELDS } from './key-fields.ts'
import { TEE } from './tee.ts'

/** The name under which the kernel's SNP driver serves configfs-tsm. */
const PROVIDER = 'sev_guest'

/** What configfs-tsm cannot know of the driver behind it. */
const TSM_HINTS = {
    EINVAL: 'most often the privilege level: --vmpl must not be lower than privlevel_floor',
    EIO: KEY_LOST_HINT,
    ETIMEDOUT: KEY_LOST_HINT,
    ENOTTY: KEY_LOST_HINT,
    ENXIO: 'modprobe sev-guest',
}

export const snpDriver: Driver = {
    tee: TEE,
    async open(doors, { via } = {}) {
        const tried: Attempt[] = []
        if ((via ?? 'configfs') === 'configfs' && (await servesConfigfs(doors, tried)))
            return guest(doors, 'configfs', tried)
        if ((via ?? 'ioctl') === 'ioctl' && hasDevice(doors, tried)) return guest(doors, 'ioctl', tried)
        if (!doors.system.exists(SNP_PLATFORM_DEVICE)) return null
        const { kernelRelease } = doors.system
        const what = via ? `does not answer through ${via}` : 'its kernel offers no device'
        throw driverError(via ? 'ERR_VIA' : 'ERR_DEVICE_MISSING', `this is an SNP guest, and ${what}`, {
            hint: (HINTS[via ?? 'ioctl'] ?? otherWay)(kernelRelease),
        })
    },
}

const HINTS: Readonly<Partial<Record<Via, (kernelRelease: string) => string>>> = {
    configfs: (kernelRelease) =>
        `configfs-tsm needs Linux 6.7 (this is ${kernelRelease}) and configfs mounted: --via ioctl works on older kernels`,
    ioctl: (kernelRelease) => moduleHint(kernelRelease, 'sev-guest', '5.19'),
}

const otherWay = () => 'an SNP guest has its report from the processor, through configfs or ioctl: leave --via out'

async function servesConfigfs({ tsm }: Doors, tried: Attempt[]): Promise<boolean> {
    const provider = await tsm.provider()
    tried.push({ via: 'configfs', path: tsm.path, found: provider ?? 'nothing' })
    return provider === PROVIDER
}

function hasDevice({ sevDevice }: Doors, tried: Attempt[]): boolean {
    const found = sevDevice.exists()
    tried.push({ via: 'ioctl', path: sevDevice.path, found: found ? 'a device' : 'nothing' })
    return found
}

function guest(doors: Doors, via: SnpVia, tried: readonly Attempt[]): Guest {
    const probe: Probe = { via, path: via === 'configfs' ? doors.tsm.path : doors.sevDevice.path, tried }
    const derived = doors.sevDevice.exists() ? { deriveKey: (selector: KeySelector) => deriveKey(doors, selector) } : {}
    return {
        tee: TEE,
        probe,
        async evidence(binding, options = {}) {
            const reportData = Buffer.alloc(REPORT_DATA_SIZE)
            if (binding.length === 0 || binding.length > REPORT_DATA_SIZE)
                throw new TypeError(`a report binds 1 to ${REPORT_DATA_SIZE} bytes`)
            reportData.set(binding)
            return checked(await REQUESTS[via](doors, reportData, options), reportData, options)
        },
        ...derived,
        close: () => undefined,
    }
}

interface Answer {
    readonly report: Buffer
    readonly certificates: Buffer
}

/** The kernel interfaces that serve SNP. */
type SnpVia = Extract<Via, 'configfs' | 'ioctl'>

const REQUESTS: Readonly<
    Record<SnpVia, (doors: Doors, reportData: Buffer, options: EvidenceOptions) => Promise<Answer>>
> = {
    async configfs({ tsm }, inblob, { privilegeLevel: privlevel, signal }) {
        const { outblob, auxblob } = await tsm.report({
            provider: PROVIDER,
            lock: SEV_GUEST_LOCK,
            hints: TSM_HINTS,
            inblob,
            privlevel,
            signal,
        })
        return { report: outblob, certificates: auxblob }
    },
    async ioctl({ sevGuest }, reportData, { privilegeLevel: vmpl = 0, signal }) {
        return (await sevGuest()).extendedReport({ reportData, vmpl, signal })
    },
}

// What came back must be the answer to this question: another guest's, or an older one, would prove something else.
async function checked(
    { report: raw, certificates }: Answer,
    reportData: Buffer,
    { privilegeLevel }: EvidenceOptions,
): Promise<Evidence> {
    const { parseReport } = await import('./report.ts') // another technology's guest does without it
    const report = parseReport(raw)
    if (!equalBytes(report.reportData, reportData))
        throw snpError(
            'ERR_SNP_WRONG_REPORT',
            'the device returned a report that does not carry the nonce that was asked for',
        )
    if (privilegeLevel !== undefined && report.vmpl !== privilegeLevel)
        throw snpError(
            'ERR_SNP_WRONG_REPORT',
            `the device returned a report for VMPL ${report.vmpl}, asked was ${privilegeLevel}`,
        )
    return { tee: TEE, report: raw, ...(isZero(certificates) ? {} : { certificates: trimmed(certificates) }) }
}

// The kernel hands over the whole buffer: whole pages are kept up to the last that holds anything.
function trimmed(table: Buffer): Buffer {
    let end = table.length
    while (end > 4096 && isZero(table.subarray(end - 4096, end))) end -= 4096
    return Buffer.from(table.subarray(0, end))
}

async function deriveKey(doors: Doors, selector: KeySelector) {
    const { fields, privilegeLevel: vmpl = 0 } = selector
    const sevGuest = await doors.sevGuest()
    const { guestSvn, tcbVersion } = await mixedIn(sevGuest, selector, vmpl)
    return sevGuest.derivedKey({
        guestFieldSelect: fields.reduce((word, field) => word | bitOf(field), 0n),
        vmpl,
        guestSvn,
        tcbVersion,
    })
}

function bitOf(field: string): bigint {
    const row = KEY_FIELDS[field as keyof typeof KEY_FIELDS] as { bit: bigint } | undefined
    if (row) return row.bit
    throw new TypeError(`no key is bound to ${field}`)
}

// These two are not looked up by the firmware, but mixed in as they are requested: zero would bind the key to nothing,
// and an older firmware could derive it as well.
async function mixedIn(sevGuest: SevGuest, { fields, guestSvn, tcbVersion }: KeySelector, vmpl: number) {
    const isOpen =
        (fields.includes('guestSvn') && guestSvn === undefined) ||
        (fields.includes('tcbVersion') && tcbVersion === undefined)
    if (!isOpen) return { guestSvn: guestSvn ?? 0, tcbVersion: tcbVersion ?? 0n }
    const { parseReport } = await import('./report.ts')
    const own = parseReport(await sevGuest.report({ reportData: Buffer.alloc(REPORT_DATA_SIZE), vmpl }))
    return {
        guestSvn: guestSvn ?? (fields.includes('guestSvn') ? own.guestSvn : 0),
        tcbVersion: tcbVersion ?? (fields.includes('tcbVersion') ? own.committedTcb : 0n),
    }
}
