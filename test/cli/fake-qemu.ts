// A QEMU that runs nothing: it speaks the monitor's messages, and its secure processor is the emulated one. What it takes of
// a command line is -machine none, -qmp, -object sev-guest, -smp and the first pflash. Run by a script of one word.
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey } from 'node:crypto'
import { appendFileSync, chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { toBase64 } from '#core/bytes.ts'
import { vmsaPages } from '#core/launch/options.ts'
import { readFirmware, resetAddress } from '#core/launch/ovmf.ts'
import { signature } from '#core/launch/vcpu.ts'
import { EmulatedLaunch } from '#plugins/sev/emulated/processor.ts'
import { FIRMWARE, type minted } from '#test/plugins/sev/minted.ts'
import { MILAN } from '#test/plugins/sev/rig.ts'

/** What it exits with when the guest has run. */
export const STATUS = 7

/** Puts the script into a folder; beside it stands what became of the guest (`log`, `table`). */
export function installQemu(folder: string, { keys, certificates: c }: Awaited<ReturnType<typeof minted>>): string {
    mkdirSync(folder, { recursive: true })
    for (const name of ['pdh', 'pek'] as const)
        writeFileSync(join(folder, `${name}.pem`), keys[name].export({ type: 'pkcs8', format: 'pem' }))
    const chain = { pdh: toBase64(c.pdh), 'cert-chain': toBase64(Buffer.concat([c.pek, c.oca, c.cek, c.ask])) }
    writeFileSync(join(folder, 'capabilities.json'), JSON.stringify(chain))
    const program = join(folder, 'qemu')
    writeFileSync(
        program,
        `#!/bin/sh\nexec '${process.execPath}' '${fileURLToPath(import.meta.url)}' '${folder}' "$@"\n`,
    )
    chmodSync(program, 0o755)
    return program
}

type Arguments = Readonly<Record<string, string>>

function play(folder: string, words: readonly string[]): void {
    const option = (name: string, prefix = ''): string =>
        words.find((word, at) => words[at - 1] === name && word.startsWith(prefix)) ?? ''
    const value = (text: string, name: string): string =>
        text
            .split(',')
            .find((part) => part.startsWith(`${name}=`))
            ?.slice(name.length + 1) ?? ''
    const log = (line: string) => appendFileSync(join(folder, 'log'), `${line}\n`)

    const object = option('-object', 'sev-guest')
    let launch: EmulatedLaunch | null = null
    if (object !== '') {
        const file = (name: string) => Buffer.from(readFileSync(value(object, name), 'latin1'), 'base64')
        const key = (name: string) => createPrivateKey(readFileSync(join(folder, `${name}.pem`)))
        const policy = Number(value(object, 'policy'))
        const image = readFileSync(value(option('-drive', 'if=pflash'), 'file'))
        const parts = { godh: file('dh-cert-file'), session: file('session-file'), policy }
        launch = new EmulatedLaunch({ pdh: key('pdh'), pek: key('pek') }, FIRMWARE, parts)
        launch.update(image)
        const state = { profile: 'kvm-legacy', signature: signature(MILAN), features: 0n } as const
        const pages = vmsaPages(state, resetAddress(readFirmware(image, 'image')), Number(option('-smp')))
        if (policy & 4) for (const page of pages) launch.update(page)
        log(`started ${words.includes('-S') ? 'paused' : 'RUNNING'}`)
    }

    let running = false
    const refuse = (desc: string) => {
        throw new Error(desc)
    }
    const guest = () => launch ?? refuse('SEV not enabled for guest')
    const commands: Readonly<Record<string, (args: Arguments) => unknown>> = {
        qmp_capabilities: () => ({}),
        'query-status': () => ({ status: running ? 'running' : 'prelaunch', singlestep: false, running }),
        'query-sev-capabilities': () => {
            if (value(option('-machine'), 'accel') !== 'kvm') refuse('KVM not enabled')
            const chain = JSON.parse(readFileSync(join(folder, 'capabilities.json'), 'utf8'))
            return { ...chain, 'cpu0-id': toBase64(Buffer.alloc(64, 1)), 'reduced-phys-bits': 1, cbitpos: 51 }
        },
        'query-sev': () => ({
            enabled: launch !== null,
            'api-major': launch ? FIRMWARE.apiMajor : 0,
            'api-minor': launch ? FIRMWARE.apiMinor : 0,
            'build-id': launch ? FIRMWARE.buildId : 0,
            policy: launch?.policy ?? 0,
            state: launch?.state ?? 'uninit',
            handle: launch ? 1 : 0,
        }),
        'query-sev-launch-measure': () => ({
            data: toBase64((launch ?? refuse('SEV launch measurement is not available')).measure()),
        }),
        'sev-inject-launch-secret': ({ 'packet-header': header = '', secret = '' }) => {
            const packet = { header: Buffer.from(header, 'base64'), payload: Buffer.from(secret, 'base64') }
            writeFileSync(join(folder, 'table'), guest().inject(packet))
            log('injected')
            return {}
        },
        cont: () => {
            guest().finish()
            running = true
            log('runs')
            setTimeout(() => process.exit(STATUS), 200)
            return {}
        },
    }
    const socket = /^unix:(.*),server=on,wait=off$/.exec(option('-qmp'))?.[1]
    const server = createServer((connection: Socket) => {
        const say = (line: object) => connection.write(`${JSON.stringify(line)}\r\n`)
        say({ QMP: { version: { qemu: { micro: 22, minor: 2, major: 7 }, package: '' }, capabilities: ['oob'] } })
        connection.on('error', () => undefined)
        const lines = createInterface({ input: connection }).on('error', () => undefined)
        lines.on('line', (line) => {
            const { execute, arguments: args = {}, id } = JSON.parse(line)
            try {
                const found = commands[execute] ?? (() => refuse(`The command ${execute} has not been found`))
                say({ return: found(args), id })
                if (execute === 'cont') say({ timestamp: { seconds: 1, microseconds: 0 }, event: 'RESUME' })
            } catch (error) {
                say({ id, error: { class: 'GenericError', desc: (error as Error).message } })
            }
        })
    })
    server.listen(socket)
}

if (import.meta.main) play(process.argv[2] ?? '', process.argv.slice(3))
