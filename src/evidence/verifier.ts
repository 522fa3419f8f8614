// What the verifying half of a plugin offers: is it authentic, is it acceptable, and what does it say.
// Nothing here touches a door of the kernel: this half runs on any operating system.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import type { Evidence, TeeId } from '#drivers/driver.ts'
import type { LaunchedGuests } from './launch.ts'
import type { Claims, Weakness } from './verdict.ts'

/** Bytes with the name that a person knows them by: a path, or where in the evidence they stood. */
export interface NamedBytes {
    readonly name: string
    readonly bytes: Buffer
}

/** What authenticity is judged by. Nothing that evidence brings is ever an anchor. */
export interface Trust {
    /** Root certificates that replace the built-in ones. Absent: the vendor's keys, which are built in. */
    readonly roots?: readonly NamedBytes[]
    /** Certificates that help to lead from the signing key to a root, and are trusted for nothing. */
    readonly certificates: readonly NamedBytes[]
    readonly revocationLists: readonly NamedBytes[]
    /** What the vendor signed of its platforms, as JSON: TDX's TCB info and QE identity, alone or in a bundle. */
    readonly statements: readonly NamedBytes[]
    /** Go on where no revocation list was given; it is listed as not checked. */
    readonly withoutRevocation: boolean
    /** Go on where the vendor's word on the platform is missing; it is listed as not checked. */
    readonly withoutStatus: boolean
    /** Statuses of a platform that are accepted beside the best one, in the vendor's words. */
    readonly acceptStatuses: readonly string[]
    /** The guests that whoever judges has launched. Absent: none, and a key of a launch proves nothing. */
    readonly launches?: LaunchedGuests
}

/** What a measurement can cover, from the least on; the host chooses the rest. */
export type Coverage = 'firmware' | 'firmware+kernel+initrd+cmdline'

/** Evidence that is authentic: made by that vendor's hardware, at a time when its keys were good. */
export interface Authentic {
    readonly tee: TeeId
    readonly claims: Claims
    /** What the guest put in: 64 bytes. */
    readonly reportData: Buffer
    /** What the guest was launched with, lower-case hex. */
    readonly measurement: string
    /** What names this launch of this guest, or null where the technology has no such thing. */
    readonly guestId: string | null
    /** True where a root that the caller gave vouches, instead of the vendor's. */
    readonly customRoot: boolean
    readonly revocationChecked: boolean
    /** True where the root or the signing key is marked as an emulator's. */
    readonly emulated: boolean
    readonly weaknesses: readonly Weakness[]
    /** What its owner lets it ask for: REPOSITORY/TYPE/TAG, with `*` within a name. Absent: whatever the rules permit. */
    readonly allowPaths?: readonly string[]
}

/** A plugin's own appraisal policy, checked: what `Verifier.readPolicy` returned. */
export type Policy = { readonly __policy: unique symbol }

/**
 * Something that a broker refuses unless the rule that permits carries this switch. One that the technology's vocabulary
 * does not have is let through by no rule: none can name it.
 */
export interface FloorFinding {
    readonly switch: `insecure${string}`
    readonly detail: string
}

/** How a report is shown to a person. */
export interface FieldLine {
    readonly name: string
    readonly value: string
    readonly means: string
}

/** What a boot measured, by its log. */
export interface BootLog {
    readonly events: readonly {
        readonly register: string
        readonly type: string
        /** In words; `proven`: they are what was measured, not only the log's name for it. */
        readonly text: string
        readonly proven: boolean
        /** Lower-case hex. */
        readonly digest: string
    }[]
    readonly claims: Claims
}

/** Writes the primary evidence of the key broker protocol: a JSON value of the technology's own shape. */
export interface KbsEvidence {
    /** @throws AttestError where the form cannot hold this evidence */
    toKbs(evidence: Evidence): unknown
}

/** The forms in which a guest hands its evidence over. */
export interface EvidenceForms extends KbsEvidence {
    /** The technology's own bytes: what `Verifier.recognise` takes. */
    toRaw(evidence: Evidence): Buffer
    /** What a person should know of this evidence before it is sent anywhere. */
    notes(evidence: Evidence): readonly string[]
}

/** Bytes that are no evidence, and known all the same. */
export interface Mistaken {
    readonly what: string
    readonly is: (bytes: Buffer) => boolean
    /** What a person should know of it, and who judges it. */
    readonly hint?: string
    /** Every field of it, which nobody has verified. Absent: nothing of it can be shown. @throws AttestError malformed */
    readonly describe?: (bytes: Buffer) => readonly FieldLine[]
}

export interface Verifier extends KbsEvidence {
    readonly tee: TeeId
    /** What `recognise` takes, for a person: `a report (1184 bytes)`. */
    readonly forms: string
    /** What people take for evidence of the technology, and is none. */
    readonly mistaken?: readonly Mistaken[]
    /** What `takesRoot` takes, for a person. */
    readonly roots: string
    /** Whether this is a root certificate of the technology. @throws AttestError ERR_CERTIFICATE */
    takesRoot(root: NamedBytes): boolean
    /** The inverse of toKbs. Null: not mine. @throws AttestError mine, and malformed */
    fromKbs(primary: unknown): Evidence | null
    /** The names of the checks of authenticity, and of appraisal, in their order. */
    readonly checkNames: {
        readonly authentic: readonly string[]
        /** Those of `judgeStatus`. */
        readonly status?: readonly string[]
        readonly appraisal: readonly string[]
    }
    /** The claim that each check of appraisal judges, as a dotted path: what a guest may be told of its own. */
    readonly appraisedClaims: Readonly<Record<string, string>>
    /**
     * Evidence in the technology's own binary form. Null: not mine.
     * @throws AttestError mine, and malformed
     */
    recognise(bytes: Buffer): { readonly evidence: Evidence; readonly form: string } | null
    /**
     * What the guest put in, of evidence that `fromKbs` or `recognise` has made: nothing of it is verified. For those who
     * refuse what is meant for somebody else before they work on it.
     * @throws AttestError where it is malformed
     */
    reportDataOf(evidence: Evidence): Buffer
    /** Claims, as dotted paths, that may be too long for a token. Absent: none. */
    readonly longClaims?: readonly string[]
    /**
     * Reads all that the trust says, where the first evidence would. Absent: it was read when the verifier was made, or
     * costs nothing.
     * @returns what of it counts for nothing, for a log
     * @throws AttestError it cannot be read, and no evidence can be judged by it
     */
    ready?(): readonly string[]
    /** Asked by authenticate.ts alone. @throws AttestError of the first check that fails; what exits with 3 leaves the verdict open */
    authenticate(evidence: Evidence, at: Date, checks: Checks): Authentic
    /**
     * What the vendor says of the platform's firmware (TDX: its TCB status), and whether the trust or this policy
     * accepts that. It belongs to authenticity, and stands apart because a broker knows the policy later than the
     * evidence. Absent: the vendor says nothing.
     * @throws AttestError where it is not accepted; with exit 3 where the vendor's word is missing or has expired
     */
    judgeStatus?(authentic: Authentic, policy: Policy | null, at: Date, checks: Checks): void
    /** An appraisal policy as TOML members. @throws AttestError of the plugin, naming the member */
    readPolicy(members: Readonly<Record<string, unknown>>, title: string): Policy
    /** The strictest policy that this evidence passes, as commented TOML. */
    writePolicy(authentic: Pick<Authentic, 'claims'>): string
    /** @throws AttestError of the first check that fails; checks that the policy does not name are skipped by name */
    appraise(authentic: Authentic, policy: Policy, checks: Checks): void
    /** The measurements that a policy accepts, lower-case hex; null where it accepts any. */
    measurementsOf(policy: Policy): readonly string[] | null
    /** The same policy, but for these measurements (hex). @throws AttestError of the plugin */
    withMeasurements(policy: Policy, measurements: readonly string[], title: string): Policy
    /**
     * The most that a policy can cover: what is measured apart counts where the policy names it. Absent: the evidence
     * cannot tell, and the operator's word is taken.
     */
    covers?(policy: Policy): Coverage
    /**
     * The log of a boot, to know guests before one of them has proved itself: what it says was measured, and the claims
     * that its registers would be. It is nobody's word until a person has looked at it. Null: not mine. Absent: the
     * technology has none.
     * @throws AttestError mine, and malformed
     */
    readEventLog?(bytes: Buffer, measurement: string | null): BootLog | null
    /**
     * Whether what the guest proved itself with counts still: a broker asks at each release, long after the proof. No rule
     * lets a guest through whose does not. Absent: a proof does not end before its session.
     */
    stillHolds?(authentic: Authentic): boolean
    /**
     * What the floor of a broker has against this evidence under the policy of a reference set, and what that set says
     * that it covers; null where no set matches.
     */
    floor(
        authentic: Authentic,
        set: { readonly policy: Policy; readonly coverage: Coverage } | null,
    ): readonly FloorFinding[]
    /** Every field of evidence that nobody has verified. */
    describe(evidence: Evidence): readonly FieldLine[]
}
