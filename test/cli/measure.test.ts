// `measure X`: what a technology brings as data becomes its command line, and the answer says what was measured and what
// was not. The technology is one of the tests' own.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { describeInputs, measureOptions, readMeasureValues, readSize } from '#cli/measure/options.ts'
import type { MeasureRows } from '#evidence/measure.ts'
import { temporaryFolder } from '#test/folder.ts'

const folder = temporaryFolder({ teardown: test.after.always })
const file = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
}

const ROWS = {
    firmware: { type: 'file', required: true, describe: 'the firmware', maxBytes: 8 },
    vmsa: { type: 'files', describe: 'pages' },
    initrd: { type: 'hashed', describe: 'of any size' },
    kernelHashes: { type: 'flag', describe: 'with hashes' },
    vcpus: { type: 'number', describe: 'processors' },
    memory: { type: 'size', describe: 'memory' },
    policy: { type: 'word', describe: 'the policy' },
    hostData: { type: 'bytes', describe: 'host data' },
    append: { type: 'text', describe: 'command line' },
    vmm: { type: 'choice', choices: ['qemu', 'ec2'], describe: 'the hypervisor' },
} as const satisfies MeasureRows

test('options as data become options of a command line', (t) => {
    const options = measureOptions(ROWS)
    t.deepEqual(
        Object.entries(options).map(([name, { type, demandOption = false, default: value }]) => [
            name,
            type,
            demandOption,
            value,
        ]),
        [
            ['firmware', 'string', true, undefined],
            ['vmsa', 'array', false, []],
            ['initrd', 'string', false, undefined],
            ['kernel-hashes', 'boolean', false, false],
            ['vcpus', 'number', false, undefined],
            ['memory', 'string', false, undefined],
            ['policy', 'string', false, undefined],
            ['host-data', 'string', false, undefined],
            ['append', 'string', false, undefined],
            ['vmm', 'string', false, 'qemu'],
        ],
    )
    t.deepEqual(options['vmm']?.choices, ['qemu', 'ec2'])
})

test('what was typed becomes values, and the files are read', (t) => {
    const firmware = file('fw', 'firmware')
    const values = readMeasureValues(ROWS, {
        firmware,
        vmsa: [file('a', 'A'), file('b', 'B')],
        initrd: file('initrd', 'initrd'),
        kernelHashes: true,
        vcpus: 4,
        memory: '2G',
        policy: '0x30000',
        hostData: '00ff',
        vmm: 'ec2',
        json: true,
    })
    t.deepEqual(values, {
        firmware: { name: firmware, bytes: Buffer.from('firmware') },
        vmsa: [
            { name: join(folder, 'a'), bytes: Buffer.from('A') },
            { name: join(folder, 'b'), bytes: Buffer.from('B') },
        ],
        initrd: {
            name: join(folder, 'initrd'),
            size: 6,
            sha256: createHash('sha256').update('initrd').digest(),
        },
        kernelHashes: true,
        vcpus: 4,
        memory: 2 ** 31,
        policy: 0x30000n,
        hostData: Buffer.from([0, 0xff]),
        vmm: 'ec2',
    })
    t.deepEqual(describeInputs(ROWS, values), {
        firmware: { path: firmware, bytes: 8, sha256: createHash('sha256').update('firmware').digest('hex') },
        vmsa: ['a', 'b'].map((name) => ({
            path: join(folder, name),
            bytes: 1,
            sha256: createHash('sha256').update(name.toUpperCase()).digest('hex'),
        })),
        initrd: {
            path: join(folder, 'initrd'),
            bytes: 6,
            sha256: createHash('sha256').update('initrd').digest('hex'),
        },
        kernelHashes: true,
        vcpus: 4,
        memory: 2 ** 31,
        policy: '0x30000',
        hostData: '00ff',
        vmm: 'ec2',
    })
})

for (const [name, given, code] of [
    ['a file that is not there', { firmware: '/nonexistent' }, 'ERR_NOT_FOUND_FILE'],
    ['a file to hash that is not there', { initrd: '/nonexistent' }, 'ERR_NOT_FOUND_FILE'],
    ['a folder to hash', { initrd: folder }, 'ERR_FILE_KIND'],
    ['a file that is too large', { firmware: file('large', '123456789') }, 'ERR_LENGTH'],
    ['a size in other units', { memory: '2X' }, 'ERR_USAGE'],
    ['no hex', { hostData: 'xy' }, 'ERR_USAGE'],
    ['no word', { policy: '-1' }, 'ERR_USAGE'],
    ['digits that are hex here and decimal elsewhere', { policy: '33' }, 'ERR_USAGE'],
    ['more of them', { policy: '9'.repeat(40) }, 'ERR_USAGE'],
] as const)
    test(`refused: ${name}`, (t) => {
        t.throws(() => readMeasureValues(ROWS, given), { code })
    })

for (const [text, want] of [
    ['4096', 4096],
    ['512M', 2 ** 29],
    ['512m', 2 ** 29],
    ['1T', 2 ** 40],
    ['0', null],
    ['1.5G', null],
    ['9999999999999T', null],
    ['', null],
    [' 1', null],
] as const)
    test(`a size: ${JSON.stringify(text)}`, (t) => {
        if (want === null) t.throws(() => readSize(text, '--memory'), { code: 'ERR_USAGE' })
        else t.is(readSize(text, '--memory'), want)
    })
