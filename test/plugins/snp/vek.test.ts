// The certificate of the key that signed: its extensions, each missing, of another kind, or out of range.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync } from 'node:crypto'
import test from 'ava'
import { encodeIa5, encodeInteger, mintCertificate } from '#core/mint.ts'
import { parseCertificate } from '#core/x509.ts'
import { readVek, VEK_OIDS } from '#plugins/snp/vek.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })

type Extensions = { readonly [Name in keyof typeof VEK_OIDS]?: Buffer | null }

const TCB = {
    bootLoader: encodeInteger(4),
    tee: encodeInteger(0),
    snp: encodeInteger(24),
    microcode: encodeInteger(255),
}
const MILAN = { structVersion: encodeInteger(0), productName: encodeIa5('Milan-B0'), ...TCB, hwId: Buffer.alloc(64, 7) }
const TURIN = {
    ...MILAN,
    structVersion: encodeInteger(1),
    productName: encodeIa5('Turin'),
    fmc: encodeInteger(1),
    hwId: Buffer.alloc(8, 7),
}
const octets = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from([0x04, bytes.length]), bytes])
const CSP = { hwId: null, cspId: encodeIa5('CN=cc-eu-west-1.amazonaws.com') }

async function read(extensions: Extensions, cn = 'SEV-VCEK') {
    const der = await mintCertificate(
        {
            subject: [['CN', cn]],
            publicKey,
            serial: '01',
            notBefore: new Date('2026-01-01'),
            notAfter: new Date('2030-01-01'),
            extensions: (x509) =>
                Object.entries(extensions).flatMap(([name, value]) =>
                    value ? [new x509.Extension(VEK_OIDS[name as keyof typeof VEK_OIDS], false, value)] : [],
                ),
        },
        { name: [['CN', 'SEV-Milan']], privateKey, signature: 'ecdsaP384' },
    )
    return readVek(parseCertificate(der, 'VEK'))
}

for (const { name, extensions, cn, want } of [
    { name: 'Milan', extensions: MILAN, want: { kind: 'VCEK', line: 'Milan', productName: 'Milan-B0', cspId: null } },
    { name: 'Turin', extensions: TURIN, want: { kind: 'VCEK', line: 'Turin', hwId: Buffer.alloc(8, 7) } },
    {
        name: 'a hwID that is wrapped once more',
        extensions: { ...MILAN, hwId: octets(Buffer.alloc(64, 7)) },
        want: { hwId: Buffer.alloc(64, 7) },
    },
    {
        name: 'a VLEK',
        cn: 'SEV-VLEK',
        extensions: { ...MILAN, ...CSP },
        want: { kind: 'VLEK', hwId: null, cspId: 'CN=cc-eu-west-1.amazonaws.com' },
    },
])
    test(`read: ${name}`, async (t) => {
        const vek = await read(extensions, cn)
        t.like(vek, want)
        t.like(vek.tcb, { bootLoader: 4, tee: 0, snp: 24, microcode: 255 })
        t.false(vek.emulated)
    })

for (const { name, extensions, cn, code = 'ERR_SNP_VEK_EXTENSION', message } of [
    { name: 'another subject', cn: 'SEV-Milan', code: 'ERR_SNP_VEK_KIND', message: /"SEV-Milan"/ },
    ...Object.keys({ ...MILAN }).map((member) => ({
        name: `no ${member}`,
        extensions: { [member]: null },
        message: member === 'hwId' ? /hwID on a VCEK/ : new RegExp(`extension ${member} `),
    })),
    { name: 'no FMC on Turin', extensions: { ...TURIN, fmc: null }, message: /extension fmc / },
    {
        name: 'a line that nobody knows',
        extensions: { productName: encodeIa5('Venice') },
        code: 'ERR_SNP_PRODUCT_LINE',
        message: /"Venice"/,
    },
    {
        name: 'the structVersion of Turin',
        extensions: { structVersion: encodeInteger(1) },
        message: /expected structVersion 0/,
    },
    { name: 'a version of 256', extensions: { snp: encodeInteger(256) }, message: /expected 0 to 255, got 256/ },
    { name: 'a version below zero', extensions: { snp: encodeInteger(-1) }, message: /expected 0 to 255, got -1/ },
    { name: 'a hwID and a cspID', extensions: { cspId: CSP.cspId }, message: /not both/ },
    { name: 'a cspID on a VCEK', extensions: CSP, message: /hwID on a VCEK/ },
    { name: 'a hwID on a VLEK', cn: 'SEV-VLEK', message: /cspID on a VLEK/ },
    {
        name: 'a wrapped hwID of 8 bytes',
        extensions: { hwId: octets(Buffer.alloc(8)) },
        message: /expected 64 bytes, got 8/,
    },
    {
        name: 'a hwID of 63 bytes that is no OCTET STRING',
        extensions: { hwId: Buffer.alloc(63) },
        code: 'ERR_CERTIFICATE',
        message: /hwID/,
    },
    {
        name: 'text in the place of a version',
        extensions: { tee: encodeIa5('0') },
        code: 'ERR_CERTIFICATE',
        message: /tee/,
    },
] as { name: string; extensions?: Extensions; cn?: string; code?: string; message: RegExp }[])
    test(`refused: ${name}`, async (t) => {
        await t.throwsAsync(read({ ...MILAN, ...extensions }, cn), { code, message })
    })
