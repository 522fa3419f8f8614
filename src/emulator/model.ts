// What a technology gives the emulator: its devices as pure functions of bytes. The emulator knows no vendor.
// SPDX-License-Identifier: Apache-2.0

/** What `emulate` was asked for. Absent: the model's own choice. */
export interface EmulatorOptions {
    readonly measurement?: Buffer
    readonly hostData?: Buffer
    readonly policy?: bigint
    readonly vmpl?: number
    readonly generation?: string
}

export interface DeviceModel {
    readonly tee: string
}
