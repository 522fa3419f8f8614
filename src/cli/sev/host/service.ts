// The launch service, as a host asks it.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { brokerError } from '#broker/errors.ts'
import { coreError, excerpt } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { openSession, parseOrigin, type ServerTrust } from '#core/http.ts'
import { parseJson, stringifyJson } from '#core/json.ts'
import { isNameless } from '#core/origin.ts'
import { type Schema, shape } from '#core/schema.ts'
import { deadline } from '#core/wait.ts'
import { PIN } from '#unlock/anchors.ts'
import { dial } from '../../dial.ts'

const TIMEOUT_MS = 30_000
const MAX_ANSWER = 256 * 1024

const LAUNCHED = z.object({
    session: z.string(),
    'owner-cert': z.string(),
    policy: z.number(),
    'launch-id': z.string(),
})

const VALIDATED = z.object({ 'secret-header': z.string(), 'secret-payload': z.string() })

export type Launched = z.infer<typeof LAUNCHED>
export type Validated = z.infer<typeof VALIDATED>

export interface Service extends Disposable {
    /** @throws AttestError ERR_BROKER_LAUNCH_DENIED, ERR_HTTP_* */
    launch(body: object): Promise<Launched>
    validate(body: object): Promise<Validated>
}

export interface ServiceArgs {
    readonly service: string
    readonly vm: string
    readonly pin: readonly string[]
    readonly ca?: string | undefined
    readonly token?: string | undefined
}

/** @throws AttestError ERR_USAGE, ERR_URL, ERR_NOT_FOUND_FILE */
export function openService(args: ServiceArgs): Service {
    const origin = parseOrigin(args.service)
    const session = openSession(origin, { trust: readTrust(args, isNameless(origin)), dial })
    const headers = {
        'content-type': 'application/json',
        ...(args.token === undefined ? {} : { authorization: `Bearer ${readToken(args.token)}` }),
    }
    async function ask<T>(step: string, body: object, schema: Schema<T>): Promise<T> {
        using signal = deadline(TIMEOUT_MS, `${origin.origin}: ${step}`)
        const path = `/v1/vm/${encodeURIComponent(args.vm)}/${step}`
        const request = {
            method: 'POST',
            path,
            headers,
            body: stringifyJson(body),
            maxBytes: MAX_ANSWER,
            signal,
        } as const
        const { status, body: answer } = await session.request(request)
        const title = `answer of ${origin.origin} to ${step}`
        if (status === 200) return shape(schema, parseJson(answer, { title }), title)
        if (status === 403)
            throw brokerError(
                'ERR_BROKER_LAUNCH_DENIED',
                `${origin.origin} denies the launch: only its owner can see why`,
            )
        if (status === 429 || status === 503)
            throw coreError('ERR_HTTP_CONNECT', `${origin.origin} answers ${status}: it has no time now`)
        throw coreError('ERR_HTTP_RESPONSE', `${title}: status ${status}: ${excerpt(answer.toString())}`)
    }
    return {
        launch: (body) => ask('launch', body, LAUNCHED),
        validate: (body) => ask('validate', body, VALIDATED),
        [Symbol.dispose]: () => session.close(),
    }
}

function readTrust({ pin, ca }: ServiceArgs, nameless: boolean): ServerTrust {
    const stray = pin.find((text) => !PIN.test(text))
    if (stray !== undefined) throw coreError('ERR_USAGE', `--pin ${stray}: expected sha256/ and base64`)
    if (pin.length > 0 && ca !== undefined)
        throw coreError('ERR_USAGE', '--pin and --ca both say by what the service is known: leave one out')
    if (pin.length === 0 && ca === undefined)
        throw coreError('ERR_USAGE', 'say by what the service is known: --pin, or --ca')
    if (ca === undefined) return { pins: pin }
    if (nameless) throw coreError('ERR_USAGE', '--ca: a service at such an address has no name: --pin')
    return { ca: readInput(ca).toString() }
}

function readToken(path: string): string {
    const token = readInput(path, 4096).toString().trim()
    if (/^[\x21-\x7e]{1,256}$/.test(token)) return token
    throw coreError('ERR_USAGE', `--token: ${path} holds no token`)
}
