// What predicts the measurement of a guest from what it is launched with: the type of a plugin's `measure.ts`, which is
// pure, and its options as data, so that one command line serves every technology.
// SPDX-License-Identifier: Apache-2.0

/** Loaded by `measure` alone. */
export interface Measure<Rows extends MeasureRows = MeasureRows> {
    /** By their names in camel case: `twoPass` is `--two-pass`. */
    readonly options: Rows
    /** For `--help`: what is measured, and what a person must know of it. */
    readonly details: string
    /** What follows `measure X`, and what it does. */
    readonly examples: readonly (readonly [line: string, what: string])[]
    /** @throws AttestError of the plugin, or ERR_USAGE where options do not go together */
    measure(values: MeasureValues<Rows>): Prediction
    /** There is one measurement: a person gets it alone on standard output, as from the tools that others wrote. */
    readonly alone?: true
    /** Looks for what was measured: `--match`. Absent: nothing can be searched. */
    readonly search?: Search<Rows>
}

export interface Search<Rows extends MeasureRows = MeasureRows> {
    /** Bytes of the measurement. */
    readonly size: number
    /** What is searched, for `--help` and where nothing fits. */
    readonly searched: string
    /** The measurement that evidence in its own binary form carries; null: not mine. @throws AttestError malformed */
    reported(evidence: Buffer): Buffer | null
    /** What stands in the values is tried first. @throws AttestError as `measure` */
    search(values: MeasureValues<Rows>, wanted: Buffer): readonly Fit[]
}

/** Inputs that lead to a measurement: the nearest to those that were given come first. */
export interface Fit {
    readonly inputs: Readonly<Record<string, string | number>>
    /** Those of them that are others than the caller's, by their names. */
    readonly differs: readonly string[]
}

export type MeasureRows = Readonly<Record<string, MeasureRow>>

/** An option of `measure` that is one technology's own. */
export interface MeasureRow {
    readonly type: keyof MeasureTypes
    readonly describe: string
    readonly required?: true
    /** What a `choice` may be; the first is the one that is meant where nothing is said. */
    readonly choices?: readonly string[]
    /** Largest file that is read; 64 MiB unless told. */
    readonly maxBytes?: number
}

/**
 * `hashed`: a file of any size, of which the digest alone is needed. `size`: bytes, or with K, M, G (1024). `choice` and
 * `flag` always have a value.
 */
export interface MeasureTypes {
    readonly file: InputFile
    readonly files: readonly InputFile[]
    readonly hashed: HashedFile
    readonly flag: boolean
    readonly number: number
    readonly size: number
    readonly word: bigint
    readonly bytes: Buffer
    readonly text: string
    readonly choice: string
}

/** A file that was measured, by the name under which it was given. */
export interface InputFile {
    readonly name: string
    readonly bytes: Buffer
}

/** A file of which what its digest says was measured. */
export interface HashedFile {
    readonly name: string
    readonly size: number
    readonly sha256: Buffer
}

type Always = { readonly type: 'flag' | 'choice' } | { readonly required: true }

export type MeasureValues<Rows extends MeasureRows> = {
    readonly [K in keyof Rows as Rows[K] extends Always ? K : never]: MeasureTypes[Rows[K]['type']]
} & {
    readonly [K in keyof Rows as Rows[K] extends Always ? never : K]?: MeasureTypes[Rows[K]['type']]
}

export interface Prediction {
    /**
     * What evidence of such a guest carries, lower-case hex: its launch measurement first, and what else by the names of
     * the policy's members.
     */
    readonly measurements: Readonly<Record<string, string>>
    /** What these values cover together, in the words of a broker's reference sets. */
    readonly coverage: 'firmware' | 'firmware+kernel+initrd+cmdline'
    /** What else must hold for that coverage, or why it is not more. */
    readonly coverageNote: string
    /** What the options left to be assumed: another host or firmware gives other values. */
    readonly assumed: readonly string[]
    /** What evidence carries and nothing here predicts, and where to take it from. */
    readonly unpredicted: Readonly<Record<string, string>>
    /** Inputs as they were in force, beside those that were given. */
    readonly inForce?: Readonly<Record<string, string | number>>
    /** What else was made or read, by its name. */
    readonly also?: Readonly<Record<string, string | number>>
    /** What is to be written, at the caller's word. */
    readonly files?: readonly { readonly path: string; readonly bytes: Buffer }[]
}
