// `broker serve`: runs until it is told to stop.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import type { BrokerSettings } from '#broker/config.ts'
import { BROKER_CONFIG, COLLATERAL_CONFIG } from '#broker/config.ts'
import type { MadeKey } from '#broker/data.ts'
import { KEY_MEANINGS } from '#broker/keys.ts'
import { parseListen } from '#broker/listen.ts'
import { type Serving, serve } from '#broker/serve.ts'
import { coreError } from '#core/errors.ts'
import { serviceLogger } from '#core/log-pino.ts'
import { libc } from '#drivers/linux/libc.ts'
import { readCertificates } from '#evidence/collateral.ts'
import packageJson from '#package.json' with { type: 'json' }
import { LAUNCHED, PLUGINS } from '#plugins.ts'
import { command as define, many } from '../command.ts'
import { readConfig } from '../settings.ts'
import { hint, note, PROGRAM } from '../term.ts'

export const command = define({
    options: {
        data: { type: 'string', describe: 'folder of the broker’s data and keys' },
        listen: { type: 'string', describe: 'HOST:PORT that guests connect to' },
        'tls-cert': { type: 'string', describe: 'certificate (PEM, with its chain) instead of one that is minted' },
        'tls-key': { type: 'string', describe: 'its private key (PEM), which others may not read' },
        init: {
            type: 'boolean',
            default: true,
            describe: 'make folder, database and keys where there are none; --no-init refuses to start instead',
        },
        collateral: {
            type: 'string',
            describe: 'folder (or file) of certificates and revocation lists [DATA/collateral]',
        },
        'trust-root': many("trust this root (PEM) instead of the vendors': an emulator's, a laboratory's"),
        'insecure-http': { type: 'boolean', default: false, describe: 'plain HTTP, on a loopback address only' },
        verbose: { type: 'boolean', default: false, describe: 'log more' },
    },
    examples: [
        ['--data /srv/broker', 'on 127.0.0.1:8443, with keys of its own'],
        ['--data /srv/broker --listen 0.0.0.0:8443 --tls-cert broker.pem --tls-key broker.key', 'for other machines'],
    ],
    details:
        'SIGTERM and SIGINT end it after what it is answering; SIGHUP reads certificates and revocation lists again.\n' +
        'With a service under [collateral] of the configuration it fetches what vendors sign of their platforms in the background (`config` lists the settings).\n' +
        'What a person must know of its start and end are lines of text on standard error; the log between them is JSON lines, text on a terminal.',
    async run(args) {
        const { data, listen, tlsCert, tlsKey, collateral, trustRoot } = args
        if ((tlsCert === undefined) !== (tlsKey === undefined))
            throw coreError('ERR_USAGE', '--tls-cert and --tls-key belong together')
        libc().forbidCoreDumps()
        process.umask(0o077)
        const config = readConfig({
            ...(data === undefined ? {} : { 'broker.data': { value: absolute(data), flag: '--data' } }),
            ...(listen === undefined ? {} : { 'broker.listen': { value: listen, flag: '--listen' } }),
        })
        const settings = config.get(BROKER_CONFIG)
        const serving = await serve({
            build: `${PROGRAM} ${packageJson.version}`,
            folder: settings.data,
            settings,
            service: config.get(COLLATERAL_CONFIG),
            plugins: PLUGINS,
            launched: LAUNCHED,
            log: serviceLogger({ name: PROGRAM, verbose: args.verbose }),
            clock: { now: () => new Date(), ticks: () => performance.now() },
            init: args.init,
            made: tellMade,
            masterKey: credential('master-key'),
            listen: parseListen(settings.listen),
            insecureHttp: args.insecureHttp,
            ...(tlsCert !== undefined && tlsKey !== undefined ? { tls: { certificate: tlsCert, key: tlsKey } } : {}),
            ...(collateral === undefined ? {} : { collateral }),
            ...(trustRoot.length > 0 ? { roots: trustRoot.map(readCertificates) } : {}),
        })
        const told = toldToStop(serving) // before it says that it serves
        announce(serving, settings, trustRoot)
        await told
        note('stopping')
        await serving.close()
        return 0
    },
})

/** systemd.exec(5), LoadCredentialEncrypted=: the folder is the service's alone, and gone with it. */
function credential(name: string): string | undefined {
    const folder = process.env['CREDENTIALS_DIRECTORY']
    return folder && existsSync(join(folder, name)) ? join(folder, name) : undefined
}

function tellMade({ name, path }: MadeKey): void {
    note(`made ${path}: ${KEY_MEANINGS[name]}`)
    if (name === 'master')
        hint(`back up ${dirname(dirname(path))} as a whole, and keep it secret: without this key nothing in it opens`)
}

function announce({ broker, url, pin, caPath }: Serving, settings: BrokerSettings, roots: readonly string[]): void {
    const { paths, state } = broker.data
    if (roots.length > 0)
        note(
            `WARNING: the vendors' roots are NOT trusted, these are: ${roots.join(', ')}; evidence under them may prove nothing`,
        )
    const missing = [
        ...(state.policies.size === 0 ? ['no policy (`broker policy put`)'] : []),
        ...(state.references.size === 0 ? ['no reference set (`broker reference add`)'] : []),
        ...(state.resources.size === 0 ? ['no resource (`broker put`)'] : []),
    ]
    if (missing.length > 0) note(`nothing is released yet: there is ${missing.join(', ')}`)
    if (settings.publicMetrics) note('/metrics is served to everybody')
    const reachable = url.replace(/\/\/(?:0\.0\.0\.0|\[::\])(?=:)/, `//${hostname()}`)
    if (pin === null) note('WARNING: plain HTTP: whoever is on this machine can read what is released')
    else note(`the key of this broker is ${pin}`)
    const known = pin === null ? '--insecure-http' : `--pin ${pin}`
    hint(`a guest trusts it with: ${PROGRAM} trust add ${reachable} ${known} --allow-path 'REPOSITORY/TYPE/TAG'`)
    if (caPath !== null) hint(`clients that check names want the CA instead: ${caPath}`)
    note(`serving ${reachable}; administration at ${paths.socket}`)
}

function toldToStop(serving: Serving): Promise<void> {
    process.on('SIGHUP', () => void serving.reload())
    return new Promise((resolve) => {
        for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
    })
}

const absolute = (path: string): string => (path.startsWith('/') ? path : `${process.cwd()}/${path}`)
