// Where a broker's administration has a guest.
// SPDX-License-Identifier: Apache-2.0

import { readUuid } from '../../options/uuid.ts'

/** @throws AttestError ERR_USAGE */
export const vmPath = (uuid: unknown): string => `/v1/vm/${readUuid(String(uuid))}`
