// `sev aeb serve`: on the host, an attestation evidence broker for its guests, until it is told to stop.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { coreError, errnoOf, messageOf } from '#core/errors.ts'
import type { Logger } from '#core/log.ts'
import { serviceLogger } from '#core/log-pino.ts'
import { CODES, refused, serveTtrpc, type TtrpcAnswer, type TtrpcRequest } from '#core/ttrpc.ts'
import { sevOwner } from '#plugins.ts'
import { atLeastOne, type CommandRow, command as define, many } from '../command.ts'
import { parseCids, parseListen } from '../relay/addresses.ts'
import { type Caller, listen } from '../relay/listen.ts'
import { note, PROGRAM } from '../term.ts'
import { toldToStop } from '../told-to-stop.ts'
import { aebHost } from './aeb-host.ts'
import { AEB_LISTEN } from './aeb-port.ts'
import { readSignedCek } from './certificate.ts'

/** Connections at one time: of all guests, and of one. */
const MAX_OPEN = 64
const MAX_PER_GUEST = 2

/** A caller that says nothing for so long is hung up on. */
const IDLE_MS = 30_000

/** QEMU, for one command. */
const MONITOR_MS = 10_000

/** The requests have a few bytes each. */
const MAX_REQUEST = 4096

const command = define({
    options: {
        qmp: atLeastOne('the monitor of a guest (QEMU: -qmp unix:SOCKET,server,nowait); may be repeated'),
        listen: { type: 'string', default: AEB_LISTEN, describe: 'where guests call: vsock:PORT or unix:PATH' },
        'allow-cid': many('a guest that may call, by its CID; all of them unless told; may be repeated'),
        cek: { type: 'string', describe: 'the chip’s certificate with AMD’s signature, sent instead of the host’s' },
        form: {
            type: 'string',
            choices: ['json', 'packed'],
            default: 'json',
            describe: 'the form of the evidence',
        },
    },
    examples: [
        ['--qmp /run/vm/web-1.qmp --cek cek.cert', 'guests ask: guest-attest evidence --tee sev --via aeb'],
        ['--qmp /run/vm/web-1.qmp --qmp /run/vm/web-2.qmp --allow-cid 3 --allow-cid 4', 'for two of them alone'],
    ],
    details:
        'Speaks the protocol of 2022 (ttrpc, service aeb.AEB or aeb.AEBService). A guest is named by the handle that QMP ' +
        'query-sev says. What it gets is bound to nobody: this host chooses the guest and the nonce.\n' +
        'The monitors are asked one at a time, and let go of after each answer: give each a socket of its own. For a second a ' +
        'guest has one report, however often it is asked for.\n' +
        'One line of log for each request. SIGTERM and SIGINT end it.',
    async run(args) {
        const { AEB_WARNING } = await sevOwner()
        const address = parseListen(args.listen)
        if (address.kind === 'tcp') throw coreError('ERR_USAGE', '--listen: expected vsock:PORT or unix:PATH')
        const allowed = parseCids(args.allowCid)
        if (allowed.length > 0 && address.kind !== 'vsock')
            throw coreError('ERR_USAGE', '--allow-cid: only vsock says which guest calls')
        const log = serviceLogger({ name: PROGRAM, verbose: true })
        const host = aebHost({
            monitors: args.qmp,
            cek: args.cek === undefined ? null : await readSignedCek(args.cek),
            form: args.form === 'packed' ? 'packed' : 'json',
            timeoutMs: MONITOR_MS,
            log,
            now: () => performance.now(),
        })
        const { answerAeb } = await sevOwner()
        const open = new Map<Duplex, Caller>()
        const listener = await listen(address, {
            accepted(stream, caller) {
                stream.on('error', () => undefined)
                const refusal = refuse(caller, open, allowed)
                if (refusal !== null) {
                    log.warn('connection turned away', { from: caller.name, why: refusal })
                    stream.destroy()
                    return
                }
                open.set(stream, caller)
                const answer = answering(caller, log, (request) => answerAeb(request, host))
                serveTtrpc(stream, answer, { timeoutMs: IDLE_MS, maxPayload: MAX_REQUEST })
                    .catch((error: unknown) => log.warn('connection', { from: caller.name, why: messageOf(error) }))
                    .finally(() => open.delete(stream))
            },
            failed: (error) => log.warn('cannot accept a connection', { why: messageOf(error) }),
        })
        const told = toldToStop() // before it says that it serves
        for (const monitor of args.qmp)
            if (!existsSync(monitor)) note(`warning: no QEMU listens at ${monitor} yet: its guest is asked for in vain`)
        note(AEB_WARNING)
        note(`answering at ${listener.address}`)
        await told
        note('stopping')
        await listener.close()
        for (const stream of open.keys()) stream.destroy()
        return 0
    },
})

export const group: readonly CommandRow[] = [
    { signature: 'serve', describe: 'on the host: answer guests that ask', load: async () => ({ command }) },
]

/** Why somebody is not let in; null for whoever is. */
function refuse({ cid }: Caller, open: ReadonlyMap<Duplex, Caller>, allowed: readonly number[]): string | null {
    if (allowed.length > 0 && (cid === null || !allowed.includes(cid))) return 'this guest may not call'
    if (open.size >= MAX_OPEN) return `${MAX_OPEN} connections are open`
    const own = cid === null ? 0 : [...open.values()].filter((caller) => caller.cid === cid).length
    return own >= MAX_PER_GUEST ? `this guest has ${MAX_PER_GUEST} connections open` : null
}

/** What goes wrong on the host is the host's to read: the guest learns that there is no answer now. */
const answering =
    ({ name }: Caller, log: Logger, answer: (request: TtrpcRequest) => Promise<TtrpcAnswer>) =>
    async (request: TtrpcRequest): Promise<TtrpcAnswer> => {
        const { method } = request
        try {
            const answered = await answer(request)
            log.info('request', { from: name, method, status: answered.status?.message ?? 'answered, bound to nobody' })
            return answered
        } catch (error) {
            if (errnoOf(error) === undefined) throw error
            log.warn('request', { from: name, method, why: messageOf(error) })
            return refused(CODES.unavailable, 'the host cannot say now')
        }
    }
