// The listener's certificate: the operator's own, or one that is minted under a CA of the broker. The minted one is renewed
// before it ends, with the same key, so that the pin which guests trust stays.
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DAY_MS } from '#core/dates.ts'
import { makeFolder, readInput, writeFileAtomic } from '#core/files.ts'
import { certificatePem, mintCertificate, type NameParts, type Signer } from '#core/mint.ts'
import type { Data } from './data.ts'
import { brokerError } from './errors.ts'
import { publicPin, readKeyFile } from './keys.ts'

/** What the listener shows. */
export interface TlsIdentity {
    /** PEM: the certificate, and what leads from it to its CA. */
    readonly certificate: string
    /** PEM of the private key. */
    readonly key: string | Buffer
    /** The pin of the key: what `trust add --pin` takes. */
    readonly pin: string
    /** PEM of the CA, for those who trust that instead; where it was minted. */
    readonly caPath?: string
}

const LIFETIME = { ca: 3650 * DAY_MS, server: 90 * DAY_MS } as const
/** What is left when a certificate is renewed. */
const RENEW_BEFORE = { ca: 365 * DAY_MS, server: 30 * DAY_MS } as const

const CA_NAME: NameParts = [['CN', 'guest-attest broker CA']]
const SERVER_NAME: NameParts = [['CN', 'guest-attest broker']]

/** The operator's certificate and key. @throws AttestError ERR_BROKER_TLS, ERR_BROKER_KEY, ERR_NOT_FOUND_FILE */
export function givenIdentity(certificatePath: string, keyFile: string): TlsIdentity {
    const certificate = readInput(certificatePath).toString()
    // Certificate managers keep the current key behind a link.
    const key = existsSync(keyFile) ? readKeyFile(realpathSync(keyFile)) : null
    if (!key) throw brokerError('ERR_BROKER_TLS', `${keyFile}: no such file`)
    const shown = expect(certificatePath, 'a certificate', () => new X509Certificate(certificate))
    const privateKey = expect(keyFile, 'a private key', () => createPrivateKey(key))
    if (!shown.checkPrivateKey(privateKey))
        throw brokerError('ERR_BROKER_TLS', `${keyFile} is not the key of ${certificatePath}`)
    return { certificate, key, pin: publicPin(privateKey) }
}

function expect<T>(path: string, what: string, read: () => T): T {
    try {
        return read()
    } catch (cause) {
        throw brokerError('ERR_BROKER_TLS', `${path}: expected ${what} in PEM`, { cause })
    }
}

/** The broker's own, made or renewed where it has to be. @throws AttestError ERR_BROKER_KEY, ERR_FILE */
export async function mintedIdentity(data: Data, listenHost: string, now: Date): Promise<TlsIdentity> {
    const { key: caKey } = await data.key('ca')
    const { key: serverKey } = await data.key('server')
    makeFolder(data.paths.tls, 0o700)
    const caPath = join(data.paths.tls, 'ca.crt')
    const serverPath = join(data.paths.tls, 'server.crt')
    const signer: Signer = { name: CA_NAME, privateKey: caKey, signature: 'ecdsaP256' }
    const names = subjectAltNames(listenHost)

    const keepCa = (old: X509Certificate) => old.checkPrivateKey(caKey) && leftOf(old, now) > RENEW_BEFORE.ca
    const ca = readCertificate(caPath, keepCa) ?? (await mint(caPath, caKey, CA_NAME, signer, now, LIFETIME.ca))
    const keepServer = (old: X509Certificate) =>
        old.checkPrivateKey(serverKey) &&
        old.verify(createPublicKey(caKey)) &&
        leftOf(old, now) > RENEW_BEFORE.server &&
        names.every(({ value, type }) => (type === 'ip' ? old.checkIP(value) : old.checkHost(value)) !== undefined)
    const server =
        readCertificate(serverPath, keepServer) ??
        (await mint(serverPath, serverKey, SERVER_NAME, signer, now, LIFETIME.server, names))
    return {
        certificate: server + ca,
        key: serverKey.export({ type: 'pkcs8', format: 'pem' }),
        pin: publicPin(serverKey),
        caPath,
    }
}

interface AltName {
    readonly type: 'dns' | 'ip'
    readonly value: string
}

function subjectAltNames(listenHost: string): AltName[] {
    const addresses = ['127.0.0.1', '::1']
    const names = ['localhost', hostname()].filter((name) => /^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(name))
    // An address that means "all of them" names nobody.
    if (isIP(listenHost) && !/^(?:0\.0\.0\.0|::)$/.test(listenHost)) addresses.push(listenHost)
    else if (!isIP(listenHost)) names.push(listenHost)
    return [
        ...[...new Set(names)].map((value): AltName => ({ type: 'dns', value })),
        ...[...new Set(addresses)].map((value): AltName => ({ type: 'ip', value })),
    ]
}

// With `names` a server's certificate, without a CA's.
async function mint(
    path: string,
    key: KeyObject,
    subject: NameParts,
    signer: Signer,
    now: Date,
    lifetimeMs: number,
    names?: readonly AltName[],
): Promise<string> {
    const publicKey = createPublicKey(key)
    const der = await mintCertificate(
        {
            subject,
            publicKey,
            notBefore: new Date(now.getTime() - 60 * 60 * 1000), // clocks differ
            notAfter: new Date(now.getTime() + lifetimeMs),
            extensions: (x509) => [
                new x509.BasicConstraintsExtension(names === undefined, names === undefined ? 0 : undefined, true),
                new x509.KeyUsagesExtension(
                    names === undefined ? x509.KeyUsageFlags.keyCertSign : x509.KeyUsageFlags.digitalSignature,
                    true,
                ),
                x509.SubjectKeyIdentifierExtension.create(publicKey.export({ type: 'spki', format: 'der' })),
                ...(names === undefined
                    ? []
                    : [
                          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
                          new x509.SubjectAlternativeNameExtension([...names]),
                      ]),
            ],
        },
        signer,
    )
    const pem = `${certificatePem(der).trimEnd()}\n`
    writeFileAtomic(path, pem, 0o644)
    return pem
}

/** The PEM of a file, if it is there and good to keep. */
function readCertificate(path: string, keep: (certificate: X509Certificate) => boolean): string | null {
    try {
        const pem = readFileSync(path, 'utf8')
        return keep(new X509Certificate(pem)) ? pem : null
    } catch {
        return null // not there, or not a certificate: a new one is made under the same key
    }
}

const leftOf = ({ validToDate }: X509Certificate, now: Date): number => validToDate.getTime() - now.getTime()
