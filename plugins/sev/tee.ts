// The name of the technology, in evidence, policies and on the command line.
// SPDX-License-Identifier: Apache-2.0

export const TEE = 'sev'
