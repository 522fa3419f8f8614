// A QEMU without a machine: it speaks the monitor's messages, and its secure processor is the emulated one. What it takes of
// a command line is -machine none, -qmp, -name, -object sev-guest, -smp, the first pflash, and what is measured of -kernel,
// -initrd and -append. Run by a script of one word.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { createHash, createPrivateKey } from 'node:crypto'
import { appendFileSync, chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { toBase64 } from '#core/bytes.ts'
import { hashCmdline, hashTable, NO_INITRD } from '#core/launch/kernel-hashes.ts'
import { readFirmware, resetAddress } from '#core/launch/ovmf.ts'
import { signature } from '#core/launch/vcpu.ts'
import { vmsaPages } from '#core/launch/vmsa.ts'
import { EmulatedLaunch, type ProcessorKeys } from '#plugins/sev/emulated/processor.ts'
import { FIRMWARE, type minted } from '#test/plugins/sev/minted.ts'
import { MILAN } from '#test/plugins/sev/rig.ts'

/** What a guest exits with unless told. */
export const STATUS = 7

/**
 * Puts the script into a folder; beside it stands what became of the guest: `log`, and, once it runs, the table of secrets
 * in its memory, `table` or that of its -name. What it runs is a command of the shell, which finds the table as $TABLE and
 * -initrd as $INITRD; QEMU ends with its status.
 */
export function installQemu(
    folder: string,
    { keys, certificates: c }: Awaited<ReturnType<typeof minted>>,
    guest = `exit ${STATUS}`,
): string {
    mkdirSync(folder, { recursive: true })
    for (const name of ['pdh', 'pek'] as const)
        writeFileSync(join(folder, `${name}.pem`), keys[name].export({ type: 'pkcs8', format: 'pem' }))
    const chain = { pdh: toBase64(c.pdh), 'cert-chain': toBase64(Buffer.concat([c.pek, c.oca, c.cek, c.ask])) }
    writeFileSync(join(folder, 'capabilities.json'), JSON.stringify(chain))
    writeFileSync(join(folder, 'guest'), guest)
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
        launch = started({ pdh: key('pdh'), pek: key('pek') }, parts)
        launch.update(image)
        if (value(object, 'kernel-hashes') === 'on') launch.update(kernelHashes(option))
        const state = { profile: 'kvm-legacy', signature: signature(MILAN), features: 0n } as const
        const pages = vmsaPages(state, resetAddress(readFirmware(image, 'image')), Number(option('-smp')))
        if (policy & 4) for (const page of pages) launch.update(page)
        log(`started ${words.includes('-S') ? 'paused' : 'RUNNING'}`)
    }

    let running = false
    // The area for secrets as the firmware leaves it, unless something is injected.
    let memory: Buffer = Buffer.alloc(4096)
    const table = join(folder, option('-name') === '' ? 'table' : `${option('-name')}.table`)
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
            memory = guest().inject(packet)
            log('injected')
            return {}
        },
        cont: () => {
            guest().finish()
            running = true
            log('runs')
            writeFileSync(table, memory)
            const env = { ...process.env, TABLE: table, INITRD: option('-initrd') }
            const machine = spawn('sh', [join(folder, 'guest')], { env, stdio: 'inherit' })
            // Whoever said `cont` is answered first.
            machine.once('exit', (status) => setTimeout(() => process.exit(status ?? 1), 200))
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
    process.once('exit', () => rmSync(socket ?? '', { force: true }))
    process.once('SIGTERM', () => process.exit(0))
}

/** A processor that refuses ends QEMU before its monitor is there. */
function started(keys: ProcessorKeys, session: ConstructorParameters<typeof EmulatedLaunch>[2]): EmulatedLaunch {
    try {
        return new EmulatedLaunch(keys, FIRMWARE, session)
    } catch (error) {
        console.error(`qemu: sev_launch_start: ${(error as Error).message}`)
        process.exit(1)
    }
}

/** The table that kernel-hashes=on puts into the firmware. */
function kernelHashes(option: (name: string) => string): Buffer {
    const hashOf = (path: string): Buffer => createHash('sha256').update(readFileSync(path)).digest()
    const initrd = option('-initrd')
    return hashTable({
        kernel: hashOf(option('-kernel')),
        initrd: initrd === '' ? NO_INITRD : hashOf(initrd),
        cmdline: hashCmdline(option('-append')),
    })
}

if (import.meta.main) play(process.argv[2] ?? '', process.argv.slice(3))
