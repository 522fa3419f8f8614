// configfs-tsm: evidence as a few files of the kernel, the same ones for each technology.
// Linux Documentation/ABI/testing/configfs-tsm-report, drivers/virt/coco/guest/report.c (6.7 and later).
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { close, mkdir, open, readFile, rmdir, write } from 'node:fs'
import { promisify } from 'node:util'
import { errnoOf, messageOf } from '#core/errors.ts'
import { driverError } from '../errors.ts'
import type { DeviceLock } from './device-lock.ts'
import { CONFIGFS_MAGIC, type System } from './system.ts'

export interface TsmReports {
    readonly path: string
    /** The name of the technology that answers (`sev_guest`, `tdx_guest`), or null where none is registered. */
    provider(): Promise<string | null>
    /** One report from that provider and no other. */
    report(request: TsmRequest): Promise<TsmReport>
}

export interface TsmRequest {
    readonly provider: string
    /** The lock to hold: that of the technology's own device, since both doors end in the same driver. */
    readonly lock: string
    /** What can be done, by the name of an errno, where that depends on the technology. */
    readonly hints?: TsmHints
    /** The code of an errno where it means something else than the table below says. */
    readonly codes?: TsmCodes
    /** 1 to 64 bytes; SNP and TDX demand 64. */
    readonly inblob: Uint8Array
    /** SNP's VMPL. The lowest that the kernel permits unless told; absent where the provider has no levels. */
    readonly privlevel?: number | undefined
    readonly signal?: AbortSignal | undefined
}

export type TsmHints = Readonly<Record<string, string>>
export type TsmCodes = Readonly<Record<string, DriverCode>>

type DriverCode = Parameters<typeof driverError>[0]

export interface TsmReport {
    readonly outblob: Buffer
    /** SNP: the host's certificate table. Empty where there is none. */
    readonly auxblob: Buffer
}

/** The file operations that configfs needs, so that its races can be played without a kernel. Errors carry an errno. */
export interface ConfigFs {
    mkdir(path: string): Promise<void>
    /** One write(2) on a descriptor that is only written to: binary attributes are committed when it is closed. */
    write(path: string, data: Uint8Array): Promise<void>
    /** To the end: binary attributes say that their size is 0. */
    read(path: string): Promise<Buffer>
    rmdir(path: string): Promise<void>
}

export const TSM_REPORT_FOLDER = '/sys/kernel/config/tsm/report'

const MAX_TRIES = 3

// Not node:fs/promises: to load that costs 7 ms at each start in an initrd.
const [openFile, writeFile, closeFile] = [promisify(open), promisify(write), promisify(close)]

export const realConfigFs: ConfigFs = {
    mkdir: promisify<string, void>(mkdir),
    async write(path, data) {
        const fd = await openFile(path, 'w')
        try {
            await writeFile(fd, data)
        } finally {
            await closeFile(fd)
        }
    },
    read: promisify<string, Buffer>(readFile),
    rmdir: promisify<string, void>(rmdir),
}

export function tsmReports(
    system: System,
    lock: DeviceLock,
    fs: ConfigFs = realConfigFs,
    path = TSM_REPORT_FOLDER,
): TsmReports {
    async function withEntry<T>(use: (entry: string) => Promise<T>, means: Meanings = {}): Promise<T> {
        system.requireFilesystem(path, CONFIGFS_MAGIC, 'configfs')
        // A name of our own, so that nobody else writes to the entry by accident.
        const entry = `${path}/guest-attest-${randomBytes(8).toString('hex')}`
        await fs.mkdir(entry).catch((cause: unknown) => {
            throw tsmError(path, cause, means)
        })
        try {
            return await use(entry)
        } finally {
            await fs.rmdir(entry).catch(() => undefined)
        }
    }
    const readText = async (file: string) => (await fs.read(file)).toString('latin1').trim()
    // Each driver asks for it; the kernel is asked once. A request looks again whether it is still the same.
    let found: string | undefined

    return {
        path,
        async provider() {
            if (found !== undefined) return found
            if (!system.exists(path)) return null
            try {
                found = await withEntry((entry) => readText(`${entry}/provider`))
                return found
            } catch (error) {
                if (errnoOf(error) === 'ERR_DEVICE_GONE') return null // ENXIO: no provider is registered
                throw error
            }
        },
        report: (request) =>
            lock.hold(
                request.lock,
                () => withEntry((entry) => readReport(fs, readText, entry, request), request),
                request.signal,
            ),
    }
}

async function readReport(
    fs: ConfigFs,
    readText: (file: string) => Promise<string>,
    entry: string,
    { provider, inblob, privlevel, hints, codes }: TsmRequest,
): Promise<TsmReport> {
    try {
        const got = await readText(`${entry}/provider`)
        if (got !== provider)
            throw driverError('ERR_TSM_PROVIDER', `${entry}: expected provider ${provider}, got ${JSON.stringify(got)}`)
        for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
            const before = await generation(readText, entry)
            if (privlevel !== undefined) await fs.write(`${entry}/privlevel`, Buffer.from(String(privlevel)))
            await fs.write(`${entry}/inblob`, inblob)
            const outblob = await fs.read(`${entry}/outblob`)
            const auxblob = await fs.read(`${entry}/auxblob`).catch(absent)
            // Each write that was committed counts one; close(2) hides a commit that failed, so this is how it shows.
            const wrote = privlevel === undefined ? 1 : 2
            if ((await generation(readText, entry)) !== before + wrote) continue
            if (outblob.length === 0)
                throw driverError('ERR_TSM_EMPTY', `${entry}: the report is empty`, {
                    hint: "the host's quoting service is not set up",
                })
            return { outblob, auxblob }
        }
    } catch (cause) {
        throw tsmError(entry, cause, { hints, codes })
    }
    throw driverError('ERR_TSM_RACE', `${entry}: the request was overwritten ${MAX_TRIES} times`)
}

async function generation(readText: (file: string) => Promise<string>, entry: string): Promise<number> {
    const text = await readText(`${entry}/generation`)
    if (!/^\d{1,15}$/.test(text)) throw driverError('ERR_DEVICE_RESPONSE', `${entry}/generation: not a number`)
    return Number(text)
}

// Providers without certificates have no such attribute.
function absent(cause: unknown): Buffer {
    if (errnoOf(cause) === 'ENOENT') return Buffer.alloc(0)
    throw cause
}

const ERRORS: Readonly<Record<string, { code: DriverCode; text: string; hint?: string }>> = {
    EINVAL: { code: 'ERR_DEVICE_REQUEST', text: 'the kernel or the firmware refuses the request (EINVAL)' },
    EBUSY: { code: 'ERR_DEVICE_BUSY', text: 'an earlier request is still with the host (EBUSY)' },
    EAGAIN: { code: 'ERR_DEVICE_BUSY', text: 'the host is busy (EAGAIN)' },
    EINTR: { code: 'ERR_DEVICE_BUSY', text: 'interrupted (EINTR)' },
    ETIMEDOUT: { code: 'ERR_DEVICE_THROTTLED', text: 'the host did not answer in time (ETIMEDOUT)' },
    EIO: { code: 'ERR_DEVICE_IO', text: 'the request failed below the kernel (EIO)' },
    ENOTTY: { code: 'ERR_DEVICE_KEY_LOST', text: 'the driver has no message key (ENOTTY)', hint: 'restart the guest' },
    ENXIO: { code: 'ERR_DEVICE_GONE', text: 'no provider is registered (ENXIO)' },
    ENOTCONN: { code: 'ERR_DEVICE_GONE', text: 'whoever serves it has gone (ENOTCONN)' },
    ECONNABORTED: { code: 'ERR_DEVICE_GONE', text: 'whoever served it has gone (ECONNABORTED)' },
    EFBIG: { code: 'ERR_TSM_TOO_LARGE', text: 'larger than the kernel hands over (EFBIG)' },
    ENOMEM: { code: 'ERR_TSM_TOO_LARGE', text: 'the kernel has no memory for it (ENOMEM)' },
    EACCES: { code: 'ERR_DEVICE_ACCESS', text: 'this user may not use it', hint: 'run this as root' },
    EPERM: { code: 'ERR_DEVICE_ACCESS', text: 'this user may not use it', hint: 'run this as root' },
}

/** What an errno means to the technology that asks. */
interface Meanings {
    readonly hints?: TsmHints | undefined
    readonly codes?: TsmCodes | undefined
}

function tsmError(path: string, cause: unknown, { hints = {}, codes = {} }: Meanings): Error {
    const errno = errnoOf(cause)
    if (errno?.startsWith('ERR_')) return cause as Error
    const row = ERRORS[errno ?? '']
    if (!row) return driverError('ERR_DEVICE_IO', `${path}: ${messageOf(cause)}`, { cause })
    const code = codes[errno ?? ''] ?? row.code
    return driverError(code, `${path}: ${row.text}`, { cause, hint: hints[errno ?? ''] ?? row.hint })
}
