// Which rows of the vectors' manifest are answered by which tests, and which by none, with the reason: no row is forgotten.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { MANIFEST, type Row } from './manifest.ts'

const possible = needs(vectors('sev/manifest.tsv'))

interface Kind {
    readonly name: string
    readonly count: number
    readonly rows: (row: Row) => boolean
    /** Tests that ask each of them; or why nobody does. */
    readonly by: readonly string[] | string
}

const tool =
    (start: string, command = /(?:)/) =>
    (row: Row): boolean =>
        row.tool.startsWith(start) && command.test(row.command)

const output =
    (start: string, output: string) =>
    (row: Row): boolean =>
        row.tool.startsWith(start) && row.output.startsWith(output)

const MEASURED = 'cli/measure-manifest.test.ts'
const LIBVIRT = 'cli/sev-vectors.test.ts'
const ROWS = 'plugins/sev/vectors.test.ts'
const LINUX = 'plugins/sev/linux.test.ts'

const KINDS: readonly Kind[] = [
    {
        name: 'digests, of a firmware that nobody can build again',
        count: 33,
        rows: tool('sev-snp-measure-0', /--ovmf AmdSev\.fd/),
        by: 'each build of edk2 has another digest, and this one is not among the vectors',
    },
    { name: 'digests', count: 238, rows: tool('sev-snp-measure-0', /--ovmf (?!AmdSev\.fd)/), by: [MEASURED] },
    {
        name: 'digests of SVSM',
        count: 2,
        rows: tool('sev-snp-measure-test', /svsm/),
        by: 'they are not predicted: neither its image nor its metadata is known here',
    },
    {
        name: 'pages that are written',
        count: 1,
        rows: tool('sev-snp-measure-test', /dump_vmsa/),
        by: 'what stands there is what that test puts in; it expects no digest, only a file',
    },
    {
        name: 'digests that its own tests expect',
        count: 21,
        rows: tool('sev-snp-measure-test', /^test_(?!.*(?:svsm|dump_vmsa))/),
        by: [MEASURED],
    },
    { name: 'ID blocks', count: 2, rows: tool('snp-create-id-block'), by: [MEASURED] },
    {
        name: 'measurements of libvirt',
        count: 80,
        rows: output('virt-qemu-sev-validate', 'measured_data'),
        by: [ROWS, LIBVIRT, MEASURED],
    },
    {
        name: 'packets of libvirt',
        count: 18,
        rows: output('virt-qemu-sev-validate', 'rc=0 header'),
        by: [ROWS, LIBVIRT],
    },
    {
        name: 'refusals of libvirt',
        count: 4,
        rows: output('virt-qemu-sev-validate', 'ERR rc='),
        by: [LIBVIRT, MEASURED],
    },
    {
        name: 'a launch from measurement to secrets',
        count: 1,
        rows: tool('virt-qemu-sev-validate-9.0.0 →'),
        by: ['peers/virt-qemu-sev-validate.test.ts', LINUX],
    },
    { name: 'sessions of sev-tool', count: 2, rows: tool('sev-tool', /generate_launch_blob/), by: [ROWS] },
    { name: 'measurements of sev-tool', count: 10, rows: tool('sev-tool', /calc_measurement/), by: [ROWS] },
    { name: 'measurements, pages and packets of sevctl', count: 8, rows: tool('sevctl-test'), by: [ROWS, MEASURED] },
    { name: 'a session, a measurement', count: 2, rows: tool('virtee-sev-test'), by: [ROWS] },
    { name: 'a table of secrets', count: 1, rows: tool('simple-kbs-test'), by: [ROWS] },
    {
        name: 'MRTD, RTMR1, RTMR2',
        count: 10,
        rows: (row) => /^(?:quex|td-shim)/.test(row.tool),
        by: ['plugins/tdx/measure.test.ts'],
    },
    { name: 'tables of secrets, as Linux shows them', count: 8, rows: tool('edk2', /ht_good\.bin st_/), by: [LINUX] },
    {
        name: 'tables of hashes, as a firmware judges them',
        count: 7,
        rows: tool('edk2', /boot\.sh (?:ht_(?!good)\S+|-) |ht_good\.bin -$/),
        by: 'no command here judges the table that a host has put there: its digest is in the measurement',
    },
    { name: 'frames of ttrpc', count: 10, rows: tool('containerd/ttrpc'), by: ['plugins/sev/aeb.test.ts'] },
]

possible('every row has its test, or a reason', (t) => {
    for (const row of MANIFEST)
        t.is(KINDS.filter(({ rows }) => rows(row)).length, 1, `line ${row.line}: ${row.tool} ${row.command}`)
    for (const { name, count, rows, by } of KINDS) {
        const found = MANIFEST.filter(rows)
        t.is(found.length, count, name)
        if (typeof by === 'string')
            t.log(`${count} of nobody: ${name} (lines ${found.map(({ line }) => line).join(', ')}): ${by}`)
        else for (const path of by) t.true(existsSync(fileURLToPath(new URL(`../../${path}`, import.meta.url))), path)
    }
})
