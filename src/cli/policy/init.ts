// `policy init`: the strictest policy that a proof passes, with every member explained.
// SPDX-License-Identifier: Apache-2.0

import { Checks } from '#core/checks.ts'
import { createFile, readInput } from '#core/files.ts'
import { authenticate } from '#evidence/authenticate.ts'
import { MAX_EVIDENCE_BYTES, recognise } from '#evidence/recognise.ts'
import { command as define } from '../command.ts'
import { requireNewFile } from '../options/new-file.ts'
import { checkReadable, readTime, TIME_OPTION, TRUST_OPTIONS, verifiersFor } from '../options/trust.ts'
import { note, printBytes } from '../term.ts'

export const command = define({
    options: {
        ...TRUST_OPTIONS,
        ...TIME_OPTION,
        from: { type: 'string', demandOption: true, describe: 'the evidence to write it from: it must be authentic' },
        out: { type: 'string', describe: 'write to this new file instead of standard output' },
    },
    examples: [['--from report.bin --collateral certs/ --out web.toml', 'a policy for guests like this one']],
    details:
        'The evidence must be authentic: a policy that is written from an invented report would let its inventor in.',
    async run(args) {
        if (args.out !== undefined) requireNewFile(args.out)
        const verifiers = await verifiersFor(args)
        const { verifier, evidence } = recognise(readInput(args.from, MAX_EVIDENCE_BYTES), verifiers)
        checkReadable(verifier)
        const at = readTime(args.at)
        const isStatus = (name: string) => verifier.checkNames.status?.includes(name) ?? false
        const checks = new Checks([...verifier.checkNames.authentic, ...(verifier.checkNames.status ?? [])])
        const authentic = authenticate(verifier, evidence, at, checks)
        verifier.judgeStatus?.(authentic, null, at, checks)
        const policy = verifier.writePolicy(authentic)
        for (const { name, detail } of checks.list.filter(({ name, result }) => result === 'skipped' && isStatus(name)))
            note(`${name}: ${detail}: the policy demands it, and refuses this evidence without --insecure-skip-tcb`)
        if (authentic.emulated) note('this policy was written from an EMULATED guest')
        if (args.out === undefined) printBytes(policy)
        else createFile(args.out, policy, 0o644)
        return 0
    },
})
