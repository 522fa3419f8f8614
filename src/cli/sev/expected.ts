// What `sev validate` and `broker launch register` expect of a launch: the digest of the firmware, the kernel and the
// processors that the owner has copies of. The options are those of virt-qemu-sev-validate.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { type KernelValues, KVM_PROFILES, readKernel, readSignature, wantCount } from '#core/launch/options.ts'
import { type Firmware, readFirmware, resetAddress } from '#core/launch/ovmf.ts'
import { profileName, repeated, stateOf, vmsaPages, wantVmsa } from '#core/launch/vmsa.ts'
import { sevOwner } from '#plugins.ts'

export const MAX_FIRMWARE = 64 * 1024 * 1024
const MAX_KERNEL = 2 * 1024 * 1024 * 1024

export const EXPECTED_OPTIONS = {
    firmware: { type: 'string', alias: 'f', describe: 'the firmware: all of the flash that is not written' },
    kernel: { type: 'string', alias: 'k', describe: 'the kernel that the host loads, where its hash is measured' },
    initrd: { type: 'string', alias: 'r', describe: 'its initrd' },
    cmdline: { type: 'string', alias: 'e', describe: 'its command line' },
    'num-cpus': { type: 'number', alias: 'n', describe: 'how many processors the guest has (SEV-ES)' },
    'vmsa-cpu0': { type: 'string', describe: 'the state that the first of them starts in' },
    'vmsa-cpu1': { type: 'string', describe: 'the state that the others start in' },
    'cpu-family': { type: 'number', describe: 'or the processor that the state is made for: its family …' },
    'cpu-model': { type: 'number', describe: '… its model …' },
    'cpu-stepping': { type: 'number', describe: '… and its stepping' },
    profile: {
        type: 'string',
        choices: KVM_PROFILES,
        default: 'kvm-legacy',
        describe: 'how the host’s KVM prepares the state; QEMU 9.0, or legacy-vm-type=off: kvm-init2',
    },
} as const

export interface ExpectedArgs {
    readonly firmware?: string | undefined
    readonly kernel?: string | undefined
    readonly initrd?: string | undefined
    readonly cmdline?: string | undefined
    readonly numCpus?: number | undefined
    readonly vmsaCpu0?: string | undefined
    readonly vmsaCpu1?: string | undefined
    readonly cpuFamily?: number | undefined
    readonly cpuModel?: number | undefined
    readonly cpuStepping?: number | undefined
}

/** Whether anything is said of processors. */
export const namesProcessors = (args: ExpectedArgs): boolean =>
    [args.numCpus, args.vmsaCpu0, args.vmsaCpu1, args.cpuFamily, args.cpuModel, args.cpuStepping].some(
        (value) => value !== undefined,
    )

/** Options that contradict each other, before anything is read. @throws AttestError ERR_USAGE */
export function checkExpected(args: ExpectedArgs, es: boolean): asserts args is ExpectedArgs & { firmware: string } {
    const { kernel, initrd, cmdline, vmsaCpu0, vmsaCpu1, numCpus } = args
    if (args.firmware === undefined) throw coreError('ERR_USAGE', '--firmware is missing')
    if (kernel === undefined && (initrd !== undefined || cmdline !== undefined))
        throw coreError('ERR_USAGE', '--initrd and --cmdline are nothing without --kernel')
    const model = readSignature(args)
    if (model !== null && (vmsaCpu0 !== undefined || vmsaCpu1 !== undefined))
        throw coreError('ERR_USAGE', 'the state of the processors is given, or made for a model: not both')
    if (vmsaCpu1 !== undefined && vmsaCpu0 === undefined)
        throw coreError('ERR_USAGE', '--vmsa-cpu1 is nothing without --vmsa-cpu0')
    if (!es) return
    if (numCpus === undefined) throw coreError('ERR_USAGE', 'a guest of SEV-ES: --num-cpus is missing')
    wantCount(numCpus, '--num-cpus')
    if (model === null && vmsaCpu0 === undefined)
        throw coreError('ERR_USAGE', 'a guest of SEV-ES: say what its processors are, by --cpu-family … or --vmsa-cpu0')
    if (model === null && vmsaCpu1 === undefined && numCpus > 1)
        throw coreError('ERR_USAGE', 'a guest of more than one processor: --vmsa-cpu1 is missing')
}

export interface Expected {
    readonly firmware: Firmware
    /** The launch digest, on a host whose KVM prepares processors so. */
    readonly digestOf: (profile: string) => Buffer
}

/**
 * What there is to measure. `insecure` computes what no QEMU would launch: the hash of a kernel for a firmware that has no place
 * for it.
 * @throws AttestError ERR_FIRMWARE, ERR_FIRMWARE_LACKS, ERR_VMSA, ERR_VCPU, ERR_NOT_FOUND_FILE
 */
export async function readExpected(
    args: ExpectedArgs & { readonly firmware: string },
    es: boolean,
    insecure: boolean,
): Promise<Expected> {
    const { launchDigest } = await sevOwner()
    const firmware = readFirmware(readInput(args.firmware, MAX_FIRMWARE), args.firmware)
    const hashes = readKernel(kernelOf(args))
    const pagesOf = es ? readPages(args, firmware) : () => []
    const digestOf = (profile: string) =>
        launchDigest(firmware, hashes, pagesOf(profile), insecure ? 'unchecked' : 'checked')
    return { firmware, digestOf }
}

function kernelOf({ kernel, initrd, cmdline }: ExpectedArgs): KernelValues {
    const hashed = (path: string) => ({ sha256: createHash('sha256').update(readInput(path, MAX_KERNEL)).digest() })
    return {
        ...(kernel === undefined ? {} : { kernel: hashed(kernel) }),
        ...(initrd === undefined ? {} : { initrd: hashed(initrd) }),
        ...(cmdline === undefined ? {} : { append: cmdline }),
    }
}

/** By the profile, which pages that were given leave out of account. */
function readPages(args: ExpectedArgs, firmware: Firmware): (profile: string) => readonly Buffer[] {
    const { numCpus = 1, vmsaCpu0, vmsaCpu1 } = args
    const model = readSignature(args)
    if (model !== null)
        return (profile) => vmsaPages(stateOf(profileName(profile), model), resetAddress(firmware), numCpus)
    const page = (path: string): Buffer => wantVmsa(readInput(path), path)
    const pages =
        vmsaCpu0 === undefined
            ? []
            : repeated(page(vmsaCpu0), vmsaCpu1 === undefined ? undefined : page(vmsaCpu1), numCpus)
    return () => pages
}
