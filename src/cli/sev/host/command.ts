// `sev launch-host`: what the host of a guest does while its owner proves it. Everything it carries may be known to it.
// SPDX-License-Identifier: Apache-2.0

import { toBase64 } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { sevOwner } from '#plugins.ts'
import { command as define, many } from '../../command.ts'
import { requireNewFile } from '../../options/new-file.ts'
import { readUuid } from '../../options/uuid.ts'
import { note } from '../../term.ts'
import { askCek, CHIP_ID_SIZE } from '../cek.ts'
import { readSignedCek } from '../certificate.ts'
import { readSized } from '../inputs.ts'
import { askCapabilities, type Capabilities, proveAndRun, startPaused, withFolder } from './launch.ts'
import type { Qemu } from './qemu.ts'
import { openService } from './service.ts'
import { checkWords, OBJECT_ID } from './words.ts'

export const command = define({
    options: {
        qmp: { type: 'string', demandOption: true, describe: 'where QEMU’s monitor is to listen, a new unix socket' },
        service: {
            type: 'string',
            demandOption: true,
            describe: 'the owner’s broker: https://HOST[:PORT], vsock://CID:PORT, unix:///PATH (`guest-attest relay`)',
        },
        vm: { type: 'string', demandOption: true, describe: 'the UUID that the owner registered' },
        pin: many('SHA-256 of the service’s public key: sha256/…; may be repeated'),
        ca: { type: 'string', describe: 'or the CA (PEM) that vouches for it' },
        token: { type: 'string', describe: 'the file with the token that the owner demands' },
        cek: { type: 'string', describe: 'the chip’s certificate with AMD’s signature' },
        'cek-service': { type: 'string', describe: 'or the service that is asked for it' },
        'kernel-hashes': {
            type: 'boolean',
            default: false,
            describe: 'have kernel, initrd and command line measured (QEMU’s -kernel)',
        },
    },
    examples: [
        [
            `--qmp web.qmp --service https://kbs.example:8443 --pin sha256/4vF…= --vm 7c9e6679-7425-40de-944b-e07fc1f90ae7 --token web.token -- qemu-system-x86_64 -machine q35,accel=kvm,confidential-guest-support=${OBJECT_ID} -cpu EPYC-v4 -smp 4 -m 2G -drive if=pflash,unit=0,readonly=on,format=raw,file=AmdSev.fd …`,
            'starts it when its owner agrees, and stays until it ends',
        ],
    ],
    details: async () =>
        `Behind -- stands QEMU’s command line, which names confidential-guest-support=${OBJECT_ID}; what is added: -S, -qmp, and -object sev-guest with the owner’s session. ` +
        'A machine without a guest is started first, and asked for the platform’s certificates.\n' +
        'When the owner denies it, the guest is ended before it ran. Otherwise the exit status is QEMU’s.\n' +
        `AMD’s own --cek-service is ${(await sevOwner()).AMD_SERVICE}.\n` +
        'Exit status before that: 1 denied, or there is no SEV, 2 usage, 3 the service cannot be reached.',
    takesWords: 'QEMU…',
    async run(args) {
        const words = args['--'] ?? []
        const [program = ''] = words
        checkWords(words, args)
        const vm = readUuid(args.vm, '--vm: ')
        if (args.cek !== undefined && args.cekService !== undefined)
            throw coreError('ERR_USAGE', '--cek has what --cek-service would be asked for')
        requireNewFile(args.qmp, '--qmp')
        const own = args.cek === undefined ? null : await readSignedCek(args.cek)
        using service = openService({ ...args, vm })
        const guest = await withFolder(async (folder) => {
            const capabilities = await askCapabilities(program, folder)
            const { pdh, 'cert-chain': chain } = capabilities
            const cek = own ?? (await fetched(args.cekService, capabilities))
            const launched = await service.launch({ pdh, 'cert-chain': chain, ...(cek ? { cek: toBase64(cek) } : {}) })
            const qemu = await startPaused({ ...args, words, folder, socket: args.qmp, capabilities, launched })
            await orKilled(qemu, () => proveAndRun(qemu.qmp, service, launched))
            return qemu
        })
        guest.qmp.close()
        note(`${vm} runs, with its owner’s secrets`)
        return guest.ended
    },
})

async function orKilled(qemu: Qemu, act: () => Promise<void>): Promise<void> {
    try {
        await act()
    } catch (error) {
        qemu.qmp.close()
        await qemu.kill()
        throw error
    }
}

async function fetched(cekService: string | undefined, { 'cpu0-id': id }: Capabilities): Promise<Buffer | null> {
    if (cekService === undefined) return null
    if (id === undefined) throw coreError('ERR_USAGE', '--cek-service: this QEMU does not name the chip; --cek')
    return askCek(readSized(`b64:${id}`, 'cpu0-id', CHIP_ID_SIZE), cekService)
}
