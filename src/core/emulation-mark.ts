// What marks the certificates of an emulator, so that `verify` can say so even where its root is trusted.
// SPDX-License-Identifier: Apache-2.0

/**
 * An extension of the certificates that an emulator mints, whatever vendor it plays; its content is the text
 * `emulated`. Under the enterprise number that is set aside for documentation (RFC 5612), which no vendor's certificate
 * can carry.
 */
export const EMULATION_OID = '1.3.6.1.4.1.32473.7.1'
