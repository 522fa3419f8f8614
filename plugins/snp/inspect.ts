// An SNP report shown to a person: every field with its meaning. Nothing here is verified.
// SPDX-License-Identifier: Apache-2.0

import { describeBits } from '#core/bits.ts'
import { hexOrZero, isZero, toHex } from '#core/bytes.ts'
import { day } from '#core/dates.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { parseCertificate } from '#core/x509.ts'
import type { Evidence } from '#drivers/driver.ts'
import type { FieldLine } from '#evidence/verifier.ts'
import { type CertEntry, certName, certOf, parseCertTable } from './cert-table.ts'
import { formatVersion, SNP_CLAIMS } from './claims.ts'
import { HOST_VMPL, KEY_INFO, PLATFORM_INFO, POLICY, parseReport, type Report, SIGNING_KEYS } from './report.ts'
import { formatTcb, PRODUCT_LINES, type ProductLineName, productLineOf, readTcb } from './tcb.ts'
import { readVek } from './vek.ts'
import { weaknessesOf } from './weaknesses.ts'

/** @throws AttestError where it is no report */
export function describe({ report: raw, certificates }: Evidence): FieldLine[] {
    const report = parseReport(raw)
    const entries = certificates ? parseCertTable(certificates) : []
    const line = lineOf(report, entries)
    const policy = POLICY.read(report.policy)
    const { signingKey } = KEY_INFO.read(BigInt(report.keyInfo))
    const tcb = (word: bigint) => describeTcb(line, word)
    return [
        row('version', String(report.version)),
        row('productLine', describeLine(report, line)),
        row('guestSvn', String(report.guestSvn)),
        row(
            'policy',
            `0x${report.policy.toString(16)}, needs firmware ABI ${policy.abiMajor}.${policy.abiMinor} or later`,
        ),
        ...describeBits(POLICY, report.policy, ['abiMinor', 'abiMajor', 'reservedOne']),
        row('familyId', hexOrZero(report.familyId)),
        row('imageId', hexOrZero(report.imageId)),
        row('vmpl', report.vmpl === HOST_VMPL ? 'the HOST asked for this report' : String(report.vmpl)),
        row('signingKey', SIGNING_KEYS[signingKey] ?? `none (${signingKey})`),
        ...describeBits(KEY_INFO, BigInt(report.keyInfo), ['signingKey']),
        row('currentTcb', tcb(report.currentTcb)),
        row('reportedTcb', tcb(report.reportedTcb)),
        row('committedTcb', tcb(report.committedTcb)),
        row('launchTcb', tcb(report.launchTcb)),
        row('currentVersion', formatVersion(report.currentVersion)),
        row('committedVersion', formatVersion(report.committedVersion)),
        row('platform', `0x${report.platformInfo.toString(16)}`),
        ...describeBits(PLATFORM_INFO, report.platformInfo, []),
        ...mitigations(report),
        row('reportData', hexOrZero(report.reportData)),
        row('measurement', toHex(report.measurement)),
        row('hostData', hexOrZero(report.hostData)),
        row('idKeyDigest', hexOrZero(report.idKeyDigest)),
        row('authorKeyDigest', hexOrZero(report.authorKeyDigest)),
        row('reportId', toHex(report.reportId)),
        row('reportIdMa', toHex(report.reportIdMa)),
        row('chipId', hexOrZero(report.chipId)),
        { name: 'signature R', value: numberOf(report.signatureR), means: 'ECDSA on P-384 with SHA-384' },
        { name: 'signature S', value: numberOf(report.signatureS), means: '' },
        ...entries.map(describeEntry),
        ...where(report, line),
        ...weaknesses(report, line),
    ]
}

const row = (name: string, value: string): FieldLine => ({ name, value, means: SNP_CLAIMS[name]?.means ?? '' })

// What CPUID names; in version 2, which has none, what the certificate names.
function lineOf({ cpuidFamily, cpuidModel }: Report, entries: readonly CertEntry[]): ProductLineName | null {
    try {
        if (cpuidFamily !== undefined && cpuidModel !== undefined) return productLineOf(cpuidFamily, cpuidModel)
        const der = certOf(entries, 'VCEK') ?? certOf(entries, 'VLEK')
        return der ? readVek(parseCertificate(der, 'VEK certificate')).line : null
    } catch (error) {
        if (error instanceof AttestError) return null
        throw error
    }
}

function describeLine({ cpuidFamily, cpuidModel, cpuidStepping }: Report, line: ProductLineName | null): string {
    if (cpuidFamily === undefined) return line ?? 'not in a report of version 2: the certificate names it'
    const cpuid = `CPUID family 0x${cpuidFamily.toString(16)}, model 0x${cpuidModel?.toString(16)}, stepping ${cpuidStepping}`
    return `${line ?? 'unknown'} (${cpuid})`
}

function describeTcb(line: ProductLineName | null, word: bigint): string {
    const hex = word.toString(16).padStart(16, '0')
    if (!line) return `0x${hex}`
    try {
        return formatTcb(readTcb(line, word, 'TCB'))
    } catch (error) {
        return `0x${hex}: ${messageOf(error)}`
    }
}

const mitigations = ({ launchMitVector, currentMitVector }: Report): FieldLine[] =>
    launchMitVector === undefined || currentMitVector === undefined
        ? []
        : [
              row('launchMitVector', `0x${launchMitVector.toString(16)}`),
              row('currentMitVector', `0x${currentMitVector.toString(16)}`),
          ]

function describeEntry({ guid, data }: CertEntry): FieldLine {
    const name = certName(guid)
    const means = 'from the certificate table of the host'
    if (!name || name === 'CRL') return { name: 'certificate', value: `${name ?? guid}, ${data.length} bytes`, means }
    try {
        const { subjectCn, notBefore, notAfter } = parseCertificate(data, name)
        return { name: 'certificate', value: `${name}: ${subjectCn}, ${day(notBefore)} to ${day(notAfter)}`, means }
    } catch (error) {
        return { name: 'certificate', value: `${name}: ${messageOf(error)}`, means }
    }
}

// Where AMD's key service has the certificate of the VCEK that signed.
function where(report: Report, line: ProductLineName | null): FieldLine[] {
    const { signingKey } = KEY_INFO.read(BigInt(report.keyInfo))
    if (!line || SIGNING_KEYS[signingKey] !== 'VCEK' || isZero(report.chipId)) return []
    const { fmc, bootLoader, tee, snp, microcode } = readTcb(line, report.reportedTcb, 'REPORTED_TCB')
    const chip = toHex(report.chipId.subarray(0, PRODUCT_LINES[line].chipIdSize))
    const query = [
        ...(fmc === undefined ? [] : [`fmcSPL=${fmc}`]),
        `blSPL=${bootLoader}`,
        `teeSPL=${tee}`,
        `snpSPL=${snp}`,
        `ucodeSPL=${microcode}`,
    ]
    const value = `https://kdsintf.amd.com/vcek/v1/${line}/${chip}?${query.join('&')}`
    return [{ name: 'VCEK at', value, means: 'the certificate to give with --certs' }]
}

function weaknesses(report: Report, line: ProductLineName | null): FieldLine[] {
    return weaknessesOf({ productLine: line, platform: PLATFORM_INFO.read(report.platformInfo) }).map(
        ({ name, means, published, source }) => ({
            name: 'weakness',
            value: `${name} (${published}, ${source})`,
            means,
        }),
    )
}

const numberOf = (field: Buffer): string => toHex(Buffer.from(field).reverse().subarray(24))
