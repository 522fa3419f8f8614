// The guest's side of an attestation evidence broker, for `evidence --via aeb`: asks the host, and verifies nothing of what
// it says.
// SPDX-License-Identifier: Apache-2.0

import type { Duplex } from 'node:stream'
import { coreError, errnoOf, messageOf } from '#core/errors.ts'
import { type Origin, parseOrigin } from '#core/origin.ts'
import { ttrpcClient } from '#core/ttrpc.ts'
import { deadline } from '#core/wait.ts'
import { vsockHint } from '#drivers/linux/vsock-hint.ts'
import { sevOwner } from '#plugins.ts'
import { note } from '../term.ts'
import { AEB_HOST } from './aeb-port.ts'

/** For one call; a host that asks its secure processor takes less than a second. */
const TIMEOUT_MS = 30_000

/** The options of `evidence`. */
export interface AebArgs {
    readonly tee?: string | undefined
    readonly from?: string | undefined
    readonly handle?: number | undefined
    readonly nonce?: string | undefined
    readonly reportData?: string | undefined
    readonly runtimeData?: string | undefined
    readonly vmpl?: number | undefined
    readonly eventLog: boolean
    readonly format?: string | undefined
}

/** What is wrong with a command line, before anybody is asked. @throws AttestError ERR_USAGE, ERR_URL */
export async function checkAeb(args: AebArgs) {
    const { TEE } = await sevOwner()
    const { tee, from = AEB_HOST, handle } = args
    refuseGuestsOwn(args)
    if (tee !== undefined && tee !== TEE)
        throw coreError('ERR_USAGE', `--via aeb: it has evidence of guests of ${TEE} alone, not of ${tee}`)
    if (handle === undefined)
        throw coreError('ERR_USAGE', '--via aeb: --handle says which guest, as QMP query-sev does on the host')
    if (!/^(?:vsock|unix):/i.test(from))
        throw coreError('ERR_USAGE', `--from: expected vsock://CID:PORT or unix:///PATH, got ${JSON.stringify(from)}`)
    return { origin: parseOrigin(from), handle }
}

// The host would not hear of it: whoever asked for it must not believe that it is there.
function refuseGuestsOwn({ nonce, reportData, runtimeData, vmpl, eventLog, format }: AebArgs): void {
    const bound = nameOf({ '--nonce': nonce, '--report-data': reportData, '--runtime-data': runtimeData })
    if (bound !== undefined)
        throw coreError(
            'ERR_USAGE',
            `${bound}: nothing can be bound to evidence of an AEB: its host chooses the nonce, and the protocol has no place for the guest’s own`,
            { hint: 'a guest that has the key of its launch proves itself without --via aeb' },
        )
    const other = nameOf({ '--vmpl': vmpl, '--event-log': eventLog || undefined })
    if (other !== undefined) throw coreError('ERR_USAGE', `${other}: evidence of an AEB has none`)
    if (format !== undefined)
        throw coreError(
            'ERR_USAGE',
            `--format ${format}: evidence of an AEB is handed on in the form that its host chose; no key broker takes it`,
        )
}

/** Of what was given. */
const nameOf = (options: Readonly<Record<string, unknown>>): string | undefined =>
    Object.keys(options).find((name) => options[name] !== undefined)

/** The evidence as it came, and a word on what it is worth. @throws AttestError of the plugin, ERR_TTRPC, ERR_ENCODING */
export async function askAeb({ origin, handle }: Awaited<ReturnType<typeof checkAeb>>): Promise<Buffer> {
    const { AEB_WARNING, MAX_AEB_EVIDENCE, parseAebEvidence, retrieveEvidence } = await sevOwner()
    const evidence = await reaching(origin, async (stream) => {
        const client = ttrpcClient(stream, { timeoutMs: TIMEOUT_MS, maxPayload: 2 * MAX_AEB_EVIDENCE })
        try {
            return await retrieveEvidence(client, handle)
        } finally {
            client.close()
        }
    })
    const { form } = parseAebEvidence(evidence)
    note(`${evidence.length} bytes (${form}) of ${origin.origin}; nothing of them was verified`)
    note(AEB_WARNING)
    return evidence
}

/** @throws AttestError ERR_SEV_AEB_UNREACHABLE, what `use` throws */
async function reaching<T>(origin: Origin, use: (stream: Duplex) => Promise<T>): Promise<T> {
    try {
        using signal = deadline(TIMEOUT_MS, origin.origin)
        return await use(await connect(origin, signal))
    } catch (cause) {
        const code = errnoOf(cause)
        if (code === undefined || code.startsWith('ERR_')) throw cause
        const { sevError } = await sevOwner()
        const hint = vsockHint(code, HINTS)
        throw sevError('ERR_SEV_AEB_UNREACHABLE', `${origin.origin}: ${messageOf(cause)}`, { cause, hint })
    }
}

async function connect({ protocol, hostname, port, pathname }: Origin, signal: AbortSignal): Promise<Duplex> {
    if (protocol === 'unix:') return (await import('#drivers/linux/unix-socket.ts')).connectUnix(pathname, signal)
    const { connectVsock } = await import('#drivers/linux/vsock.ts')
    return connectVsock({ cid: Number(hostname), port: Number(port) }, signal)
}

const HINTS = {
    noDevice: 'this guest has no vsock device (QEMU: -device vhost-vsock-pci,guest-cid=3)',
    nobody: 'nobody listens there: run `guest-attest sev aeb serve` on the host',
}
