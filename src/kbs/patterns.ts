// Patterns of resource paths: which ones somebody is trusted with.
// SPDX-License-Identifier: Apache-2.0

/** `*` stands for any text within one of the three names, never for a slash. */
export const PATH_PATTERN = /^[A-Za-z0-9_.*-]+\/[A-Za-z0-9_.*-]+\/[A-Za-z0-9_.*-]+$/

/** Whether a pattern allows a path: the same number of names, each matching, `*` any text within one. */
export function matchesPath(pattern: string, path: string): boolean {
    const escaped = pattern.split('*').map((part) => part.replaceAll('.', String.raw`\.`))
    return new RegExp(`^${escaped.join('[^/]*')}$`).test(path)
}
