// Lint and format with Biome, through the package of this platform: `node packaging/lint.ts [--write]`.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const biome = require.resolve(`@biomejs/cli-${process.platform}-${process.arch}/biome`)
const { status } = spawnSync(
    biome,
    ['check', '--config-path', 'packaging/lint.json', '--error-on-warnings', ...process.argv.slice(2), '.'],
    { stdio: 'inherit' },
)
process.exitCode = status ?? 1
