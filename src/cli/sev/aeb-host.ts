// The host of an attestation evidence broker: asks QEMU for reports, over its monitors, one question at a time. A monitor
// serves one program at once, so nothing stays connected.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import * as z from 'zod/mini'
import { fromBase64, toBase64 } from '#core/bytes.ts'
import { messageOf } from '#core/errors.ts'
import type { Logger } from '#core/log.ts'
import { openQmp, type Qmp } from '#core/qmp.ts'
import { deadline } from '#core/wait.ts'
import { connectUnix } from '#drivers/linux/unix-socket.ts'
import { sevOwner } from '#plugins.ts'

export interface AebHostOptions {
    /** Unix sockets, each the monitor of one guest. */
    readonly monitors: readonly string[]
    /** CEK with AMD's signature, which hosts do not have; that of the host unless given. */
    readonly cek: Buffer | null
    readonly form: 'json' | 'packed'
    readonly timeoutMs: number
    readonly log: Logger
    /** Milliseconds, which only grow. */
    readonly now: () => number
}

/** For so long a guest has one answer, whoever asks, and however often: each report is work for the secure processor. */
const KEPT_MS = 1000

const NONCE_SIZE = 16

const SEV = z.object({ enabled: z.boolean(), handle: z.optional(z.number()) })
const CAPABILITIES = z.object({ 'cert-chain': z.string() })
const REPORT = z.object({ data: z.string() })

export function aebHost(options: AebHostOptions) {
    let last: Promise<unknown> = Promise.resolve()
    /** When the one before is over, however it ended. */
    const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
        const next = last.then(work)
        last = next.catch(() => undefined)
        return next
    }
    const answers = new Map<number, { readonly at: number; readonly evidence: Promise<Buffer> }>()
    const ask = async (handle: number): Promise<Buffer> => {
        const evidence = await withGuest(handle, options, (qmp) => gather(qmp, options))
        if (evidence) return evidence
        const { sevError } = await sevOwner()
        throw sevError('ERR_SEV_AEB_UNREACHABLE', `the guest ${handle} has gone`)
    }
    return {
        has: (handle: number): Promise<boolean> =>
            inTurn(async () => (await withGuest(handle, options, async () => true)) ?? false),
        evidence: (handle: number): Promise<Buffer> =>
            inTurn(async () => {
                const at = options.now()
                for (const [other, answer] of answers) if (at - answer.at >= KEPT_MS) answers.delete(other)
                const answer = answers.get(handle) ?? { at, evidence: ask(handle) }
                answers.set(handle, answer)
                return answer.evidence
            }),
    }
}

/** Null where no monitor is that guest's. @throws AttestError ERR_SEV_AEB_UNREACHABLE where one did not say */
async function withGuest<T>(
    handle: number,
    { monitors, timeoutMs, log }: AebHostOptions,
    use: (qmp: Qmp) => Promise<T>,
): Promise<T | null> {
    let silent: string | undefined
    for (const path of monitors) {
        let qmp: Qmp | undefined
        let isIt: boolean
        try {
            qmp = await connect(path, timeoutMs)
            const sev = await qmp.execute('query-sev', SEV)
            isIt = sev.enabled && sev.handle === handle
        } catch (error) {
            qmp?.close()
            log.warn('a monitor of QEMU does not say which guest it has', { monitor: path, why: messageOf(error) })
            silent = path
            continue
        }
        try {
            if (isIt) return await use(qmp)
        } finally {
            qmp.close()
        }
    }
    if (silent === undefined) return null
    const { sevError } = await sevOwner()
    throw sevError('ERR_SEV_AEB_UNREACHABLE', `${silent}: the monitor does not say which guest it has`)
}

async function connect(path: string, timeoutMs: number): Promise<Qmp> {
    using signal = deadline(timeoutMs, path)
    const socket = await connectUnix(path, signal)
    return openQmp(socket, { timeoutMs })
}

/** @throws AttestError ERR_QMP_REFUSED, ERR_SEV_CERTIFICATE, ERR_ENCODING, ERR_LENGTH */
async function gather(qmp: Qmp, { cek, form }: AebHostOptions): Promise<Buffer> {
    const { readChain, sevError, encodeAebEvidence, REPORT_SIZE } = await sevOwner()
    const { 'cert-chain': chain } = await qmp.execute('query-sev-capabilities', CAPABILITIES)
    const files = [{ name: 'cert-chain', bytes: fromBase64(chain, 'cert-chain') }]
    const found = readChain(cek ? [...files, { name: '--cek', bytes: cek }] : files)
    if (!found.cek || !found.pek || !found.oca)
        throw sevError('ERR_SEV_CERTIFICATE', 'the cert-chain of the host lacks CEK, PEK or OCA')
    // The protocol has no nonce of the guest's: what is taken here is the host's, and proves nothing to anybody else.
    const mnonce = toBase64(randomBytes(NONCE_SIZE))
    const { data } = await qmp.execute('query-sev-attestation-report', REPORT, { mnonce })
    const report = fromBase64(data, 'attestation report', REPORT_SIZE)
    return encodeAebEvidence({ report, cek: found.cek.bytes, pek: found.pek.bytes, oca: found.oca.bytes }, form)
}
