// `npm run demo`: a LUKS volume opens with a key that a verifying broker released to a guest which proved itself, and
// everything that must be refused is refused. Real: cryptsetup, clevis, jose, TLS, the verifier, the broker. Emulated: the
// guest's device or its processor, and the vendor that made its keys. The stories stand in files of their own.
//   --tee T   the technology of the guest: snp unless told
//   --yes     install missing Debian packages without asking (as root)
//   --keep    leave the folder behind, to poke about
// SPDX-License-Identifier: Apache-2.0

import { FUSE } from '../machine.ts'
import { readOptions } from '../options.ts'
import { attested } from './attested.ts'
import { launched } from './launched.ts'
import { installMissing } from './packages.ts'
import { openScene, type Story } from './scene.ts'

const STORIES: Readonly<Record<string, Story>> = {
    snp: attested({
        emulate: ['--generation', 'genoa'],
        debug: ['--policy', 'b0000'],
        device: '/dev/sev-guest',
        rejected: /REJECTED: ERR_SNP_CHAIN/,
    }),
    tdx: attested({
        emulate: [],
        debug: ['--attributes', '10000001'],
        device: '/dev/tdx_guest',
        rejected: /REJECTED: ERR_TDX_CHAIN/,
    }),
    sev: launched,
}
const NAMES = Object.keys(STORIES)

const { tee, yes, keep } = readOptions(
    `npm run demo [-- OPTIONS]
  --tee T  the technology of the guest: ${NAMES.join(', ')}; snp unless told
  --yes    install missing Debian packages without asking (as root)
  --keep   leave the folder behind, to poke about`,
    {
        yes: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        tee: { type: 'string', default: 'snp' },
    },
)

const story = Object.hasOwn(STORIES, tee) ? STORIES[tee] : undefined
if (!story) {
    console.error(`demo: --tee ${tee}: only ${NAMES.join(', ')} can be rehearsed`)
    process.exit(2)
}
if (!FUSE.met) {
    console.error('demo: /dev/fuse is not there, or may not be opened: the emulator of the guest needs it')
    process.exit(3)
}
if (!(await installMissing(yes))) process.exit(3)

const started = performance.now()
const scene = openScene(tee)
// Keys and a passphrase are in the folder, and the broker would go on without us.
for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
] as const)
    process.once(signal, () => {
        scene.end(keep)
        process.exit(128 + number)
    })

try {
    await story(scene)
} finally {
    scene.end(keep)
}

const { failures } = scene
const seconds = ((performance.now() - started) / 1000).toFixed(0)
console.log(
    failures.length === 0
        ? `\nEverything went as it should, in ${seconds} s.`
        : `\n${failures.length} steps went WRONG:\n  ${failures.join('\n  ')}`,
)
process.exitCode = failures.length === 0 ? 0 : 1
