// A TDX quote shown to a person: every field with its meaning. Nothing here is verified.
// SPDX-License-Identifier: Apache-2.0

import { describeBits } from '#core/bits.ts'
import { hexOrZero, hexWord, toHex } from '#core/bytes.ts'
import { day } from '#core/dates.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { type Certificate, parseCertificates } from '#core/x509.ts'
import type { Evidence } from '#drivers/driver.ts'
import type { FieldLine } from '#evidence/verifier.ts'
import { TD_ATTRIBUTES } from './attributes.ts'
import { TDX_CLAIMS } from './claims.ts'
import { fetchHint } from './collateral/collateral.ts'
import { RTMRS } from './event-log/ccel.ts'
import { parseEventLog } from './event-log/event-log.ts'
import { textOf, typeName } from './event-log/event-types.ts'
import { PCK_CN, readPck } from './pck.ts'
import { parseQuote, QE_REPORT, type Quote } from './quote.ts'
import { WEAKNESSES } from './weaknesses.ts'

/** @throws AttestError where it is no quote */
export function describe({ report, eventLog }: Evidence): FieldLine[] {
    const quote = parseQuote(report)
    const { version, bodyType, header, body } = quote
    return [
        row('version', String(version)),
        row('bodyType', String(bodyType)),
        row('qeVendorId', toHex(header.qeVendorId)),
        row('teeTcbSvn', describeSvns(body.teeTcbSvn)),
        ...(body.teeTcbSvn2 ? [row('teeTcbSvn2', describeSvns(body.teeTcbSvn2))] : []),
        row('mrSeam', toHex(body.mrSeam)),
        row('mrSignerSeam', hexOrZero(body.mrSignerSeam)),
        row('seamAttributes', hexWord(body.seamAttributes)),
        row('tdAttributes', hexWord(body.tdAttributes)),
        ...describeBits(TD_ATTRIBUTES, body.tdAttributes),
        row('xfam', hexWord(body.xfam)),
        row('mrTd', toHex(body.mrTd)),
        ...RTMRS.map((name, index) => row(name, hexOrZero(body.rtmrs[index] as Buffer))),
        row('mrConfigId', hexOrZero(body.mrConfigId)),
        row('mrOwner', hexOrZero(body.mrOwner)),
        row('mrOwnerConfig', hexOrZero(body.mrOwnerConfig)),
        ...(body.mrServiceTd ? [row('mrServiceTd', hexOrZero(body.mrServiceTd))] : []),
        row('reportData', hexOrZero(body.reportData)),
        ...describeQe(quote),
        ...describeChain(quote),
        ...(eventLog ? describeLog(eventLog) : []),
        ...WEAKNESSES.map(({ name, means, published, source }) => ({
            name: 'weakness',
            value: `${name} (${published}, ${source})`,
            means,
        })),
    ]
}

const row = (name: string, value: string): FieldLine => ({ name, value, means: TDX_CLAIMS[name]?.means ?? '' })

const describeSvns = (svns: Buffer): string =>
    `${toHex(svns)} (module ${svns[1]}, its SVN ${svns[0]}; loader ${svns[2]})`

function describeQe({ qeReport, attestationKey, signature }: Quote): FieldLine[] {
    const { mrEnclave, mrSigner, isvProdId, isvSvn } = QE_REPORT.parse(qeReport)
    return [
        { name: 'QE MRENCLAVE', value: toHex(mrEnclave), means: 'digest of the quoting enclave' },
        { name: 'QE MRSIGNER', value: toHex(mrSigner), means: 'digest of the key that signed the quoting enclave' },
        { name: 'QE product', value: `${isvProdId}, SVN ${isvSvn}`, means: TDX_CLAIMS['qeIsvSvn']?.means ?? '' },
        { name: 'attestation key', value: toHex(attestationKey), means: 'ECDSA on P-256, of the quoting enclave' },
        { name: 'signature', value: toHex(signature), means: 'by the attestation key, with SHA-256' },
    ]
}

function describeChain({ certification }: Quote): FieldLine[] {
    const means = 'from the quote, so from the host'
    try {
        return parseCertificates(certification.data, 'certificates of the quote').flatMap((certificate) => [
            { name: 'certificate', value: describeCertificate(certificate), means },
            ...(certificate.subjectCn === PCK_CN ? describePlatform(certificate) : []),
        ])
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return [{ name: 'certificate', value: messageOf(error), means }]
    }
}

const describeCertificate = ({ subjectCn, notBefore, notAfter }: Certificate): string =>
    `${subjectCn}, ${day(notBefore)} to ${day(notAfter)}`

function describePlatform(certificate: Certificate): FieldLine[] {
    const { fmspc, pceId, pceSvn, ppidHash, pckCa, sgxType, sgxSvns } = readPck(certificate)
    return [
        row('fmspc', fmspc),
        row('pceId', pceId),
        row('pceSvn', String(pceSvn)),
        row('ppidHash', ppidHash),
        row('pckCa', pckCa),
        row('sgxType', sgxType),
        { name: 'SGX TCB', value: toHex(sgxSvns), means: 'SVNs of the 16 components of processor and firmware' },
        {
            name: 'collateral',
            value: fetchHint(fmspc),
            means: 'what Intel says of such platforms, and what it is judged by',
        },
    ]
}

function describeLog(raw: Buffer): FieldLine[] {
    try {
        return parseEventLog(raw).events.map((event) => ({
            name: `event of ${event.register}`,
            value: `${typeName(event.type)} ${textOf(event)}`,
            means: event.proven
                ? 'its digest is that of this text'
                : `${toHex(event.digest)}: of what the log names so`,
        }))
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return [{ name: 'event log', value: messageOf(error), means: 'what the guest sent as the log of its boot' }]
    }
}
