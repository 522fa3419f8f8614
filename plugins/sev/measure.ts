// What a guest of plain SEV or SEV-ES should measure: `measure sev`, `measure sev-es`. Owners compare it before a launch;
// the two differ in whether the initial state of the processors is part of it.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import {
    KERNEL_OPTIONS,
    type KernelValues,
    readKernel,
    readVcpus,
    VCPU_OPTIONS,
    vmsaFiles,
} from '#core/launch/options.ts'
import { type Firmware, readFirmware, resetAddress } from '#core/launch/ovmf.ts'
import {
    fitOf,
    kernelVariants,
    MOST_VCPUS,
    nearestFirst,
    refuseVmsa,
    searchVcpus,
    vcpuStates,
    type Walk,
} from '#core/launch/search.ts'
import { DEBUG_SWAP, describeState, SNP_ACTIVE } from '#core/launch/vmsa.ts'
import type { Fit, Measure, MeasureRows, MeasureValues, Prediction } from '#evidence/measure.ts'
import { parseReport, REPORT_SIZE } from './aeb/report.ts'
import { launchDigest, memoryHash } from './launch/digest.ts'
import { DIGEST_SIZE } from './launch/measurement.ts'

const FIRMWARE = {
    type: 'file',
    required: true,
    describe: 'the firmware, whole as it is mapped (pflash unit 0); its variables are never measured',
} as const

const SEV_OPTIONS = { firmware: FIRMWARE, ...KERNEL_OPTIONS } as const satisfies MeasureRows

const SEV_ES_OPTIONS = {
    ...SEV_OPTIONS,
    ...VCPU_OPTIONS,
    guestFeatures: { ...VCPU_OPTIONS.guestFeatures, describe: 'SEV_FEATURES in hex [0, or what the profile turns on]' },
} as const satisfies MeasureRows

export const sevMeasure: Measure<typeof SEV_OPTIONS> = {
    options: SEV_OPTIONS,
    alone: true,
    details:
        'SHA-256 over the firmware and, with --kernel, the table of hashes that QEMU adds. Addresses are not part of it, nor the state of the processors: with plain SEV the host chooses where they start.',
    examples: [
        ['--firmware OVMF.fd', 'the launch digest, in hex'],
        [
            "--firmware AmdSev.fd --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0'",
            'with the hashes of a kernel',
        ],
        [`--firmware OVMF.fd --kernel vmlinuz --match ${'ab'.repeat(4)}…`, 'which of these was measured'],
    ],
    measure: (values) =>
        prediction(launchDigest(firmwareOf(values), readKernel(values), []), values, [
            'plain SEV: where the processors start is the host’s choice',
        ]),
    search: { size: DIGEST_SIZE, searched: 'kernel, initrd and command line as given, or left out', reported, search },
}

export const sevEsMeasure: Measure<typeof SEV_ES_OPTIONS> = {
    options: SEV_ES_OPTIONS,
    alone: true,
    details:
        'SHA-256 over the firmware, with --kernel the table of hashes that QEMU adds, and a page of initial state for each processor. Addresses are not part of it.\n' +
        'How the pages are prepared depends on the host: QEMU up to 8.2, and later ones by default, take --profile kvm-legacy.',
    examples: [
        ['--firmware OVMF.fd --vcpus 4 --vcpu-type EPYC-Milan', 'the launch digest, in hex'],
        ['--firmware OVMF.fd --vcpu-type EPYC-Milan --profile kvm-legacy', 'as virt-qemu-sev-validate expects it'],
        [`--firmware OVMF.fd --match ${'ab'.repeat(4)}…`, 'how many processors of which type, on what host'],
    ],
    measure: measureEs,
    search: {
        size: DIGEST_SIZE,
        searched: `1 to ${MOST_VCPUS} processors of every known type, profiles of KVM, EC2 and GCE, debug swap on or off; kernel, initrd and command line as given or left out`,
        reported,
        search: searchEs,
    },
}

interface Common extends KernelValues {
    readonly firmware: { readonly name: string; readonly bytes: Buffer }
}

const firmwareOf = ({ firmware }: Common): Firmware => readFirmware(firmware.bytes, firmware.name)

function measureEs(values: MeasureValues<typeof SEV_ES_OPTIONS>): Prediction {
    const firmware = firmwareOf(values)
    const { pages, state } = readVcpus(checked(values), firmware, 0n)
    const digest = launchDigest(firmware, readKernel(values), pages)
    const assumed = state ? [`the host prepares processors as: ${describeState(state)}`] : []
    return {
        ...prediction(digest, values, assumed),
        inForce: state ? fitOf(values, state, pages.length).inputs : { vcpus: pages.length },
        files: vmsaFiles(values.dumpVmsa, pages),
    }
}

function checked(values: MeasureValues<typeof SEV_ES_OPTIONS>): MeasureValues<typeof SEV_ES_OPTIONS> {
    if ((values.guestFeatures ?? 0n) & SNP_ACTIVE)
        throw coreError('ERR_USAGE', '--guest-features: bit 0 is for guests of SEV-SNP: `measure snp`')
    return values
}

function prediction(digest: Buffer, { kernel }: Common, assumed: readonly string[]): Prediction {
    return {
        measurements: { measurement: toHex(digest) },
        coverage: kernel ? 'firmware+kernel+initrd+cmdline' : 'firmware',
        coverageNote: kernel
            ? 'where the firmware refuses what does not match the hashes, as edk2’s AmdSev does'
            : 'the host chooses kernel, initrd and command line, unless the firmware carries them',
        assumed,
        unpredicted: {},
    }
}

/** Of a report of ATTESTATION, which the host asks for. */
function reported(bytes: Buffer): Buffer | null {
    return bytes.length === REPORT_SIZE ? parseReport(bytes).launchDigest : null
}

function search(values: MeasureValues<typeof SEV_OPTIONS>, wanted: Buffer): readonly Fit[] {
    const firmware = firmwareOf(values)
    return nearestFirst(
        kernelVariants(values)
            .filter(({ hashes }) => memoryHash(firmware, hashes).digest().equals(wanted))
            .map(({ differs, inputs }) => ({ inputs, differs })),
    )
}

function searchEs(values: MeasureValues<typeof SEV_ES_OPTIONS>, wanted: Buffer): readonly Fit[] {
    const firmware = firmwareOf(checked(values))
    refuseVmsa(values)
    const fits: Fit[] = []
    const features = [...new Set([values.guestFeatures ?? 0n, 0n, DEBUG_SWAP])]
    const states = vcpuStates(values, ['kvm-init2', 'kvm-legacy', 'ec2', 'gce'], features)
    for (const { hashes, differs, inputs } of kernelVariants(values)) {
        const memory = memoryHash(firmware, hashes)
        const start = (): Walk => {
            const hash = memory.copy()
            return { add: (page) => void hash.update(page), is: (digest) => hash.copy().digest().equals(digest) }
        }
        searchVcpus(states, { reset: resetAddress(firmware), start, wanted }, (state, count) => {
            const fit = fitOf(values, state, count)
            fits.push({ inputs: { ...fit.inputs, ...inputs }, differs: [...fit.differs, ...differs] })
        })
    }
    return nearestFirst(fits)
}
