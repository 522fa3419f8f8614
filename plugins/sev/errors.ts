// What can be wrong with SEV's certificates, sessions, measurements, secrets, reports and proofs, and how they miss a policy.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const SEV_ERRORS = {
    ERR_SEV_CERTIFICATE: { exit: 1, means: 'a certificate of SEV is malformed, or not of the kind that was expected' },
    ERR_SEV_ROOT: { exit: 1, means: "the root certificate is none of AMD's" },
    ERR_SEV_CHAIN: { exit: 1, means: 'a certificate is not signed by the key that it must be signed by' },
    ERR_SEV_CEK_UNSIGNED: {
        exit: 3,
        means: "the chip's certificate carries no signature of AMD, as hosts export it, and no signed one was given",
    },
    ERR_SEV_OWNER: { exit: 1, means: 'the platform belongs to another owner than the one that was expected' },
    ERR_SEV_CHIP: { exit: 1, means: 'the platform’s chip is none of those that are accepted' },
    ERR_SEV_LAUNCH: { exit: 2, means: 'a guest cannot be registered as it is described' },
    ERR_SEV_GUEST_POLICY: { exit: 2, means: 'the policy of the launch is malformed' },
    ERR_SEV_GUEST_POLICY_WEAK: { exit: 2, means: 'the policy of the launch lacks a protection that is required' },
    ERR_SEV_API: {
        exit: 1,
        means: 'the firmware of the platform, or that which made its keys, is older than is accepted',
    },
    ERR_SEV_MEASUREMENT: { exit: 1, means: 'the launch measurement is not the one that was expected' },
    ERR_SEV_SESSION: { exit: 1, means: 'a session does not open with this key, or is for another policy' },
    ERR_SEV_SECRET: { exit: 2, means: 'the secrets cannot be injected as they are: a GUID, a size' },
    ERR_SEV_SECRET_TABLE: { exit: 1, means: 'a table of secrets is malformed' },
    ERR_SEV_PACKET: { exit: 1, means: 'a packet of secrets is not authentic, or for another launch' },
    ERR_SEV_REPORT: { exit: 1, means: 'the attestation report is malformed' },
    ERR_SEV_SIGNATURE: { exit: 1, means: 'the signature of the attestation report does not verify' },
    ERR_SEV_REPORT_UNEXPECTED: { exit: 1, means: 'the attestation report is authentic, and not what was expected' },
    ERR_SEV_EVIDENCE: { exit: 1, means: 'the evidence of an attestation evidence broker is malformed' },
    ERR_SEV_AEB_REFUSED: { exit: 1, means: 'an attestation evidence broker refuses, or is none' },
    ERR_SEV_AEB_UNREACHABLE: {
        exit: 3,
        passes: true,
        means: 'an attestation evidence broker could not be reached, broke off, or has no answer now',
    },
    ERR_SEV_CLIENT: { exit: 1, means: 'the key that a launch service injects is malformed, or of another version' },
    ERR_SEV_POSSESSION: {
        exit: 1,
        means: 'a proof of possession is malformed, or not made with the key of its launch',
    },
    ERR_SEV_POSSESSION_KEY: {
        exit: 3,
        means: 'a proof of possession can be judged by the broker that launched the guest, and by nobody else',
    },
    ERR_SEV_NOT_LAUNCHED: { exit: 1, means: 'no launch of this broker has that launch id, or its key has ended' },
    ERR_SEV_POLICY_FILE: { exit: 1, means: 'an appraisal policy is malformed' },
    ERR_SEV_POLICY_MEASUREMENT: { exit: 1, means: 'the launch digest is none of those that the policy accepts' },
    ERR_SEV_POLICY_CPU_STATE: { exit: 1, means: 'nothing of the guest’s processors was measured (no ES)' },
    ERR_SEV_POLICY_MIGRATION: { exit: 1, means: 'the host may send the guest away, and so read it' },
    ERR_SEV_POLICY_API: { exit: 1, means: 'the firmware of the platform is older than the policy accepts' },
    ERR_SEV_POLICY_CHIP: { exit: 1, means: 'the chip is none of those that the policy accepts' },
    ERR_SEV_POLICY_GUEST: { exit: 1, means: 'the guest was registered by another UUID than the policy accepts' },
} as const satisfies ErrorTable

export const sevError = errorsOf(SEV_ERRORS)
