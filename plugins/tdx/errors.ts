// What can be wrong with a TDX quote, its certificates, Intel's collateral, and what they are compared with.
// ERR_TDX_POLICY_* is appraisal: the quote is authentic, and not what was asked for.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const TDX_ERRORS = {
    ERR_TDX_QUOTE: { exit: 1, means: 'the quote is malformed, or has a version or type that is not supported' },
    ERR_TDX_EVIDENCE: { exit: 1, means: "the evidence has not the shape of the key broker protocol's TDX evidence" },
    ERR_TDX_CERTIFICATION: { exit: 1, means: 'the quote does not carry the certificates of its signing key' },
    ERR_TDX_CHAIN: { exit: 1, means: 'a certificate does not lead to a root that is trusted' },
    ERR_TDX_PCK: { exit: 1, means: "the PCK certificate's SGX extension is missing or malformed" },
    ERR_TDX_TIME: { exit: 1, means: 'a certificate has expired, or is not valid yet' },
    ERR_TDX_CRL: { exit: 3, means: 'a revocation list is not signed by whom it should be, or is malformed' },
    ERR_TDX_CRL_MISSING: { exit: 3, means: 'no revocation list was given' },
    ERR_TDX_REVOKED: { exit: 1, means: 'a certificate is revoked' },
    // Whoever judges brings it: what is wrong with it says nothing of the quote.
    ERR_TDX_COLLATERAL: {
        exit: 3,
        means: "a statement of Intel's is malformed, not signed by Intel, or for another platform",
    },
    ERR_TDX_COLLATERAL_MISSING: { exit: 3, means: 'statements of Intel on this platform were not given' },
    ERR_TDX_COLLATERAL_TIME: { exit: 3, means: 'statements or lists of Intel have expired, or are not valid yet' },
    ERR_TDX_MODULE: { exit: 1, means: 'the TDX module is not one that Intel names' },
    ERR_TDX_QE: {
        exit: 1,
        means: 'the quoting enclave is not the one that Intel names, or its report does not verify',
    },
    ERR_TDX_SIGNATURE: { exit: 1, means: 'the signature of the quote does not verify' },
    ERR_TDX_STATUS: { exit: 1, means: 'the vendor does not call the firmware of this platform up to date' },
    ERR_TDX_EVENT_LOG: {
        exit: 1,
        means: 'the event log is malformed, or does not replay to the registers of the quote',
    },
    ERR_TDX_WRONG_QUOTE: { exit: 3, means: 'the guest got a quote that does not carry what was asked for' },
    ERR_TDX_FIRMWARE: { exit: 1, means: 'the firmware has no TDX metadata, or metadata that is malformed' },
    ERR_TDX_KERNEL: { exit: 1, means: 'the kernel is none that a TD can be booted with directly' },
    ERR_TDX_POLICY_FILE: { exit: 2, means: 'the appraisal policy is malformed' },
    ERR_TDX_POLICY_MEASUREMENT: { exit: 1, means: 'the firmware (MRTD) is none of those that are accepted' },
    ERR_TDX_POLICY_RTMR: { exit: 1, means: 'a register that the guest measures into has none of the accepted values' },
    ERR_TDX_POLICY_CONFIG: { exit: 1, means: 'what the host gave at launch is not what is accepted' },
    ERR_TDX_POLICY_SERVICE_TD: { exit: 1, means: 'a service TD is bound to the guest, and is not accepted' },
    ERR_TDX_POLICY_DEBUG: { exit: 1, means: 'the host may look into the guest' },
    ERR_TDX_POLICY_MIGRATION: { exit: 1, means: 'the guest may be migrated' },
    ERR_TDX_POLICY_ATTRIBUTES: { exit: 1, means: 'the attributes or features of the guest are not accepted' },
    ERR_TDX_POLICY_MODULE: { exit: 1, means: 'the TDX module is not accepted' },
    ERR_TDX_POLICY_TCB: { exit: 1, means: 'firmware, enclaves or statements are older than what is accepted' },
    ERR_TDX_POLICY_ADVISORY: { exit: 1, means: 'the platform is open to an advisory that is not accepted' },
    ERR_TDX_POLICY_PLATFORM: { exit: 1, means: 'the platform is none of those that are accepted' },
    ERR_TDX_POLICY_EVENT_LOG: { exit: 1, means: 'the event log is missing, or has an event that is not accepted' },
} as const satisfies ErrorTable

export const tdxError = errorsOf(TDX_ERRORS)
