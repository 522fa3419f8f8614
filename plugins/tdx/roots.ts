// Intel's root key of SGX and TDX: the trust anchor, as figures. The fingerprint is the SHA-256 of the certificate
// (DER) that Intel publishes:
// https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer (Intel SGX PCK
// Certificate and CRL Profile Specification, rev 1.5). Compare them before you trust a build.
// SPDX-License-Identifier: Apache-2.0

/** A key on P-256. */
export interface VendorKey {
    readonly cn: string
    /** Its name in DER, hex: what its certificates and revocation lists have as their issuer. */
    readonly name: string
    /** Of its certificate, lower-case hex without leading zeros. */
    readonly serial: string
    readonly notBefore: string
    readonly notAfter: string
    /** SHA-256 of its certificate. */
    readonly sha256: string
    /** The point, base64url. */
    readonly x: string
    readonly y: string
}

export const VENDOR_ROOT: VendorKey = {
    cn: 'Intel SGX Root CA',
    name: '3068311a301806035504030c11496e74656c2053475820526f6f74204341311a3018060355040a0c11496e74656c20436f72706f726174696f6e3114301206035504070c0b53616e746120436c617261310b300906035504080c024341310b3009060355040613025553',
    serial: '22650cd65a9d3489f383b49552bf501b392706ac',
    notBefore: '2018-05-21T10:45:10.000Z',
    notAfter: '2049-12-31T23:59:59.000Z',
    sha256: '44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3',
    x: 'C6nEwMDIYZOj_iPWsCzaEKi71OiOSLRFhWGjbnBVJfU',
    y: 'Z5GOLtyI5A2GC9DMTuJqrMmI5QWpU1WMRT9rCQSuc5Q',
}
