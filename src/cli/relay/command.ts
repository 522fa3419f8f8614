// `relay`: on the host, carries connections of guests without network to a broker, until it is told to stop.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { serviceLogger } from '#core/log-pino.ts'
import { command as define, many } from '../command.ts'
import { note, PROGRAM } from '../term.ts'
import { toldToStop } from '../told-to-stop.ts'
import { type Far, type Near, parseCids, parseListen, parseTarget } from './addresses.ts'
import { startRelay } from './relay.ts'

/** What is being answered when it is told to stop has so long to end. */
const GRACE_MS = 10_000

export const command = define({
    options: {
        listen: {
            type: 'string',
            describe: 'where guests call: vsock:PORT, vsock:CID:PORT, unix:PATH or tcp:ADDRESS:PORT',
        },
        to: { type: 'string', describe: 'the broker: HOST:PORT or unix:PATH' },
        await: {
            type: 'string',
            describe: 'instead of --to: where another relay calls, beside a broker that cannot be reached; as --listen',
        },
        call: {
            type: 'string',
            describe: 'instead of --listen: the relay that awaits this one; HOST:PORT or unix:PATH',
        },
        'allow-cid': many('a guest that may call, by its CID; all of them unless told; may be repeated'),
        'max-connections': { type: 'number', default: 256, describe: 'connections at one time' },
        'max-per-guest': { type: 'number', default: 16, describe: 'of these, of one CID' },
        'connect-timeout': { type: 'number', default: 10, describe: 'seconds to reach the broker' },
        'idle-timeout': { type: 'number', default: 300, describe: 'seconds without a byte either way' },
    },
    examples: [
        ['--listen vsock:8443 --to kbs.example:8443', 'guests of this host reach the broker as vsock://2:8443'],
        ['--listen vsock:8443 --to kbs.example:8443 --allow-cid 3 --allow-cid 4', 'two of them alone'],
        [
            '--listen unix:/run/vm/web-1.vsock_8443 --to kbs.example:8443',
            'where the hypervisor shows vsock as unix sockets (Firecracker, Cloud Hypervisor)',
        ],
        ['--listen vsock:8443 --to unix:/run/kbs.sock', 'to a broker behind a socket of this host'],
        ['--listen vsock:8443 --await tcp:192.0.2.7:9443', 'to a broker that nobody can connect to, whose own relay'],
        ['--call 192.0.2.7:9443 --to 127.0.0.1:8443', 'beside that broker: calls this one'],
    ],
    details:
        'TLS is between the guest and the broker: a guest trusts the broker with `trust add vsock://2:8443 --pin …`, and who ' +
        'runs this relay can neither read nor change what it carries.\n' +
        'Who can connect to --await can stand in the place of the broker, as the host can: TLS tells them apart, but guests ' +
        'are kept waiting. Let it be reached by the other relay alone.\n' +
        'One line of log for each connection, never its content. SIGTERM and SIGINT end it after what is under way, at most ' +
        `${GRACE_MS / 1000} s later.`,
    async run(args) {
        const near = nearOf(args)
        const far = farOf(args)
        const allowed = parseCids(args.allowCid)
        if (allowed.length > 0 && !('listen' in near && near.listen.kind === 'vsock'))
            throw coreError('ERR_USAGE', '--allow-cid: only vsock says which guest calls')
        const relay = await startRelay({
            near,
            far,
            allowedCids: allowed.length > 0 ? allowed : null,
            maxConnections: atLeastOne(args.maxConnections, '--max-connections'),
            maxPerGuest: atLeastOne(args.maxPerGuest, '--max-per-guest'),
            connectTimeoutMs: 1000 * seconds(args.connectTimeout, '--connect-timeout'),
            idleTimeoutMs: 1000 * seconds(args.idleTimeout, '--idle-timeout'),
            log: serviceLogger({ name: PROGRAM, verbose: true }),
        })
        const told = toldToStop() // before it says that it relays
        note(
            'call' in near
                ? `relaying for the relay at ${relay.from}, which it calls, to ${relay.to}`
                : `relaying ${relay.from} to ${relay.to}`,
        )
        await told
        note('stopping')
        await relay.stop(GRACE_MS)
        return 0
    },
})

interface Ends {
    readonly listen?: string | undefined
    readonly call?: string | undefined
    readonly to?: string | undefined
    readonly await?: string | undefined
}

function nearOf({ listen, call }: Ends): Near {
    if (listen !== undefined && call === undefined) return { listen: parseListen(listen) }
    if (call !== undefined && listen === undefined) return { call: parseTarget(call, '--call') }
    throw coreError(
        'ERR_USAGE',
        'expected one of --listen (where guests call) and --call (a relay that awaits this one)',
    )
}

function farOf({ to, await: awaited }: Ends): Far {
    if (to !== undefined && awaited === undefined) return { to: parseTarget(to) }
    if (awaited !== undefined && to === undefined) return { await: parseListen(awaited, '--await') }
    throw coreError('ERR_USAGE', 'expected one of --to (the broker) and --await (where its own relay calls)')
}

function atLeastOne(value: number, option: string): number {
    if (value >= 1) return value
    throw coreError('ERR_USAGE', `${option}: expected at least 1`)
}

/** A day is the most: timers of Node take no more than 24 of them. */
function seconds(value: number, option: string): number {
    if (value >= 1 && value <= 86_400) return value
    throw coreError('ERR_USAGE', `${option}: expected 1 to 86400 seconds`)
}
