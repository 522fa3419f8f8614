// Where the host of a guest answers as an attestation evidence broker, unless told: the port of the software of 2022.
// SPDX-License-Identifier: Apache-2.0

const AEB_PORT = 5577

/** As the host names it, for all of its guests. */
export const AEB_LISTEN = `vsock:${AEB_PORT}`

/** As a guest does. */
export const AEB_HOST = `vsock://2:${AEB_PORT}`
