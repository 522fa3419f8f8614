// What a technology gives the emulator: what `emulate` can be told, and its devices as functions of bytes, which change
// nothing until they are told to. The emulator knows no vendor; plugins/X/emulate.ts is where the manifest leads.
// SPDX-License-Identifier: Apache-2.0

import type { constants } from 'node:os'
import type { Schema } from '#core/schema.ts'

/** Loaded by every `emulate`, twice: what plays a guest is loaded when it is asked for. */
export interface Emulator<Rows extends OptionRows = OptionRows> {
    /** Options of its own, by their names in camel case. Those of another technology are refused by name. */
    readonly options: Rows
    /** For `--help`: what the command finds, what is written, the requests that a script of faults can name. */
    readonly details: string
    /** What follows `emulate --tee X`, and what it does. */
    readonly examples: readonly (readonly [line: string, what: string])[]
    /** The faults that it can play, beside those of faults.ts. */
    faults(): Promise<FaultTable>
    /** Absent options: its own choice. @throws AttestError ERR_USAGE, naming the option */
    model(options: OptionValues<Rows>, deps: ModelDeps): Promise<DeviceModel>
    /**
     * Of the folder that `trustDir` names: the root that a verifier is told to trust, and the folder or file of what it
     * needs beside it. Absent: nobody vouches for its guests' evidence.
     */
    readonly trustFolder?: { readonly root: string; readonly collateral: string }
}

/** Of a technology whose vendor vouches for its platforms. */
export type VendorEmulator<Rows extends OptionRows = OptionRows> = Emulator<Rows> &
    Required<Pick<Emulator, 'trustFolder'>>

export type OptionRows = Readonly<Record<string, OptionRow>>

export interface OptionRow {
    readonly type: keyof OptionTypes
    readonly describe: string
}

/** `word`: up to 64 bits in hex. */
export interface OptionTypes {
    readonly bytes: Buffer
    readonly word: bigint
    readonly number: number
    readonly text: string
}

export type OptionValues<Rows extends OptionRows> = { readonly [K in keyof Rows]?: OptionTypes[Rows[K]['type']] }

export interface ModelDeps {
    readonly now: Date
    /** Says what takes long. */
    readonly progress: (text: string) => void
}

export interface DeviceModel {
    /** What is emulated, for a person. */
    readonly title: string
    /** Devices by their name under `/dev`. */
    readonly devices: Readonly<Record<string, Device>>
    /** What answers behind configfs-tsm. Absent: no provider is registered. */
    readonly tsm?: TsmProvider
    /** Further files by their absolute paths: what sysfs shows of the guest. Folders that are missing are made. */
    readonly files?: Readonly<Record<string, AttributeFile>>
    /** Folders by their absolute paths, each with all that is in it. Folders above that are missing are made. */
    readonly folders?: Readonly<Record<string, Readonly<Record<string, AttributeFile>>>>
}

export type ErrnoName = keyof typeof constants.errno

/** How a request ends. */
export interface Answer {
    /** It fails. What the model has written reaches the caller all the same, as it does behind a real driver. */
    readonly errno?: ErrnoName | undefined
    /** How long the caller waits for it. */
    readonly delayMs?: number | undefined
    /**
     * The changes of state. A model may run several times for one request, until it is known which memory it reads;
     * this is called once, for the run whose answer is sent.
     */
    readonly commit?: (() => void) | undefined
}

/** What a request meets. */
export interface Call {
    readonly faults: readonly Fault[]
    /** Milliseconds of a clock that never goes back. */
    readonly nowMs: number
}

export interface Device {
    /** Permission bits. */
    readonly mode: number
    /** The name of each ioctl, by its number: what a script of faults calls it. */
    readonly requests: Readonly<Record<number, string>>
    ioctl(call: IoctlCall, memory: UserMem): Answer
}

/** A binary attribute, as sysfs has them: each read(2) and write(2) reaches the model. */
export interface AttributeFile {
    /** Permission bits; they hold for root, too, as in sysfs. */
    readonly mode: number
    /** What stat(2) says. */
    readonly size: number
    /** What a script of faults calls reading, writing and removing it. Absent: no script reaches it. */
    readonly requests?: { readonly read?: string; readonly write?: string; readonly unlink?: string }
    /** The whole content. Absent: it is not read. */
    read?(call: Call): FileAnswer
    /** Absent: it is not written. */
    write?(write: FileWrite): Answer
    /** Absent: it cannot be removed from its folder. A file of `files` never can. */
    unlink?(call: Call): Answer
}

export interface FileAnswer extends Answer {
    readonly bytes: Buffer
}

export interface FileWrite extends Call {
    readonly offset: number
    readonly bytes: Buffer
}

export interface IoctlCall extends Call {
    readonly request: number
    /** The address of the argument, in the caller's memory like all that it points to. */
    readonly argument: bigint
}

/** The memory of the process that called. What cannot be reached ends the request with EFAULT. */
export interface UserMem {
    read(address: bigint, length: number): Buffer
    write(address: bigint, bytes: Uint8Array): void
}

/** A provider of configfs-tsm: Linux include/linux/tsm.h, struct tsm_report_ops. Its request is called `configfs`. */
export interface TsmProvider {
    readonly name: string
    /** The lowest privilege level that is accepted. Absent: the provider has no levels, and no such attributes. */
    readonly privlevelFloor?: number
    readonly hasAuxblob: boolean
    report(request: TsmRequest): TsmAnswer
}

export interface TsmRequest extends Call {
    readonly inblob: Buffer
    readonly privlevel: number
}

export interface TsmAnswer extends Answer {
    readonly outblob: Buffer
    readonly auxblob: Buffer
}

/** A fault that a request meets: its kind, and the parameters that the table asks for. */
export interface Fault {
    readonly kind: string
    readonly params: Readonly<Record<string, unknown>>
}

export type FaultTable = Readonly<Record<string, FaultKind>>

/** What the parameters of a fault of this kind are once they are read. */
export type FaultParams<T extends FaultTable, K extends keyof T> = {
    readonly [P in keyof T[K]['params']]: T[K]['params'][P] extends Schema<infer V> ? V : never
}

export interface FaultKind {
    readonly means: string
    // biome-ignore lint/suspicious/noExplicitAny: each parameter has a type of its own
    readonly params: Readonly<Record<string, Schema<any>>>
}
