// SEV and SEV-ES for the launch service of a broker: a host's certificates become a session for its platform, what its
// processor measured a packet of secrets.
// SPDX-License-Identifier: Apache-2.0

import { fromBase64, fromHex, type Secret, secret, toBase64, toHex, wipe } from '#core/bytes.ts'
import { Checks } from '#core/checks.ts'
import { shape } from '#core/schema.ts'
import type { LaunchService, LaunchTerms, OpenLaunch, ProvedLaunch, SealedLaunch } from '#evidence/launch.ts'
import { CHAIN_CHECKS, readChain } from './chain/chain.ts'
import { sevError } from './errors.ts'
import { LAUNCH, LAUNCHED, REGISTRATION, VALIDATE, VALIDATED } from './launch/bodies.ts'
import { withClient } from './launch/client-entry.ts'
import { KEY_SIZE } from './launch/kdf.ts'
import { openLaunch, validateLaunch } from './launch/launch.ts'
import { type MeasuredLaunch, termsOf } from './launch/launched.ts'
import { sealPacket } from './launch/packet.ts'
import { register, signedCek, trustOf } from './launch/terms.ts'

export const sevLaunch: LaunchService = {
    scheme: 'amd-sev',
    shapes: {
        registration: REGISTRATION,
        launch: LAUNCH,
        launched: LAUNCHED,
        validate: VALIDATE,
        validated: VALIDATED,
    },
    register,
    open,
    validate,
}

function open(said: LaunchTerms, request: unknown): OpenLaunch {
    const terms = termsOf(said)
    const { pdh, 'cert-chain': chain, cek } = shape(LAUNCH, request, 'launch')
    const files = readChain(
        Object.entries({ pdh, 'cert-chain': chain, cek }).flatMap(([name, text]) =>
            text === undefined ? [] : [{ name, bytes: fromBase64(text, name) }],
        ),
    )
    const { platform, godh, session, tek, tik } = openLaunch(
        { ...files, ...signedCek(files, terms) },
        trustOf(terms),
        terms.policy,
        { es: terms.es, leastFirmware: terms.least },
        new Checks(CHAIN_CHECKS),
    )
    try {
        if (terms.chips && !terms.chips.includes(platform.chip))
            throw sevError('ERR_SEV_CHIP', `the chip ${platform.chip} is none of those that are accepted`)
        const { productLine, chip, owner, fingerprint } = platform
        return {
            answer: { session: toBase64(session), 'owner-cert': toBase64(godh), policy: terms.policy },
            keys: secret(Buffer.concat([tek, tik])),
            platform: { productLine, chip, owner, fingerprint },
        }
    } finally {
        wipe(tek, tik)
    }
}

function validate(said: LaunchTerms, { secrets, keys: both, client }: SealedLaunch, request: unknown): ProvedLaunch {
    const terms = termsOf(said)
    const {
        'api-major': apiMajor,
        'api-minor': apiMinor,
        'build-id': buildId,
        ...body
    } = shape(VALIDATE, request, 'validate')
    const { policy } = body
    const claim = { apiMajor, apiMinor, buildId, policy, measurement: fromBase64(body.measurement, 'measurement', 48) }
    const keys = { tek: secret(both.subarray(0, KEY_SIZE)), tik: secret(both.subarray(KEY_SIZE)) }
    let withKey: Secret | undefined
    try {
        const digests = terms.digests.map((text) => fromHex(text, 'digest'))
        const { digest, measure } = validateLaunch(keys, claim, {
            policy: terms.policy,
            es: terms.es,
            digests,
            leastFirmware: terms.least,
        })
        if (client) withKey = withClient(secrets, client, terms.area)
        const { header, payload } = sealPacket(keys, measure, withKey ?? secrets)
        const table = toBase64(payload)
        return {
            answer: { 'secret-header': toBase64(header), 'secret-table': table, 'secret-payload': table },
            measured: { digest: toHex(digest), apiMajor, apiMinor, buildId, policy } satisfies MeasuredLaunch,
        }
    } finally {
        wipe(keys.tek, keys.tik, withKey)
    }
}
