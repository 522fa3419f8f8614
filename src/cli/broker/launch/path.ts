// Where a broker's administration has a guest.
// SPDX-License-Identifier: Apache-2.0

/** The UUID as it stands in the URL; the broker judges it. */
export const vmPath = (uuid: unknown): string => `/v1/vm/${encodeURIComponent(String(uuid))}`
