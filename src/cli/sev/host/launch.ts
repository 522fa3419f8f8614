// The host's side of one launch, over QEMU's monitor: what it says of its platform and of what it measured goes to the launch
// service, what that answers into the guest.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { AttestError, coreError, messageOf, restated } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import type { Qmp } from '#core/qmp.ts'
import { doubled, monitorOptions, type Qemu, startQemu } from './qemu.ts'
import type { Launched, Service, Validated } from './service.ts'
import { OBJECT_ID } from './words.ts'

const CAPABILITIES = z.object({
    pdh: z.string(),
    'cert-chain': z.string(),
    'cpu0-id': z.optional(z.string()),
    cbitpos: z.number(),
    'reduced-phys-bits': z.number(),
})

const SEV = z.object({
    enabled: z.boolean(),
    'api-major': z.number(),
    'api-minor': z.number(),
    'build-id': z.number(),
    policy: z.optional(z.number()),
})

const MEASUREMENT = z.object({ data: z.string() })
const STATUS = z.object({ status: z.string(), running: z.boolean() })
const ANY = z.unknown()

export type Capabilities = z.infer<typeof CAPABILITIES>

/** A machine that runs nothing, as libvirt asks one. */
const PROBE = ['-S', '-no-user-config', '-nodefaults', '-display', 'none', '-machine', 'none,accel=kvm']

const NO_SEV =
    'SEV has to be on in the firmware of this machine (SMEE, SEV) and in KVM: /sys/module/kvm_amd/parameters/sev says Y, and sev_es; /dev/sev is there for QEMU’s user'

/** Runs with a folder for sockets and sessions; nothing in it is secret. */
export async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-'))
    try {
        return await use(folder)
    } finally {
        rmSync(folder, { recursive: true, force: true })
    }
}

/** What the platform says of itself. @throws AttestError ERR_QMP_REFUSED where it has no SEV */
export async function askCapabilities(program: string, folder: string): Promise<Capabilities> {
    const socket = join(folder, 'probe.sock')
    const probe = await startQemu([program, ...PROBE, ...monitorOptions(socket)], socket)
    try {
        return await probe.qmp.execute('query-sev-capabilities', CAPABILITIES)
    } catch (error) {
        if (!(error instanceof AttestError) || error.code !== 'ERR_QMP_REFUSED') throw error
        throw restated(error, messageOf(error), NO_SEV)
    } finally {
        probe.qmp.close()
        await probe.kill()
    }
}

export interface Start {
    readonly words: readonly string[]
    readonly folder: string
    readonly socket: string
    readonly capabilities: Capabilities
    readonly launched: Launched
    readonly kernelHashes: boolean
}

/** The guest, paused, with the session in it. */
export function startPaused({ words, folder, socket, capabilities, launched, kernelHashes }: Start): Promise<Qemu> {
    const file = (name: string, text: string): string => {
        createFile(join(folder, name), text)
        return doubled(join(folder, name))
    }
    const object = [
        `sev-guest,id=${OBJECT_ID}`,
        `policy=${launched.policy}`,
        `cbitpos=${capabilities.cbitpos}`,
        `reduced-phys-bits=${capabilities['reduced-phys-bits']}`,
        `dh-cert-file=${file('godh.b64', launched['owner-cert'])}`,
        `session-file=${file('session.b64', launched.session)}`,
        ...(kernelHashes ? ['kernel-hashes=on'] : []),
    ]
    return startQemu([...words, '-S', ...monitorOptions(socket), '-object', object.join(',')], socket)
}

/** Measures, has it judged, injects, lets it run. @throws AttestError ERR_QMP_REFUSED, what the service says */
export async function proveAndRun(qmp: Qmp, service: Service, { policy, 'launch-id': id }: Launched): Promise<void> {
    const { running } = await qmp.execute('query-status', STATUS)
    const sev = await qmp.execute('query-sev', SEV)
    if (running || !sev.enabled)
        throw coreError(
            'ERR_QMP',
            running ? 'the guest runs already: it was not measured' : 'the guest is not one of SEV',
        )
    const { data: measurement } = await qmp.execute('query-sev-launch-measure', MEASUREMENT)
    const { 'api-major': major, 'api-minor': minor, 'build-id': build } = sev
    const claim = { 'api-major': major, 'api-minor': minor, 'build-id': build, policy: sev.policy ?? policy }
    await inject(qmp, await service.validate({ ...claim, measurement, 'launch-id': id }))
    await qmp.execute('cont', ANY)
}

async function inject(qmp: Qmp, { 'secret-header': header, 'secret-payload': secret }: Validated): Promise<void> {
    await qmp.execute('sev-inject-launch-secret', ANY, { 'packet-header': header, secret })
}
