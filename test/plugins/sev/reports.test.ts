// The vectors' reports of a simulated processor, which AMD's sev-tool accepted: and with any change, refused.
// SPDX-License-Identifier: Apache-2.0

import { verifyReport } from '#plugins/sev/aeb/report.ts'
import { parseCertificate } from '#plugins/sev/chain/certs.ts'
import { vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { fixture } from './manifest.ts'
import { flipped } from './minted.ts'

const possible = needs(vectors('sev/out/report'))

for (const { name, policy } of [
    { name: 'sim_report0', policy: 3 },
    { name: 'sim_report1', policy: 7 },
    { name: 'sim_report2', policy: 0x3701_0007 },
])
    possible(`${name}: authentic, and no other byte of it`, (t) => {
        const report = fixture(`out/report/${name}.bin`)
        const pek = parseCertificate(fixture('fixtures/sev-certs/simulated/pek.cert'), 'PEK').publicKey
        t.is(verifyReport(report, pek).policy, policy)
        for (let at = 0; at < report.length; at++)
            t.throws(() => verifyReport(flipped(report, at * 8 + (at % 8)), pek), { name: 'AttestError' }, `byte ${at}`)
    })
