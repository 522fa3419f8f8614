// A broker that serves, a guest whose reports are really signed by a minted vendor, and plain requests to both doors.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { Agent, request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { BROKER_CONFIG, type BrokerSettings } from '#broker/config.ts'
import type { Technology } from '#broker/decision/schema.ts'
import { parseListen } from '#broker/listen.ts'
import { type ServeOptions, type Serving, serve } from '#broker/serve.ts'
import { loadConfig } from '#core/config.ts'
import { stringifyJson } from '#core/json.ts'
import { decryptWith, type EcJwk, ecJwk, type FlattenedJwe } from '#core/jwe.ts'
import { type Logger, silent } from '#core/log.ts'
import { runtimeDigest } from '#evidence/binding.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { snp } from '#plugins/snp/index.ts'
import { toKbs } from '#plugins/snp/kbs-evidence.ts'
import type { Report } from '#plugins/snp/report.ts'
import * as vocabulary from '#plugins/snp/vocabulary.ts'
import { temporaryFolder } from '#test/folder.ts'
import { named, report, table, type Vendor, vendor } from '#test/plugins/snp/minted.ts'

/** What policies may speak of. */
export const TECHNOLOGIES: readonly Technology[] = [{ id: snp.id, title: snp.title, ...vocabulary }]

/** What the minted vendor's guests run. */
export const MEASUREMENT = '22'.repeat(48)

export const REFERENCE = `
name = "web"
tee = "snp"
coverage = "firmware+kernel+initrd+cmdline"
[policy]
measurements = ["${MEASUREMENT}"]
productLines = ["Genoa"]
minimumTcb.Genoa = { bootLoader = 0, tee = 0, snp = 0, microcode = 0 }
`

export const POLICY = `
@id("web-disks")
@insecureCustomRoot
permit (principal, action == Action::"release", resource)
when { principal.references.contains("web") && resource.repository == "web" };
`

export interface Answer {
    readonly status: number
    readonly headers: IncomingHttpHeaders
    readonly body: Buffer
    // biome-ignore lint/suspicious/noExplicitAny: each answer has members of its own
    readonly json: any
}

export interface Rig {
    readonly folder: string
    readonly vendor: Vendor
    readonly serving: Serving
    /** What was logged. */
    readonly log: string[]
    /** A request to the listener of guests. */
    ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
    /** A request to the administrator's socket. */
    admin(method: string, path: string, body?: string | Buffer): Promise<Answer>
    /** The same, with a body of JSON. */
    adminJson(method: string, path: string, body: unknown): Promise<Answer>
    /** A whole handshake, with fields of the report changed; the session's cookie and private key. */
    attest(changed?: Partial<Report>): Promise<Guest>
    stop(): Promise<void>
}

export interface Guest {
    readonly cookie: string
    readonly key: KeyObject
    readonly token: string
    get(path: string, use?: string): Promise<Answer>
    /** The bytes that an answer holds for this guest. */
    open(answer: Answer): Buffer
}

export interface RigOptions {
    readonly folder?: string
    readonly settings?: Partial<BrokerSettings>
    readonly serve?: Partial<ServeOptions>
    readonly plugin?: Plugin
    /** Without a revocation list. */
    readonly noList?: boolean
}

export const DEFAULTS = loadConfig('/nowhere', [BROKER_CONFIG]).get(BROKER_CONFIG)

/** The program that the tokens name. */
export const BUILD = 'guest-attest 1.2.3'

export const clock = { now: () => new Date(), ticks: () => performance.now() }

/** A clock that tests can move. */
export function movable(ahead = 0) {
    let moment = ahead
    return {
        clock: { ...clock, now: () => new Date(Date.now() + moment) },
        later(ms: number): void {
            moment += ms
        },
    }
}

let minted: Promise<Vendor> | undefined

/** One vendor for all tests of a file: its keys take a second. */
export const theVendor = (): Promise<Vendor> => {
    minted ??= vendor('genoa')
    return minted
}

export async function rig(t: Pick<ExecutionContext, 'teardown'>, options: RigOptions = {}): Promise<Rig> {
    const folder = options.folder ?? join(temporaryFolder(t), 'data')
    const own = await theVendor()
    const log: string[] = []
    const write = (level: string) => (message: string, fields?: object) =>
        void log.push(`${level} ${message} ${stringifyJson(fields ?? {})}`)
    const logger: Logger = {
        ...silent,
        debug: write('debug'),
        info: write('info'),
        warn: write('warn'),
        error: write('error'),
    }
    const plugin: Plugin = options.plugin ?? snp
    const serving = await serve({
        build: BUILD,
        folder,
        settings: { ...DEFAULTS, ...options.settings },
        // The minted vendor's list is given here, so that each test has a folder of its own.
        plugins: [
            {
                ...plugin,
                verifier: (trust) =>
                    plugin.verifier({ ...trust, revocationLists: options.noList ? [] : [named('crl', own.list)] }),
            },
        ],
        log: logger,
        clock,
        init: true,
        listen: parseListen('127.0.0.1:0'),
        roots: [named('ark', own.certificates.ark)],
        ...options.serve,
    })
    const agent = new Agent({ keepAlive: true, rejectUnauthorized: false })
    let closing: Promise<void> | undefined
    const stop = async () => {
        closing ??= serving.close()
        await closing
        agent.destroy()
    }
    t.teardown(stop)
    const ask = asker(serving.url, agent)
    const admin: Rig['admin'] = (method, path, body) => adminRequest(join(folder, 'admin.sock'), method, path, body)
    const adminJson: Rig['adminJson'] = (method, path, body) =>
        adminRequest(join(folder, 'admin.sock'), method, path, JSON.stringify(body), 'application/json')
    return {
        folder,
        vendor: own,
        serving,
        log,
        ask,
        admin,
        adminJson,
        attest: (changed) => attest(ask, own, changed),
        stop,
    }
}

/** With a guest that is known, a rule for it, a disk key and a text. */
export async function filled(broker: Rig): Promise<Rig> {
    await broker.admin('POST', '/v1/references', REFERENCE)
    await broker.admin('PUT', '/v1/policies/main', POLICY)
    await broker.admin('POST', '/v1/resources/web/disk/root/random')
    await broker.admin('PUT', '/v1/resources/web/files/key', Buffer.from('a well known text'))
    return broker
}

/** The audit log. */
export async function records({ admin }: Rig) {
    const { json } = await admin('GET', '/v1/audit')
    return (json as { kind: string; subject: string; data: string }[]).map((r) => ({ ...r, data: JSON.parse(r.data) }))
}

/** Requests to one origin, whatever its certificate. */
export const asker =
    (url: string, agent: Agent): Rig['ask'] =>
    (method, path, body, headers) =>
        send((done) => httpsRequest(`${url}${path}`, { method, agent, headers: headersOf(body, headers) }, done), body)

export function adminRequest(
    socketPath: string,
    method: string,
    path: string,
    body?: string | Buffer,
    contentType?: string,
): Promise<Answer> {
    const type = contentType ?? (typeof body === 'string' ? 'text/plain' : 'application/octet-stream')
    const headers = body === undefined ? {} : { 'content-type': type }
    return send((done) => httpRequest({ socketPath, method, path, headers }, done), body)
}

/** The attestation of a handshake. */
export function proof(own: Vendor, nonce: string, teePubkey: EcJwk, changed: Partial<Report> = {}) {
    const digest = runtimeDigest({ nonce, teePubkey, additionalEvidence: '' })
    const raw = report(own, { reportData: Buffer.concat([digest, Buffer.alloc(16)]), ...changed })
    return {
        'init-data': null,
        'runtime-data': { nonce, 'tee-pubkey': teePubkey },
        'tee-evidence': {
            primary_evidence: toKbs({ tee: 'snp', report: raw, certificates: table(own) }),
            additional_evidence: '',
        },
    }
}

/** The request that begins a handshake. */
export const AUTH = { version: '0.4.0', tee: 'snp', 'extra-params': '' }

export const cookieOf = ({ headers }: Answer): string => (headers['set-cookie']?.[0] ?? '').split(';')[0] ?? ''

/** A key pair of the guest, and its public half as the protocol has it. */
export function teeKey() {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    return { key: privateKey, jwk: ecJwk(publicKey) }
}

/** A handshake over these requests. */
export async function attest(ask: Rig['ask'], own: Vendor, changed?: Partial<Report>): Promise<Guest> {
    const challenge = await ask('POST', '/kbs/v0/auth', AUTH)
    const { key, jwk } = teeKey()
    const message = proof(own, challenge.json.nonce, jwk, changed)
    const answer = await ask('POST', '/kbs/v0/attest', message, { cookie: cookieOf(challenge) })
    if (answer.status !== 200) throw Object.assign(new Error(`attest: ${answer.status} ${answer.body}`), { answer })
    const cookie = cookieOf(answer)
    return {
        cookie,
        key,
        token: answer.json.token,
        get: (path, use) =>
            ask('GET', `/kbs/v0/resource/${path}${use === undefined ? '' : `?use=${use}`}`, undefined, { cookie }),
        open: ({ json }) => decryptWith(key, json as FlattenedJwe),
    }
}

const headersOf = (body: unknown, headers: Record<string, string> = {}) => ({
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...headers,
})

function send(
    start: (done: (response: import('node:http').IncomingMessage) => void) => import('node:http').ClientRequest,
    body: unknown,
): Promise<Answer> {
    return new Promise((resolve, reject) => {
        const request = start((response) => {
            const chunks: Buffer[] = []
            response.on('data', (chunk: Buffer) => chunks.push(chunk))
            response.on('error', reject)
            response.on('end', () => {
                const bytes = Buffer.concat(chunks)
                const isJson = /json/.test(response.headers['content-type'] ?? '')
                resolve({
                    status: response.statusCode ?? 0,
                    headers: response.headers,
                    body: bytes,
                    json: isJson && bytes.length > 0 ? JSON.parse(bytes.toString()) : undefined,
                })
            })
        })
        request.on('error', reject)
        if (body === undefined) request.end()
        else request.end(typeof body === 'string' || Buffer.isBuffer(body) ? body : stringifyJson(body))
    })
}
