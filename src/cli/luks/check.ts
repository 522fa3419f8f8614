// `luks check`: judges a copy of a LUKS2 header, which the host may have written.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { checkHeader, type LuksJudgement } from '#luks/check.ts'
import { copyHeader, withDevice } from '#luks/device.ts'
import { isUuid } from '#luks/header.ts'
import { command as define, JSON_OPTION, many } from '../command.ts'
import { columns, hint, MARKS, print, printJson, styled } from '../term.ts'

export const command = define({
    positionals: { device: 'the encrypted block device or image' },
    options: {
        header: { type: 'string', describe: 'judge this detached header instead of the one on the device' },
        uuid: { type: 'string', describe: 'the UUID that the volume must have' },
        'insecure-pin': many(
            'accept a clevis binding to this pin, whose key the host can have (tang, tpm2, null); may be repeated',
        ),
        ...JSON_OPTION,
    },
    examples: [
        ['/dev/vda3', 'every check, and what the host can still do'],
        ['/dev/vda3 --uuid 0b5317c0-ff25-49bd-b85d-45c1d000098a', 'refuse another volume'],
        ['/dev/vdb --header /run/data.hdr --json', 'a detached header, for a program'],
    ],
    details: [
        'The host can write the header: name a cipher that encrypts nothing, or bind the volume to a pin that needs no key.',
        'This judges one copy in memory. The disk may hold another header a moment later: open from a copy.',
        'Exit status: 0 it may be opened, 1 it may not, 2 usage, 3 the device could not be read.',
    ].join('\n'),
    async run({ device, header, uuid, insecurePin, json }) {
        const path = String(device)
        if (uuid !== undefined && !isUuid(uuid)) throw coreError('ERR_USAGE', `--uuid: not a UUID: ${uuid}`)
        if (header !== undefined) withDevice(path, () => undefined)
        const judgement = checkHeader(copyHeader(header ?? path), {
            detached: header !== undefined,
            insecurePins: insecurePin,
            ...(uuid === undefined ? {} : { uuid }),
        })
        if (json) printJson({ device: path, header: header ?? null, ...judgement })
        else show(path, judgement)
        return judgement.verdict === 'pass' ? 0 : 1
    },
})

function show(path: string, { checks, volume, remains }: LuksJudgement): void {
    for (const line of columns(
        checks.map(({ name, result, detail, code }) => [MARKS[result], name, code ? `${detail} (${code})` : detail]),
        '  ',
    ))
        print(line)
    if (!volume) print(styled('red', `FAIL: do not open ${path}`))
    else {
        const data = volume.authenticated ? 'authenticated' : 'NOT authenticated'
        print(styled('green', 'PASS'), `: ${path} may be opened; its data is ${data}`)
        print('the host can still')
        for (const line of remains) print(`  - ${line}`)
    }
    for (const { hint: text } of checks) if (text) hint(text)
}
