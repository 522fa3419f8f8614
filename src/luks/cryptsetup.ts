// The distribution's cryptsetup, which alone writes headers. Secrets go through its standard input, by their lengths, never
// through its arguments. It runs in a session of its own: an interrupt at the terminal does not reach it, so that what it
// writes is written to its end.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { errnoOf } from '#core/errors.ts'
import { luksError } from './errors.ts'

/** What a random passphrase of 256 bits needs: guessing is hopeless, and a small guest opens at once. */
const CHEAP = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--hash', 'sha256'] as const

/** Does this open a key slot (of `keyslot` alone, where it is named)? @throws AttestError ERR_LUKS_CRYPTSETUP */
export async function opens(device: string, passphrase: Uint8Array, { keyslot, header }: OpenOptions = {}) {
    const { code, text } = await run(
        [
            'open',
            '--test-passphrase',
            ...keyFile(passphrase),
            ...(keyslot === undefined ? [] : ['--key-slot', keyslot]),
            ...(header === undefined ? [] : ['--header', header]),
            device,
        ],
        [passphrase],
    )
    if (code === 0 || code === WRONG_PASSPHRASE) return code === 0
    // A key slot that is not there opens nothing.
    if (keyslot !== undefined && /not active|No usable keyslot|is not valid/i.test(text)) return false
    throw failed('open', text, code)
}

export interface OpenOptions {
    readonly keyslot?: string | undefined
    /** A copy, or a detached header. */
    readonly header?: string | undefined
}

/** Makes `/dev/mapper/NAME`. @throws AttestError ERR_LUKS_PASSPHRASE, ERR_LUKS_CRYPTSETUP */
export const openVolume = (device: string, name: string, passphrase: Uint8Array, header: string): Promise<void> =>
    must(['open', '--type', 'luks2', ...keyFile(passphrase), '--header', header, device, name], [passphrase])

/** @throws AttestError ERR_LUKS_PASSPHRASE where the first opens nothing, ERR_LUKS_CRYPTSETUP */
export async function addKeyslot(file: string, keyslot: string, existing: Uint8Array, added: Uint8Array) {
    await addSlot(file, keyslot, existing, added, CHEAP)
    // Tried before the others: a passphrase for a person costs seconds and a gigabyte, in vain.
    await must(['config', '--priority', 'prefer', '--key-slot', keyslot, file])
}

/** The same for a passphrase that a person has chosen, whose derivation is slow. @throws AttestError as `addKeyslot` */
export const addPersonsKeyslot = (file: string, keyslot: string, existing: Uint8Array, added: Uint8Array) =>
    addSlot(file, keyslot, existing, added, [])

async function addSlot(
    file: string,
    keyslot: string,
    existing: Uint8Array,
    added: Uint8Array,
    derivation: readonly string[],
): Promise<void> {
    const sizes = ['--keyfile-size', String(existing.length), '--new-keyfile-size', String(added.length)]
    const args = ['luksAddKey', ...derivation, '--key-slot', keyslot, '--key-file', '-', ...sizes, file, '-']
    await must(args, [existing, added])
}

/** Removes a key slot; a passphrase of another one proves that something is left. @throws AttestError as `addKeyslot` */
export const killKeyslot = (file: string, keyslot: string, remaining: Uint8Array): Promise<void> =>
    must(['luksKillSlot', ...keyFile(remaining), file, keyslot], [remaining])

/** @throws AttestError ERR_LUKS_CRYPTSETUP, where there is no room for it among others */
export const importToken = (file: string, id: string, token: object): Promise<void> =>
    must(['token', 'import', '--token-id', id, '--json-file', '-', file], [Buffer.from(JSON.stringify(token))])

export const removeToken = (file: string, id: string): Promise<void> =>
    must(['token', 'remove', '--token-id', id, file])

/** Puts a header, whole, in the place of the one that a device has. */
export const restoreHeader = (device: string, file: string): Promise<void> =>
    must(['luksHeaderRestore', '--header-backup-file', file, device])

/**
 * Another volume key, and all data anew; hours for a large disk. Of the key slots this one remains, under another number.
 * @param isFile nobody can tell of a file whether it is in use
 */
export const reencrypt = (device: string, isFile: boolean, keyslot: string, passphrase: Uint8Array) =>
    must(
        [
            'reencrypt',
            ...CHEAP,
            ...keyFile(passphrase),
            ...(isFile ? ['--force-offline-reencrypt'] : []),
            '--key-slot',
            keyslot,
            device,
        ],
        [passphrase],
    )

const WRONG_PASSPHRASE = 2

const keyFile = (secret: Uint8Array): string[] => ['--key-file', '-', '--keyfile-size', String(secret.length)]

async function must(args: readonly string[], input: readonly Uint8Array[] = []) {
    const { code, text } = await run(args, input)
    if (code === WRONG_PASSPHRASE) throw luksError('ERR_LUKS_PASSPHRASE', 'no key slot opens with that passphrase')
    if (code !== 0) throw failed(args[0] ?? '', text, code)
}

const failed = (what: string, text: string, code: number | null) =>
    luksError('ERR_LUKS_CRYPTSETUP', `cryptsetup ${what}: ${text.trim() || `exit status ${code}`}`)

interface Ended {
    readonly code: number | null
    readonly text: string
}

const MAX_TEXT = 2000

function run(args: readonly string[], input: readonly Uint8Array[]): Promise<Ended> {
    return new Promise((resolve, reject) => {
        const child = spawn('cryptsetup', ['--batch-mode', ...args], {
            stdio: ['pipe', 'ignore', 'pipe'],
            detached: true,
            // An ordinary user's PATH has no /sbin; what is parsed of its messages is in English.
            env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' },
        })
        let text = ''
        child.stderr?.on('data', (chunk: Buffer) => {
            text = `${text}${chunk}`.slice(0, MAX_TEXT)
        })
        child.on('error', (cause) =>
            reject(
                errnoOf(cause) === 'ENOENT'
                    ? luksError('ERR_LUKS_CRYPTSETUP', 'cryptsetup is not installed', {
                          cause,
                          hint: 'apt install cryptsetup-bin',
                      })
                    : luksError('ERR_LUKS_CRYPTSETUP', `cryptsetup: ${cause.message}`, { cause }),
            ),
        )
        child.on('close', (code) => resolve({ code, text }))
        child.stdin?.on('error', () => undefined) // it has refused already, and says why
        for (const bytes of input) child.stdin?.write(bytes)
        child.stdin?.end()
    })
}
