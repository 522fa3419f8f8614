// The bodies of the launch service, in JSON. The names are those of the proposal for libvirt of 2022; what it lacked stands
// beside them: digests of the launch, processors and how they are prepared, least firmware, chips, roots.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { MAX_VCPUS } from '#core/launch/options.ts'
import { PROFILES, type ProfileName } from '#core/launch/vmsa.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'

const hex = (bytes: number) =>
    z.string().check(z.regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), `expected ${bytes} bytes in lower-case hex`))
const base64 = (most: number) => z.string().check(z.minLength(1), z.maxLength(Math.ceil(most / 3) * 4))
const int = (least: number, most: number) => z.int().check(z.minimum(least), z.maximum(most))
const list = <T extends z.ZodMiniType>(of: T, most: number) => z.array(of).check(z.minLength(1), z.maxLength(most))

const MAX_FIRMWARE = 16 * 1024 * 1024
const MAX_CERTIFICATES = 64 * 1024
const PAGE = 4096

const SECRET = z.union([
    z.strictObject({ type: z.literal('luks-passphrase'), passphrase: z.string().check(z.minLength(1)) }),
    z.strictObject({ guid: z.string(), data: base64(MAX_SECRET_AREA) }),
])

/** What the owner says of a guest. */
export const REGISTRATION = z.strictObject({
    /** As it goes into the session: 0xf for SEV-ES, or 0xb. */
    policy: int(0, 0xffff_ffff),
    /** They may be left out where the guest gets a key for a broker. */
    secrets: z.optional(list(SECRET, 64)),
    /** Room for the table of secrets; that of the firmware where it is given. */
    'secret-area': z.optional(int(1, MAX_SECRET_AREA)),
    /** Launch digests that are accepted. */
    'launch-digests': z.optional(list(hex(32), 4096)),
    /** Or what they are computed of: the firmware whole, or its hash where nothing else is measured. */
    firmware: z.optional(base64(MAX_FIRMWARE)),
    'firmware-hashes': z.optional(list(hex(32), 4096)),
    'kernel-hash': z.optional(hex(32)),
    'initrd-hash': z.optional(hex(32)),
    'cmdline-hash': z.optional(hex(32)),
    'cpu-count': z.optional(int(1, MAX_VCPUS)),
    /** Each is accepted. */
    cpus: z.optional(list(z.strictObject({ family: int(0, 0x10e), model: int(0, 0xff), stepping: int(0, 15) }), 16)),
    profiles: z.optional(list(z.enum(Object.keys(PROFILES) as ProfileName[]), 8)),
    /** Or the pages themselves: that of the first processor, and that of the others. */
    vmsa: z.optional(list(base64(PAGE), 2)),
    'min-api-major': z.optional(int(0, 0xff)),
    'min-api-minor': z.optional(int(0, 0xff)),
    'min-build-id': z.optional(int(0, 0xff)),
    /** SHA-256 of the certificates of chips, as `sev chain verify` shows them. */
    chips: z.optional(list(hex(32), 1024)),
    /** Certificates of chips with AMD's signature: hosts export them without. */
    ceks: z.optional(list(base64(MAX_CERTIFICATES), 1024)),
    /** The certificate of the platform's owner (OCA). */
    'cloud-cert': z.optional(base64(MAX_CERTIFICATES)),
    /** Trusted instead of AMD's: an emulator's, a laboratory's. */
    'insecure-trust-roots': z.optional(list(base64(MAX_CERTIFICATES), 8)),
    /** The policy has no ES: nothing of the processors is measured. */
    'insecure-unmeasured-cpu-state': z.optional(z.boolean()),
    /** The policy has no NOSEND: the host can read the guest. */
    'insecure-migration': z.optional(z.boolean()),
})

export type Registration = z.infer<typeof REGISTRATION>

/** What a host sends. Whatever else it says of itself is not read: the measurement is what counts. */
export const LAUNCH = z.object({
    pdh: base64(MAX_CERTIFICATES),
    'cert-chain': base64(MAX_CERTIFICATES),
    /** The chip's certificate with AMD's signature. */
    cek: z.optional(base64(MAX_CERTIFICATES)),
})

export const LAUNCHED = z.object({ session: z.string(), 'owner-cert': z.string(), policy: z.number() })

export const VALIDATE = z.object({
    'api-major': int(0, 0xff),
    'api-minor': int(0, 0xff),
    'build-id': int(0, 0xff),
    policy: int(0, 0xffff_ffff),
    /** 48 bytes, base64: QMP query-sev-launch-measure. */
    measurement: base64(48),
})

/** The second of them is what the proposal said first, the third what it came to be called. */
export const VALIDATED = z.object({
    'secret-header': z.string(),
    'secret-table': z.string(),
    'secret-payload': z.string(),
})
