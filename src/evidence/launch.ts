// Guests that are proved before they run: what a broker's launch service knows of a technology. The owner registers a
// guest; its host asks for a session, and then for the secrets, with what its processor measured.
// SPDX-License-Identifier: Apache-2.0

import type * as z from 'zod/mini'
import type { Secret } from '#core/bytes.ts'

/** What lasts of a registration, and may be read by whoever reads the audit log: values of JSON. */
export type LaunchTerms = Readonly<Record<string, unknown>>

export interface LaunchService {
    /** As `scheme` of a registration. */
    readonly scheme: string
    /** The bodies: what is this technology's of a registration, and both requests of a host with their answers. */
    readonly shapes: {
        readonly registration: z.ZodMiniObject
        readonly launch: z.ZodMiniObject
        readonly launched: z.ZodMiniObject
        readonly validate: z.ZodMiniObject
        readonly validated: z.ZodMiniObject
    }
    /** Checks it as a whole. @throws AttestError for whatever could not be launched, or would prove nothing */
    register(registration: unknown): RegisteredGuest
    /** @throws AttestError where the platform is not one that is accepted */
    open(terms: LaunchTerms, request: unknown): OpenLaunch
    /** @throws AttestError where the launch is not the one that is expected */
    validate(terms: LaunchTerms, sealed: LaunchSecrets, request: unknown): ProvedLaunch
}

export interface RegisteredGuest {
    readonly terms: LaunchTerms
    /** What the guest gets. Wipe it. */
    readonly secrets: Secret
    /** What the owner should know of the terms. */
    readonly weaknesses: readonly string[]
}

export interface OpenLaunch {
    /** For the host. */
    readonly answer: Readonly<Record<string, unknown>>
    /** Of this launch alone. Wipe them. */
    readonly keys: Secret
    /** For the owner: which platform it is. */
    readonly platform: LaunchTerms
}

export interface LaunchSecrets {
    readonly secrets: Secret
    readonly keys: Secret
}

export interface ProvedLaunch {
    /** For the host. */
    readonly answer: Readonly<Record<string, unknown>>
    /** For the owner: what was measured. */
    readonly measured: LaunchTerms
}
