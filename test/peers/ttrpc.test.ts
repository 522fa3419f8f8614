// A peer of ttrpc: containerd's implementation in Go, from Debian's packages (install.sh beside this file), as an
// attestation evidence broker and as its guest (ttrpc.go).
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { CODES, refused, serveTtrpc, ttrpcClient } from '#core/ttrpc.ts'
import { connectUnix, listenUnix } from '#drivers/linux/unix-socket.ts'
import { AEB_SERVICES, answerAeb, METHODS, retrieveEvidence } from '#plugins/sev/aeb/client.ts'
import { temporaryFolder } from '#test/folder.ts'
import { run } from '../cli/run.ts'
import { needs } from '../needs.ts'
import { buildGo, goProgram } from './go.ts'

const installed = goProgram({ source: 'github.com/containerd/ttrpc', debian: 'golang-github-containerd-ttrpc-dev' })

const it = needs(installed)

const work = temporaryFolder({ teardown: test.after.always })
const peer = join(work, 'peer')
const QUICK = { timeoutMs: 20_000 }

test.before(() => {
    if (!installed.met) return
    buildGo(fileURLToPath(new URL('ttrpc.go', import.meta.url)), peer)
})

for (const service of AEB_SERVICES)
    it(`we ask containerd’s ttrpc: ${service}`, async (t) => {
        const path = join(temporaryFolder(t), 's')
        const server = spawn(peer, ['serve', path, service], { stdio: ['ignore', 'pipe', 'inherit'] })
        t.teardown(() => server.kill('SIGKILL'))
        await once(server.stdout, 'data')
        const client = ttrpcClient(await connectUnix(path, AbortSignal.timeout(5000)), QUICK)
        t.teardown(() => client.close())
        t.is(String(await retrieveEvidence(client, 7)), '0123456789abcdef'.repeat(2500))
        await t.throwsAsync(retrieveEvidence(client, 8), {
            code: 'ERR_SEV_AEB_REFUSED',
            message: 'the host answers: no guest 8 (status 5)',
        })
        const nothing = Buffer.alloc(0)
        for (const request of [
            { service: 'aeb.None', method: METHODS.size, payload: nothing },
            { service, method: 'None', payload: nothing },
        ])
            t.is((await client.call(request)).status?.code, CODES.unimplemented)
        t.truthy((await client.call({ service, method: METHODS.size, payload: Buffer.from('0a', 'hex') })).status)
        t.is(String(await retrieveEvidence(client, 7)).length, 40_000, 'and it goes on')
    })

it('containerd’s ttrpc asks us', async (t) => {
    const path = join(temporaryFolder(t), 's')
    const evidence = Buffer.alloc(40_000, 'evidence')
    const host = { has: async (handle: number) => handle === 7, evidence: async () => evidence }
    const ended: Promise<void>[] = []
    const listener = await listenUnix(path, {
        accepted: (socket) =>
            ended.push(
                serveTtrpc(
                    socket,
                    (request) =>
                        request.service === 'aeb.Broken'
                            ? Promise.resolve(refused(CODES.unavailable, 'broken'))
                            : answerAeb(request, host),
                    QUICK,
                ),
            ),
        failed: (error) => t.fail(error.message),
    })
    t.teardown(() => listener.close())
    const call = (service: string, handle: string) => run(peer, ['call', path, service, handle])
    for (const service of AEB_SERVICES) {
        const ran = await call(service, '7')
        t.is(ran.code, 0, ran.stderr)
        t.is(ran.stdout, `6460 ${evidence.toString('hex')}\n`)
    }
    for (const [service, handle, says] of [
        ['aeb.AEB', '8', 'NotFound no guest of this host has the handle 8\n'],
        ['aeb.None', '7', 'Unimplemented service aeb.None\n'],
        ['aeb.Broken', '7', 'Unavailable broken\n'],
    ] as const) {
        const ran = await call(service, handle)
        t.is(ran.code, 1)
        t.is(ran.stderr, says)
    }
    await Promise.all(ended)
    t.is(ended.length, 5)
})
