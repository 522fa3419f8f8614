// The rules of the house hold, and each of them notices when it is broken.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { forbiddenImports, oversized, sources, unheaded } from '#packaging/house.ts'

const files = sources()

for (const [rule, broken] of Object.entries({ forbiddenImports, oversized, unheaded }))
    test(`every source: ${rule}`, (t) => {
        t.deepEqual(broken(files), [])
        t.true(files.length > 200)
    })

const HEAD = '// What it is.\n// SPDX-License-Identifier: Apache-2.0\n'

for (const { name, path, line } of [
    { name: 'core imports a room', path: 'src/core/x.ts', line: "import { a } from '#kbs/client.ts'" },
    { name: 'a room imports the list of plugins', path: 'src/broker/x.ts', line: "import { a } from '#plugins.ts'" },
    { name: 'a room imports a plugin', path: 'src/unlock/x.ts', line: "import { a } from '#plugins/snp/report.ts'" },
    { name: 'a plugin imports another', path: 'plugins/tdx/x.ts', line: "import { a } from '../snp/report.ts'" },
    {
        name: 'the verifying half of a plugin opens a door',
        path: 'plugins/snp/verify.ts',
        line: "import { a } from '#drivers/linux/libc.ts'",
    },
    {
        name: 'the verifying half of a plugin opens a door through its driver',
        path: 'plugins/snp/verify.ts',
        line: "import { a } from './driver.ts'",
    },
    {
        name: 'the verifying half of a plugin plays a guest',
        path: 'plugins/snp/verify.ts',
        line: "import { a } from './emulated/firmware.ts'",
    },
    {
        name: 'a manifest opens a door',
        path: 'plugins/snp/index.ts',
        line: "import { a } from '#drivers/linux/libc.ts'",
    },
    { name: 'for its effects alone', path: 'src/core/x.ts', line: "import '#kbs/client.ts'" },
    {
        name: 'behind a type',
        path: 'src/core/x.ts',
        line: "export type A = number\n\nexport { a } from '#kbs/client.ts'",
    },
    { name: 'more than types', path: 'src/evidence/x.ts', line: "import { a } from '#drivers/driver.ts'" },
    { name: 'on demand', path: 'src/kbs/x.ts', line: "const a = await import('#broker/serve.ts')" },
    { name: 'on demand, on a line of its own', path: 'src/kbs/x.ts', line: "await import(\n    '#broker/serve.ts'\n)" },
    { name: 'handed on', path: 'src/luks/x.ts', line: "export { a } from '#kbs/client.ts'" },
])
    test(`refused: ${name}`, (t) => {
        t.is(forbiddenImports([{ path, text: `${HEAD}\n${line}\n` }]).length, 1)
    })

for (const { name, path, line } of [
    {
        name: 'types of the driver interface',
        path: 'src/kbs/x.ts',
        line: "import type { a } from '#drivers/driver.ts'",
    },
    { name: 'a neighbour', path: 'src/broker/http/x.ts', line: "import { a } from '../serve.ts'" },
    { name: 'the door of a driver', path: 'plugins/snp/driver.ts', line: "import { a } from '#drivers/linux/libc.ts'" },
    { name: 'the driver in a manifest', path: 'plugins/snp/index.ts', line: "const a = () => import('./driver.ts')" },
    {
        name: 'types of the driver in the verifying half',
        path: 'plugins/snp/verify.ts',
        line: "import type { a } from './driver.ts'",
    },
    { name: 'a package', path: 'src/core/x.ts', line: "import * as z from 'zod/mini'" },
])
    test(`allowed: ${name}`, (t) => {
        t.deepEqual(forbiddenImports([{ path, text: `${HEAD}\n${line}\n` }]), [])
    })

test('a file that is too long, and one without a head, are named', (t) => {
    t.regex(oversized([{ path: 'src/core/x.ts', text: '\n'.repeat(501) }])[0] ?? '', /^src\/core\/x\.ts has 501 lines/)
    for (const text of ['export const a = 1\n', '// SPDX-License-Identifier: Apache-2.0\n'])
        t.is(unheaded([{ path: 'src/core/x.ts', text }]).length, 1)
})
