// The strictest trust there is: the vendors' roots, nothing else given, and nothing left out. Others are made from it.
// SPDX-License-Identifier: Apache-2.0

import type { Trust } from './verifier.ts'

export const STRICT_TRUST: Trust = {
    certificates: [],
    revocationLists: [],
    statements: [],
    withoutRevocation: false,
    withoutStatus: false,
    acceptStatuses: [],
}
