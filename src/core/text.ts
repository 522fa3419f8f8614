// Text from outside, on its way to a person: what could draw on a console, turn the direction of writing, hide, or forge
// a second line (Unicode general categories Cc, Cf, Zl, Zp).
// SPDX-License-Identifier: Apache-2.0

export const CONTROLS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu

/** The same JSON, of one line, with escapes for such characters: they can stand in its strings alone. */
export const escapeControls = (json: string): string => json.replaceAll(CONTROLS, escaped)

const escaped = (controls: string): string =>
    Array.from({ length: controls.length }, (_, i) => `\\u${hex4(controls.charCodeAt(i))}`).join('')

const hex4 = (unit: number): string => unit.toString(16).padStart(4, '0')
