// The device model of an SEV guest: the table of secrets in its memory, and the files that Linux makes of it
// (drivers/virt/coco/efi_secret/efi_secret.c). Each secret is read from the table, and removing it wipes it there.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { release } from 'node:os'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { GUID_SIZE } from '#core/guid.ts'
import { DISK_GUID, secretGuid } from '#core/secret-names.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'
import { SECRETS_DRIVER } from '#drivers/linux/no-secrets.ts'
import { SECRETS_DEVICE, SECRETS_FOLDER, SECURITYFS } from '#drivers/linux/secret-area.ts'
import type { AttributeFile, DeviceModel } from '#emulator/model.ts'
import type { SevOptions } from '../emulate.ts'
import {
    encodeSecretTable,
    MAX_SECRETS,
    readSecretTable,
    type TableEntry,
    type TableFault,
} from '../launch/secret-table.ts'

type Files = NonNullable<DeviceModel['files']>

type Folders = NonNullable<DeviceModel['folders']>

/** What a kernel can lack, and what there is all the same. */
const KERNELS = {
    'no-module': {
        files: {
            [`${SECRETS_DEVICE}/modalias`]: text('platform:efi_secret'),
            ...config('CONFIG_EFI_COCO_SECRET=y\nCONFIG_EFI_SECRET=m'),
        },
        folders: {},
    },
    'no-securityfs': { files: driver(true), folders: { [SECURITYFS]: {} } },
    'no-area': { files: config('CONFIG_EFI_COCO_SECRET=y'), folders: {} },
    'no-option': { files: config('# CONFIG_EFI_COCO_SECRET is not set'), folders: {} },
} satisfies Readonly<Record<string, { readonly files: Files; readonly folders: Folders }>>

const TITLE = 'AMD SEV'

/** @throws AttestError ERR_USAGE, ERR_FILE, ERR_SEV_SECRET */
export function sevModel({ kernel, secrets, secretTable }: SevOptions): DeviceModel {
    if (kernel !== undefined) {
        if (!Object.hasOwn(KERNELS, kernel))
            throw coreError('ERR_USAGE', `--kernel ${kernel}: expected one of ${Object.keys(KERNELS).join(', ')}`)
        if (secrets !== undefined || secretTable !== undefined)
            throw coreError('ERR_USAGE', `--kernel ${kernel}: it shows no secrets, so none is to be given`)
        return { title: `${TITLE} (${kernel})`, devices: {}, ...KERNELS[kernel as keyof typeof KERNELS] }
    }
    if (secrets !== undefined && secretTable !== undefined)
        throw coreError('ERR_USAGE', '--secret-table has all secrets: --secrets cannot be added')
    const table = secretTable === undefined ? tableOf(secrets) : readInput(secretTable, MAX_SECRET_AREA)
    return { title: TITLE, devices: {}, ...shown(table) }
}

/** What the kernel makes of a table. */
export function shown(table: Buffer): { readonly files: Files; readonly folders: Folders } {
    const read = readSecretTable(table)
    if ('fault' in read) return { files: { ...driver(false), '/dev/kmsg': log(read.fault) }, folders: {} }
    // Linux shows no more than its files.
    const entries = read.entries.slice(0, MAX_SECRETS)
    const files = Object.fromEntries(entries.map((entry) => [entry.guid, secretFile(table, entry)]))
    return { files: driver(true), folders: { [SECRETS_FOLDER]: files } }
}

const secretFile = (table: Buffer, { at, data }: TableEntry): AttributeFile => ({
    mode: 0o440,
    size: 0,
    requests: { read: 'readSecret', unlink: 'wipeSecret' },
    read: () => ({ bytes: Buffer.from(data) }),
    unlink: () => ({
        commit() {
            data.fill(0)
            table.fill(0, at, at + GUID_SIZE)
        },
    }),
})

function tableOf(specs: string | undefined): Buffer {
    const given = specs === undefined ? [{ guid: DISK_GUID, data: randomBytes(32) }] : specs.split(',').map(readSpec)
    return encodeSecretTable(given, MAX_SECRET_AREA)
}

function readSpec(spec: string) {
    const [name = '', ...rest] = spec.split(':')
    const guid = secretGuid(name)
    if (guid === null || rest.length === 0)
        throw coreError('ERR_USAGE', `--secrets: expected GUID:FILE or luks-key:FILE, got ${JSON.stringify(spec)}`)
    return { guid, data: readInput(rest.join(':'), MAX_SECRET_AREA) }
}

/** @param bound the driver has taken the device */
function driver(bound: boolean): Files {
    return {
        [`${SECRETS_DEVICE}/modalias`]: text('platform:efi_secret'),
        [`${SECRETS_DRIVER}/uevent`]: text(''),
        ...(bound ? { [`${SECRETS_DEVICE}/driver/uevent`]: text('') } : {}),
    }
}

/** What the driver says of it in the kernel's log. Of a table that nobody has filled, it does not speak. */
const WORDS: Readonly<Record<TableFault, string | null>> = {
    'no-table': null,
    length: 'EFI secret area reported length is too big',
    'entry-length': 'EFI secret area is corrupted',
    'same-guid': 'Error creating efi_secret securityfs entry',
}

function log(fault: TableFault): AttributeFile {
    const said = WORDS[fault]
    return text(said === null ? '6,1,1,-;Linux version' : `3,500,1000000,-;efi_secret efi_secret.0: ${said}`)
}

function config(line: string): Files {
    return { [`/boot/config-${release()}`]: text(line) }
}

function text(line: string): AttributeFile {
    return { mode: 0o444, size: 4096, read: () => ({ bytes: Buffer.from(line === '' ? '' : `${line}\n`) }) }
}
