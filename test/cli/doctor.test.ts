// `doctor`: what it finds on a machine that is no guest, in a header, and in an emulated guest.
// SPDX-License-Identifier: Apache-2.0

import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { imageOf } from '../luks/cryptsetup.ts'
import { forge } from '../luks/forge.ts'
import { needs } from '../needs.ts'
import { checkFindings, type DoctorCase, type Wanted } from './findings.ts'
import { emulatedGuest, GUEST_NEEDS, hurriedConfig, inOneGuest, UNTOLD } from './inside.ts'
import { guestAttest } from './run.ts'

const possible = needs(...GUEST_NEEDS)

const folder = temporaryFolder({ teardown: test.after.always })

const NOWHERE = { GUEST_ATTEST_CONFIG: '/nowhere/at-all' }

// Where there is no guest.

test('no guest: said line by line, with what to do, and nothing is wrong', async (t) => {
    const { code, stdout, stderr } = await guestAttest(['doctor'], { env: { ...NOWHERE, PATH: '/nowhere' } })
    t.is(code, 0, stderr)
    const lines = stdout.trimEnd().split('\n')
    for (const line of lines) t.regex(line, /^(?:ok|\?) +\S/)
    t.regex(
        stdout,
        /^\? +guest +none of AMD SEV-SNP, Intel TDX, AMD SEV: looked at \/sys\/kernel\/config\/tsm\/report, \/dev\/sev-guest, \/dev\/tdx_guest, \/sys\/kernel\/security\/secrets\/coco$/m,
    )
    t.regex(stdout, /^ok +configuration +\/nowhere\/at-all: every value is the default$/m)
    t.regex(stdout, /^\? +trust +no broker is trusted$/m)
    t.regex(stderr, /^ {2}hint: trust: guest-attest trust add URL --pin … --allow-path …$/m)
})

/** A folder of configuration with this file in it. */
function configOf(file: string, text: string, mode = 0o644): string {
    const config = hurriedConfig(folder)
    writeFileSync(join(config, file), text)
    chmodSync(join(config, file), mode)
    return config
}

const ANCHOR = `url = "https://kbs.invalid"\npins = ["sha256/${'A'.repeat(43)}="]\nallowPaths = ["a/b/c"]\n`

for (const { args = [], config = '/nowhere', ...row } of [
    {
        name: 'a configuration that cannot be read',
        config: configOf('config.toml', '[drivers]\nspacing = 1\n'),
        want: {
            configuration: [
                'bad',
                /unknown setting drivers\.spacing.*ERR_CONFIG/,
                /settings of \[drivers\]: spacingMs/,
            ],
        },
    },
    {
        name: 'an anchor that others may write',
        config: configOf('trust.d/a.toml', ANCHOR, 0o666),
        want: { trust: ['bad', /can be written by others.*ERR_UNTRUSTED_FILE/, /^chmod go-w /] },
    },
    {
        name: 'an anchor that is none',
        config: configOf('trust.d/a.toml', 'url = "https://kbs.example"\n'),
        want: { trust: ['bad', /ERR_UNLOCK_ANCHOR_FILE/] },
    },
    {
        name: 'an address of another kind',
        args: ['--url', 'ftp://kbs.example'],
        want: { address: ['bad', /expected https, got ftp/] },
    },
    {
        name: 'plain http beyond this machine',
        args: ['--url', 'http://kbs.example'],
        want: { address: ['bad', /plain http is refused/, /use https/] },
    },
    {
        name: 'a broker that is not trusted',
        args: ['--url', 'https://127.0.0.1:1'],
        want: {
            address: ['good', /^https:\/\/127\.0\.0\.1:1$/],
            name: ['good', /^127\.0\.0\.1$/],
            anchor: [
                'bad',
                /nothing was sent to it \(ERR_UNLOCK_NOT_ANCHORED\)/,
                /guest-attest trust add https:\/\/127\.0\.0\.1:1 /,
            ],
        },
        not: ['connection', 'release'],
    },
    {
        name: 'a header that is not there',
        args: ['--disk', '/nowhere/disk'],
        want: { disk: ['bad', /no such file or folder.*ERR_NOT_FOUND_FILE/] },
    },
] as { name: string; args?: string[]; config?: string; want: Wanted; not?: string[] }[])
    test(`no guest: ${row.name}`, async (t) => {
        const ran = await guestAttest(['doctor', '--json', ...args], { env: { GUEST_ATTEST_CONFIG: config } })
        checkFindings(t, ran, row)
    })

// A header.

for (const { image, ...row } of [
    {
        name: 'a volume that is bound',
        image: forge(),
        want: { disk: ['good', /^opens with token 0 clevis kbs \(key slot 1\); a passphrase \(key slot 0\)$/] },
    },
    {
        name: 'a volume that is not',
        image: forge({ set: { tokens: {} } }),
        want: {
            disk: [
                'unknown',
                /^opens with a passphrase \(key slot 0, 1\)$/,
                /^bound to nothing: guest-attest luks enroll /,
            ],
        },
    },
    {
        name: 'what the host can do with it',
        image: forge(),
        want: { disk: ['unknown', /^the host can put back an older state of each sector/] },
    },
    {
        name: 'a null cipher',
        image: forge({ set: { 'segments.0.encryption': 'cipher_null-ecb' } }),
        want: { disk: ['bad', /"cipher_null-ecb" encrypts nothing \(ERR_LUKS_NULL_CIPHER\)/, /^do not open it/] },
    },
    {
        name: 'no header',
        image: Buffer.alloc(4096),
        want: { disk: ['bad', /not a LUKS volume \(ERR_LUKS_FORMAT\)/, /^do not open it/] },
    },
] as { name: string; image: Buffer; want: Wanted }[])
    test(`--disk: ${row.name}`, async (t) => {
        const ran = await guestAttest(['doctor', '--json', '--disk', imageOf(t, image)], { env: NOWHERE })
        checkFindings(t, ran, row)
        if (ran.code === 1) t.notRegex(ran.stdout, /the header is sound|bound/)
    })

// In a guest.

const TSM = String.raw`snp through configfs \(/sys/kernel/config/tsm/report\)`

const guests: { name: string; faults: string; cases: readonly DoctorCase[] }[] = [
    {
        name: 'sound',
        faults: 'fault = []',
        cases: [
            {
                name: 'a guest that can be used',
                args: ['doctor', '--json'],
                want: {
                    guest: ['good', new RegExp(`^${TSM}, EMULATED; `)],
                    evidence: ['good', /^it answers$/],
                },
            },
            {
                name: 'an emulated one that nobody asked for',
                args: ['doctor', '--json'],
                env: UNTOLD,
                want: { guest: ['bad', /is not on configfs.*ERR_DEVICE_KIND/] },
                not: ['evidence'],
            },
        ],
    },
    {
        name: 'no-certificates',
        faults: '[[fault]]\nkind = "no-certificates"',
        cases: [
            {
                name: 'a host without certificates',
                args: ['doctor', '--json'],
                want: { evidence: ['good', /^it answers; the host gave no certificates/] },
            },
        ],
    },
    {
        name: 'refused',
        faults: '[[fault]]\nkind = "vmm-status"\nstatus = 0xffffffff',
        cases: [
            {
                name: 'a host that errs',
                args: ['doctor', '--json'],
                want: { guest: ['good', new RegExp(TSM)], evidence: ['bad', /ERR_DEVICE_/] },
            },
        ],
    },
]

for (const { name, faults, cases } of guests) {
    const script = join(folder, `${name}.toml`)
    writeFileSync(script, faults)
    const options = ['--faults', script, '--trust-dir', join(folder, 'vendor')]
    const ended = inOneGuest(emulatedGuest(options, hurriedConfig(folder)), cases)
    for (const one of cases) possible(`in a guest: ${one.name}`, async (t) => checkFindings(t, await ended(one), one))
}
