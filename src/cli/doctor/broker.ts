// `doctor --url`: the way to a broker, step by step, up to a key.
// SPDX-License-Identifier: Apache-2.0

import { lookup } from 'node:dns/promises'
import { wipe } from '#core/bytes.ts'
import { coreError, messageOf } from '#core/errors.ts'
import { type Origin, openSession, parseOrigin } from '#core/http.ts'
import { silent } from '#core/log.ts'
import { deadline } from '#core/wait.ts'
import { localCid } from '#drivers/linux/vsock.ts'
import { attest } from '#kbs/client.ts'
import { formatResourcePath, LUKS_KEY, parseResourcePath } from '#kbs/messages.ts'
import { type Anchor, requireAnchor, requireTrusted, sourceOf } from '#unlock/anchors.ts'
import { UNLOCK_CONFIG } from '#unlock/release.ts'
import { guestAnchors } from '../anchors.ts'
import { dial } from '../dial.ts'
import { readConfig } from '../settings.ts'
import { openAttester } from '../unlock-deps.ts'
import { examine, type Note } from './machine.ts'

const CLOCK_SKEW_MS = 5 * 60_000

export async function examineBroker(url: string, path: string | undefined, note: Note): Promise<void> {
    const origin = await examine(
        note,
        'address',
        () => parseOrigin(url, { insecureHttp: true }),
        ({ origin }) => origin,
    )
    if (!origin) return
    await examine(
        note,
        'name',
        () => resolve(origin),
        (addresses) => addresses.join(', '),
    )
    const anchor = await examine(
        note,
        'anchor',
        async () => requireTrusted(await guestAnchors(readConfig()), origin.origin),
        (found) => `${sourceOf(found)}: ${found.allowPaths.join(', ')}`,
    )
    if (!anchor) return
    const date = await examine(
        note,
        'connection',
        () => connect(anchor),
        () => 'it answers, and is the server that is trusted',
    )
    if (date === undefined) return
    noteClock(date, note)
    const wanted = path ?? onlyPath(anchor)
    if (wanted === null) note({ state: 'unknown', what: 'release', detail: 'not asked: name a resource with --path' })
    else
        await examine(
            note,
            'release',
            () => release(anchor, wanted),
            (size) => `${size} bytes of ${wanted}, wiped; the broker has counted and recorded it`,
        )
}

/** Where that is, in words; a socket of this machine has no name to look up. */
async function resolve({ protocol, hostname, port, pathname }: Origin): Promise<string[]> {
    if (protocol === 'unix:') return [`the unix socket ${pathname}`]
    if (protocol === 'vsock:') {
        const own = await localCid()
        if (own === null)
            throw coreError('ERR_HTTP_CONNECT', 'this machine has no vsock device', {
                hint: 'load vmw_vsock_virtio_transport, and give the guest a device: -device vhost-vsock-pci,guest-cid=3',
            })
        return [`port ${port} of CID ${hostname}${hostname === '2' ? ', the host' : ''}`, `this is CID ${own}`]
    }
    try {
        return (await lookup(hostname.replace(/^\[(.*)\]$/, '$1'), { all: true })).map(({ address }) => address)
    } catch (cause) {
        throw coreError('ERR_HTTP_CONNECT', `${hostname}: ${messageOf(cause)}`, {
            cause,
            hint: 'check the name, and /etc/resolv.conf',
        })
    }
}

/** The Date that the server answers with; whatever else it says, it has shown who it is. */
async function connect({ origin, trust }: Anchor): Promise<string> {
    const session = openSession(origin, { trust, dial })
    try {
        using signal = deadline(15_000, origin.origin)
        // What a broker answers without a line in its log; another server of the protocol knows no such page.
        const { headers } = await session.request({ method: 'GET', path: '/healthz', signal })
        return headers['date'] ?? ''
    } finally {
        session.close()
    }
}

function noteClock(date: string, note: Note): void {
    const skew = Math.round((Date.now() - Date.parse(date)) / 1000)
    if (Number.isNaN(skew)) note({ state: 'unknown', what: 'clock', detail: 'the broker does not say what time it is' })
    else if (Math.abs(skew) * 1000 <= CLOCK_SKEW_MS)
        note({ state: 'good', what: 'clock', detail: `${skew} s off the broker's` })
    else
        note({
            state: 'bad',
            what: 'clock',
            detail: `${skew} s off the broker's`,
            todo: 'a broker that is known by its CA, and tokens, need a clock that is about right',
        })
}

const onlyPath = ({ allowPaths: [first, second] }: Anchor): string | null =>
    first !== undefined && second === undefined && !first.includes('*') ? first : null

async function release({ origin }: Anchor, wanted: string): Promise<number> {
    const path = parseResourcePath(wanted)
    const config = readConfig()
    const { trust } = requireAnchor(await guestAnchors(config), origin.origin, path)
    const { requestTimeoutMs, deadlineMs } = config.get(UNLOCK_CONFIG)
    using signal = deadline(deadlineMs, formatResourcePath(path))
    using attester = await openAttester(config)
    using session = await attest({ origin, trust }, attester, { log: silent, signal, requestTimeoutMs, dial })
    const { bytes } = await session.resource(path, { use: LUKS_KEY })
    wipe(bytes)
    return bytes.length
}
