// Why a guest that was found can give no proof.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { noEvidence } from '#cli/find-guest.ts'

for (const { tee, says, hint } of [
    { tee: 'snp', says: /SEV-SNP cannot prove itself on this kernel$/, hint: /doctor/ },
    { tee: 'tdx', says: /TDX cannot prove itself on this kernel$/, hint: /doctor/ },
    { tee: 'sev', says: /AMD SEV has no key to prove itself with$/, hint: /--broker-url/ },
])
    test(`no proof: ${tee}`, (t) => {
        const { code, message, hint: said } = noEvidence({ tee })
        t.is(code, 'ERR_NO_TEE')
        t.regex(message, says)
        t.regex(said ?? '', hint)
    })
