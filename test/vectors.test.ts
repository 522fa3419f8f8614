// The fetcher of real vectors, against a server of the test's own: what is fetched is what the manifest names, or nothing.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { run } from './cli/run.ts'
import { VECTORS, vectors } from './machine.ts'
import { needs } from './needs.ts'

const FETCHER = fileURLToPath(new URL('./vectors.ts', import.meta.url))
const MANIFEST = fileURLToPath(new URL('./vectors.tsv', import.meta.url))
const UPSTREAM = 'https://raw.githubusercontent.com'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Serves these files, and fetches what a manifest asks of them. */
async function fetchFrom(t: ExecutionContext, served: Record<string, Buffer>, manifest: string) {
    const server = createServer((request, response) => {
        const body = served[request.url ?? '']
        response.writeHead(body ? 200 : 404).end(body)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const out = temporaryFolder(t)
    t.teardown(() => server.close())
    const list = join(out, 'manifest.tsv')
    writeFileSync(list, manifest)
    const mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const ran = await run(process.execPath, [FETCHER, '--out', out, '--mirror', mirror, '--manifest', list])
    return { ...ran, path: (name: string) => join(out, 'snp-tdx', name) }
}

const BYTES = Buffer.from('no report at all')
const row = (path: string, url: string, digest: string, size: number): string =>
    ['file', path, `${UPSTREAM}${url}`, digest, size].join('\t')

test('what the manifest names is fetched, and judged', async (t) => {
    const manifest = `${row('snp/a.bin', '/a', sha256(BYTES), BYTES.length)}\nverdict\tsnp/a.bin\t-\t2026-01-01T00:00:00Z\trejected: ERR_EVIDENCE_UNKNOWN\n`
    const { code, stdout, path } = await fetchFrom(t, { '/a': BYTES }, manifest)
    t.is(code, 0)
    t.deepEqual(readFileSync(path('snp/a.bin')), BYTES)
    t.regex(stdout, /^ok\trejected: ERR_EVIDENCE_UNKNOWN/)
})

for (const expected of ['authentic', 'rejected: ERR_SNP_CHAIN'])
    test(`a verdict that is not the expected one is an error: ${expected}`, async (t) => {
        const manifest = `${row('snp/a.bin', '/a', sha256(BYTES), BYTES.length)}\nverdict\tsnp/a.bin\t-\t2026-01-01T00:00:00Z\t${expected}\n`
        const { code, stdout } = await fetchFrom(t, { '/a': BYTES }, manifest)
        t.is(code, 1)
        t.regex(stdout, /^WRONG/)
    })

for (const { name, url, digest, size, says } of [
    {
        name: 'other bytes',
        url: '/a',
        digest: sha256(Buffer.from('other')),
        size: BYTES.length,
        says: /expected SHA-256/,
    },
    { name: 'more bytes', url: '/a', digest: sha256(BYTES), size: BYTES.length - 1, says: /more than the 15 bytes/ },
    { name: 'nothing', url: '/b', digest: sha256(BYTES), size: BYTES.length, says: /answers 404/ },
])
    test(`a server that has ${name}: nothing is written`, async (t) => {
        const { code, stderr, path } = await fetchFrom(t, { '/a': BYTES }, row('snp/a.bin', url, digest, size))
        t.is(code, 3)
        t.regex(stderr, says)
        t.false(existsSync(path('snp/a.bin')))
    })

test('a path that leaves the folder is refused', async (t) => {
    const { code, stderr } = await fetchFrom(t, { '/a': BYTES }, row('../../x', '/a', sha256(BYTES), BYTES.length))
    t.is(code, 3)
    t.regex(stderr, /leaves the folder/)
})

const MANIFEST_FILES = readFileSync(MANIFEST, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('file\t'))
    .map((line) => `snp-tdx/${line.split('\t')[1]}`)

needs(vectors(...MANIFEST_FILES))(
    'the committed manifest, where its files are: every verdict is the expected one',
    async (t) => {
        const ran = await run(process.execPath, [
            FETCHER,
            '--out',
            VECTORS,
            '--mirror',
            'http://127.0.0.1:1',
            '--manifest',
            MANIFEST,
        ])
        t.is(ran.code, 0, ran.stdout + ran.stderr)
        t.regex(ran.stdout, /, 0 wrong/)
    },
)
