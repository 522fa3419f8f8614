// A guest of SEV or SEV-ES as its owner registers it with a launch service: what is said of it becomes the digests that its
// launch may have, and a table of secrets.
// SPDX-License-Identifier: Apache-2.0

import { fromBase64, fromHex, type Secret, toHex, wipe } from '#core/bytes.ts'
import { hashCmdline, type KernelHashes, NO_INITRD } from '#core/launch/kernel-hashes.ts'
import { type Firmware, readFirmware, resetAddress, secretArea } from '#core/launch/ovmf.ts'
import { signature } from '#core/launch/vcpu.ts'
import { repeated, stateOf, vmsaPages, wantVmsa } from '#core/launch/vmsa.ts'
import { shape } from '#core/schema.ts'
import { DISK_GUID, LAUNCH_KEY_BY_HAND, LAUNCH_KEY_GUID } from '#core/secret-names.ts'
import type { InjectedBroker } from '#drivers/driver.ts'
import type { RegisteredGuest } from '#evidence/launch.ts'
import { type ChainFiles, type ChainTrust, digestOf, readChain } from '../chain/chain.ts'
import { type FirmwareVersion, LEAST_API, requireFirmware } from '../chain/firmware.ts'
import { sevError } from '../errors.ts'
import { weaknessesOf as attacksOn } from '../weaknesses.ts'
import { REGISTRATION, type Registration } from './bodies.ts'
import { requireRoom } from './client-entry.ts'
import { launchDigest } from './digest.ts'
import { migrationRisk, readPolicy, requirePolicy } from './guest-policy.ts'
import type { Terms } from './launched.ts'
import { encodeSecretTable, type LaunchSecret, requireSecrets, USUAL_AREA } from './secret-table.ts'

/** @throws AttestError ERR_SEV_*, ERR_FIRMWARE, ERR_FIRMWARE_LACKS, ERR_VMSA, ERR_VCPU, ERR_ENCODING */
export function register(body: unknown, broker: InjectedBroker | null): RegisteredGuest {
    const asked = shape(REGISTRATION, body, 'registration')
    const policy = readPolicy(asked.policy)
    const { es } = policy
    const namesProcessors = asked['cpu-count'] !== undefined || asked.cpus !== undefined || asked.vmsa !== undefined
    requirePolicy(asked.policy, { es: namesProcessors })
    if (!es && !asked['insecure-unmeasured-cpu-state'])
        throw sevError('ERR_SEV_GUEST_POLICY_WEAK', 'without ES (0x4) nothing of the processors is measured', {
            hint: 'take a policy with ES; --insecure-unmeasured-cpu-state accepts it as it is',
        })
    const risk = migrationRisk(policy)
    if (risk && !asked['insecure-migration'])
        throw sevError('ERR_SEV_GUEST_POLICY_WEAK', `the policy has ${risk}`, {
            hint: 'take 0xf, or 0xb without ES; --insecure-migration accepts it as it is',
        })
    const firmware =
        asked.firmware === undefined ? null : readFirmware(fromBase64(asked.firmware, 'firmware'), 'the firmware')
    const terms = readTerms(asked, es, firmware)
    requireFirmware(terms.least, LEAST_API)
    trustOf(terms)
    return {
        terms: { ...terms },
        secrets: readSecrets(asked, terms, broker),
        weaknesses: weaknessesOf(terms, broker !== null, measuresNoKernel(asked)),
    }
}

function readTerms(asked: Registration, es: boolean, firmware: Firmware | null): Terms {
    return {
        policy: asked.policy,
        es,
        digests: readDigests(asked, es, firmware),
        least: readLeast(asked),
        chips: asked.chips ?? null,
        ceks: Object.fromEntries((asked.ceks ?? []).map((text) => [digestOf(readOne('ceks', text, 'cek')), text])),
        owner: asked['cloud-cert'] ?? null,
        roots: asked['insecure-trust-roots'] ?? null,
        area: readArea(asked, firmware),
    }
}

// Each number counts where those before it are the same: alone it would demand less than it seems to.
function readLeast(asked: Registration): FirmwareVersion {
    const { 'min-api-major': apiMajor, 'min-api-minor': apiMinor, 'min-build-id': buildId } = asked
    if (apiMajor === undefined) {
        refuse(asked, ['min-api-minor', 'min-build-id'], 'min-api-major')
        return LEAST_API
    }
    if (apiMinor === undefined) refuse(asked, ['min-build-id'], 'min-api-minor')
    return { apiMajor, apiMinor: apiMinor ?? 0, buildId: buildId ?? 0 }
}

/** Three sources, one of which it has to be. @throws AttestError ERR_SEV_LAUNCH, ERR_FIRMWARE, ERR_VMSA, ERR_VCPU */
function readDigests(asked: Registration, es: boolean, firmware: Firmware | null): readonly string[] {
    const { 'launch-digests': digests, 'firmware-hashes': hashes } = asked
    const given = [digests, hashes, firmware].filter((source) => source !== undefined && source !== null)
    if (given.length !== 1)
        throw sevError(
            'ERR_SEV_LAUNCH',
            'one of launch-digests, firmware and firmware-hashes says which guest it must be',
        )
    if (!firmware) {
        refuse(
            asked,
            ['cpu-count', 'cpus', 'profiles', 'vmsa', 'kernel-hash', 'initrd-hash', 'cmdline-hash'],
            'firmware',
        )
        if (hashes && es)
            throw sevError(
                'ERR_SEV_LAUNCH',
                'firmware-hashes: with ES the processors are measured too, of the firmware whole',
            )
        return digests ?? hashes ?? []
    }
    const kernel = readKernel(asked)
    return [...new Set(processorsOf(asked, es, firmware).map((pages) => toHex(launchDigest(firmware, kernel, pages))))]
}

function refuse(asked: Registration, names: readonly (keyof Registration)[], without: string): void {
    const stray = names.find((name) => asked[name] !== undefined)
    if (stray) throw sevError('ERR_SEV_LAUNCH', `${stray} is nothing without ${without}`)
}

function readKernel(asked: Registration): KernelHashes | null {
    const { 'kernel-hash': kernel, 'initrd-hash': initrd, 'cmdline-hash': cmdline } = asked
    if (kernel === undefined) {
        refuse(asked, ['initrd-hash', 'cmdline-hash'], 'kernel-hash')
        return null
    }
    return {
        kernel: fromHex(kernel, 'kernel-hash'),
        initrd: initrd === undefined ? NO_INITRD : fromHex(initrd, 'initrd-hash'),
        cmdline: cmdline === undefined ? hashCmdline('') : fromHex(cmdline, 'cmdline-hash'),
    }
}

// Each processor that is accepted, prepared in each way that is: the pages of a launch.
function processorsOf(asked: Registration, es: boolean, firmware: Firmware): readonly (readonly Buffer[])[] {
    if (!es) {
        refuse(asked, ['cpu-count', 'cpus', 'profiles', 'vmsa'], 'ES in the policy')
        return [[]]
    }
    const { 'cpu-count': count, cpus, profiles, vmsa } = asked
    if (count === undefined) throw sevError('ERR_SEV_LAUNCH', 'a guest of SEV-ES: cpu-count is missing')
    if (vmsa) {
        if (cpus ?? profiles)
            throw sevError('ERR_SEV_LAUNCH', 'vmsa says all of the processors: neither cpus nor profiles may')
        const [first, other] = vmsa.map((page) => wantVmsa(fromBase64(page, 'vmsa'), 'vmsa'))
        return first ? [repeated(first, other, count)] : []
    }
    if (!cpus || !profiles)
        throw sevError(
            'ERR_SEV_LAUNCH',
            'a guest of SEV-ES: cpus and profiles say what its processors start as, or vmsa',
        )
    return cpus.flatMap((cpu) =>
        profiles.map((profile) => vmsaPages(stateOf(profile, signature(cpu)), resetAddress(firmware), count)),
    )
}

function readArea({ 'secret-area': named }: Registration, firmware: Firmware | null): number {
    if (firmware && named !== undefined)
        throw sevError('ERR_SEV_LAUNCH', 'secret-area: the firmware says how much room there is')
    return firmware ? (secretArea(firmware)?.size ?? 0) : (named ?? USUAL_AREA)
}

function readSecrets({ secrets = [] }: Registration, { area }: Terms, broker: InjectedBroker | null): Secret {
    const entries = secrets.map(
        (one): LaunchSecret =>
            'guid' in one
                ? { guid: one.guid, data: fromBase64(one.data, 'secrets') }
                : { guid: DISK_GUID, data: Buffer.from(one.passphrase) },
    )
    try {
        if (entries.some(({ guid }) => guid.toLowerCase() === LAUNCH_KEY_GUID))
            throw sevError('ERR_SEV_SECRET', LAUNCH_KEY_BY_HAND.message, { hint: LAUNCH_KEY_BY_HAND.hint })
        // A guest that gets a key may get all else from the broker.
        if (broker) requireRoom(entries, broker, area)
        else requireSecrets(entries)
        return encodeSecretTable(entries, area)
    } finally {
        wipe(...entries.map(({ data }) => data))
    }
}

/** What is said of a guest whose firmware alone is measured. */
export const NO_KERNEL =
    'no kernel is measured: unless this firmware looks after what it boots, the host chooses it, and that has the secrets'

// Digests of a launch do not say what they are of.
const measuresNoKernel = (asked: Registration): boolean =>
    asked['launch-digests'] === undefined && asked['kernel-hash'] === undefined

// Of a guest that gets a key: also what the floor of the broker has against it, or it would get nothing and nobody knew why.
function weaknessesOf(
    { es, policy, roots, chips, least }: Terms,
    hasKey: boolean,
    firmwareAlone: boolean,
): readonly string[] {
    const risk = migrationRisk(readPolicy(policy))
    const doubts: readonly { found: boolean; text: string; floor: `insecure${string}` }[] = [
        {
            found: !es,
            text: 'nothing of its processors is measured: the host chooses where they start',
            floor: 'insecureUnmeasuredCpuState',
        },
        {
            found: roots !== null,
            text: 'the roots are the owner’s own: they say nothing of AMD’s hardware',
            floor: 'insecureCustomRoot',
        },
        {
            found: risk !== null,
            text: `the policy has ${risk}`,
            floor: 'insecureMigration',
        },
        {
            found: hasKey && chips === null,
            text: 'no chip is named: any of AMD’s would do',
            floor: 'insecureNoRevocation',
        },
    ]
    return [
        ...doubts.flatMap(({ found, text, floor }) =>
            found ? `${text}${hasKey ? `; it gets nothing unless a rule says @${floor}` : ''}` : [],
        ),
        ...(firmwareAlone ? [NO_KERNEL] : []),
        ...attacksOn({ productLine: null, madeBy: least }).map(
            ({ name, means, published, source }) => `${name} (${published}, ${source}): ${means}`,
        ),
    ]
}

/** The owner's copy, where the host's has no signature. */
export function signedCek({ cek }: ChainFiles, { ceks }: Terms): Pick<ChainFiles, 'cek'> {
    if (!cek || cek.signatures.length > 0) return {}
    const known = ceks[digestOf(cek)]
    return known === undefined ? {} : { cek: readOne('ceks', known, 'cek') }
}

/** What a platform is judged by. @throws AttestError ERR_SEV_CERTIFICATE */
export const trustOf = ({ roots, owner }: Terms): ChainTrust => ({
    ...(roots ? { roots: roots.map((text) => readOne('insecure-trust-roots', text, 'ark')) } : {}),
    ...(owner ? { owner: readOne('cloud-cert', owner, 'oca') } : {}),
})

function readOne<Kind extends keyof ChainFiles>(name: string, text: string, kind: Kind): NonNullable<ChainFiles[Kind]> {
    const found = readChain([{ name, bytes: fromBase64(text, name) }])[kind]
    if (found) return found
    throw sevError('ERR_SEV_CERTIFICATE', `${name}: a certificate of another kind`)
}
