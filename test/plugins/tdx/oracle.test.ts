// Real quotes under real collateral of several dates: each row of the oracle, with what Intel's quote verification library
// says of it and what we say. Where these differ we are the stricter one, and the table here says why.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { STRICT_TRUST } from '#evidence/trust.ts'
import type { NamedBytes, Trust } from '#evidence/verifier.ts'
import { chainReader, readAnchors } from '#plugins/tdx/chain.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { judgeOf } from './judged.ts'

const FOLDER = join(VECTORS, 'snp-tdx')
const ORACLE = vectors('snp-tdx/oracle-tdx.tsv')

interface Row {
    readonly quote: string
    readonly epoch: string
    readonly at: Date
    readonly intel: string
    readonly qvlJs: string
    readonly goTdxGuest: string
}

const rows: readonly Row[] = ORACLE.met
    ? readFileSync(join(FOLDER, 'oracle-tdx.tsv'), 'utf8')
          .trim()
          .split('\n')
          .slice(1)
          .map((line) => {
              const [quote = '', epoch = '', at = '', intel = '', qvlJs = '', goTdxGuest = ''] = line.split('\t')
              return { quote, epoch, at: new Date(at), intel, qvlJs, goTdxGuest }
          })
    : []

/** What we say where Intel's library says this. */
const VERDICTS: Readonly<Record<string, readonly [code: string | null, status: string]>> = {
    OK: [null, 'UpToDate'],
    TCB_OUT_OF_DATE: ['ERR_TDX_STATUS', 'OutOfDate'],
    TCB_NOT_SUPPORTED: ['ERR_TDX_STATUS', 'NotSupported'],
}

/** Statements of October 2025 beside lists that had expired: they stand in no bundle. */
const EXPIRED = {
    statements: [
        'tdx/teekit--tcbInfo-tdx-00806f050000.json',
        'tdx/teekit--tcbInfo-tdx-50806f000000.json',
        'tdx/teekit--tcbInfo-tdx-90c06f000000.json',
        'tdx/teekit--tcbInfo-tdx-b0c06f000000.json',
        'tdx/trustee--tcbInfo.json',
        'tdx/trustee--enclaveIdentity.json',
    ],
    certificates: ['tdx/attestation-rs--collateral-qe_identity_signing_chain.pem'],
    revocationLists: [
        'tdx/automata-dcap-attestation--0825-platform_crl.der',
        'tdx/automata-dcap-attestation--solana-intel_root_ca_crl.der',
    ],
} as const

const EXPIRED_CRL = 'PCKCHAIN:SGX_CRL_EXPIRED;'

const file = (path: string): NamedBytes => ({ name: basename(path), bytes: readFileSync(join(FOLDER, path)) })
const readChain = chainReader(readAnchors(STRICT_TRUST, []))
const pckOf = (quote: Buffer) => readChain(parseQuote(quote).certification.data).pck

/** Null: there is no collateral of that date for that platform. */
function trustOf({ epoch }: Row, fmspc: string): Trust | null {
    if (epoch.startsWith('X-')) {
        if (Object.values(EXPIRED).some((paths) => paths.some((path) => !existsSync(join(FOLDER, path))))) return null
        return {
            ...STRICT_TRUST,
            statements: EXPIRED.statements.map(file),
            certificates: EXPIRED.certificates.map(file),
            revocationLists: EXPIRED.revocationLists.map(file),
        }
    }
    const bundle = `derived/collateral-${epoch}-${fmspc}.json`
    return existsSync(join(FOLDER, bundle)) ? { ...STRICT_TRUST, statements: [file(bundle)] } : null
}

needs(ORACLE)('every row of the oracle', (t) => {
    const skipped: string[] = []
    const differs: string[] = []
    let ran = 0
    for (const row of rows) {
        const { bytes } = file(row.quote)
        const { fmspc, certificate } = pckOf(bytes)
        const trust = trustOf(row, fmspc)
        const title = `${row.quote} ${row.epoch}`
        if (!trust) {
            skipped.push(`${title} (FMSPC ${fmspc})`)
            continue
        }
        ran++
        const expired = row.intel.startsWith(EXPIRED_CRL)
        const [code, status] = VERDICTS[row.intel.replace(EXPIRED_CRL, '')] ?? [row.intel, '']
        const judged = judgeOf(trust)(bytes, row.at)
        // Intel's library looks at notAfter alone.
        if (row.at < certificate.notBefore) {
            differs.push(title)
            t.is(judged.code, 'ERR_TDX_TIME', title)
            continue
        }
        t.is(judged.code, expired ? 'ERR_TDX_COLLATERAL_TIME' : code, `${title}: ${judged.message}`)
        t.is(judged.authentic?.platform.tcbStatus, status as never, title)
        t.is(judged.authentic?.revocationChecked, !expired, title)
    }
    t.log(`${ran} of ${rows.length} rows ran; ${skipped.length} have no collateral of their date here`)
    for (const title of skipped) t.log(`no collateral: ${title}`)
    t.log(`${differs.length} rows: the PCK certificate was not valid yet, which Intel's library does not look at`)
    t.true(ran >= 60)
})

/** Rows in which other verifiers differ from Intel, and why we do not follow them. */
const DIFFERENT: readonly {
    readonly quote: string
    readonly epoch: string
    readonly peer: 'qvlJs' | 'goTdxGuest'
    readonly says: RegExp
    readonly we: string | null
    readonly status: string
    readonly because: string
}[] = [
    {
        quote: 'tdx/go-tdx-guest--ccel-cos-113-tdx-quote.dat',
        epoch: 'C-2025-06-20',
        peer: 'qvlJs',
        says: /OutOfDate/,
        we: null,
        status: 'UpToDate',
        because:
            'a module with an identity of its own is judged by that: its version and SVN are not compared with levels',
    },
    {
        quote: 'derived/az-tdx-v0.quote.bin',
        epoch: 'C-2025-06-20',
        peer: 'qvlJs',
        says: /No matching TCB level/,
        we: 'ERR_TDX_STATUS',
        status: 'OutOfDate',
        because: 'the same: the level is met from the third component on, and the module makes it out of date',
    },
    {
        quote: 'tdx/dcap-qvl--tdx_quote',
        epoch: 'X-2025-10-28(crl-expired)',
        peer: 'qvlJs',
        says: /^UpToDate/,
        we: 'ERR_TDX_COLLATERAL_TIME',
        status: 'UpToDate',
        because: 'a list that has expired does not say what was revoked since',
    },
    {
        quote: 'tdx/trustee--tdx_quote_4.dat',
        epoch: 'A-2023-07-01',
        peer: 'qvlJs',
        says: /Debug mode/,
        we: null,
        status: 'UpToDate',
        because: 'a debug TD is authentic; that nobody should accept it is for the policy to say',
    },
    {
        quote: 'derived/tdx-dstack-lite.quote.bin',
        epoch: 'G-2026-03-17',
        peer: 'goTdxGuest',
        says: /not yet valid/,
        we: 'ERR_TDX_TIME',
        status: '',
        because: 'the PCK certificate was issued a month later: the peers and we refuse what Intel accepts',
    },
]

for (const { quote, epoch, peer, says, we, status, because } of DIFFERENT)
    needs(ORACLE)(`${quote} of ${epoch}: ${because}`, (t) => {
        const row = rows.find((row) => row.quote === quote && row.epoch === epoch)
        if (!row) return t.fail('no such row')
        t.regex(row[peer], says)
        const { bytes } = file(quote)
        const trust = trustOf(row, pckOf(bytes).fmspc)
        if (!trust) return t.fail('no collateral of that date')
        const judged = judgeOf(trust)(bytes, row.at)
        t.is(judged.code, we, judged.message)
        t.is(judged.authentic?.platform.tcbStatus ?? '', status as never)
    })

needs(ORACLE)('collateral of all dates and platforms together: the right one is found', (t) => {
    const bundles = readdirSync(join(FOLDER, 'derived')).filter((name) => name.startsWith('collateral-'))
    const judge = judgeOf({ ...STRICT_TRUST, statements: bundles.map((name) => file(`derived/${name}`)) })
    let ran = 0
    for (const row of rows.filter(({ epoch }) => !epoch.startsWith('X-'))) {
        const { bytes } = file(row.quote)
        const { fmspc, certificate } = pckOf(bytes)
        if (!bundles.includes(`collateral-${row.epoch}-${fmspc}.json`) || row.at < certificate.notBefore) continue
        ran++
        const [code, status] = VERDICTS[row.intel] ?? []
        const judged = judge(bytes, row.at)
        t.is(judged.code, code ?? null, `${row.quote} ${row.epoch}: ${judged.message}`)
        t.is(judged.authentic?.platform.tcbStatus, status as never)
        t.is(judged.authentic?.platform.fmspc, fmspc)
    }
    t.true(ran > 20)
})
