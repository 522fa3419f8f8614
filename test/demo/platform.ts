// What the story of a launched guest is played with: a platform that no vendor made, a QEMU around it, and what the owner
// wants to run there.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { toBase64 } from '#core/bytes.ts'
import { installQemu } from '../cli/fake-qemu.ts'
import { minted } from '../plugins/sev/minted.ts'
import { makeFirmware } from '../plugins/sev/rig.ts'
import type { Scene } from './scene.ts'
import type { Shell } from './shell.ts'

/** What a QEMU is told. */
export interface Machine {
    readonly name: string
    /** What it boots: the owner's unless told. */
    readonly initrd?: 'initrd' | 'greedy'
}

/** The guest that the owner wants, and one more. */
export const WEB = '7c9e6679-7425-40de-944b-e07fc1f90ae7'
export const DB = '0b5317c0-ff25-49bd-b85d-45c1d000098a'

/** What the guest finds its disk's secret by. */
export const GUID = '5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e'

/** ES, and the host may not send it to another platform. */
export const POLICY = 15

export const CMDLINE = 'console=ttyS0'

/** What stands for an initrd: it is measured as one, and the emulated guest runs it. */
const INITRD = `echo 'the initrd opens the root'
clevis luks pass -d root.img -s 1 | cryptsetup open --test-passphrase --key-file - root.img || exit 1
echo 'the root is open'
`
const GREEDY = 'echo "I would send the passphrase of the root to my host"\n'

/** The switch is needed because an emulated vendor's root is none of AMD's. */
const CEDAR = `@id("web")
@insecureCustomRoot
permit (principal, action == Action::"release", resource)
when { principal.references.contains("web") && resource.repository == "web" };
`

/** The command that starts it; its name is also that of its memory. */
export const qemu = ({ name, initrd = 'initrd' }: Machine): string =>
    `emulated/qemu -name ${name} -machine q35,accel=kvm,confidential-guest-support=sev0 -smp 2 -drive if=pflash,format=raw,file=AmdSev.fd -kernel vmlinuz -initrd ${initrd} -append ${CMDLINE}`

/** A shell in the guest that was launched by that name. */
export const guestOf = ({ shell }: Scene, name: string): Shell => shell('--secret-table', `emulated/${name}.table`)

/** A platform with its vendor, and what the owner wants to run. */
export async function prepare({ folder, write }: Scene): Promise<void> {
    const platform = await minted()
    const { certificates: c } = platform
    installQemu(
        join(folder, 'emulated'),
        platform,
        'exec guest-attest emulate --tee sev --secret-table "$TABLE" -- sh "$INITRD"',
    )
    const node = `exec '${process.execPath}' '${fileURLToPath(new URL('qmp.ts', import.meta.url))}'`
    write('bin/qmp', `#!/bin/sh\n${node} "$@"\n`, 0o755)
    write('ark.cert', c.ark)
    write('pdh', toBase64(c.pdh))
    write('cert-chain', toBase64(Buffer.concat([c.pek, c.oca, c.cek, c.ask])))
    write('AmdSev.fd', makeFirmware())
    write('vmlinuz', randomBytes(4096))
    write('initrd', INITRD)
    write('greedy', GREEDY)
    write('web.cedar', CEDAR)
    write('passphrase', 'correct horse battery staple')
}
