// The name of an option that a technology brings, as it stands on the command line.
// SPDX-License-Identifier: Apache-2.0

/** `hostData` is `--host-data`. */
export const spelled = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
