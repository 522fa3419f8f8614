// A volume that is bound by the real cryptsetup, step by step as the format says.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { BINDING_SALT_SIZE, bindingKeys, formatBinding, headerDigest } from '#luks/binding.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { temporaryFolder } from '#test/folder.ts'
import { CHEAP, format, must, SMALL } from './cryptsetup.ts'

export interface Bound {
    readonly image: string
    readonly uuid: string
    readonly passphrase: string
}

/** An image whose key slot 1 opens with this resource. */
export function boundImage(t: ExecutionContext, resource: Buffer, path: string, version: number | null): Bound {
    const image = format(t, [...CHEAP, ...SMALL])
    const folder = temporaryFolder(t)
    const name = { path, version, salt: Buffer.alloc(BINDING_SALT_SIZE, 3) }
    const { passphrase, headerKey } = bindingKeys(resource, name)
    const keyFile = join(folder, 'key')
    writeFileSync(keyFile, passphrase, { mode: 0o600 })
    must('cryptsetup', 'luksAddKey', '--batch-mode', '--key-file', '-', ...CHEAP, image, keyFile)
    const digest = headerDigest(copyWholeHeader(image), headerKey)
    const token = join(folder, 'token')
    writeFileSync(token, JSON.stringify(formatBinding({ ...name, keyslot: '1', digest })))
    must('cryptsetup', 'token', 'import', '--json-file', token, image)
    return {
        image,
        uuid: must('cryptsetup', 'luksUUID', image).trim(),
        passphrase: readFileSync(keyFile, 'latin1'),
    }
}
