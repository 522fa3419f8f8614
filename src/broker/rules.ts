// Policies and reference sets as they are in force, compiled from what the audit log says.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, messageOf } from '#core/errors.ts'
import type { Logger } from '#core/log.ts'
import type { Verifier } from '#evidence/verifier.ts'
import { brokenPolicies, compilePolicies, type Policies, type PolicyFile } from './decision/policies.ts'
import { type BrokenReference, type ReferenceSet, storedReference } from './decision/references.ts'
import type { Technology } from './decision/schema.ts'
import type { State } from './state.ts'

export interface Rules {
    readonly policies: Policies
    readonly references: readonly (ReferenceSet | BrokenReference)[]
    /** What these files would be, together. @throws AttestError ERR_BROKER_POLICY */
    compile(files: readonly PolicyFile[]): Policies
    /** Takes compiled policies into force. */
    use(policies: Policies): void
    /** Reads the reference sets of the state again. */
    reload(): void
}

export interface RulesOptions {
    readonly state: State
    readonly technologies: readonly Technology[]
    readonly verifiers: () => ReadonlyMap<string, Verifier>
    readonly log: Logger
}

export function openRules({ state, technologies, verifiers, log }: RulesOptions): Rules {
    const compile = (files: readonly PolicyFile[]) => compilePolicies(files, technologies)

    // What was valid when it was stored may not be for a later version of this program: then nothing is released,
    // and the administrator can still put it right.
    const compileStored = (): Policies => {
        try {
            return compile([...state.policies.values()])
        } catch (error) {
            if (!(error instanceof AttestError)) throw error
            log.error('the stored policies are not valid: nothing is released', { reason: messageOf(error) })
            return brokenPolicies(messageOf(error))
        }
    }
    const readStored = () =>
        [...state.references.values()].map((entry) => {
            const reference = storedReference(entry, verifiers())
            if ('broken' in reference)
                log.error('a stored reference set cannot be read: nothing matches it', {
                    set: reference.name,
                    reason: reference.broken,
                })
            return reference
        })

    let policies = compileStored()
    let references = readStored()
    return {
        get policies() {
            return policies
        },
        get references() {
            return references
        },
        compile,
        use(compiled) {
            policies.close()
            policies = compiled
        },
        reload() {
            references = readStored()
        },
    }
}
