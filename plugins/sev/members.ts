// The members of an appraisal policy of SEV, one row each: what it may be, how it is judged, and what `policy init` writes.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { LOWER_CASE_UUID } from '#core/guid.ts'
import {
    byte,
    type Claims,
    type ClaimValue,
    itself,
    listOf,
    lowerHex,
    type Member,
    member,
    type Outcome,
    oneOf,
    switchedOff,
} from '#core/policy-table.ts'
import { type FirmwareVersion, formatFirmware, isAtLeast } from './chain/firmware.ts'
import { type SEV_ERRORS, sevError } from './errors.ts'

const refuse = (code: keyof typeof SEV_ERRORS) => (text: string) => sevError(code, text)

const api = z.optional(z.strictObject({ major: byte, minor: byte, build: z._default(byte, 0) }))

/** A version as policies and claims name it. */
interface Named {
    readonly major: number
    readonly minor: number
    readonly build: number
}

/** In the order of the checks. */
export const MEMBERS = {
    measurements: member({
        schema: listOf(lowerHex(32)),
        check: 'measurement',
        claim: 'launchDigest',
        judge: oneOf(refuse('ERR_SEV_POLICY_MEASUREMENT'), 'launch digest'),
        says: 'Digest of what the guest was launched with: the firmware, with kernel hashes the kernel, initrd and command line, with ES the state of its processors.',
        strictest: itself,
    }),
    unmeasuredCpuState: member({
        schema: switchedOff,
        check: 'cpu-state',
        claim: 'policy.es',
        judge(permitted, es): Outcome {
            if (es === true) return { detail: 'measured (ES)' }
            if (permitted) return { detail: 'NOT measured, and the policy allows it' }
            throw sevError(
                'ERR_SEV_POLICY_CPU_STATE',
                'nothing of the processors is measured, the policy does not allow it',
            )
        },
        says: 'May the host choose where the processors start (SEV without ES)?',
        strictest: (es) => es !== true,
    }),
    migration: member({
        schema: switchedOff,
        check: 'migration',
        claim: 'policy.noSend',
        judge(permitted, noSend): Outcome {
            if (noSend === true) return { detail: 'migration is off' }
            if (permitted) return { detail: 'migration is ON, and the policy allows it' }
            throw sevError('ERR_SEV_POLICY_MIGRATION', 'the host may send the guest away, and so read it (no NOSEND)')
        },
        says: 'May the host send the guest away, and so read its memory (a launch policy without NOSEND, 0x8)?',
        strictest: (noSend) => noSend !== true,
    }),
    minimumApi: member({
        schema: api,
        check: 'minimum-api',
        claim: 'api',
        judge: atLeastApi,
        says: 'The least firmware of the platform; the API as one number, the build where that is the same.',
        strictest: (claim) => claim as { major: number; minor: number; build: number },
    }),
    chips: member({
        schema: listOf(lowerHex(32)),
        check: 'chips',
        claim: 'platform.chip',
        judge: oneOf(refuse('ERR_SEV_POLICY_CHIP'), 'chip'),
        says: 'Only on this chip. Leave it out if the guest may start on another machine.',
        strictest: () => undefined,
        example: (chip) => `["${String(chip)}"]`,
    }),
    guests: member({
        schema: listOf(z.string().check(z.regex(LOWER_CASE_UUID, 'expected a UUID'))),
        check: 'guests',
        claim: 'guest',
        judge: oneOf(refuse('ERR_SEV_POLICY_GUEST'), 'guest'),
        strictest: () => undefined,
        example: (guest) => `["${String(guest)}"]   # the UUID that it was registered by`,
    }),
} as const satisfies Readonly<Record<string, Member>>

function atLeastApi(least: Named, claim: ClaimValue | undefined): Outcome {
    const { major, minor, build } = claim as Claims
    const got = versionOf({ major: Number(major), minor: Number(minor), build: Number(build) })
    const want = versionOf(least)
    if (isAtLeast(got, want)) return { detail: formatFirmware(got) }
    throw sevError(
        'ERR_SEV_POLICY_API',
        `firmware: expected at least ${formatFirmware(want)}, got ${formatFirmware(got)}`,
    )
}

const versionOf = ({ major, minor, build }: Named): FirmwareVersion => ({
    apiMajor: major,
    apiMinor: minor,
    buildId: build,
})
