// The way to a broker that is on no network. What it needs of the kernel is loaded when it is used.
// SPDX-License-Identifier: Apache-2.0

import type { Dial } from '#core/http.ts'

export const dial: Dial = async ({ protocol, hostname, port, pathname }, signal) => {
    if (protocol === 'unix:') return (await import('#drivers/linux/unix-socket.ts')).connectUnix(pathname, signal)
    const { connectVsock } = await import('#drivers/linux/vsock.ts')
    return connectVsock({ cid: Number(hostname), port: Number(port) }, signal)
}
