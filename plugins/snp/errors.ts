// What can be wrong with an SNP report, its certificates and what they are compared with.
// ERR_SNP_POLICY_* is appraisal: the report is authentic, and not what was asked for.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const SNP_ERRORS = {
    ERR_SNP_LENGTH: { exit: 1, means: 'the report has not 1184 bytes' },
    ERR_SNP_VERSION: { exit: 1, means: 'the report has a version that is not supported' },
    ERR_SNP_FIELD: { exit: 1, means: 'a field of the report has a value that its specification does not allow' },
    ERR_SNP_EVIDENCE: { exit: 1, means: "the evidence has not the shape of the key broker protocol's SNP evidence" },
    ERR_SNP_CERT_TABLE: { exit: 1, means: 'the certificate table of the host is malformed' },
    ERR_SNP_PRODUCT_LINE: { exit: 1, means: 'the product line is unknown, or report and certificate disagree on it' },
    ERR_SNP_NO_VEK: {
        exit: 3,
        means: 'neither the evidence nor the caller brought the certificate of the signing key',
    },
    ERR_SNP_VEK_KIND: { exit: 1, means: 'the certificate is of another kind (VCEK, VLEK) than the key that signed' },
    ERR_SNP_VEK_EXTENSION: { exit: 1, means: 'an extension of the certificate is missing, repeated or out of range' },
    ERR_SNP_VEK_TCB: { exit: 1, means: 'the certificate is for another TCB than the one that the report names' },
    ERR_SNP_CHIP_ID: { exit: 1, means: 'the certificate is for another chip than the one that made the report' },
    ERR_SNP_CHAIN: { exit: 1, means: 'the certificate does not lead to a key that is trusted' },
    ERR_SNP_TIME: { exit: 1, means: 'a certificate has expired, or is not valid yet' },
    ERR_SNP_CRL: { exit: 1, means: 'a revocation list is not signed by the root, has expired, or is not valid yet' },
    ERR_SNP_CRL_MISSING: { exit: 3, means: 'no revocation list was given' },
    ERR_SNP_REVOKED: { exit: 1, means: 'the intermediate certificate is revoked' },
    ERR_SNP_SIGNATURE: { exit: 1, means: 'the signature of the report does not verify' },
    ERR_SNP_HOST_REQUESTED: { exit: 1, means: 'the host asked for the report, not the guest' },
    ERR_SNP_WRONG_REPORT: { exit: 3, means: 'the device returned a report that does not carry what was asked for' },
    ERR_SNP_ID_BLOCK: {
        exit: 1,
        means: 'an ID block or its authentication is malformed, or its signatures do not verify',
    },
    ERR_SNP_POLICY_FILE: { exit: 2, means: 'the appraisal policy is malformed' },
    ERR_SNP_POLICY_MEASUREMENT: { exit: 1, means: 'the measurement is none of those that are accepted' },
    ERR_SNP_POLICY_PRODUCT_LINE: { exit: 1, means: 'the product line is not accepted' },
    ERR_SNP_POLICY_TCB: { exit: 1, means: 'the TCB is older than the least that is accepted' },
    ERR_SNP_POLICY_DEBUG: { exit: 1, means: 'the guest may be debugged by its host' },
    ERR_SNP_POLICY_MIGRATION: { exit: 1, means: 'the guest may be migrated' },
    ERR_SNP_POLICY_VMPL: { exit: 1, means: 'the report speaks for a less privileged level than is accepted' },
    ERR_SNP_POLICY_CHIP_ID: { exit: 1, means: 'the chip is none of those that are accepted' },
    ERR_SNP_POLICY_HOST_DATA: { exit: 1, means: 'the host data are not those that are accepted' },
    ERR_SNP_POLICY_ID_KEY: { exit: 1, means: 'the identity block was signed by none of the accepted keys' },
    ERR_SNP_POLICY_PLATFORM: { exit: 1, means: 'the platform lacks a protection that is required' },
    ERR_SNP_POLICY_SIGNING_KEY: { exit: 1, means: 'the kind of signing key is not accepted' },
    ERR_SNP_POLICY_VLEK_PROVIDER: { exit: 1, means: 'the provider that the VLEK was issued to is not accepted' },
} as const satisfies ErrorTable

export const snpError = errorsOf(SNP_ERRORS)
