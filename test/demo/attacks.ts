// What an attacker tries with what went over the wire, and with the header of a disk; the same for every technology.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ecJwk } from '#core/jwe.ts'
import { reforge } from '../luks/forge.ts'
import type { Scene } from './scene.ts'
import type { Shell } from './shell.ts'

/** A volume that is bound to the broker, in its first slot. */
export interface Bound {
    readonly image: string
    readonly path: string
    /** A path that is another's. */
    readonly other: string
}

/** An attestation as it goes over the wire, with a key of the demo's own: what somebody who listens could have recorded. */
export async function replays({ tee, folder, broker: { url }, write }: Scene, { note, run }: Shell): Promise<void> {
    note('an attestation that was used already, sent again (recorded: its challenge was answered once)')
    const curl = `curl -sk -b jar -c jar -H 'content-type: application/json' ${url}/kbs/v0`
    const auth = await run({
        place: 'owner',
        command: `${curl}/auth -d '{"version":"0.4.0","tee":"${tee}","extra-params":""}'`,
        says: /nonce/,
        quiet: true,
    })
    const { nonce } = JSON.parse(auth.output) as { nonce: string }
    const teePubkey = ecJwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)
    write('runtime.json', JSON.stringify({ 'additional-evidence': '', nonce, 'tee-pubkey': teePubkey }))
    await run({
        place: 'guest',
        command: 'guest-attest evidence --runtime-data runtime.json --out recorded.json',
        quiet: true,
    })
    const evidence: unknown = JSON.parse(readFileSync(join(folder, 'recorded.json'), 'utf8'))
    const attestation = {
        'runtime-data': { nonce, 'tee-pubkey': teePubkey },
        'tee-evidence': { primary_evidence: evidence, additional_evidence: '' },
    }
    write('attestation.json', JSON.stringify(attestation))
    await run({
        place: 'owner',
        command: `cp jar first; ${curl}/attest -d @attestation.json -o answer -w '%{http_code}\\n'`,
        says: /^200/,
    })
    const answered = `-w ' (%{http_code})\\n'`
    await run({
        place: 'owner',
        command: `cp first jar; ${curl}/attest -d @attestation.json ${answered} | tee answer; ! grep -qF '(200)' answer`,
        says: /401/,
    })
    note('… and into a new session, with a challenge of its own')
    await run({
        place: 'owner',
        command: `${curl}/auth -d '{"version":"0.4.0","tee":"${tee}","extra-params":""}' -o /dev/null; ${curl}/attest -d @attestation.json ${answered} | tee answer; ! grep -qF '(200)' answer`,
        says: /401/,
    })
}

/** What a host does to the header of the disk, under checksums that hold. */
export async function forgeries(
    { folder, broker: { url }, write }: Scene,
    { note, run }: Shell,
    { image: name, path, other }: Bound,
): Promise<void> {
    const image = readFileSync(join(folder, name))
    const token = await run({ place: 'owner', command: `cryptsetup token export --token-id 0 ${name}`, quiet: true })
    const { jwe } = JSON.parse(token.output) as { jwe: { protected: string } }
    const header = Buffer.from(jwe.protected, 'base64url').toString()
    const rebound = (from: string, to: string): string => Buffer.from(header.replace(from, to)).toString('base64url')
    const forged = (to: string, changes: Record<string, unknown>): void => write(to, reforge(image, changes))

    note('the host writes another path into the header: nothing is sent')
    forged('other-path.img', { 'tokens.0.jwe.protected': rebound(path, other) })
    await run({
        place: 'guest',
        command: 'clevis luks pass -d other-path.img -s 1',
        code: 1,
        says: /ERR_UNLOCK_PATH/,
        show: 2,
    })
    note('the host writes its own broker into the header: nothing is sent')
    forged('other-broker.img', { 'tokens.0.jwe.protected': rebound(url, 'https://evil.example') })
    await run({
        place: 'guest',
        command: 'clevis luks pass -d other-broker.img -s 1',
        code: 1,
        says: /ERR_UNLOCK_NOT_ANCHORED/,
        show: 2,
    })
    note('the host writes a header that encrypts nothing (CVE-2025-59054); cryptsetup itself takes it')
    forged('null-cipher.img', { 'segments.0.encryption': 'cipher_null-ecb' })
    await run({ place: 'owner', command: 'cryptsetup luksDump null-cipher.img', says: /cipher_null/, show: /cipher/ })
    await run({
        place: 'owner',
        command: 'guest-attest luks check null-cipher.img',
        code: 1,
        says: /cipher_null/,
        show: /FAIL/,
    })
}
