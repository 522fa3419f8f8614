// The way to a broker that is on no network. What it needs of the kernel is loaded when it is used.
// SPDX-License-Identifier: Apache-2.0

import { coreError, errnoOf, messageOf } from '#core/errors.ts'
import type { Dial, Origin } from '#core/http.ts'
import { vsockHint } from '#drivers/linux/vsock-hint.ts'

export const dial: Dial = async (origin, signal) => {
    try {
        return await connect(origin, signal)
    } catch (cause) {
        const hint = vsockHint(errnoOf(cause), HINTS)
        throw hint ? coreError('ERR_HTTP_CONNECT', `${origin.origin}: ${messageOf(cause)}`, { cause, hint }) : cause
    }
}

async function connect({ protocol, hostname, port, pathname }: Origin, signal: AbortSignal) {
    if (protocol === 'unix:') return (await import('#drivers/linux/unix-socket.ts')).connectUnix(pathname, signal)
    const { connectVsock } = await import('#drivers/linux/vsock.ts')
    return connectVsock({ cid: Number(hostname), port: Number(port) }, signal)
}

const HINTS = {
    noDevice:
        'give the guest a vsock device (QEMU: -device vhost-vsock-pci,guest-cid=3), and load vmw_vsock_virtio_transport',
    nobody: 'nobody listens there: run `guest-attest relay` on the host, and compare its port',
}
