// Guests that are proved before they run: what a broker's launch service knows of a technology. The owner registers a
// guest; its host asks for a session, and then for the secrets, with what its processor measured.
// SPDX-License-Identifier: Apache-2.0

import type * as z from 'zod/mini'
import type { Secret } from '#core/bytes.ts'
import type { InjectedBroker } from '#drivers/driver.ts'

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
    /**
     * Checks it as a whole; `broker` is what the guest will be told of it, null where it gets no key.
     * @throws AttestError for whatever could not be launched, or would prove nothing
     */
    register(registration: unknown, broker: InjectedBroker | null): RegisteredGuest
    /** @throws AttestError where the platform is not one that is accepted */
    open(terms: LaunchTerms, request: unknown): OpenLaunch
    /** @throws AttestError where the launch is not the one that is expected */
    validate(terms: LaunchTerms, sealed: SealedLaunch, request: unknown): ProvedLaunch
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

/** What a broker has sealed of a launch, opened for its validation. */
export interface SealedLaunch {
    readonly secrets: Secret
    readonly keys: Secret
    /** Goes to the guest beside its secrets; null where it gets no key. */
    readonly client: LaunchClient | null
}

/** What a guest proves itself to that broker with, for as long as its launch counts. */
export interface LaunchClient {
    /** Of the launch: 16 bytes, base64url. */
    readonly id: string
    /** 32 bytes, made for this launch. */
    readonly key: Secret
    readonly broker: InjectedBroker
}

/** A guest that was launched and holds the key of that launch: what its broker knows of it. */
export interface LaunchedGuest {
    readonly id: string
    /** The UUID that its owner registered it by. */
    readonly vm: string
    readonly terms: LaunchTerms
    readonly platform: LaunchTerms
    readonly measured: LaunchTerms
    /** What it may ask for, as its owner registered it. */
    readonly allowPaths: readonly string[]
    /** When it was validated, and when its key ends; ISO 8601. */
    readonly time: string
    readonly expires: string
    /** The key, opened for a use and wiped. @throws AttestError where what is stored is not what was recorded */
    withKey<T>(use: (key: Secret) => T): T
}

/** Those that a broker has launched and that count still. */
export interface LaunchedGuests {
    /** Null: there is none of that id, or its key has ended. */
    find(id: string): LaunchedGuest | null
}

export interface ProvedLaunch {
    /** For the host. */
    readonly answer: Readonly<Record<string, unknown>>
    /** For the owner: what was measured. */
    readonly measured: LaunchTerms
}
