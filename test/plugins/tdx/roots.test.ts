// The built-in root says what Intel's certificate says.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parseCertificate } from '#core/x509.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { readAnchors, readRoots } from '#plugins/tdx/chain.ts'
import { VENDOR_ROOT } from '#plugins/tdx/roots.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { named, vendor } from './minted.ts'

const ROOT = 'snp-tdx/tdx/automata-dcap-attestation--solana-root.der'

needs(vectors(ROOT))("Intel's certificate says the same of each figure", (t) => {
    const der = readFileSync(join(VECTORS, ROOT))
    const { subjectCn, subjectName, serial, notBefore, notAfter, publicKey } = parseCertificate(der, 'root')
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
    t.deepEqual(
        {
            cn: subjectCn,
            name: subjectName.toString('hex'),
            serial,
            notBefore: notBefore.toISOString(),
            notAfter: notAfter.toISOString(),
            sha256: createHash('sha256').update(der).digest('hex'),
            x,
            y,
        },
        VENDOR_ROOT,
    )
    t.is(readRoots(named('root', der)).length, 1)
})

test('a root of that name is one; what it has signed is none', async (t) => {
    const { certificates } = await vendor()
    t.is(readRoots(named('root', certificates.root)).length, 1)
    for (const role of ['platform', 'tcbSigning', 'pck'] as const)
        t.deepEqual(readRoots(named(role, certificates[role])), [])
    const roots = [named('root', certificates.root)]
    t.false(readAnchors(STRICT_TRUST, []).custom)
    t.true(readAnchors({ ...STRICT_TRUST, roots }, []).custom)
})
