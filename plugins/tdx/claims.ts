// What a TDX quote claims, with what Intel says of its platform, as a table: the broker's policy schema is made from
// it. Meanings after Intel TDX Module 1.5 ABI and the DCAP quoting library. Who chose a value: the hardware measured
// it, the host gave it at launch (the module then holds the guest to it), the guest put it in, or the verifier found
// it.
// SPDX-License-Identifier: Apache-2.0

import type { BitRow } from '#core/bits.ts'
import { hexWord, isZero, toHex } from '#core/bytes.ts'
import type { ClaimRow, ClaimTable, Provenance } from '#evidence/claims.ts'
import type { Claims } from '#evidence/verdict.ts'
import { TD_ATTRIBUTES, UNTRUSTED_ATTRIBUTES } from './attributes.ts'
import { LOG_CLAIMS } from './event-log/claims.ts'
import type { Platform } from './platform.ts'
import type { Quote } from './quote.ts'

const row =
    (type: ClaimRow['type']) =>
    (from: Provenance, means: string): ClaimRow => ({ type, from, means })
const optional = (claim: ClaimRow): ClaimRow => ({ ...claim, optional: true })
const text = row('string')
const number = row('long')
const flag = row('bool')

const fromBits = (table: Readonly<Record<string, BitRow>>, from: Provenance): ClaimTable =>
    Object.fromEntries(Object.entries(table).map(([name, { means }]) => [name, flag(from, means)]))

export const TDX_CLAIMS: ClaimTable = {
    version: number('hardware', 'version of the quote'),
    bodyType: number('hardware', 'what the quote tells of a TD: 2 TDX 1.0, 3 TDX 1.5, 4 TDX 1.5 extended'),
    qeVendorId: text('hardware', 'vendor of the quoting enclave'),
    teeTcbSvn: text(
        'hardware',
        'versions of the TDX module that launched it (byte 0 its SVN, 1 its version) and of its loader',
    ),
    teeTcbSvn2: optional(text('hardware', 'the same of the TDX module that runs')),
    mrSeam: text('hardware', 'digest of the TDX module'),
    mrSignerSeam: text('hardware', "digest of the key that signed the TDX module; zero for Intel's"),
    seamAttributes: text('hardware', 'attributes of the TDX module'),
    tdAttributes: text('host', 'attributes of the TD, as a word'),
    attributes: { type: fromBits(TD_ATTRIBUTES.table, 'host'), from: 'host', means: 'attributes of the TD by name' },
    untrusted: flag('host', 'one of the attributes is set that let the host look into the TD (bits 0 to 7)'),
    xfam: text('host', 'extended features of the processor that the TD may use, as a word'),
    mrTd: text('hardware', 'digest of what the TD was launched with: its firmware'),
    rtmr0: text(
        'hardware',
        'what the firmware measured of the virtual machine that the host gave it: its tables and variables',
    ),
    rtmr1: text('hardware', 'what the firmware measured of what it booted: boot loader, kernel'),
    rtmr2: text('hardware', 'what boot loader and kernel measured: command line, initrd'),
    rtmr3: text('guest', 'what the running guest measured'),
    mrConfigId: text('host', 'what the host put in at launch: of the configuration'),
    mrOwner: text('host', 'what the host put in at launch: of the owner'),
    mrOwnerConfig: text('host', "what the host put in at launch: of the owner's configuration"),
    mrServiceTd: optional(text('hardware', 'digest of the service TDs that are bound to it; zero without any')),
    reportData: text('guest', 'what the guest put in: a challenge, a key'),
    fmspc: text('hardware', 'family, model and stepping of the platform, as Intel numbers them'),
    pceId: text('hardware', 'kind of the provisioning enclave'),
    ppidHash: text('hardware', 'names the processor: SHA-256 of its PPID'),
    pckCa: text('hardware', 'which CA certified the platform: platform or processor'),
    sgxType: text('hardware', 'how the memory of the platform is protected'),
    dynamicPlatform: optional(flag('hardware', 'packages may be added to the platform')),
    cachedKeys: optional(flag('hardware', "Intel keeps the platform's keys")),
    smtEnabled: optional(flag('hardware', 'simultaneous multithreading is on')),
    pceSvn: number('hardware', 'SVN of the provisioning enclave'),
    qeIsvSvn: number('hardware', 'SVN of the quoting enclave'),
    tcbStatus: optional(
        text('verifier', "Intel's word on the firmware of the platform; absent where it was not given"),
    ),
    platformStatus: optional(text('verifier', 'the part of the status that is of processor and firmware')),
    moduleStatus: optional(text('verifier', 'the part of the status that is of the TDX module')),
    qeStatus: optional(text('verifier', 'the part of the status that is of the quoting enclave')),
    tcbDate: optional(text('verifier', 'what was patched until then is patched')),
    advisoryIds: row('strings')('verifier', 'advisories of Intel that the platform is open to, or may be'),
    relaunchAdvised: flag('verifier', 'the TDX module was updated below the running TD'),
    tcbEvaluationDataNumber: optional(number('verifier', "the lower number of the two statements of Intel's")),
    tcbInfoEvaluationDataNumber: optional(number('verifier', 'number of the TCB info')),
    qeIdentityEvaluationDataNumber: optional(number('verifier', 'number of the QE identity')),
    earliestExpiry: text('verifier', 'when the first of certificates, lists and statements expires'),
    collateralIssued: optional(text('verifier', "when the older of Intel's statements was issued")),
    collateralExpired: optional(text('verifier', "what of Intel's statements has expired")),
    pckCrlNumber: optional(text('verifier', 'number of the revocation list of PCK certificates')),
    rootCrlNumber: optional(text('verifier', 'number of the revocation list of the root')),
    eventLog: optional({
        type: LOG_CLAIMS,
        from: 'guest',
        means: 'the log of the boot, which replays to the registers',
    }),
    emulated: flag('verifier', 'made by an emulator: it proves nothing'),
}

/** What the quote says, and what Intel says of the platform that made it. The event log's claims are added by verify.ts. */
export function claimsOf({ version, bodyType, header, body }: Quote, platform: Platform): Claims {
    const [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmrs
    const { tcbDate, earliestExpiry, collateralIssued, collateralExpired, ...rest } = platform
    return {
        version,
        bodyType,
        qeVendorId: toHex(header.qeVendorId),
        teeTcbSvn: toHex(body.teeTcbSvn),
        ...(body.teeTcbSvn2 ? { teeTcbSvn2: toHex(body.teeTcbSvn2) } : {}),
        mrSeam: toHex(body.mrSeam),
        mrSignerSeam: toHex(body.mrSignerSeam),
        seamAttributes: hexWord(body.seamAttributes),
        tdAttributes: hexWord(body.tdAttributes),
        attributes: TD_ATTRIBUTES.read(body.tdAttributes),
        untrusted: (body.tdAttributes & UNTRUSTED_ATTRIBUTES) !== 0n,
        xfam: hexWord(body.xfam),
        mrTd: toHex(body.mrTd),
        rtmr0: toHex(rtmr0),
        rtmr1: toHex(rtmr1),
        rtmr2: toHex(rtmr2),
        rtmr3: toHex(rtmr3),
        mrConfigId: toHex(body.mrConfigId),
        mrOwner: toHex(body.mrOwner),
        mrOwnerConfig: toHex(body.mrOwnerConfig),
        ...(body.mrServiceTd ? { mrServiceTd: toHex(body.mrServiceTd) } : {}),
        reportData: toHex(body.reportData),
        ...withoutNull(rest),
        ...(tcbDate ? { tcbDate: tcbDate.toISOString() } : {}),
        earliestExpiry: earliestExpiry.toISOString(),
        ...(collateralIssued ? { collateralIssued: collateralIssued.toISOString() } : {}),
        ...(collateralExpired
            ? { collateralExpired: `${collateralExpired.what}, since ${collateralExpired.at.toISOString()}` }
            : {}),
    }
}

/** Whether a service TD, as one that migrates, is bound to this TD. */
export const hasServiceTd = (mrServiceTd: unknown): boolean =>
    typeof mrServiceTd === 'string' && !isZero(Buffer.from(mrServiceTd, 'hex'))

const withoutNull = (values: Claims): Claims =>
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null))
