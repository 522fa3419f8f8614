// The programs of the distribution that the demo needs, and how to get them.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import { isProgram } from '../machine.ts'

/** A program of each package, and the package's name in Debian and Ubuntu. */
const NEEDED = [
    { program: 'cryptsetup', package: 'cryptsetup-bin' },
    { program: 'clevis', package: 'clevis' },
    { program: 'clevis-luks-bind', package: 'clevis-luks' },
    { program: 'jose', package: 'jose' },
    { program: 'curl', package: 'curl' },
] as const

/** Says what is missing and installs it where that is possible and wanted. True where nothing is missing afterwards. */
export async function installMissing(yes: boolean): Promise<boolean> {
    const missing = NEEDED.filter(({ program }) => !isProgram(program)).map((row) => row.package)
    if (missing.length === 0) return true
    const line = `apt-get install -y ${missing.join(' ')}`
    console.log(`demo: needs ${missing.join(', ')}`)
    const isDebian = existsSync('/usr/bin/apt-get')
    const isRoot = process.geteuid?.() === 0
    if (!isDebian || !isRoot || !(yes || (await agrees(`install them now (${line})?`)))) {
        console.log(isDebian ? `demo: as root: ${line}` : 'demo: install them with the tools of your distribution')
        return false
    }
    for (const args of [
        ['update', '-qq'],
        ['install', '-y', '-qq', ...missing],
    ]) {
        console.log(`# apt-get ${args.join(' ')}`)
        const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
        if (spawnSync('apt-get', args, { stdio: ['ignore', 'ignore', 'inherit'], env }).status !== 0) return false
    }
    return NEEDED.every(({ program }) => isProgram(program))
}

async function agrees(question: string): Promise<boolean> {
    if (!process.stdin.isTTY) return false
    const terminal = createInterface({ input: process.stdin, output: process.stdout })
    const answer = await terminal.question(`demo: ${question} [y/N] `)
    terminal.close()
    return /^y(?:es)?$/i.test(answer.trim())
}
