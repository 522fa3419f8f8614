// One launch, as its owner sees it: a session for a platform that was verified, the judgement of its measurement, and the
// packet of secrets for it. Pure: who keeps the keys between the steps, and counts them, is the caller's affair.
// SPDX-License-Identifier: Apache-2.0

import { wipe } from '#core/bytes.ts'
import { Checks } from '#core/checks.ts'
import { CHAIN_CHECKS, type ChainFiles, type ChainTrust, type Platform, verifyChain } from '../chain/chain.ts'
import {
    type Api,
    type FirmwareVersion,
    formatFirmware,
    isAtLeast,
    LEAST_API,
    requireFirmware,
} from '../chain/firmware.ts'
import { sevError } from '../errors.ts'
import { type PolicyDemand, requirePolicy } from './guest-policy.ts'
import { DIGEST_SIZE, LAUNCH_MEASURE, measuredDigest } from './measurement.ts'
import { type SecretPacket, sealPacket } from './packet.ts'
import { encodeSecretTable, type LaunchSecret, requireSecrets } from './secret-table.ts'
import { newSession, type Session, type TransportKeys } from './session.ts'

/** What is demanded of a platform before it gets a session. */
export interface LaunchDemand extends PolicyDemand {
    /** Its keys were made by firmware of that API or later, whatever the build: API 0.17 unless told. */
    readonly leastFirmware?: FirmwareVersion
}

export interface OpenedLaunch extends Session {
    readonly platform: Platform
}

/**
 * A fresh session for the platform of these certificates.
 * @throws AttestError what chain.ts and policy.ts throw, ERR_SEV_API
 */
export function openLaunch(
    files: ChainFiles,
    trust: ChainTrust,
    policy: number,
    demand: LaunchDemand,
    checks = new Checks(CHAIN_CHECKS),
): OpenedLaunch {
    requirePolicy(policy, demand)
    const platform = verifyChain(files, trust, checks)
    if (!platform.pdh) throw sevError('ERR_SEV_CERTIFICATE', 'PDH is missing: a session is made with its key')
    requireMadeBy(platform.madeBy, demand.leastFirmware ?? LEAST_API)
    return { platform, ...newSession(platform.pdh, policy) }
}

// Firmware of old gave out its keys (CVE-2019-9836), and an update leaves them and their certificates as they are.
function requireMadeBy(madeBy: Api, { apiMajor, apiMinor }: FirmwareVersion): void {
    const least = { apiMajor, apiMinor }
    if (isAtLeast(madeBy, least)) return
    throw sevError(
        'ERR_SEV_API',
        `PEK or PDH was made by firmware ${formatFirmware(madeBy)}, expected at least ${formatFirmware(least)}`,
        { hint: 'a host whose firmware was updated makes new ones: PEK_GEN, PDH_GEN' },
    )
}

/** What a host says of a launch. The measurement covers all of it. */
export interface LaunchClaim extends FirmwareVersion {
    readonly policy: number
    /** 48 bytes. */
    readonly measurement: Buffer
}

/** What the owner expects of it. */
export interface LaunchExpectation extends PolicyDemand {
    /** That of the session. */
    readonly policy: number
    /** Launch digests that are accepted, 32 bytes each. */
    readonly digests: readonly Buffer[]
    /** API 0.17 unless told. */
    readonly leastFirmware?: FirmwareVersion
    /** Accepts a policy under which the host can read the guest. */
    readonly insecureWeakPolicy?: boolean
}

export interface ValidatedLaunch {
    /** Which of the digests it was. */
    readonly digest: Buffer
    /** What a packet of secrets is bound to. */
    readonly measure: Buffer
}

/**
 * Whether the launch is the one that is expected.
 * @throws AttestError ERR_LENGTH, ERR_SEV_API, ERR_SEV_GUEST_POLICY, ERR_SEV_GUEST_POLICY_WEAK, ERR_SEV_MEASUREMENT
 */
export function validateLaunch(
    { tik }: TransportKeys,
    claim: LaunchClaim,
    expected: LaunchExpectation,
): ValidatedLaunch {
    const { measure } = LAUNCH_MEASURE.parse(claim.measurement)
    if (expected.digests.some(({ length }) => length !== DIGEST_SIZE))
        throw new TypeError(`a launch digest has ${DIGEST_SIZE} bytes`)
    if (!expected.insecureWeakPolicy) requirePolicy(expected.policy, expected)
    if (claim.policy !== expected.policy)
        throw sevError(
            'ERR_SEV_MEASUREMENT',
            `the host names the policy 0x${claim.policy.toString(16)}, expected 0x${expected.policy.toString(16)}`,
        )
    requireFirmware(claim, expected.leastFirmware ?? LEAST_API)
    const digest = measuredDigest(tik, claim.measurement, claim, expected.digests)
    if (!digest)
        throw sevError(
            'ERR_SEV_MEASUREMENT',
            'the launch measurement is that of none of the guests that are expected',
            {
                hint: 'look at firmware, kernel (kernel-hashes=on), initrd, command line, processors and their profile, policy, API and build',
            },
        )
    return { digest, measure }
}

/**
 * The packet of these secrets, for that launch alone. `area` is the room that its firmware has for them.
 * @throws AttestError ERR_SEV_SECRET
 */
export function packSecrets(
    keys: TransportKeys,
    { measure }: ValidatedLaunch,
    secrets: readonly LaunchSecret[],
    area: number,
): SecretPacket {
    requireSecrets(secrets)
    const table = encodeSecretTable(secrets, area)
    try {
        return sealPacket(keys, measure, table)
    } finally {
        wipe(table)
    }
}
