// The driver interface: what a technology offers inside its guest. Nothing else is in this file.
// SPDX-License-Identifier: Apache-2.0

import type { Secret } from '#core/bytes.ts'
import type { Doors } from './linux/doors.ts'

/** The id of a plugin: `snp`, `tdx`, `sev`. */
export type TeeId = string

/** The kernel interfaces that a guest can be known by. */
export const VIAS = ['configfs', 'ioctl', 'vsock', 'securityfs'] as const

export type Via = (typeof VIAS)[number]

export interface Driver {
    readonly tee: TeeId
    /**
     * Null: this guest is not of my kind. Throws: it is, and cannot be used; the error says what is missing.
     * Never falls back to a fake, nor from a way that was named to another one.
     * @throws AttestError of drivers/errors.ts
     */
    open(doors: Doors, options?: { readonly via?: Via }): Promise<Guest | null>
}

/** What this guest, on this kernel, can do. What it cannot do is absent, not faked. */
export interface Guest {
    readonly tee: TeeId
    /** Which kernel interface answers, and what was tried. */
    readonly probe: Probe
    /**
     * Evidence that binds these bytes (1 to 64; padded as the technology says): a report of the processor, which has been
     * checked to carry them, or a proof that the guest has the key which its launch gave it.
     */
    evidence?(binding: Uint8Array, options?: EvidenceOptions): Promise<Evidence>
    /** A key that only this guest, on this chip, gets from the firmware. Use it through a KDF, and wipe it. */
    deriveKey?(selector: KeySelector): Promise<Secret>
    /** What the guest itself measures after its launch: TDX's RTMRs. */
    readonly registers?: MeasurementRegisters
    /** What its owner had put into its memory before it ran. */
    readonly secrets?: LaunchSecrets
    /**
     * The only broker that this guest trusts, where its owner had one put into its memory before it ran: then what the
     * guest's files say of brokers counts for nothing. Absent: none was.
     * @throws AttestError where what is there is malformed
     */
    broker?(): InjectedBroker
    /**
     * Keeps what it proves itself with where the running system finds it, and takes it from the guest's memory. Null:
     * there is none, or not any more. Returns what it was, for a person.
     * @throws AttestError of drivers/errors.ts
     */
    handOver?(): string | null
    /** Whether `evidence` can hand over a log of what was measured after the launch. */
    readonly hasEventLog?: boolean
    close(): void
}

export interface Probe {
    readonly via: Via
    /** The device or folder that answers. */
    readonly path: string
    /** Each interface that was looked at, in order, and what was found. */
    readonly tried: readonly Attempt[]
}

export interface Attempt {
    readonly via: Via
    readonly path: string
    readonly found: string
}

export interface EvidenceOptions {
    /** The privilege level (SNP: VMPL) that the evidence speaks for; the lowest that is permitted unless told. */
    readonly privilegeLevel?: number
    /** Ends the wait for the device. A request that the device has begun is never abandoned. */
    readonly signal?: AbortSignal
    /** Hand over the log of what was measured after the launch as well, where this guest has one. */
    readonly eventLog?: boolean
}

/** The technology's own bytes, unchanged, and what the host gave with them. */
export interface Evidence {
    readonly tee: TeeId
    /** SNP: the attestation report, 1184 bytes. TDX: the quote, without what pads it. SEV: the proof of possession. */
    readonly report: Buffer
    /** SNP: the certificate table as the host stored it. Absent where the host gave none. */
    readonly certificates?: Buffer
    /** TDX: the CCEL event log, trimmed at its end. Absent where it was not asked for, or the guest has none. */
    readonly eventLog?: Buffer
}

export interface MeasurementRegisters {
    /** All of them, in their order. @throws AttestError of drivers/errors.ts */
    read(): Promise<readonly MeasurementRegister[]>
    /** value = hash(value ‖ digest). @throws AttestError where it may not be extended, or the digest has another size */
    extend(name: string, digest: Uint8Array): Promise<void>
}

/** The only broker that a guest trusts, as it is told before it runs. */
export interface InjectedBroker {
    readonly url: string
    /** SHA-256 of its public key, as `sha256/…`. */
    readonly pins: readonly string[]
    /** What it is asked for: REPOSITORY/TYPE/TAG, with `*` within a name. */
    readonly allowPaths: readonly string[]
}

/** By GUIDs, in lower case. */
export interface LaunchSecrets {
    /** Those that are there still. @throws AttestError of drivers/errors.ts */
    list(): readonly string[]
    /** The caller wipes what it gets. @throws AttestError ERR_SECRET_MISSING */
    read(guid: string): Secret
    /** Takes it from the guest's memory; until the next launch nobody gets it any more. @throws AttestError */
    wipe(guid: string): void
}

export interface MeasurementRegister {
    /** `rtmr0`, `mrtd`. */
    readonly name: string
    /** Of the hash that extends it; null where it is no digest. */
    readonly algorithm: string | null
    readonly value: Buffer
    readonly extensible: boolean
}

/**
 * What a derived key is bound to: SNP's GUEST_FIELD_SELECT, and the versions that are mixed in: this guest's own unless
 * told, and none that is higher.
 */
export interface KeySelector {
    /** Names of the manifest's `keyFields`. */
    readonly fields: readonly string[]
    readonly privilegeLevel?: number
    readonly guestSvn?: number
    readonly tcbVersion?: bigint
}

/** What a derived key can be bound to, by name. A key that lacks a strict one, others could obtain as well. */
export type KeyFields = Readonly<Record<string, { readonly strict: boolean }>>
