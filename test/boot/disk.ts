// LUKS2 disks, made without a device mapper: cryptsetup writes the header into a file with a volume key that is known here,
// and the data are encrypted as dm-crypt does (aes-xts-plain64, sectors of 4096 bytes). The guest's kernel is the judge.
// SPDX-License-Identifier: Apache-2.0

import { createCipheriv, randomBytes } from 'node:crypto'
import {
    chmodSync,
    closeSync,
    copyFileSync,
    mkdirSync,
    openSync,
    readSync,
    rmSync,
    statSync,
    writeFileSync,
    writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { sh } from './shell.ts'

/** Where the data begin: what cryptsetup chooses by itself. */
const DATA_OFFSET = 16 * 1024 * 1024
const SECTOR = 4096

export interface LuksOptions {
    readonly uuid: string
    readonly passphrase: string
}

/** Makes a LUKS2 disk that holds a file system. */
export async function luksDisk(path: string, image: string, { uuid, passphrase }: LuksOptions): Promise<void> {
    const volumeKey = randomBytes(64)
    const keyFile = `${path}.key`
    writeFileSync(keyFile, volumeKey, { mode: 0o600 })
    rmSync(path, { force: true })
    await sh(['truncate', '-s', String(DATA_OFFSET + statSync(image).size), path])
    await sh(
        [
            ...['cryptsetup', 'luksFormat', '--batch-mode', '--type', 'luks2', '--uuid', uuid],
            ...['--cipher', 'aes-xts-plain64', '--key-size', '512', '--sector-size', String(SECTOR)],
            ...['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'],
            ...['--volume-key-file', keyFile, '--key-file', '-', path],
        ],
        { input: passphrase },
    )
    rmSync(keyFile)
    encrypt(image, path, volumeKey)
}

// plain64: the number of the 512-byte sector where a sector begins, little-endian. Linux drivers/md/dm-crypt.c.
function encrypt(image: string, disk: string, key: Buffer): void {
    const from = openSync(image, 'r')
    const to = openSync(disk, 'r+')
    const iv = Buffer.alloc(16)
    const block = Buffer.alloc(256 * SECTOR)
    for (let at = 0; ; ) {
        const length = readSync(from, block, 0, block.length, at)
        if (length === 0) break
        for (let sector = 0; sector < length; sector += SECTOR) {
            iv.writeBigUInt64LE(BigInt((at + sector) / 512))
            const cipher = createCipheriv('aes-256-xts', key, iv)
            cipher.update(block.subarray(sector, sector + SECTOR)).copy(block, sector)
        }
        writeSync(to, block, 0, length, DATA_OFFSET + at)
        at += length
    }
    closeSync(from)
    closeSync(to)
}

/** An ext4 image of a folder. */
export async function fileSystem(
    path: string,
    folder: string,
    sizeMiB: number,
    options: readonly string[] = [],
): Promise<void> {
    rmSync(path, { force: true })
    await sh(['truncate', '-s', `${sizeMiB}M`, path])
    await sh(['mke2fs', '-q', '-t', 'ext4', '-b', '4096', ...options, '-d', folder, path])
}

const LIBRARIES = 'usr/lib/x86_64-linux-gnu'
const LOADER = 'ld-linux-x86-64.so.2'

/** The folder of a real root that says its name on the console and switches off. @param base where busybox comes from */
export function markerRoot(folder: string, base: string, name: string): void {
    rmSync(folder, { recursive: true, force: true })
    for (const path of [
        'bin',
        'sbin',
        'etc',
        'dev',
        'proc',
        'sys',
        'run',
        'tmp',
        'root',
        'lib64',
        'usr/lib',
        'usr/bin',
        'usr/sbin',
    ])
        mkdirSync(join(folder, path), { recursive: true })
    const programs = ['sh', 'mount', 'grep', 'cut', 'cat', 'echo', 'sync', 'poweroff', 'sleep', 'ls']
    for (const program of ['busybox', ...programs])
        copyFileSync(join(base, 'usr/bin/busybox'), join(folder, 'bin', program))
    for (const library of ['libc.so.6', 'libresolv.so.2'])
        copyFileSync(join(base, LIBRARIES, library), join(folder, 'usr/lib', library))
    copyFileSync(join(base, LIBRARIES, LOADER), join(folder, 'lib64', LOADER))
    copyFileSync(fileURLToPath(new URL('guest/init', import.meta.url)), join(folder, 'sbin/init'))
    chmodSync(join(folder, 'sbin/init'), 0o755)
    writeFileSync(join(folder, 'marker'), name)
    writeFileSync(join(folder, 'etc/os-release'), 'ID=debian\nNAME="boot test"\n')
    writeFileSync(join(folder, 'etc/fstab'), '')
}
