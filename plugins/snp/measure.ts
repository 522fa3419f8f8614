// What a guest of SEV-SNP should measure: `measure snp`. Its MEASUREMENT covers the firmware, with kernel hashes also the
// kernel, initrd and command line, and the state in which each processor starts.
// SPDX-License-Identifier: Apache-2.0

import { toHex, wantLength } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { KERNEL_OPTIONS, readKernel, readVcpus, VCPU_OPTIONS, vmsaFiles } from '#core/launch/options.ts'
import { type Firmware, readFirmware, resetAddress } from '#core/launch/ovmf.ts'
import {
    fitOf,
    type KernelVariant,
    kernelVariants,
    MOST_VCPUS,
    nearestFirst,
    refuseVmsa,
    searchVcpus,
    vcpuStates,
} from '#core/launch/search.ts'
import { DEBUG_SWAP, describeState, type ProfileName, SEV_FEATURES, SNP_ACTIVE, type Vmm } from '#core/launch/vmsa.ts'
import type { Fit, Measure, MeasureRows, MeasureValues, Prediction } from '#evidence/measure.ts'
import { ID_OPTIONS, makeId, readId } from './id-options.ts'
import { DIGEST_SIZE, firmwareDigest, LaunchDigest, launchDigest, memoryDigest, pageHash } from './launch-digest.ts'
import { parseReport, REPORT_SIZE } from './report.ts'

const OPTIONS = {
    firmware: { type: 'file', describe: 'the firmware: code and variables in one image (pflash unit 0, or -bios)' },
    firmwareHash: {
        type: 'bytes',
        describe: 'the digest after the firmware alone; of --firmware the metadata at its end are enough then',
    },
    asFirmwareHash: { type: 'flag', describe: 'print that digest, for --firmware-hash' },
    digest: { type: 'bytes', describe: 'the launch digest where it is known: for an ID block' },
    ...KERNEL_OPTIONS,
    ...VCPU_OPTIONS,
    guestFeatures: { ...VCPU_OPTIONS.guestFeatures, describe: 'SEV_FEATURES in hex [0x1]; 0x21 with debug swap' },
    ...ID_OPTIONS,
} as const satisfies MeasureRows

type Values = MeasureValues<typeof OPTIONS>

/** Most processors that are tried with features that hardly anybody turns on. */
const MOST_RARE_VCPUS = 64

export const snpMeasure: Measure<typeof OPTIONS> = {
    options: OPTIONS,
    alone: true,
    details:
        'The launch digest: the firmware, what its SEV metadata ask for, with --kernel the table of hashes that QEMU adds, and a page of initial state for each processor. Kernels of the host differ in how they prepare that state: where a report disagrees, --match finds how.\n' +
        'With --id-key an ID block and its authentication are made, as QEMU takes them (id-block=, id-auth=); with --id-block they are read, verified, and compared.',
    examples: [
        ['--firmware OVMF.fd --vcpus 4 --vcpu-type EPYC-Milan', 'the launch digest, in hex'],
        [
            "--firmware AmdSev.fd --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0' --vcpu-type EPYC-Genoa --json",
            'with the hashes of a kernel, for `broker reference add --from-measure`',
        ],
        ['--firmware OVMF.fd --match report.bin', 'how many processors of which type, on what host'],
        ['--firmware OVMF.fd --vcpu-type EPYC-Milan --id-key id.pem --author-key author.pem', 'an ID block for it'],
        ['--id-block id-block.b64 --id-auth id-auth.b64', 'what such a block says'],
    ],
    measure,
    search: {
        size: DIGEST_SIZE,
        searched: `1 to ${MOST_VCPUS} processors of every known type, profiles of KVM, EC2 and GCE, the usual features, and up to two others for ${MOST_RARE_VCPUS} processors; kernel, initrd and command line as given or left out`,
        reported: (bytes) => (bytes.length === REPORT_SIZE ? parseReport(bytes).measurement : null),
        search,
    },
}

function measure(values: Values): Prediction {
    if (values.asFirmwareHash) return firmwareAlone(values)
    const own = values.firmware ? measureGuest(values) : null
    if (!own) refuseStray(values)
    const id = readId(values)
    const digest = own ? own.digest : (values.digest ?? id?.launchDigest)
    if (!digest)
        throw coreError('ERR_USAGE', 'name --firmware; or --digest or --id-block where no digest is to be computed')
    if (values.digest && !wantLength(values.digest, DIGEST_SIZE, '--digest').equals(digest))
        throw coreError('ERR_USAGE', `--digest is not what these inputs measure: ${toHex(digest)}`)
    const made = makeId(values, digest)
    return {
        measurements: { measurement: toHex(digest) },
        ...covers(values),
        assumed: own?.assumed ?? [],
        unpredicted: {},
        inForce: own?.inForce ?? {},
        files: own?.files ?? [],
        also: { ...id?.check(digest), ...made },
    }
}

function covers({ kernel, firmware }: Values): Pick<Prediction, 'coverage' | 'coverageNote'> {
    if (kernel)
        return {
            coverage: 'firmware+kernel+initrd+cmdline',
            coverageNote: 'where the firmware refuses what does not match the hashes, as edk2’s AmdSev does',
        }
    return {
        coverage: 'firmware',
        coverageNote: firmware
            ? 'the host chooses kernel, initrd and command line, unless the firmware carries them'
            : 'a digest alone does not say what it covers',
    }
}

function measureGuest(values: Values) {
    const firmware = firmwareOf(values)
    const { pages, state } = readVcpus(values, firmware, SNP_ACTIVE)
    const memory = memoryDigest(startOf(values, firmware), firmware, readKernel(values), values.vmm as Vmm)
    return {
        digest: launchDigest(memory, pages),
        assumed: state ? [`the host prepares processors as: ${describeState(state)}`] : [],
        inForce: state ? fitOf(values, state, pages.length).inputs : { vcpus: pages.length },
        files: vmsaFiles(values.dumpVmsa, pages),
    }
}

function firmwareAlone(values: Values): Prediction {
    return {
        measurements: { firmwareHash: toHex(firmwareDigest(firmwareOf(values))) },
        coverage: 'firmware',
        coverageNote: 'a part of a digest, for --firmware-hash: no report carries it',
        assumed: [],
        unpredicted: { measurement: 'what follows the firmware: this is the beginning of it' },
    }
}

function firmwareOf({ firmware }: Values): Firmware {
    if (firmware) return readFirmware(firmware.bytes, firmware.name)
    throw coreError('ERR_USAGE', '--firmware is missing')
}

const startOf = ({ firmwareHash }: Values, firmware: Firmware): Buffer =>
    firmwareHash ? wantLength(firmwareHash, DIGEST_SIZE, '--firmware-hash') : firmwareDigest(firmware)

function refuseStray(values: Values): void {
    const own = ['firmwareHash', 'kernel', 'initrd', 'append', 'vcpus', 'vcpuType', 'vcpuSig', 'dumpVmsa'] as const
    const stray = own.find((name) => values[name] !== undefined)
    if (stray)
        throw coreError(
            'ERR_USAGE',
            `--${stray.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} is nothing without --firmware`,
        )
}

const PROFILES_OF: Readonly<Record<Vmm, readonly ProfileName[]>> = {
    QEMU: ['kvm-init2', 'kvm-legacy'],
    ec2: ['ec2'],
    gce: ['gce'],
}

function search(values: Values, wanted: Buffer): readonly Fit[] {
    refuseVmsa(values)
    const firmware = firmwareOf(values)
    const usual = [...new Set([values.guestFeatures ?? SNP_ACTIVE, SNP_ACTIVE, SNP_ACTIVE | DEBUG_SWAP])]
    const variants = kernelVariants(values)
    const fits = searchWith(values, { firmware, wanted, variants, features: usual, most: MOST_VCPUS })
    if (fits.length > 0) return nearestFirst(fits)
    const [asGiven] = variants
    const features = rareFeatures(usual)
    return nearestFirst(
        searchWith(values, { firmware, wanted, variants: asGiven ? [asGiven] : [], features, most: MOST_RARE_VCPUS }),
    )
}

interface Searched {
    readonly firmware: Firmware
    readonly wanted: Buffer
    readonly variants: readonly KernelVariant[]
    readonly features: readonly bigint[]
    readonly most: number
}

function searchWith(values: Values, { firmware, wanted, variants, features, most }: Searched): Fit[] {
    const fits: Fit[] = []
    const reset = resetAddress(firmware)
    const first = startOf(values, firmware)
    for (const { hashes, differs, inputs } of variants)
        for (const [vmm, profiles] of Object.entries(PROFILES_OF) as [Vmm, ProfileName[]][]) {
            const memory = memoryDigest(first, firmware, hashes, vmm)
            const start = () => walk(memory)
            const states = vcpuStates(values, profiles, features)
            searchVcpus(states, { reset, start, wanted, most }, (state, count) => {
                const fit = fitOf(values, state, count)
                fits.push({ inputs: { ...fit.inputs, ...inputs }, differs: [...fit.differs, ...differs] })
            })
        }
    return fits
}

function walk(memory: Buffer) {
    const digest = new LaunchDigest(memory)
    let last: { page: Buffer; contents: string } | null = null
    return {
        add(page: Buffer) {
            if (last?.page !== page) last = { page, contents: pageHash(page) }
            digest.addVmsa(last.contents)
        },
        is: (wanted: Buffer) => digest.is(wanted),
    }
}

/** Up to two features beside the one that every guest has. */
function rareFeatures(usual: readonly bigint[]): bigint[] {
    const bits = Object.values(SEV_FEATURES).map(({ bits: bit }) => 1n << BigInt(bit))
    const pairs = bits.flatMap((a) => bits.map((b) => SNP_ACTIVE | a | b))
    return [...new Set(pairs)].filter((word) => !usual.includes(word))
}
