// The guest's side of TDX: quotes through configfs-tsm, through the device of the kernels before it, or from the
// quoting service of the host; registers and the event log where the kernel shows them.
// SPDX-License-Identifier: Apache-2.0

import { equalBytes } from '#core/bytes.ts'
import { errnoOf } from '#core/errors.ts'
import { REPORT_DATA_SIZE } from '#core/sizes.ts'
import { monotonicMs, pause } from '#core/wait.ts'
import type { Attempt, Driver, Evidence, EvidenceOptions, Guest, Probe, Via } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import type { Doors } from '#drivers/linux/doors.ts'
import { moduleHint } from '#drivers/linux/system.ts'
import { TDX_CPU_FLAG, TDX_GUEST_LOCK } from '#drivers/linux/tdx-device.ts'
import type { TdxDoors } from '#drivers/linux/tdx-doors.ts'
import { tdxError } from './errors.ts'
import { TEE } from './tee.ts'

/** The name under which the kernel's TDX driver serves configfs-tsm. */
const PROVIDER = 'tdx_guest'

const SERVICE_HINT =
    "the host's quoting service is down, not set up, or cannot reach Intel's: tell the operator of the host"

/** What configfs-tsm cannot know of the driver behind it. */
const TSM_HINTS = {
    EINVAL: 'a quote binds exactly 64 bytes',
    EIO: SERVICE_HINT,
    ETIMEDOUT: SERVICE_HINT,
    EBUSY: 'a request that timed out is still with the host: wait for its quoting service, or tell its operator',
    ENXIO: 'modprobe tdx_guest',
}

/** A host that does not answer loses nothing, as it does with SNP: the next request may go through. */
const TSM_CODES = { ETIMEDOUT: 'ERR_DEVICE_TIMEOUT' } as const

/** How long, and how often, a host is asked that still works on an earlier request. */
const BUSY_PATIENCE_MS = 30_000
const BUSY_PAUSE_MS = 1000

export const tdxDriver: Driver = {
    tee: TEE,
    async open(doors, { via } = {}) {
        const tried: Attempt[] = []
        const provider = (via ?? 'configfs') === 'configfs' ? await askConfigfs(doors, tried) : null
        if (provider === PROVIDER)
            return guest(doors, await doors.tdx(), { via: 'configfs', path: doors.tsm.path, tried })
        const device = doors.tdxDevice.find()
        if (device === null && !doors.system.hasCpuFlag(TDX_CPU_FLAG)) return null
        if (provider !== null)
            throw driverError(
                'ERR_TSM_PROVIDER',
                `this is a TDX guest, but ${provider} answers in ${doors.tsm.path} instead of ${PROVIDER}`,
                { hint: 'whatever serves it is not the TDX driver of the kernel: nothing is asked of it' },
            )
        const tdx = await doors.tdx()
        const { path } = tdx.quotingService
        if ((via ?? 'ioctl') === 'ioctl' && (await makesQuotes(doors, tdx, device, tried)))
            return guest(doors, tdx, { via: 'ioctl', path: device ?? '', tried })
        if ((via ?? 'vsock') === 'vsock' && namesService(tdx, device, tried))
            return guest(doors, tdx, { via: 'vsock', path, tried })
        throw noWay(doors, path, via, device)
    },
}

async function askConfigfs({ tsm }: Doors, tried: Attempt[]): Promise<string | null> {
    const provider = await tsm.provider()
    tried.push({ via: 'configfs', path: tsm.path, found: provider ?? 'nothing' })
    return provider
}

async function makesQuotes(
    { tdxDevice }: Doors,
    { tdxGuest }: TdxDoors,
    device: string | null,
    tried: Attempt[],
): Promise<boolean> {
    const makes = device !== null && (await tdxGuest.makesQuotes())
    const found = makes ? 'a device that makes quotes' : 'a device that makes reports alone'
    tried.push({ via: 'ioctl', path: device ?? tdxDevice.path, found: device === null ? 'nothing' : found })
    return makes
}

// The service signs what the device reports: without one there is nothing to send.
function namesService({ quotingService }: TdxDoors, device: string | null, tried: Attempt[]): boolean {
    const port = quotingService.port()
    tried.push({ via: 'vsock', path: quotingService.path, found: port === null ? 'no port' : `port ${port}` })
    return port !== null && device !== null
}

const OTHER_WAY = 'a TDX guest has its quote through configfs, ioctl or vsock: leave --via out'

function noWay(doors: Doors, serviceFile: string, via: Via | undefined, device: string | null) {
    const { kernelRelease } = doors.system
    const { code, what } = via
        ? { code: 'ERR_VIA' as const, what: `does not answer through ${via}` }
        : { code: 'ERR_DEVICE_MISSING' as const, what: 'its kernel offers no way to a quote' }
    const configfs = `configfs-tsm needs Linux 6.7 (this is ${kernelRelease}) and configfs mounted, with the module tdx_guest`
    const hints: Readonly<Partial<Record<Via, string>>> = {
        configfs,
        ioctl: `no upstream kernel makes quotes through its device; ${configfs}`,
        vsock: `the port of the host's quoting service stands in ${serviceFile}, as \`port=4050\``,
    }
    const missing = device === null ? moduleHint(kernelRelease, 'tdx_guest', '6.2') : configfs
    const hint = via && (via !== 'vsock' || device !== null) ? (hints[via] ?? OTHER_WAY) : missing
    return driverError(code, `this is a TDX guest, and ${what}`, { hint })
}

function guest(doors: Doors, tdx: TdxDoors, probe: Probe & { readonly via: TdxVia }): Guest {
    const { measurements, firmwareLog } = tdx
    return {
        tee: TEE,
        probe,
        async evidence(binding, options = {}) {
            if (binding.length === 0 || binding.length > REPORT_DATA_SIZE)
                throw new TypeError(`a quote binds 1 to ${REPORT_DATA_SIZE} bytes`)
            if (options.privilegeLevel !== undefined) throw new TypeError('TDX has no privilege levels')
            const reportData = Buffer.alloc(REPORT_DATA_SIZE)
            reportData.set(binding)
            const quote = await REQUESTS[probe.via]({ ...tdx, tsm: doors.tsm }, reportData, options)
            const report = await checked(quote, reportData)
            return options.eventLog && firmwareLog.exists()
                ? { tee: TEE, report, eventLog: firmwareLog.read() }
                : ({ tee: TEE, report } satisfies Evidence)
        },
        ...(measurements.exists() ? { registers: measurements } : {}),
        hasEventLog: firmwareLog.exists(),
        close: () => undefined,
    }
}

/** The kernel interfaces that serve TDX. */
type TdxVia = Extract<Via, 'configfs' | 'ioctl' | 'vsock'>

type Request = (doors: TdxDoors & Pick<Doors, 'tsm'>, reportData: Buffer, options: EvidenceOptions) => Promise<Buffer>

const REQUESTS: Readonly<Record<TdxVia, Request>> = {
    configfs: ({ tsm }, inblob, { signal }) =>
        whileBusy(signal, async () => {
            const { outblob } = await tsm.report({
                provider: PROVIDER,
                lock: TDX_GUEST_LOCK,
                hints: TSM_HINTS,
                codes: TSM_CODES,
                inblob,
                signal,
            })
            return outblob
        }),
    ioctl: ({ tdxGuest }, reportData, { signal }) => tdxGuest.quote({ reportData, signal }),
    async vsock({ tdxGuest, quotingService }, reportData, { signal }) {
        return quotingService.quote(await tdxGuest.report({ reportData, signal }), signal)
    },
}

// After a request has timed out, the kernel says that it is busy until the host has answered that one.
async function whileBusy<T>(signal: AbortSignal | undefined, request: () => Promise<T>): Promise<T> {
    const end = monotonicMs() + BUSY_PATIENCE_MS
    for (;;)
        try {
            return await request()
        } catch (error) {
            if (errnoOf(error) !== 'ERR_DEVICE_BUSY' || monotonicMs() + BUSY_PAUSE_MS > end) throw error
            await pause(BUSY_PAUSE_MS, signal ?? new AbortController().signal)
        }
}

// What came back must be the answer to this question, and nothing behind its end may leave the guest: kernels before
// 6.12.107 hand over as many bytes as the host says, whatever they held.
async function checked(raw: Buffer, reportData: Buffer): Promise<Buffer> {
    const { parseQuote } = await import('./quote.ts') // another technology's guest does without it
    const { body, size } = parseQuote(raw)
    if (!equalBytes(body.reportData, reportData))
        throw tdxError('ERR_TDX_WRONG_QUOTE', 'the guest got a quote that does not carry the nonce that was asked for')
    return Buffer.from(raw.subarray(0, size))
}
