// Sizes on which guests, verifiers and the kernel's interfaces agree.
// SPDX-License-Identifier: Apache-2.0

/** What a report or a quote carries of the guest's choice: REPORT_DATA of SEV-SNP, REPORTDATA of TDX. In bytes. */
export const REPORT_DATA_SIZE = 64

/** The most bytes of an event log that a guest hands on and a verifier reads: firmware reserves 64 KiB to 1 MiB. */
export const MAX_EVENT_LOG_SIZE = 2 << 20

/** The most bytes that firmware puts into a guest as a table of secrets, and so of any one of them. */
export const MAX_SECRET_AREA = 0x4000

/** What names a launch of a launch service, and the key of a guest that was launched. In bytes. */
export const LAUNCH_ID_SIZE = 16
export const CLIENT_KEY_SIZE = 32
