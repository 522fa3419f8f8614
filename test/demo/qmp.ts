// `qmp SOCKET COMMAND [ARGUMENTS]`: one command of QEMU's monitor, and its answer; for what a host does by hand.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { messageOf } from '#core/errors.ts'
import { openQmp } from '#core/qmp.ts'
import { connectUnix } from '#drivers/linux/unix-socket.ts'

const [socket = '', command = '', args] = process.argv.slice(2)
const stream = await connectUnix(socket, AbortSignal.timeout(10_000))
const qmp = await openQmp(stream, { timeoutMs: 30_000 })
try {
    console.log(JSON.stringify(await qmp.execute(command, z.unknown(), JSON.parse(args ?? '{}'))))
} catch (error) {
    console.log(messageOf(error))
    process.exitCode = 1
} finally {
    qmp.close()
}
