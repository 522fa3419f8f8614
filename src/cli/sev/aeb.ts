// `sev aeb get`: in a guest, asks the host's attestation evidence broker. What it says is bound to nobody.
// SPDX-License-Identifier: Apache-2.0

import type { Duplex } from 'node:stream'
import { coreError, errnoOf, messageOf } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import { type Origin, parseOrigin } from '#core/origin.ts'
import { ttrpcClient } from '#core/ttrpc.ts'
import { deadline } from '#core/wait.ts'
import { sevOwner } from '#plugins.ts'
import { type CommandRow, command as define } from '../command.ts'
import { requireNewFile } from '../options/new-file.ts'
import { note } from '../term.ts'

/** For one call; a host that asks its secure processor takes less than a second. */
const TIMEOUT_MS = 30_000

const command = define({
    options: {
        from: { type: 'string', default: 'vsock://2:5577', describe: 'the host: vsock://CID:PORT or unix:///PATH' },
        handle: { type: 'number', demandOption: true, describe: 'which guest: the handle that QMP query-sev says' },
        out: { type: 'string', demandOption: true, describe: 'the new file for the evidence' },
    },
    examples: [['--handle 1 --out evidence.json', 'then, elsewhere: guest-attest sev report verify evidence.json']],
    details:
        'Nothing is verified here. The host chose which guest the evidence is about, and its nonce: it is bound to nobody, may ' +
        'be old, and no broker releases anything for it. Nothing falls back to this by itself.\n' +
        'Exit status: 0 written, 1 refused or malformed, 2 usage, 3 the host does not answer.',
    async run({ from, handle, out }) {
        requireNewFile(out)
        const origin = parseOrigin(from)
        if (origin.protocol !== 'vsock:' && origin.protocol !== 'unix:')
            throw coreError(
                'ERR_USAGE',
                `--from: expected vsock://CID:PORT or unix:///PATH, got ${JSON.stringify(from)}`,
            )
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
        createFile(out, evidence, 0o644)
        note(`${evidence.length} bytes (${form}) of ${origin.origin} in ${out}; nothing of them was verified`)
        note(AEB_WARNING)
        return 0
    },
})

export const group: readonly CommandRow[] = [
    {
        signature: 'get',
        describe: 'in a guest: ask the host for evidence that is bound to nobody',
        load: async () => ({ command }),
    },
    {
        signature: 'serve',
        describe: 'on the host: answer guests that ask',
        load: () => import('./aeb-serve.ts'),
    },
]

/** @throws AttestError ERR_SEV_AEB_UNREACHABLE, what `use` throws */
async function reaching<T>(origin: Origin, use: (stream: Duplex) => Promise<T>): Promise<T> {
    try {
        using signal = deadline(TIMEOUT_MS, origin.origin)
        return await use(await connect(origin, signal))
    } catch (cause) {
        const code = errnoOf(cause)
        if (code === undefined || code.startsWith('ERR_')) throw cause
        const { sevError } = await sevOwner()
        throw sevError('ERR_SEV_AEB_UNREACHABLE', `${origin.origin}: ${messageOf(cause)}`, { cause, hint: HINTS[code] })
    }
}

async function connect({ protocol, hostname, port, pathname }: Origin, signal: AbortSignal): Promise<Duplex> {
    if (protocol === 'unix:') return (await import('#drivers/linux/unix-socket.ts')).connectUnix(pathname, signal)
    const { connectVsock } = await import('#drivers/linux/vsock.ts')
    return connectVsock({ cid: Number(hostname), port: Number(port) }, signal)
}

const NO_DEVICE = 'this guest has no vsock device (QEMU: -device vhost-vsock-pci,guest-cid=3)'
const NOBODY = 'nobody listens there: run `guest-attest sev aeb serve` on the host'

const HINTS: Readonly<Record<string, string>> = {
    ENODEV: NO_DEVICE,
    EAFNOSUPPORT: NO_DEVICE,
    ECONNRESET: NOBODY,
    ECONNREFUSED: NOBODY,
    ENOENT: NOBODY,
}
