// `npm run vectors`: fetches real reports of other projects, checks that they are the ones that the manifest names, and
// prints our verdict on each beside the expected one.
//   --out FOLDER      where they go: GUEST_ATTEST_VECTORS unless told (there under snp-tdx/)
//   --mirror ORIGIN   fetch from here what the manifest has at https://raw.githubusercontent.com
//   --manifest FILE   another list: test/vectors.tsv unless told
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { judge } from '#evidence/judge.ts'
import { recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { PLUGINS } from '#plugins.ts'
import { VECTORS } from './machine.ts'
import { readOptions } from './options.ts'

const UPSTREAM = 'https://raw.githubusercontent.com'
const AT_ONCE = 4
const TIMEOUT_MS = 30_000

const options = readOptions(
    `npm run vectors [-- OPTIONS]
  --out FOLDER      where they go: ${VECTORS} unless told (GUEST_ATTEST_VECTORS names another)
  --mirror ORIGIN   fetch from here what the manifest has at ${UPSTREAM}
  --manifest FILE   another list: test/vectors.tsv unless told`,
    {
        out: { type: 'string', default: VECTORS },
        mirror: { type: 'string', default: UPSTREAM },
        manifest: { type: 'string', default: fileURLToPath(new URL('./vectors.tsv', import.meta.url)) },
    },
)

interface FileRow {
    readonly path: string
    readonly url: string
    readonly sha256: string
    readonly bytes: number
}

interface VerdictRow {
    readonly path: string
    readonly certificate: string
    readonly at: string
    readonly expected: string
}

const rows = readFileSync(options.manifest, 'utf8')
    .split('\n')
    .filter((line) => line && !line.startsWith('#'))
    .map((line) => line.split('\t'))
const files = rows
    .filter(([kind]) => kind === 'file')
    .map(([, path = '', url = '', sha256 = '', bytes = '']): FileRow => ({ path, url, sha256, bytes: Number(bytes) }))
const verdicts = rows
    .filter(([kind]) => kind === 'verdict')
    .map(([, path = '', certificate = '', at = '', expected = '']): VerdictRow => ({ path, certificate, at, expected }))

const folder = join(options.out, 'snp-tdx')
const placeOf = (path: string): string => join(folder, path)
const stray = [...files, ...verdicts].find(({ path }) => !placeOf(path).startsWith(`${folder}/`))
if (stray) {
    console.error(`vectors: the manifest names ${stray.path}, which leaves the folder`)
    process.exit(3)
}

const problems: string[] = []
/** What keeps a server from answering, and the first address that met it: it is the same for all that follow. */
const unreachable = new Map<string, string>()
let absent = 0
const queue = [...files]
await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
        for (let file = queue.shift(); file; file = queue.shift()) {
            const problem = await fetchFile(file).catch((error: unknown) => {
                const why = causeOf(error)
                if (!unreachable.has(why)) unreachable.set(why, file.url.replace(UPSTREAM, options.mirror))
                return null
            })
            if (problem) problems.push(`${file.path}: ${problem}`)
            if (!existsSync(placeOf(file.path))) absent++
        }
    }),
)
for (const [why, url] of unreachable) problems.push(`${url}: ${why}`)
for (const problem of problems) console.error(`vectors: ${problem}`)

let wrong = 0
let judged = 0
for (const { path, certificate, at, expected } of verdicts) {
    const files = [path, ...(certificate === '-' ? [] : [certificate])]
    if (files.some((name) => !existsSync(placeOf(name)))) continue
    const verdict = await verdictOn(path, certificate, at)
    judged++
    const right = verdict === expected
    if (!right) wrong++
    console.log(`${right ? 'ok' : 'WRONG'}\t${verdict}\texpected ${expected}\t${path}\t${at}`)
}
console.log(
    `${files.length - absent} of ${files.length} files in ${folder}; ${judged} of ${verdicts.length} verdicts, ${wrong} wrong`,
)
process.exitCode = problems.length > 0 ? 3 : wrong > 0 ? 1 : 0

/** Null: it is there. What is there already is not fetched again. */
async function fetchFile({ path, url, sha256, bytes }: FileRow): Promise<string | null> {
    const place = placeOf(path)
    if (existsSync(place) && digest(readFileSync(place)) === sha256) return null
    const response = await fetch(url.replace(UPSTREAM, options.mirror), {
        signal: AbortSignal.timeout(TIMEOUT_MS),
        redirect: 'error',
    })
    if (!response.ok || !response.body) return `the server answers ${response.status}`
    const chunks: Uint8Array[] = []
    let total = 0
    for await (const chunk of response.body) {
        total += chunk.length
        if (total > bytes) return `more than the ${bytes} bytes that the manifest names`
        chunks.push(chunk)
    }
    const body = Buffer.concat(chunks)
    if (digest(body) !== sha256) return `expected SHA-256 ${sha256}, got ${digest(body)}`
    mkdirSync(dirname(place), { recursive: true })
    writeFileSync(`${place}.part`, body)
    renameSync(`${place}.part`, place)
    return null
}

// fetch hides the reason in the cause.
function causeOf(error: unknown): string {
    const { cause = error } = error instanceof Error ? error : {}
    return cause instanceof Error ? cause.message : String(cause)
}

async function verdictOn(path: string, certificate: string, at: string): Promise<string> {
    const certificates = certificate === '-' ? [] : [{ name: certificate, bytes: readFileSync(placeOf(certificate)) }]
    const trust = { ...STRICT_TRUST, certificates, withoutRevocation: true }
    const verifiers = await Promise.all(PLUGINS.map((plugin) => plugin.verifier(trust)))
    try {
        const { verifier, evidence } = recognise(readFileSync(placeOf(path)), verifiers)
        const { verdict, code } = judge(verifier, evidence, {}, new Date(at))
        return code ? `${verdict}: ${code}` : verdict
    } catch (error) {
        return `rejected: ${error instanceof Error && 'code' in error ? String(error.code) : error}`
    }
}

function digest(bytes: Uint8Array): string {
    return createHash('sha256').update(bytes).digest('hex')
}
