// The way to a broker that is on no network. What it needs of the kernel is loaded when it is used.
// SPDX-License-Identifier: Apache-2.0

import { coreError, errnoOf, messageOf } from '#core/errors.ts'
import type { Dial, Origin } from '#core/http.ts'

export const dial: Dial = async (origin, signal) => {
    try {
        return await connect(origin, signal)
    } catch (cause) {
        const hint = HINTS[`${origin.protocol}${errnoOf(cause)}`]
        throw hint ? coreError('ERR_HTTP_CONNECT', `${origin.origin}: ${messageOf(cause)}`, { cause, hint }) : cause
    }
}

async function connect({ protocol, hostname, port, pathname }: Origin, signal: AbortSignal) {
    if (protocol === 'unix:') return (await import('#drivers/linux/unix-socket.ts')).connectUnix(pathname, signal)
    const { connectVsock } = await import('#drivers/linux/vsock.ts')
    return connectVsock({ cid: Number(hostname), port: Number(port) }, signal)
}

const NO_DEVICE =
    'give the guest a vsock device (QEMU: -device vhost-vsock-pci,guest-cid=3), and load vmw_vsock_virtio_transport'
const NO_RELAY = 'nobody listens there: run `guest-attest relay` on the host, and compare its port'

const HINTS: Readonly<Record<string, string>> = {
    'vsock:ENODEV': NO_DEVICE,
    'vsock:EAFNOSUPPORT': NO_DEVICE,
    'vsock:ECONNRESET': NO_RELAY,
    'unix:ENOENT': NO_RELAY,
    'unix:ECONNREFUSED': NO_RELAY,
}
