// What brokers, or the way to them, answered: what kinds of errors mean to a guest that waits for its key.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, errnoOf } from '#core/errors.ts'

/** What a broker has decided about this guest. */
const DENIALS: readonly (string | undefined)[] = ['ERR_KBS_DENIED', 'ERR_KBS_ATTESTATION', 'ERR_KBS_VERSION_RETIRED']

/** What somebody has to put right at the broker. */
const LACKS: readonly (string | undefined)[] = ['ERR_KBS_NOT_FOUND', 'ERR_KBS_RESOURCE', 'ERR_UNLOCK_KEY']

const NO_NETWORK: readonly (string | undefined)[] = ['ENETUNREACH', 'EHOSTUNREACH', 'EAI_AGAIN', 'ENETDOWN']

export const lacks = (error: unknown): boolean => LACKS.includes(errnoOf(error))

export const isDenial = (error: unknown): boolean => DENIALS.includes(errnoOf(error))

export const hasNoNetwork = (error: unknown): boolean =>
    error instanceof AttestError && NO_NETWORK.includes(errnoOf(error.cause))

/** Of what several brokers said, a denial says more than a broker that has no such path. */
export const decisive = (errors: readonly unknown[]): unknown => errors.find(isDenial) ?? errors.at(-1)
