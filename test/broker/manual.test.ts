// docs/broker.md says the defaults that are in force, and every setting stands in it.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import test from 'ava'
import { BROKER_CONFIG } from '#broker/config.ts'

const MANUAL = readFileSync(new URL('../../docs/broker.md', import.meta.url), 'utf8')

/** Rows of `| setting | default | …` by the setting's name. */
const documented = Object.fromEntries(
    [...(MANUAL.split('\n## Limits\n')[1]?.split('\n## ')[0] ?? '').matchAll(/^\| `(\w+)` +\| (.*?) +\|/gm)].map(
        ([, name = '', value = '']) => [name, value],
    ),
)

/** Settings that are options too: their defaults stand with the options. */
const OPTIONS = { data: '--data DIR', listen: '--listen HOST:PORT' } as const

const MIB = 1024 * 1024

for (const [name, { fallback }] of Object.entries(BROKER_CONFIG.settings))
    test(`the default of ${name}`, (t) => {
        if (name in OPTIONS) {
            const option = OPTIONS[name as keyof typeof OPTIONS]
            const row = MANUAL.split('\n').find((line) => line.startsWith(`| \`${option}\` `))
            t.true(row?.includes(`\`${fallback}\` unless told`), row)
        } else t.is(documented[name], name.endsWith('Bytes') ? `${Number(fallback) / MIB} MiB` : String(fallback))
    })

test('no other setting is documented', (t) => {
    const known = Object.keys(BROKER_CONFIG.settings)
    t.deepEqual(
        Object.keys(documented).filter((name) => !known.includes(name)),
        [],
    )
})
