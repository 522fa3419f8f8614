// What can go wrong in a broker: with its own data, with what an administrator asks, and why a guest is denied.
// ERR_BROKER_DENIED_* reach the guest as the `code` of an answer.
// SPDX-License-Identifier: Apache-2.0

import { type AttestError, type ErrorTable, errorsOf } from '#core/errors.ts'

export const BROKER_ERRORS = {
    ERR_BROKER_KEY: { exit: 3, means: 'a key file is missing, readable by others, or not the one that the data need' },
    ERR_BROKER_RUNNING: { exit: 3, means: 'another broker serves these data' },
    ERR_BROKER_STOPPED: { exit: 3, means: 'no broker serves these data' },
    ERR_BROKER_STORE: { exit: 3, passes: true, means: 'the database could not be read or written' },
    ERR_BROKER_AUDIT: { exit: 1, means: 'the audit log was altered: a record or its head is not what was written' },
    ERR_BROKER_ROLLBACK: { exit: 1, means: 'the audit log ends before a record that was known: it was put back' },
    ERR_BROKER_SIGNER: { exit: 3, means: 'the audit log is consistent, and nothing says whose key signed it' },
    ERR_BROKER_ROW: { exit: 1, means: 'a stored resource is not the one that the audit log recorded' },
    ERR_BROKER_POLICY: { exit: 2, means: 'a policy does not parse, or does not fit the schema' },
    ERR_BROKER_REFERENCE: { exit: 2, means: 'a reference set is malformed' },
    ERR_BROKER_NAME: { exit: 2, means: 'a name is not made of letters, digits, `_`, `-` and dots' },
    ERR_BROKER_REQUEST: { exit: 2, means: 'a request to the broker’s administration is malformed' },
    ERR_BROKER_EXISTS: { exit: 2, means: 'a disk key of that path is in use' },
    ERR_BROKER_NOT_FOUND: { exit: 1, means: 'the broker has nothing of that name' },
    ERR_BROKER_COLLATERAL: { exit: 2, means: 'the folder of certificates and revocation lists cannot be read' },
    ERR_BROKER_LISTEN: { exit: 3, means: 'the address cannot be listened on' },
    ERR_BROKER_TLS: { exit: 2, means: 'the certificate or key of the listener does not fit' },
    ERR_BROKER_DENIED_REFERENCE: { exit: 1, means: 'no reference set matches the guest' },
    ERR_BROKER_DENIED_FLOOR: { exit: 1, means: 'the floor has something against the guest that no rule lets through' },
    ERR_BROKER_DENIED_POLICY: { exit: 1, means: 'no rule of the policy permits it, or one forbids it' },
    ERR_BROKER_DENIED_EVALUATION: { exit: 1, means: 'the policy could not be evaluated, so nothing is released' },
    ERR_BROKER_LAUNCH: { exit: 1, means: 'a launch is refused: its limits, its token, or which launch is meant' },
    ERR_BROKER_LAUNCH_DENIED: { exit: 1, means: 'a launch is denied; why is for the owner of the guest alone' },
    ERR_BROKER_DENIED_ENDED: { exit: 1, means: 'what the guest proved itself with does not count any more' },
    ERR_BROKER_DENIED_PATH: { exit: 1, means: 'the guest was registered for other resources' },
    ERR_BROKER_DENIED_COUNT: { exit: 1, means: 'the resource was released as often as it may be' },
} as const satisfies ErrorTable

export type BrokerCode = keyof typeof BROKER_ERRORS

export const brokerError = errorsOf(BROKER_ERRORS)

/** These are no word on a guest or a host: the broker failed, and whoever asked tries again. */
const FAILURES: ReadonlySet<string> = new Set<BrokerCode>(['ERR_BROKER_STORE', 'ERR_BROKER_ROW', 'ERR_BROKER_KEY'])

export const isFailure = ({ code }: AttestError): boolean => FAILURES.has(code)
