// A stage for tests of the whole: an emulated vendor, a broker of our own as a process, a guest's configuration that trusts
// it, and one key. Everything lives in one folder under /tmp and ends with the test.
// SPDX-License-Identifier: Apache-2.0

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pluginOf } from '#plugins.ts'
import { MAIN, type Ran, type RunOptions, run } from './cli/run.ts'

const PROGRAMS = fileURLToPath(new URL('../packaging/bin', import.meta.url))

export const KEY_PATH = 'default/luks/web'

export interface Stage {
    readonly folder: string
    readonly tee: string
    /** The emulated vendor's folder. */
    readonly vendor: string
    /** The words that tell a verifier to trust it. */
    readonly trust: readonly string[]
    /** The guest's configuration. */
    readonly config: string
    readonly data: string
    readonly url: string
    readonly pin: string
    readonly env: Readonly<Record<string, string>>
    /** `guest-attest ARGS…` outside the guest. */
    cli(...args: readonly string[]): Promise<Ran>
    /** A program inside the emulated guest. */
    guest(command: readonly string[], options?: GuestOptions): Promise<Ran>
    /** `guest-attest broker ARGS…` against this broker. */
    broker(...args: readonly string[]): Promise<Ran>
    killBroker(signal?: NodeJS.Signals): Promise<void>
    startBroker(): Promise<void>
    /** What the broker has printed. */
    brokerLog(): string
    close(): Promise<void>
}

export interface GuestOptions extends RunOptions {
    /** Of the guest; that of the broker's reference set unless told. */
    readonly measurement?: string
    /** Further options of `emulate`. */
    readonly emulate?: readonly string[]
}

/** What the broker knows. */
export const MEASUREMENT = 'a1'.repeat(48)

/** Options that every guest of a technology has. */
const EMULATE: Readonly<Record<string, readonly string[]>> = { snp: ['--generation', 'genoa'] }

const POLICY = `@id("web-disk")
@insecureCustomRoot
permit (principal, action == Action::"release", resource)
when { principal.references.contains("web") && resource.path == "${KEY_PATH}" };
`

/** The words that tell a verifier to trust the emulated vendor of a folder. */
export async function trustWords(tee: string, vendor: string): Promise<string[]> {
    const emulator = await pluginOf(tee).emulator?.()
    if (!emulator?.trustFolder) throw new TypeError(`${tee} cannot be emulated`)
    const { root, collateral } = emulator.trustFolder
    return ['--trust-root', join(vendor, root), '--collateral', join(vendor, collateral)]
}

export async function openStage(config = '[drivers]\nspacingMs = 0\n', tee = 'snp'): Promise<Stage> {
    const ground = openGround(config)
    const { folder, env, cli } = ground
    const vendor = join(folder, 'vendor')
    const guest = (command: readonly string[], options: GuestOptions = {}): Promise<Ran> => {
        const { emulate = [], measurement = MEASUREMENT, ...rest } = options
        const own = EMULATE[tee] ?? []
        const guestOptions = ['--trust-dir', vendor, '--measurement', measurement, ...own, ...emulate]
        return run(process.execPath, [MAIN, 'emulate', '--tee', tee, ...guestOptions, '--', ...command], {
            ...rest,
            env: { ...env, ...rest.env },
        })
    }

    const evidence = join(folder, 'evidence.json')
    await must(guest([process.execPath, MAIN, 'evidence', '--report-data', 'hex:00', '--out', evidence]), ['evidence'])

    const trust = await trustWords(tee, vendor)
    const serving = await ground.serve(trust)
    const { broker, url, pin } = serving
    const policy = join(folder, 'policy.cedar')
    writeFileSync(policy, POLICY)
    await broker('put', KEY_PATH, '--random')
    await broker(
        'reference',
        'add',
        '--from-evidence',
        evidence,
        '--name',
        'web',
        '--coverage',
        'firmware+kernel+initrd+cmdline',
    )
    await broker('policy', 'put', 'disks', policy)
    await cli('trust', 'add', url, '--pin', pin, '--allow-path', 'default/luks/*')
    return { ...ground, ...serving, tee, vendor, trust, guest }
}

/** A stage on which nobody is trusted yet, and nobody serves. */
export interface Ground extends Pick<Stage, 'folder' | 'config' | 'data' | 'env' | 'cli'> {
    /** Its broker, with these options more; it ends with `close`. */
    serve(options?: readonly string[]): Promise<ServingBroker>
}

export type ServingBroker = Pick<Stage, 'url' | 'pin' | 'broker' | 'killBroker' | 'startBroker' | 'brokerLog' | 'close'>

export function openGround(config: string): Ground {
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-stage-'))
    const [configFolder, data] = [join(folder, 'etc'), join(folder, 'broker')]
    mkdirSync(configFolder)
    writeFileSync(join(configFolder, 'config.toml'), config, { mode: 0o644 })
    const env = {
        GUEST_ATTEST_CONFIG: configFolder,
        PATH: [PROGRAMS, join(process.execPath, '..'), process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter),
    }
    const cli = (...args: readonly string[]): Promise<Ran> =>
        must(run(process.execPath, [MAIN, ...args], { env }), args)
    return {
        folder,
        config: configFolder,
        data,
        env,
        cli,
        async serve(options = []) {
            const server = brokerProcess(data, options, env)
            await server.start('127.0.0.1:0')
            return {
                url: server.url(),
                pin: server.pin(),
                broker: (...args) => cli('broker', ...args, '--data', data),
                killBroker: server.kill,
                startBroker: () => server.start(new URL(server.url()).host),
                brokerLog: server.log,
                async close() {
                    await server.kill('SIGTERM')
                    rmSync(folder, { recursive: true, force: true })
                },
            }
        },
    }
}

async function must(running: Promise<Ran>, what: readonly string[]): Promise<Ran> {
    const ran = await running
    if (ran.code !== 0) throw new Error(`${what.join(' ')} exits with ${ran.code}: ${ran.stderr}`)
    return ran
}

function brokerProcess(data: string, trust: readonly string[], env: Readonly<Record<string, string>>) {
    let child: ChildProcess | undefined
    let log = ''
    const found = (pattern: RegExp): string => pattern.exec(log)?.[1] ?? ''
    return {
        url: () => found(/serving (https:\S+);/),
        pin: () => found(/the key of this broker is (\S+)/),
        log: () => log,
        async start(listen: string) {
            const args = ['broker', 'serve', '--data', data, '--listen', listen]
            const started = log.length
            child = spawn(process.execPath, [MAIN, ...args, ...trust], {
                env: { ...process.env, ...env },
                stdio: ['ignore', 'ignore', 'pipe'],
            })
            await new Promise<void>((resolve, reject) => {
                child?.once('exit', (code) => reject(new Error(`the broker exits with ${code}: ${log}`)))
                child?.stderr?.on('data', (chunk: Buffer) => {
                    log += chunk.toString()
                    if (/serving .*;/.test(log.slice(started))) resolve()
                })
            })
            child.removeAllListeners('exit')
        },
        async kill(signal: NodeJS.Signals = 'SIGKILL') {
            const dying = child
            if (!dying || dying.exitCode !== null || dying.signalCode !== null) return
            const gone = new Promise((resolve) => dying.once('exit', resolve))
            dying.kill(signal)
            await gone
        },
    }
}
