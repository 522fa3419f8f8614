// `npm run test:boot`: real Debian guests boot under QEMU, and their disks open or stay shut. Words name boots to run; each
// boot is tried once more if it fails. The last line is `N passed, N failed`.
//   --keep      leave disks, initrds and consoles behind
//   --all       also those that are one more of their kind, or the same with the other builder
//   --list      names alone
//   --once      no second try
//   --reuse     take the packages that the last run has built
//   --jobs N    so many machines at a time
// SPDX-License-Identifier: Apache-2.0

import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { programs, ROOT } from '#test/machine.ts'
import { baseRoot, type Flavour, kernelOf } from './image.ts'
import { INITRDS, type InitrdName, recipeOf } from './initrds.ts'
import { type Kit, openKit } from './kit.ts'
import { stopAll } from './qemu.ts'
import { initrd, installedRoot } from './root.ts'
import { type Built, type Ran, type Row, runRow } from './row.ts'
import { isVariant, ROWS } from './rows.ts'
import { CACHE, sh } from './shell.ts'
import { openBootStage } from './stage.ts'
import { printTimes } from './times.ts'

const { values, positionals } = parseArgs({
    options: {
        keep: { type: 'boolean', default: false },
        all: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false },
        once: { type: 'boolean', default: false },
        reuse: { type: 'boolean', default: false },
        jobs: { type: 'string', default: String(Math.max(1, cpus().length - 1)) },
    },
    allowPositionals: true,
})

// A whole name is that boot alone; other words are parts of names.
const isExact = (word: string) => ROWS.some(({ name }) => name === word)
const chosen = ROWS.filter(({ name }) =>
    positionals.length === 0
        ? values.all || !isVariant(name)
        : positionals.some((word) => (isExact(word) ? name === word : name.includes(word))),
)
if (values.list) {
    for (const { name, end } of chosen) console.log(`${end.padEnd(10)}  ${name}${isVariant(name) ? '  (--all)' : ''}`)
    process.exit(0)
}

const needed = [
    ROOT,
    programs(
        'qemu-system-x86_64',
        'mmdebstrap',
        'cryptsetup',
        'clevis',
        'jose',
        'socat',
        'tangd',
        'curl',
        'mke2fs',
        'strip',
        'unshare',
    ),
].filter(({ met }) => !met)
if (needed.length > 0) {
    console.log(`FAILED: a boot needs ${needed.map(({ what }) => what).join(', ')}`)
    console.log('0 passed, 1 failed')
    process.exit(1)
}

const started = performance.now()
const folder = mkdtempSync(join(tmpdir(), 'guest-attest-boot-'))
const kits = new Map<string, Kit>()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
        stopAll()
        void closeKits().finally(() => process.exit(130))
    })

let failed = 0
let passed = 0
try {
    const built = await buildAll()
    console.log(`images are there after ${since(started)} s; ${chosen.length} boots`)
    for (const tee of new Set(chosen.map(teeOf))) kits.set(tee, await makeKit(tee))
    const ran = await inLanes(chosen, Number(values.jobs), (row) => twice(row, built))
    printTimes(ran)
} finally {
    stopAll()
    await closeKits()
    if (values.keep) console.log(`kept: ${folder}`)
    else rmSync(folder, { recursive: true, force: true })
}
console.log(`${since(started)} s`)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

function teeOf({ tee = 'snp' }: Row): string {
    return tee
}

/** An emulated vendor and a broker for each technology. */
async function makeKit(tee: string): Promise<Kit> {
    const own = join(folder, tee)
    mkdirSync(own)
    return openKit(own, await openBootStage(tee), await baseRoot('initramfs-tools'))
}

async function closeKits(): Promise<void> {
    await Promise.all([...kits.values()].map(({ boot }) => boot.close()))
}

async function twice(row: Row, built: ReadonlyMap<InitrdName, Built>): Promise<Ran> {
    const found = built.get(row.initrd)
    const kit = kits.get(teeOf(row))
    if (!found || !kit) throw new TypeError(row.initrd)
    let ran = await runRow(row, kit, found)
    const first = ran.faults
    if (first.length > 0 && !values.once) {
        console.log(`again: ${row.name}: ${first.join('; ')}\n${excerpt(ran)}`)
        ran = await runRow(row, kit, found)
    }
    const verdict = ran.faults.length === 0 ? 'ok    ' : 'FAILED'
    console.log(`${verdict} ${ran.booted.seconds.toFixed(1).padStart(6)} s  ${row.end}: ${row.name}`)
    if (ran.faults.length > 0) {
        failed++
        console.log(`  ${ran.faults.join('\n  ')}\n${excerpt(ran)}`)
    } else passed++
    return ran
}

/** What a person wants to see of a console that was not as it should be. */
function excerpt({ booted }: Ran): string {
    return booted.console
        .split('\n')
        .filter((line) => /guest-attest|boot-test|REAL ROOT|cryptsetup|emergency|panic|Please|ower/.test(line))
        .filter((line) => !/ommand line/.test(line))
        .slice(-40)
        .map((line) => `    | ${line.slice(0, 220)}`)
        .join('\n')
}

async function buildAll(): Promise<Map<InitrdName, Built>> {
    const names = [...new Set(chosen.map((row) => row.initrd))]
    const flavours = [...new Set(names.map((name): Flavour => INITRDS[name].flavour))]
    const packages = await buildPackages()
    const built = new Map<InitrdName, Built>()
    await Promise.all(
        flavours.map(async (flavour) => {
            const mine = packages.filter((file) => !file.includes(flavour === 'dracut' ? '-initramfs_' : '-dracut_'))
            const root = await installedRoot(flavour, mine)
            for (const name of names.filter((other) => INITRDS[other].flavour === flavour))
                built.set(name, { initrd: await initrd(root, recipeOf(name)), kernel: kernelOf(root).path, root })
        }),
    )
    return built
}

/** The Debian packages, as `npm run build -- --deb` makes them. */
async function buildPackages(): Promise<string[]> {
    const out = join(CACHE, 'dist')
    const build = fileURLToPath(new URL('../../packaging/build.ts', import.meta.url))
    if (!values.reuse || !existsSync(out))
        await sh([process.execPath, build, '--out', out, '--deb'], { env: { SOURCE_DATE_EPOCH: '1700000000' } })
    return readdirSync(join(out, 'deb'))
        .filter((name) => name.endsWith('.deb'))
        .map((name) => join(out, 'deb', name))
}

/** Long ones begin first; so many lanes as there is room for. */
async function inLanes<T, R>(
    all: readonly (T & { long?: boolean })[],
    lanes: number,
    work: (one: T) => Promise<R>,
): Promise<R[]> {
    const queue = all.toSorted((a, b) => Number(b.long ?? false) - Number(a.long ?? false))
    const out: R[] = []
    // A machine that waits for something costs nothing: it has a lane of its own.
    const waiting = queue.filter(({ long }) => long)
    const rest = queue.filter(({ long }) => !long)
    const lane = async (from: (typeof all)[number][]) => {
        for (let next = from.shift(); next; next = from.shift()) out.push(await work(next))
    }
    await Promise.all([lane(waiting), ...Array.from({ length: lanes }, () => lane(rest))])
    return out
}

function since(from: number): string {
    return ((performance.now() - from) / 1000).toFixed(0)
}
