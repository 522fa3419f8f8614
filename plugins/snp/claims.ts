// What an SNP report claims, as a table: the broker's policy schema is made from it.
// Meanings after AMD 56860 rev 1.58, chapter 7.3. Who chose a value: the hardware measured it, the host gave it at launch
// (the firmware then holds the guest to it), or the guest put it in.
// SPDX-License-Identifier: Apache-2.0

import type { BitRow } from '#core/bits.ts'
import { hexWord, toHex } from '#core/bytes.ts'
import type { ClaimRow, ClaimTable, Provenance } from '#evidence/claims.ts'
import type { Claims } from '#evidence/verdict.ts'
import { KEY_INFO, PLATFORM_INFO, POLICY, type Report, SIGNING_KEYS } from './report.ts'
import { type ProductLineName, readTcb } from './tcb.ts'

const SVN: ClaimRow = { type: 'long', optional: true, from: 'hardware', means: 'security version number' }

const TCB: ClaimTable = { fmc: SVN, bootLoader: SVN, tee: SVN, snp: SVN, microcode: SVN }

const text = (from: Provenance, means: string): ClaimRow => ({ type: 'string', from, means })
const optionalText = (from: Provenance, means: string): ClaimRow => ({ ...text(from, means), optional: true })
const tcb = (means: string): ClaimRow => ({ type: TCB, from: 'hardware', means })

const fromBits = (table: Readonly<Record<string, BitRow>>, from: Provenance): ClaimTable =>
    Object.fromEntries(
        Object.entries(table).map(([name, { bits, means }]) => [
            name,
            { type: typeof bits === 'number' ? 'bool' : 'long', from, means },
        ]),
    )

export const SNP_CLAIMS: ClaimTable = {
    version: { type: 'long', from: 'hardware', means: 'version of the report' },
    productLine: text('hardware', 'line of processors'),
    productName: optionalText('hardware', "line and stepping, as the signing key's certificate names them"),
    guestSvn: { type: 'long', from: 'host', means: "the guest's security version number, from its identity block" },
    policy: { type: fromBits(POLICY.table, 'host'), from: 'host', means: 'what the host may do with the guest' },
    familyId: text('host', 'from the identity block: a word of whoever signed it'),
    imageId: text('host', 'from the identity block: a word of whoever signed it'),
    vmpl: {
        type: 'long',
        from: 'hardware',
        means: 'privilege level that the report speaks for; 0 is the most privileged',
    },
    signingKey: text('hardware', 'the kind of key that signed: VCEK of the chip, VLEK of a cloud provider'),
    vlekProvider: optionalText('hardware', 'the provider that the VLEK was issued to'),
    authorKeyEnabled: { type: 'bool', from: 'host', means: KEY_INFO.table.authorKeyEnabled.means },
    chipKeyMasked: { type: 'bool', from: 'host', means: KEY_INFO.table.maskChipKey.means },
    reportedTcb: tcb('versions of the firmware that the signing key stands for'),
    currentTcb: tcb('versions of the firmware that runs'),
    committedTcb: tcb('the least versions that the firmware can be put back to'),
    launchTcb: tcb('versions of the firmware when the guest was launched'),
    platform: {
        type: fromBits(PLATFORM_INFO.table, 'hardware'),
        from: 'hardware',
        means: 'how the platform is set up',
    },
    reportData: text('guest', 'what the guest put in: a challenge, a key'),
    measurement: text('hardware', 'digest of what the guest was launched with'),
    hostData: text('host', 'what the host put in at launch'),
    idKeyDigest: text('hardware', 'digest of the key that signed the identity block; zero without one'),
    authorKeyDigest: text('hardware', 'digest of the key that vouches for the identity key; zero without one'),
    reportId: text('hardware', 'names this launch of this guest'),
    reportIdMa: text('hardware', 'names its migration agent; all ones without one'),
    chipId: text('hardware', 'names the chip; zero where the host masks it, and on VLEK'),
    currentVersion: text('hardware', 'version of the firmware that runs'),
    committedVersion: text('hardware', 'the least version that the firmware can be put back to'),
    launchMitVector: optionalText('hardware', 'mitigations in force when the guest was launched'),
    currentMitVector: optionalText('hardware', 'mitigations in force'),
    emulated: { type: 'bool', from: 'verifier', means: 'made by an emulator: it proves nothing' },
}

/** What the report says, with the product line that its certificate or its CPUID named. */
export function claimsOf(report: Report, line: ProductLineName): Claims {
    const { maskChipKey, signingKey, authorKeyEnabled } = KEY_INFO.read(BigInt(report.keyInfo))
    const optional = {
        ...(report.launchMitVector === undefined ? {} : { launchMitVector: hexWord(report.launchMitVector) }),
        ...(report.currentMitVector === undefined ? {} : { currentMitVector: hexWord(report.currentMitVector) }),
    }
    return {
        version: report.version,
        productLine: line,
        guestSvn: report.guestSvn,
        policy: POLICY.read(report.policy),
        familyId: toHex(report.familyId),
        imageId: toHex(report.imageId),
        vmpl: report.vmpl,
        signingKey: SIGNING_KEYS[signingKey] ?? 'none',
        authorKeyEnabled,
        chipKeyMasked: maskChipKey,
        reportedTcb: { ...readTcb(line, report.reportedTcb, 'REPORTED_TCB') },
        currentTcb: { ...readTcb(line, report.currentTcb, 'CURRENT_TCB') },
        committedTcb: { ...readTcb(line, report.committedTcb, 'COMMITTED_TCB') },
        launchTcb: { ...readTcb(line, report.launchTcb, 'LAUNCH_TCB') },
        platform: PLATFORM_INFO.read(report.platformInfo),
        reportData: toHex(report.reportData),
        measurement: toHex(report.measurement),
        hostData: toHex(report.hostData),
        idKeyDigest: toHex(report.idKeyDigest),
        authorKeyDigest: toHex(report.authorKeyDigest),
        reportId: toHex(report.reportId),
        reportIdMa: toHex(report.reportIdMa),
        chipId: toHex(report.chipId),
        currentVersion: formatVersion(report.currentVersion),
        committedVersion: formatVersion(report.committedVersion),
        ...optional,
    }
}

/** `1.55.21`: major, minor, build. */
export const formatVersion = ({ major, minor, build }: Report['currentVersion']): string => `${major}.${minor}.${build}`
