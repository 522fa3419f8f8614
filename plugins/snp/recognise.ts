// The binary forms in which people have SNP evidence: a report, a report with the host's certificate table behind it, a
// report with the 20 bytes that Azure's paravisor puts behind it.
// SPDX-License-Identifier: Apache-2.0

import { layout, u32 } from '#core/layout.ts'
import type { Evidence } from '#drivers/driver.ts'
import { parseCertTable } from './cert-table.ts'
import { snpError } from './errors.ts'
import { ECDSA_P384_SHA384, REPORT_LAYOUTS, REPORT_SIZE } from './report.ts'
import { TEE } from './tee.ts'

export const FORMS = 'an SNP report (1184 bytes) with or without its certificate table'

/** The header of the runtime data behind a report in Azure's HCL report. */
const HCL_RUNTIME_HEADER = layout('HCL runtime data', 20, {
    dataSize: u32(0),
    version: u32(4),
    reportType: u32(8),
    hashType: u32(12),
    variableSize: u32(16),
})

/** An HCL report begins with these letters, 32 bytes before the hardware's report. */
const HCL_SIGNATURE = 'HCLA'
const HCL_HEADER_SIZE = 32

/**
 * Evidence from its bytes. Null: they do not begin as a report does.
 * @throws AttestError ERR_SNP_LENGTH, ERR_SNP_CERT_TABLE, ERR_SNP_EVIDENCE
 */
export function recognise(input: Buffer): { evidence: Evidence; form: string } | null {
    if (isHclReport(input))
        throw snpError(
            'ERR_SNP_EVIDENCE',
            "this is a whole HCL report of Azure's paravisor, which is not supported yet",
            {
                hint: 'its hardware report are the 1184 bytes from 32 on; the guest it proves is bound through a vTPM',
            },
        )
    if (!looksLikeReport(input)) return null
    const report = Buffer.from(input.subarray(0, REPORT_SIZE))
    const rest = input.subarray(REPORT_SIZE)
    if (report.length < REPORT_SIZE)
        throw snpError('ERR_SNP_LENGTH', `an SNP report has ${REPORT_SIZE} bytes, this one ends after ${report.length}`)
    if (rest.length === 0) return { evidence: { tee: TEE, report }, form: 'SNP report' }
    if (isRuntimeHeader(rest))
        return {
            evidence: { tee: TEE, report },
            form: "SNP report and Azure's HCL runtime header (20 bytes, ignored)",
        }
    if (rest.length < 24)
        throw snpError(
            'ERR_SNP_LENGTH',
            `an SNP report has ${REPORT_SIZE} bytes, ${rest.length} more follow that mean nothing`,
        )
    parseCertTable(rest)
    return {
        evidence: { tee: TEE, report, certificates: Buffer.from(rest) },
        form: 'SNP report and certificate table',
    }
}

// Another technology's reports come with the same header.
const isHclReport = (input: Buffer): boolean =>
    input.toString('latin1', 0, HCL_SIGNATURE.length) === HCL_SIGNATURE &&
    looksLikeReport(input.subarray(HCL_HEADER_SIZE))

// A known version, or a plausible one with the one signature algorithm there is: then its number is what is wrong.
function looksLikeReport(input: Buffer): boolean {
    if (input.length < 0x38) return false
    const version = input.readUInt32LE(0)
    const algorithm = input.readUInt32LE(0x34)
    return Object.hasOwn(REPORT_LAYOUTS, version) ? algorithm <= 0xff : version <= 16 && algorithm === ECDSA_P384_SHA384
}

function isRuntimeHeader(rest: Buffer): boolean {
    if (rest.length !== HCL_RUNTIME_HEADER.size) return false
    const { dataSize, version, reportType, variableSize } = HCL_RUNTIME_HEADER.parse(rest)
    return version === 1 && reportType === 2 && dataSize === variableSize + HCL_RUNTIME_HEADER.size
}
