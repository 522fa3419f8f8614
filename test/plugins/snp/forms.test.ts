// The forms in which a guest hands SNP evidence over, what it should know of it, and what its keys are bound to.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import type { Doors } from '#drivers/linux/doors.ts'
import { snpDriver } from '#plugins/snp/driver.ts'
import { notes, toRaw } from '#plugins/snp/forms.ts'
import { snp } from '#plugins/snp/index.ts'
import { generateVendorKeys } from '#plugins/snp/mint.ts'
import { recognise } from '#plugins/snp/recognise.ts'
import { report, table, vendor, verifierOf } from './minted.ts'

const genoa = await vendor('genoa', await generateVendorKeys())
const bare = { tee: 'snp', report: report(genoa) }
const full = { ...bare, certificates: table(genoa) }

test('its own bytes are what is recognised', (t) => {
    for (const evidence of [bare, full]) t.deepEqual(recognise(toRaw(evidence))?.evidence, evidence)
})

test('a guest without certificates is told who needs them', (t) => {
    t.deepEqual(notes(full), [])
    t.regex(notes(bare).join('\n'), /^the host gave no certificates: .*`inspect`/)
})

test('a policy with other measurements is the same but for them', (t) => {
    const verifier = verifierOf(genoa)
    const members = { productLines: ['Genoa'], maxVmpl: 2, chipIds: ['AB'.repeat(64)] }
    const [one, two] = ['aa', 'BB'].map((byte) => byte.repeat(48))
    const changed = verifier.withMeasurements(verifier.readPolicy(members, 'p'), [String(one), String(two)], '-m')
    t.deepEqual(verifier.measurementsOf(changed), [one, two?.toLowerCase()])
    t.deepEqual(changed, verifier.readPolicy({ ...members, measurements: [one, two] }, 'p'))
    t.throws(() => verifier.withMeasurements(changed, ['aa'], '-m'), {
        code: 'ERR_SNP_POLICY_FILE',
        message: /^-m: measurements/,
    })
})

test('each field of a key is another bit of the request; what is none is a mistake of ours', async (t) => {
    const asked: bigint[] = []
    const doors = {
        system: { exists: () => true },
        sevDevice: { path: '/dev/sev-guest', exists: () => true },
        sevGuest: async () => ({
            derivedKey: async ({ guestFieldSelect }: { guestFieldSelect: bigint }) => void asked.push(guestFieldSelect),
        }),
    } as unknown as Doors
    const guest = await snpDriver.open(doors, { via: 'ioctl' })
    for (const field of Object.keys(snp.keyFields))
        await guest?.deriveKey?.({ fields: [field], guestSvn: 0, tcbVersion: 0n })
    t.deepEqual(asked, [1n, 2n, 4n, 8n, 16n, 32n])
    await t.throwsAsync(async () => guest?.deriveKey?.({ fields: ['chip'] }), { instanceOf: TypeError })
})
