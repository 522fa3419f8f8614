// TDREPORT_STRUCT: what the TDX module says of its TD, for the quoting enclave of the same machine; a MAC that no other
// machine can check protects it. Intel TDX Module ABI specification 1.5, tables 3.55 to 3.59. Little-endian.
// SPDX-License-Identifier: Apache-2.0

import { bytes, ignored, layout, struct, u8, u64, zero } from '#core/layout.ts'
import { TD_REPORT_SIZE } from '#drivers/linux/tdx-forms.ts'

/** The type of a TDX report in REPORTTYPE. */
export const REPORT_TYPE_TDX = 0x81

const REPORT_MAC_STRUCT = layout('REPORTMACSTRUCT', 256, {
    type: u8(0),
    subtype: u8(1),
    /** 0; 1 where service TDs are bound to the TD. */
    version: u8(2),
    reserved3: zero(3, 1),
    reserved4: zero(4, 12),
    cpuSvn: bytes(16, 16),
    /** SHA-384 of the two structures that follow. */
    teeTcbInfoHash: bytes(32, 48),
    teeInfoHash: bytes(80, 48),
    reportData: bytes(128, 64),
    reserved192: zero(192, 32),
    mac: bytes(224, 32),
})

const TEE_TCB_INFO = layout('TEE_TCB_INFO', 239, {
    valid: u64(0),
    teeTcbSvn: bytes(8, 16),
    mrSeam: bytes(24, 48),
    mrSignerSeam: bytes(72, 48),
    attributes: u64(120),
    /** TDX 1.5: of the module that runs now; zero in 1.0, where these bytes are reserved. */
    teeTcbSvn2: bytes(128, 16),
    reserved144: ignored(144, 95),
})

const TD_INFO = layout('TDINFO', 512, {
    attributes: u64(0),
    xfam: u64(8),
    mrTd: bytes(16, 48),
    mrConfigId: bytes(64, 48),
    mrOwner: bytes(112, 48),
    mrOwnerConfig: bytes(160, 48),
    rtmr0: bytes(208, 48),
    rtmr1: bytes(256, 48),
    rtmr2: bytes(304, 48),
    rtmr3: bytes(352, 48),
    /** TDX 1.5; zero in 1.0. */
    servTdHash: bytes(400, 48),
    /** What later modules say beyond it. */
    extension: bytes(448, 64),
})

export const TD_REPORT = layout('TDREPORT_STRUCT', TD_REPORT_SIZE, {
    mac: struct(0, REPORT_MAC_STRUCT),
    tcb: struct(256, TEE_TCB_INFO),
    reserved495: ignored(495, 17),
    td: struct(512, TD_INFO),
})
