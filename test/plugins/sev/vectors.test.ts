// What AMD's sev-tool, sevctl, libvirt and others answered, row by row of their manifest: measurements, sessions, packets;
// and the certificates and reports that lie beside it. Which rows are answered where, manifest.test.ts says.
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey, diffieHellman, hash } from 'node:crypto'
import type { ExecutionContext } from 'ava'
import { type Secret, secret } from '#core/bytes.ts'
import { secretGuid } from '#core/secret-names.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'
import { parseCertificate } from '#plugins/sev/chain/certs.ts'
import { LAUNCH_MEASURE, launchMeasure, measuredDigest } from '#plugins/sev/launch/measurement.ts'
import { openPacket, sealPacket } from '#plugins/sev/launch/packet.ts'
import { encodeSecretTable, parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { SESSION, unwrapKeys, wrapKeys, wrappingKeys } from '#plugins/sev/launch/session.ts'
import { vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { fixture, MANIFEST, type Row, valuesAfter, valuesOf, wordsOf } from './manifest.ts'

const possible = needs(vectors('sev/manifest.tsv'))

type Answer = (t: ExecutionContext, row: Row) => void

const hex = (text: string | undefined): Buffer => Buffer.from(text ?? '', 'hex')
const base64 = (text: string | undefined): Buffer => Buffer.from(text ?? '', 'base64')
const key = (bytes: Buffer): Secret => secret(Buffer.from(bytes))

/** Which rows are answered here, in the order in which they are asked. */
const ANSWERS: readonly { readonly rows: (row: Row) => boolean; readonly answer: Answer; readonly name: string }[] = [
    {
        name: 'libvirt: measurements',
        rows: ({ tool, output }) => tool.startsWith('virt-qemu') && output.startsWith('measured_data_sha256='),
        answer: libvirtMeasurement,
    },
    {
        name: 'libvirt: packets',
        rows: ({ tool, output }) => tool.startsWith('virt-qemu') && output.startsWith('rc=0 header_b64='),
        answer: libvirtPacket,
    },
    {
        name: 'sev-tool: sessions',
        rows: ({ command }) => command.startsWith('sevtool --generate_launch_blob'),
        answer: sevtoolSession,
    },
    {
        name: 'sev-tool: measurements',
        rows: ({ command }) => command.startsWith('sevtool --calc_measurement'),
        answer: sevtoolMeasurement,
    },
    {
        name: 'sevctl: measurement of a digest',
        rows: ({ tool, command }) => tool === 'sevctl-test' && command.includes('--launch-digest'),
        answer: sevctlMeasurement,
    },
    {
        name: 'sevctl: packets',
        rows: ({ tool, command }) => tool === 'sevctl-test' && command.startsWith('secret build --iv'),
        answer: sevctlPacket,
    },
    {
        name: 'sevctl: the largest table',
        rows: ({ tool, command }) => tool === 'sevctl-test' && command.startsWith('secret build with'),
        answer: sevctlLargest,
    },
    { name: 'virtee: a session', rows: ({ command }) => command.startsWith('session with Z='), answer: virteeSession },
    {
        name: 'virtee: a measurement',
        rows: ({ command }) => command.startsWith('measurement verify: '),
        answer: virteeMeasurement,
    },
    { name: 'simple-kbs: a table', rows: ({ tool }) => tool === 'simple-kbs-test', answer: simpleKbsTable },
]

for (const { name, rows, answer } of ANSWERS) {
    const mine = MANIFEST.filter(rows)
    possible(`${name}: ${mine.length} rows`, (t) => {
        t.true(mine.length > 0)
        for (const row of mine) answer(t, row)
    })
}

for (const policy of ['00', '01', '03', '07', '0f', '3f'])
    needs(vectors('sev/out/session'))(`sev-tool: the owner's certificate of policy 0x${policy}`, (t) => {
        const godh = parseCertificate(fixture(`out/session/sevtool_policy${policy}_godh.cert`), 'PDH')
        t.is(godh.algorithm, 'ECDH_SHA256')
        t.is(godh.publicKey.asymmetricKeyDetails?.namedCurve, 'secp384r1')
    })

// libvirt's tool measures API 0.16 in the form of 0.17, which no firmware does: such a row is refused.
function libvirtMeasurement(t: ExecutionContext, row: Row): void {
    const words = wordsOf(row.command)
    const number = (option: string) => Number(valuesAfter(words, option)[0])
    const state = {
        apiMajor: number('--api-major'),
        apiMinor: number('--api-minor'),
        buildId: number('--build-id'),
        policy: number('--policy'),
    }
    const wanted = valuesOf(row.output)
    const digest = hex(wanted('measured_data_sha256'))
    const blob = base64(wanted('launch_measure_b64'))
    const { tik } = transportKeys(words)
    if (state.apiMajor === 0 && state.apiMinor < 17) {
        t.throws(() => measuredDigest(tik, blob, state, [digest]), { code: 'ERR_SEV_API' })
        return
    }
    const { mnonce } = LAUNCH_MEASURE.parse(blob)
    const measure = launchMeasure(tik, { ...state, launchDigest: digest, mnonce })
    t.is(measure.toString('hex'), wanted('measurement'), `line ${row.line}`)
    t.deepEqual(measuredDigest(tik, blob, state, [Buffer.alloc(32), digest]), digest)
    t.is(measuredDigest(tik, blob, state, [Buffer.alloc(32)]), null)
    t.is(measuredDigest(tik, blob, { ...state, policy: state.policy ^ 8 }, [digest]), null)
}

function libvirtPacket(t: ExecutionContext, row: Row): void {
    const words = wordsOf(row.command)
    const wanted = valuesOf(row.output)
    const keys = transportKeys(words)
    const { measure } = LAUNCH_MEASURE.parse(base64(valuesAfter(words, '-m')[0]))
    const packet = { header: base64(wanted('header_b64')), payload: base64(wanted('payload_b64')) }
    const table = openPacket(keys, measure, packet)
    if (/^[0-9a-f]+$/.test(wanted('plaintext_table_hex')))
        t.is(table.toString('hex'), wanted('plaintext_table_hex'), `line ${row.line}`)
    const secrets = valuesAfter(words, '--inject-secret').map((text) => {
        const [name = '', path = ''] = text.split(':')
        return { guid: secretGuid(name) ?? name, data: fixture(path) }
    })
    t.deepEqual(
        parseSecretTable(table).map(({ guid, data }) => [guid, data.toString('hex')]),
        secrets.map(({ guid, data }) => [guid, data.toString('hex')]),
    )
    // Ours is the same but for a block of padding that libvirt adds to whole blocks.
    const own = encodeSecretTable(secrets, MAX_SECRET_AREA)
    t.deepEqual(own, table.subarray(0, own.length))
    t.true(table.length - own.length <= 16)
    t.throws(() => openPacket(keys, Buffer.alloc(32), packet), { code: 'ERR_SEV_PACKET' })
}

function sevtoolSession(t: ExecutionContext, row: Row): void {
    const policy = Number(`0x${row.command.split(' ').at(-1)}`)
    const wanted = valuesOf(row.output)
    const godh = fixture(`out/session/sevtool_policy${policy.toString(16).padStart(2, '0')}_godh.cert`)
    t.is(hash('sha256', godh), wanted('godh_sha256'))
    const privateKey = createPrivateKey(fixture('fixtures/sev-certs/simulated/pdh_key.pem'))
    const shared = diffieHellman({ privateKey, publicKey: parseCertificate(godh, 'PDH').publicKey })
    t.is(shared.toString('hex'), wanted('z'))
    const session = base64(wanted('session_b64'))
    const { nonce, wrapIv: iv } = SESSION.parse(session)
    const { kek, kik } = wrappingKeys(shared, nonce)
    t.is(kek.toString('hex'), wanted('kek'))
    t.is(kik.toString('hex'), wanted('kik'))
    const keys = unwrapKeys(session, shared, policy)
    t.is(keys.tek.toString('hex'), wanted('tek'))
    t.is(keys.tik.toString('hex'), wanted('tik'))
    t.deepEqual(wrapKeys({ shared, keys, policy, nonce, iv }), session)
    t.throws(() => unwrapKeys(session, shared, policy ^ 0x0100_0000), { code: 'ERR_SEV_SESSION' })
}

function sevtoolMeasurement(t: ExecutionContext, row: Row): void {
    const [, , , major, minor, build, policy, digest, nonce, tik] = row.command.split(' ')
    const measured = {
        apiMajor: Number(`0x${major}`),
        apiMinor: Number(`0x${minor}`),
        buildId: Number(`0x${build}`),
        policy: Number(`0x${policy}`),
        launchDigest: hex(digest),
        mnonce: hex(nonce),
    }
    if (row.note.startsWith('api<0.17')) t.throws(() => launchMeasure(hex(tik), measured), { code: 'ERR_SEV_API' })
    else t.is(launchMeasure(hex(tik), measured).toString('hex'), row.output, `line ${row.line}`)
}

function sevctlMeasurement(t: ExecutionContext, { command, output }: Row): void {
    const words = wordsOf(command)
    const of = (option: string) => valuesAfter(words, option)[0]
    const mnonce = base64(of('--nonce'))
    const measure = launchMeasure(fixture('fixtures/sevctl/measurement/tik1.bin'), {
        apiMajor: Number(of('--api-major')),
        apiMinor: Number(of('--api-minor')),
        buildId: Number(of('--build-id')),
        policy: Number(of('--policy')),
        launchDigest: base64(of('--launch-digest')),
        mnonce,
    })
    t.is(Buffer.concat([measure, mnonce]).toString('base64'), output)
}

function sevctlPacket(t: ExecutionContext, { command, output }: Row): void {
    const words = wordsOf(command)
    const secrets = valuesAfter(words, '--secret').map((guid, at) => ({
        guid,
        data: fixture(`fixtures/sevctl/secret/secret${at + 1}.txt`),
    }))
    const keys = {
        tek: key(fixture('fixtures/sevctl/secret/tek1.bin')),
        tik: key(fixture('fixtures/sevctl/secret/tik1.bin')),
    }
    const { measure } = LAUNCH_MEASURE.parse(base64(valuesAfter(words, '--launch-measure-blob')[0]))
    const table = encodeSecretTable(secrets, MAX_SECRET_AREA)
    const { header, payload } = sealPacket(keys, measure, table, base64(valuesAfter(words, '--iv')[0]))
    t.is(`header_b64=${header.toString('base64')} payload_b64=${payload.toString('base64')}`, output)
}

function sevctlLargest(t: ExecutionContext): void {
    const guid = '736869e5-84f0-4973-92ec-06879ce3da0b'
    for (const size of [16_343, 16_344])
        t.is(encodeSecretTable([{ guid, data: Buffer.alloc(size) }], MAX_SECRET_AREA).length, 16_384)
    t.throws(() => encodeSecretTable([{ guid, data: Buffer.alloc(16_345) }], 2 * MAX_SECRET_AREA), {
        code: 'ERR_SEV_SECRET',
    })
}

function virteeSession(t: ExecutionContext, { output }: Row): void {
    const wanted = valuesOf(output)
    const zeros = () => Buffer.alloc(16)
    const { kek, kik } = wrappingKeys(zeros(), zeros())
    t.is(kek.toString('hex'), wanted('kek'))
    t.is(kik.toString('hex'), wanted('kik'))
    const keys = { tek: key(zeros()), tik: key(zeros()) }
    const session = SESSION.parse(wrapKeys({ shared: zeros(), keys, policy: 0, nonce: zeros(), iv: zeros() }))
    t.is(session.wrapTk.toString('hex'), wanted('wrap_tk'))
    t.is(session.wrapMac.toString('hex'), wanted('wrap_mac'))
    t.is(session.policyMac.toString('hex'), wanted('policy_mac'))
}

function virteeMeasurement(t: ExecutionContext, { command, output }: Row): void {
    const named = valuesOf(command)
    const launchDigest = hash('sha256', '', 'buffer')
    const measured = { apiMajor: 0, apiMinor: 18, buildId: 15, policy: 0, launchDigest, mnonce: hex(named('mnonce')) }
    t.is(launchMeasure(hex(named('tik')), measured).toString('hex'), output)
}

function simpleKbsTable(t: ExecutionContext, { command, output }: Row): void {
    const [, text = '', guid = ''] = /"([^"]+)" guid (\S+)/.exec(command) ?? []
    t.is(encodeSecretTable([{ guid, data: Buffer.from(text) }], MAX_SECRET_AREA).toString('hex'), output)
}

function transportKeys(words: readonly string[]) {
    const [both] = valuesAfter(words, '--tk').map(fixture)
    if (both) return { tek: key(both.subarray(0, 16)), tik: key(both.subarray(16)) }
    const [tek, tik] = ['--tek', '--tik'].map((option) => key(fixture(valuesAfter(words, option)[0] ?? '')))
    return { tek: tek as Secret, tik: tik as Secret }
}
