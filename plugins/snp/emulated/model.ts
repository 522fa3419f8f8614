// The device model of an SNP guest: the firmware of a chip (firmware.ts) that an emulated vendor has made (vendor.ts),
// behind the kernel's driver (kernel.ts).
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomBytes } from 'node:crypto'
import { coreError } from '#core/errors.ts'
import type { DeviceModel, ModelDeps } from '#emulator/model.ts'
import { CERT_GUIDS, encodeCertTable } from '../cert-table.ts'
import type { SnpOptions } from '../emulate.ts'
import { GENERATIONS } from '../generations.ts'
import { MAX_VMPL, POLICY } from '../report.ts'
import { emulatedFirmware } from './firmware.ts'
import { snpGuest } from './kernel.ts'
import { type EmulatedVendor, openVendor } from './vendor.ts'

/** What a guest is that nobody described: SMT allowed, nothing else. */
const DEFAULT_POLICY = 0x30000n

const DEFAULT_MEASUREMENT = createHash('sha384').update('guest-attest emulate').digest()

/** @throws AttestError ERR_USAGE, ERR_FILE, ERR_JSON */
export async function snpModel(options: SnpOptions, deps: ModelDeps): Promise<DeviceModel> {
    const { trustDir, generation } = options
    const launch = {
        measurement: sized(options.measurement ?? DEFAULT_MEASUREMENT, 48, '--measurement'),
        hostData: sized(options.hostData ?? Buffer.alloc(32), 32, '--host-data'),
        policy: checkPolicy(options.policy ?? DEFAULT_POLICY),
        vmpl: checkVmpl(options.vmpl ?? 0),
        reportId: randomBytes(32),
    }
    const vendor = await openVendor({ folder: trustDir, generation, ...deps })
    const guest = snpGuest(emulatedFirmware(vendor, launch), hostTable(vendor), launch.vmpl)
    const { line, reportVersion } = GENERATIONS[vendor.generation]
    return { title: `AMD SEV-SNP (${line}, report version ${reportVersion}, VMPL ${launch.vmpl})`, ...guest }
}

const hostTable = ({ certificates: { vcek, ask, ark } }: EmulatedVendor): Buffer =>
    encodeCertTable([
        { guid: CERT_GUIDS.VCEK, data: vcek },
        { guid: CERT_GUIDS.ASK, data: ask },
        { guid: CERT_GUIDS.ARK, data: ark },
    ])

function sized(bytes: Buffer, size: number, option: string): Buffer {
    if (bytes.length === size) return bytes
    throw coreError('ERR_USAGE', `${option}: expected ${size} bytes, got ${bytes.length}`)
}

function checkPolicy(policy: bigint): bigint {
    const unknown = POLICY.unknown(policy)
    if (unknown !== 0n)
        throw coreError('ERR_USAGE', `--policy: the bits 0x${unknown.toString(16)} are reserved and must be zero`)
    if (POLICY.read(policy).reservedOne) return policy
    throw coreError('ERR_USAGE', `--policy 0x${policy.toString(16)}: bit 17 must be one, no firmware launches it`)
}

function checkVmpl(vmpl: number): number {
    if (Number.isInteger(vmpl) && vmpl >= 0 && vmpl <= MAX_VMPL) return vmpl
    throw coreError('ERR_USAGE', `--vmpl: expected 0 to ${MAX_VMPL}, got ${vmpl}`)
}
