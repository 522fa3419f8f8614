// The manifest of a technology: what the centre knows of it. To add one, write a folder beside `snp/` with the same file
// names, and one line in src/plugins.ts; CONTRIBUTING.md says in which order.
// SPDX-License-Identifier: Apache-2.0

import type { ErrorTable } from '#core/errors.ts'
import type { Driver, KeyFields } from '#drivers/driver.ts'
import type { Emulator } from '#emulator/model.ts'
import type { Vocabulary } from '#evidence/claims.ts'
import type { CollateralService } from '#evidence/collateral-service.ts'
import type { LaunchService } from '#evidence/launch.ts'
import type { Measure } from '#evidence/measure.ts'
import type { EvidenceForms, Trust, Verifier } from '#evidence/verifier.ts'

/** A technology: its guests, what they prove themselves with, and who judges that. */
export interface Plugin {
    /** Also the value of `--tee`. */
    readonly id: string
    readonly title: string
    readonly errors: ErrorTable
    /** What the keys of its guests can be bound to. Absent: there are no such keys. */
    readonly keyFields?: KeyFields
    /** What its guests call a level of privilege, of which evidence and keys speak. Absent: they have none. */
    readonly privilegeLevels?: string
    /** The kernel's modules that its guests answer through. An initrd has them, and loads them before it asks. */
    readonly modules?: readonly string[]
    /** Files that its driver reads, which an initrd has where the system it is built on has them. */
    readonly initrdFiles?: readonly string[]
    /** Loaded when a guest is looked for. */
    driver(): Promise<Driver>
    /** Predicts the measurement of a guest; loaded by `measure` alone. */
    measure?(): Promise<Measure>
    /** Guests that their owner proves before they run; loaded by brokers. */
    launch?(): Promise<LaunchService>
    /** Loaded by `emulate` alone, and not part of the initrd program. */
    emulator?(): Promise<Emulator>
    /** Its names as `tee` of the key broker protocol's request. */
    readonly kbsNames: readonly string[]
    /** What its measurement covers, for whoever rebuilds an initrd. */
    readonly coverage: string
    /** The forms of its evidence; loaded by whoever sends it. */
    forms(): Promise<EvidenceForms>
    /** What the rules of a broker may say of its guests; loaded by brokers. */
    vocabulary(): Promise<Vocabulary>
    /** Loaded when evidence is judged. The verifier keeps what it has verified of chains under this trust. */
    verifier(trust: Trust): Promise<Verifier>
    /** Fetches and looks after what its evidence is judged by; loaded by `collateral`, brokers, and whoever fetches. */
    collateral?(): Promise<CollateralService>
}
