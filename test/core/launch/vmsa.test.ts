// Pages of initial processor state beside those that other tools wrote, and the processors in them.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { describeSignature, KNOWN_SIGNATURES, signature, typeSignature, VCPU_TYPES } from '#core/launch/vcpu.ts'
import { applicationVmsa, bootVmsa, PROFILES, profileName, VMSA, wantVmsa } from '#core/launch/vmsa.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'

const RESET = 0x80b004

for (const [file, type, profile, features] of [
    ['libvirt_seves_EPYC-v4', 'EPYC-v4', 'kvm-legacy', 0n],
    ['libvirt_seves_EPYC-Rome', 'EPYC-Rome', 'kvm-legacy', 0n],
    ['libvirt_seves_EPYC-Milan', 'EPYC-Milan', 'kvm-legacy', 0n],
    ['libvirt_seves_EPYC-Genoa', 'EPYC-Genoa', 'kvm-legacy', 0n],
    ['ssm_seves_QEMU_EPYC-v4_na', 'EPYC-v4', 'kvm-init2', 0n],
    ['ssm_seves_QEMU_EPYC-Milan_na', 'EPYC-Milan', 'kvm-init2', 0n],
    ['ssm_snp_QEMU_EPYC-v4_0x1', 'EPYC-v4', 'kvm-init2', 1n],
    ['ssm_snp_QEMU_EPYC-Genoa_0x21', 'EPYC-Genoa', 'kvm-init2', 0x21n],
    ['ssm_snp_ec2_EPYC-v4_0x1', 'EPYC-v4', 'ec2', 1n],
    ['ssm_snp_gce_EPYC-v4_0x1', 'EPYC-v4', 'gce', 1n],
] as const) {
    const paths = [0, 1].map((cpu) => `sev/out/vmsa/${file}_cpu${cpu}.bin`)
    needs(vectors(...paths))(`byte for byte: ${file}`, (t) => {
        const state = { profile, signature: typeSignature(type), features }
        const [boot, application] = paths.map((path) => VMSA.parse(readFileSync(join(VECTORS, path))))
        t.deepEqual(VMSA.parse(bootVmsa(state)), boot)
        t.deepEqual(VMSA.parse(applicationVmsa(state, RESET)), application)
    })
}

test('all 32 bits of the reset address count', (t) => {
    const state = { profile: 'kvm-init2', signature: 1, features: 0n } as const
    const { cs, rip } = VMSA.parse(applicationVmsa(state, 0xff123456))
    t.is(cs.base, 0xff120000n)
    t.is(rip, 0x3456n)
})

for (const [type, word] of [
    ['EPYC-v4', 0x00800f12],
    ['EPYC-Rome', 0x00830f10],
    ['EPYC-Milan-v2', 0x00a00f11],
    ['EPYC-Genoa', 0x00a10f10],
    ['EPYC-Turin', 0x00b00f00],
] as const)
    test(`signature: ${type}`, (t) => t.is(typeSignature(type), word))

test('signatures of every family, and back', (t) => {
    t.is(signature({ family: 15, model: 0, stepping: 0 }), 0xf00)
    t.is(signature({ family: 6, model: 0x8f, stepping: 8 }), 0x806f8)
    t.is(signature({ family: 270, model: 255, stepping: 15 }), 0x0fff_0fff)
    t.is(describeSignature(0xa00f11), 'family 25, model 1, stepping 1 (EPYC-Milan)')
    t.is(describeSignature(0x806f8), 'family 6, model 143, stepping 8')
    for (const type of Object.keys(VCPU_TYPES)) t.true(KNOWN_SIGNATURES.includes(typeSignature(type)), type)
})

for (const [name, ask] of [
    ['a type', () => typeSignature('EPYC-Naples')],
    ['a type of every object', () => typeSignature('toString')],
    ['a profile', () => profileName('constructor')],
    ['a family', () => signature({ family: 271, model: 0, stepping: 0 })],
    ['a model', () => signature({ family: 25, model: 256, stepping: 0 })],
    ['a stepping', () => signature({ family: 25, model: 1, stepping: 16 })],
] as const)
    test(`unknown: ${name}`, (t) => void t.throws(ask, { code: 'ERR_VCPU' }))

test('a page has 4096 bytes', (t) => {
    t.throws(() => wantVmsa(Buffer.alloc(4095), 'x'), { code: 'ERR_VMSA', message: /got 4095/ })
    for (const profile of Object.keys(PROFILES))
        t.is(bootVmsa({ profile: profileName(profile), signature: 0, features: 0n }).length, 4096)
})
