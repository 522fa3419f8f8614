// The forms in which a guest hands over its SNP evidence, and what a person should know of it first.
// SPDX-License-Identifier: Apache-2.0

import type { Evidence } from '#drivers/driver.ts'

export { toKbs } from './kbs-evidence.ts'

/** The report, and the host's certificate table behind it: the inverse of recognise.ts. */
export const toRaw = ({ report, certificates }: Evidence): Buffer =>
    certificates ? Buffer.concat([report, certificates]) : report

export const notes = ({ certificates }: Evidence): readonly string[] =>
    certificates
        ? []
        : ['the host gave no certificates: a verifier must fetch that of the signing key (`inspect` says where)']
