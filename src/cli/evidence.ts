// `evidence`: proof of what this guest is, bound to what the caller names.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import { coreError, messageOf } from '#core/errors.ts'
import { createFile, readInput } from '#core/files.ts'
import { parseJson, stringifyJson } from '#core/json.ts'
import { type Evidence, type Guest, VIAS } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { digestJson } from '#evidence/binding.ts'
import { padNonce, padReportData } from '#evidence/judge.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { PLUGINS, pluginOf } from '#plugins.ts'
import { type Args, command as define } from './command.ts'
import { noEvidence } from './find-guest.ts'
import { GUEST_OPTIONS, openGuest } from './guest.ts'
import { BYTES_FORMS, readBytes } from './options/bytes.ts'
import { requireNewFile } from './options/new-file.ts'
import { AEB_HOST } from './sev/aeb-port.ts'
import { note, printBytes } from './term.ts'

/** The technologies whose evidence speaks for a privilege level. */
const LEVELLED = PLUGINS.filter(({ privilegeLevels }) => privilegeLevels)
    .map(({ id, privilegeLevels }) => `${id}: ${privilegeLevels}`)
    .join(', ')

/** No way to this guest's own evidence: its host's, which takes nothing from the guest. Never taken unless it is named. */
const AEB = 'aeb'

const OPTIONS = {
    ...GUEST_OPTIONS,
    via: {
        type: 'string',
        choices: [...VIAS, AEB],
        describe: `${GUEST_OPTIONS.via.describe}; ${AEB}: ask the host (SEV), for evidence that is bound to nobody`,
    },
    from: { type: 'string', describe: `with --via aeb: the host, vsock://CID:PORT or unix:///PATH [${AEB_HOST}]` },
    handle: { type: 'number', describe: 'with --via aeb: which guest, by the handle that QMP query-sev says' },
    'report-data': { type: 'string', describe: `1 to 64 bytes to bind, padded with zeros (${BYTES_FORMS})` },
    nonce: { type: 'string', describe: `a challenge to bind, 16 to 64 bytes (${BYTES_FORMS})` },
    'runtime-data': { type: 'string', describe: 'a JSON file: SHA-384 of its canonical form (RFC 8785) is bound' },
    vmpl: {
        type: 'number',
        describe: `privilege level to speak for (${LEVELLED}); the lowest that the kernel permits unless told`,
    },
    'event-log': {
        type: 'boolean',
        default: false,
        describe:
            'send the log of what the firmware and the boot loader measured as well; after `registers extend` it proves nothing',
    },
    format: {
        type: 'string',
        choices: ['kbs', 'raw'],
        describe: "the key broker protocol's JSON [kbs], or the technology's own bytes",
    },
    out: { type: 'string', describe: 'write to this new file instead of standard output' },
} as const

export const command = define({
    options: OPTIONS,
    examples: [
        ['--nonce hex:7f3a… --out evidence.json', 'evidence that answers a challenge'],
        ['--report-data @digest.bin --format raw --out report.bin', 'bytes for another verifier'],
        ['--nonce hex:7f3a… --event-log --out evidence.json', 'with what was measured on the way to this system'],
        ['--tee sev --via aeb --handle 1 --out evidence.json', 'what the host says of a guest of SEV'],
    ],
    details:
        '--via aeb asks the attestation evidence broker of the host (`sev aeb serve`; the protocol of 2022). The host chooses ' +
        'which guest its evidence is about, and the nonce: nothing can be bound to it, it may be old, no broker releases ' +
        'anything for it, and nothing falls back to it. `sev report verify` judges it.',
    async run(args) {
        if (args.via === AEB) return fromHost(args)
        if (args.from !== undefined || args.handle !== undefined)
            throw coreError('ERR_USAGE', `--from and --handle say whom --via ${AEB} asks`)
        const binding = readBinding(args)
        if (args.eventLog && args.format === 'raw')
            throw coreError('ERR_USAGE', '--event-log: it has no place in the bytes of --format raw')
        if (args.tee !== undefined) checkLevel(args, args.tee)
        if (args.out !== undefined) requireNewFile(args.out)
        const guest = await openGuest({ tee: args.tee, via: args.via })
        try {
            if (!guest.evidence) throw noEvidence(guest)
            checkLevel(args, guest.tee)
            if (args.eventLog && !guest.hasEventLog)
                throw driverError('ERR_EVENT_LOG_MISSING', `this guest of ${guest.tee} has no event log`)
            const evidence = await guest.evidence(binding, {
                ...(args.vmpl === undefined ? {} : { privilegeLevel: args.vmpl }),
                eventLog: args.eventLog,
            })
            const { toKbs, toRaw, notes } = await pluginOf(evidence.tee).forms()
            for (const text of notes(evidence)) note(text)
            for (const name of await leftBehind(guest, evidence))
                note(
                    `${name} was extended without an entry in the event log: a verifier refuses this evidence, send it without --event-log`,
                )
            const bytes = args.format === 'raw' ? toRaw(evidence) : Buffer.from(`${stringifyJson(toKbs(evidence))}\n`)
            write(bytes, args.out)
            return 0
        } finally {
            guest.close()
        }
    },
})

async function fromHost(args: Args<typeof OPTIONS>): Promise<number> {
    const { askAeb, checkAeb } = await import('./sev/aeb.ts')
    const question = await checkAeb(args)
    if (args.out !== undefined) requireNewFile(args.out)
    write(await askAeb(question), args.out)
    return 0
}

/** The registers that the event log does not lead to, as far as this guest shows them. */
async function leftBehind(guest: Guest, { tee, eventLog }: Evidence): Promise<string[]> {
    if (!eventLog || !guest.registers) return []
    const log = (await pluginOf(tee).verifier(STRICT_TRUST)).readEventLog?.(eventLog, null)
    const registers = log ? await guest.registers.read() : []
    return registers
        .filter(({ name, value }) => {
            const claim = log?.claims[name]
            return claim !== undefined && claim !== toHex(value)
        })
        .map(({ name }) => name)
}

function checkLevel({ vmpl }: Args<typeof OPTIONS>, tee: string): void {
    const { title, privilegeLevels } = pluginOf(tee)
    if (vmpl !== undefined && privilegeLevels === undefined)
        throw coreError('ERR_USAGE', `--vmpl: guests of ${title} have no privilege levels`)
}

function readBinding(args: Args<typeof OPTIONS>): Buffer {
    const { reportData, nonce, runtimeData } = args
    if ([reportData, nonce, runtimeData].filter((value) => value !== undefined).length !== 1)
        throw coreError('ERR_USAGE', 'name what to bind: only one of --report-data, --nonce, --runtime-data')
    if (reportData !== undefined) return padReportData(readBytes(reportData, '--report-data'))
    if (nonce !== undefined) return padNonce(readBytes(nonce, '--nonce'))
    const file = String(runtimeData)
    const text = readInput(file)
    try {
        return padReportData(digestJson(parseJson(text, { title: file })))
    } catch (cause) {
        throw coreError('ERR_USAGE', `--runtime-data: ${messageOf(cause)}`, { cause })
    }
}

function write(bytes: Buffer, out: string | undefined): void {
    if (out !== undefined) createFile(out, bytes, 0o644)
    else if (process.stdout.isTTY && bytes[0] !== 0x7b)
        throw coreError('ERR_USAGE', 'bytes do not belong on a terminal: name a file with --out, or redirect')
    else printBytes(bytes)
}
