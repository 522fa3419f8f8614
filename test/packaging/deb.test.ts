// The packages: what is in them, that the same sources give the same bytes, what dpkg makes of them, and that a purge
// leaves nothing. Real dpkg, in a folder of its own.
// SPDX-License-Identifier: Apache-2.0

import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test from 'ava'
import { buildAll } from '#packaging/build.ts'
import { ROOT as PROJECT } from '#packaging/bundle.ts'
import { DEB_VERSION } from '#packaging/deb/build.ts'
import { PACKAGES } from '#packaging/deb/packages.ts'
import { sources } from '#packaging/house.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs, ROOT, variable } from '../machine.ts'
import { needs } from '../needs.ts'

const BUILDS = programs('strip', 'objdump', 'dpkg-deb')
const EPOCH = 1_700_000_000
const folder = temporaryFolder({ teardown: test.after.always })
const out = join(folder, 'dist')
let debs: string[] = []

test.before(async () => {
    if (BUILDS.met) debs = (await buildAll({ out, deb: 'zstd', epoch: EPOCH })).filter((path) => path.endsWith('.deb'))
})

const built = needs(BUILDS)
const deb = (name: string): string => debs.find((path) => basename(path).startsWith(`${name}_`)) ?? ''
const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')
const json = (name: string) => JSON.parse(readFileSync(join(out, name), 'utf8'))

/** Paths in a package, with their modes. */
const contents = (name: string): Record<string, string> =>
    Object.fromEntries(
        execFileSync('dpkg-deb', ['-c', deb(name)], { encoding: 'utf8' })
            .split('\n')
            .filter((line) => line !== '' && !line.startsWith('d'))
            .map((line) => line.split(/\s+/))
            .map(([mode = '', owner = '', , , , path = '']) => [path.slice(1), `${mode} ${owner}`]),
    )

test('every file for an initrd or a service manager is in a package', (t) => {
    const shipped = PACKAGES.flatMap(({ files }) => files.map(([source]) => source))
    const ours = execFileSync('git', ['ls-files', '-co', '--exclude-standard', 'packaging'], {
        cwd: PROJECT,
        encoding: 'utf8',
    })
    const meant = ours.split('\n').filter((path) => /^packaging\/(?:initramfs-tools|dracut|systemd|sh)\//.test(path))
    t.true(meant.length > 5)
    for (const path of meant)
        t.true(
            shipped.some((source) => path === source || path.startsWith(`${source}/`)),
            path,
        )
    t.true(sources().length > 0)
})

built('the packages, and what stands where', (t) => {
    t.deepEqual(
        debs.map((path) => basename(path).split('_').slice(0, 2)),
        PACKAGES.map(({ name }) => [name, DEB_VERSION]),
    )
    const [RUN, READ, LINK] = ['-rwxr-xr-x root/root', '-rw-r--r-- root/root', 'lrwxrwxrwx root/root']
    t.like(contents('guest-attest'), {
        '/usr/bin/guest-attest': RUN,
        '/usr/bin/clevis-decrypt-kbs': LINK,
        '/usr/bin/clevis-decrypt-sev': LINK,
        '/usr/bin/clevis-encrypt-kbs': LINK,
        '/usr/bin/clevis-encrypt-sev': LINK,
        '/usr/lib/guest-attest/guest-attest-initrd': RUN,
        '/usr/lib/guest-attest/koffi.node': READ,
        '/usr/lib/systemd/system/guest-attest-broker.service': READ,
        '/usr/share/man/man1/guest-attest.1.gz': READ,
        '/usr/share/man/man1/clevis-decrypt-kbs.1.gz': READ,
        '/usr/share/man/man8/guest-attest-initrd.8.gz': READ,
        '/usr/share/bash-completion/completions/guest-attest': READ,
        '/usr/share/zsh/vendor-completions/_guest-attest': READ,
        '/usr/share/fish/vendor_completions.d/guest-attest.fish': READ,
        '/usr/share/doc/guest-attest/copyright': READ,
    })
    t.like(contents('guest-attest-initramfs'), { '/usr/share/initramfs-tools/hooks/guest-attest': RUN })
    t.true(Object.keys(contents('guest-attest-dracut')).some((path) => path.endsWith('/module-setup.sh')))
    const field = (name: string) => execFileSync('dpkg-deb', ['-f', deb('guest-attest'), name], { encoding: 'utf8' })
    t.is(field('Depends'), 'libatomic1, libc6 (>= 2.28), libgcc-s1, libstdc++6\n')
})

built('the manifest names every file that came out; the bill of materials what is in them', (t) => {
    const { inputs, outputs, sourceDateEpoch } = json('build-manifest.json')
    t.is(sourceDateEpoch, EPOCH)
    for (const name of ['guest-attest', 'guest-attest-initrd', 'koffi.node', `deb/${basename(deb('guest-attest'))}`])
        t.is(outputs[name], digest(join(out, name)), name)
    for (const name of ['src/cli/initrd/main.ts', 'src/broker/serve.ts', 'package-lock.json'])
        t.is(inputs.files[name], digest(join(PROJECT, name)), name)
    t.regex(inputs.runtime, /^[0-9a-f]{64}$/)

    const { bomFormat, specVersion, metadata, components, dependencies } = json('sbom.cdx.json')
    t.deepEqual([bomFormat, specVersion], ['CycloneDX', '1.6'])
    t.is(metadata.timestamp, new Date(EPOCH * 1000).toISOString())
    const names = components.map(({ group, name }: Record<string, string>) => (group ? `${group}/${name}` : name))
    for (const name of ['node', 'zod', 'fastify', '@cedar-policy/cedar-wasm', `@koromix/koffi-linux-${process.arch}`])
        t.true(names.includes(name), name)
    for (const name of ['ava', 'esbuild', 'typescript', 'tsx']) t.false(names.includes(name), name)
    for (const { name, licenses, hashes } of components) {
        t.truthy(licenses[0].license?.id ?? licenses[0].expression, name)
        t.regex(hashes[0].content, /^[0-9a-f]{64}(?:[0-9a-f]{64})?$/, name)
    }
    t.is(dependencies[0].dependsOn.length, components.length)
})

built('the same sources give the same packages', async (t) => {
    const again = join(folder, 'again')
    await buildAll({ out: again, deb: 'zstd', epoch: EPOCH })
    const { outputs } = JSON.parse(readFileSync(join(again, 'build-manifest.json'), 'utf8'))
    t.deepEqual(outputs, json('build-manifest.json').outputs)
})

needs(
    BUILDS,
    ROOT,
    programs('dpkg'),
)('installed, removed, purged: nothing is left', (t) => {
    const root = join(folder, 'root')
    const kernel = (name: string, ...modules: readonly string[]) => {
        mkdirSync(join(root, 'lib/modules', name, 'kernel/drivers/virt'), { recursive: true })
        for (const module of modules) writeFileSync(join(root, 'lib/modules', name, 'kernel/drivers/virt', module), '')
    }
    for (const name of ['info', 'updates', 'triggers']) mkdirSync(join(root, 'var/lib/dpkg', name), { recursive: true })
    writeFileSync(join(root, 'var/lib/dpkg/status'), '')
    kernel('6.1.0-47-cloud-amd64')
    kernel('6.1.0-47-amd64', 'sev-guest.ko')
    kernel('6.12.107-cloud-amd64', 'sev-guest.ko.xz', 'tdx-guest.ko.xz')
    // Maintainer scripts run on this machine, and are told of the other root; nothing that packages need is there.
    const FORCED = [
        '--force-script-chrootless',
        '--force-depends',
        `--root=${root}`,
        `--log=${join(folder, 'dpkg.log')}`,
    ]
    const dpkg = (...args: string[]) => spawnSync('dpkg', [...FORCED, ...args], { encoding: 'utf8' })
    const files = () =>
        readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
            (path) => !path.startsWith('var/lib/dpkg') && !path.startsWith('lib/modules'),
        )
    const before = files()

    const installed = dpkg('--install', ...debs)
    t.is(installed.status, 0, installed.stderr)
    if (process.arch === 'x64') {
        const warned = [...installed.stderr.matchAll(/the kernel (\S+) has no (\S+):/g)].map(
            ([, name, module]) => `${name} ${module}`,
        )
        t.deepEqual(
            warned.toSorted((a, b) => (a < b ? -1 : 1)),
            ['6.1.0-47-amd64 tdx-guest', '6.1.0-47-cloud-amd64 sev-guest', '6.1.0-47-cloud-amd64 tdx-guest'],
        )
        t.regex(installed.stderr, /linux-image-amd64/)
    }
    t.is(statSync(join(root, 'usr/bin/clevis-decrypt-kbs')).mode & 0o777, 0o755)
    // What is made while it is used.
    mkdirSync(join(root, 'etc/guest-attest/trust.d'))
    writeFileSync(join(root, 'etc/guest-attest/trust.d/kbs.toml'), '')
    mkdirSync(join(root, 'var/lib/guest-attest/keys'), { recursive: true })

    const names = PACKAGES.map(({ name }) => name)
    t.is(dpkg('--remove', ...names.toReversed()).status, 0)
    t.true(existsSync(join(root, 'etc/guest-attest/trust.d/kbs.toml')))
    const purged = dpkg('--purge', ...names)
    t.is(purged.status, 0, purged.stderr)
    t.deepEqual(
        files().filter((path) => !before.includes(path) && !EMPTY_FOLDERS.includes(path)),
        [],
    )
})

// Of the system itself: on a real one they belong to its packages.
const EMPTY_FOLDERS: readonly string[] = ['var/lib']

needs(
    BUILDS,
    variable('GUEST_ATTEST_SLOW'),
    programs('lintian'),
)('lintian has nothing to say', (t) => {
    // That of Debian 12 does not know zstd yet.
    const { stdout, stderr } = spawnSync('lintian', ['--suppress-tags', 'malformed-deb-archive', ...debs], {
        encoding: 'utf8',
    })
    t.is(stdout, '', stderr)
})

needs(BUILDS, programs('man'))('manual pages can be read', (t) => {
    for (const page of ['man1/guest-attest.1', 'man1/clevis-decrypt-kbs.1', 'man8/guest-attest-initrd.8']) {
        const { stdout, stderr } = spawnSync('man', ['--warnings', '-E', 'UTF-8', '-l', join(out, 'man', page)], {
            encoding: 'utf8',
            env: { ...process.env, LC_ALL: 'C.UTF-8', MANWIDTH: '100' },
        })
        t.is(stderr, '', page)
        t.true(stdout.length > 200, page)
    }
})

for (const [shell, script, check] of [
    ['bash', 'guest-attest', '-n'],
    ['zsh', '_guest-attest', '-n'],
    ['fish', 'guest-attest.fish', '--no-execute'],
] as const)
    needs(BUILDS, programs(shell))(`${shell} can read its completions`, (t) => {
        const { status, stderr } = spawnSync(shell, [check, join(out, 'completions', script)], { encoding: 'utf8' })
        t.is(status, 0, stderr)
    })

needs(BUILDS, programs('systemd-analyze'))('systemd can read the unit of the broker', (t) => {
    const unit = join(PROJECT, 'packaging/deb/guest-attest-broker.service')
    const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', unit], { encoding: 'utf8' })
    // Where the package is not installed the program is not there.
    t.deepEqual(
        stderr
            .split('\n')
            .filter((line) => line.includes('guest-attest') && !/is not executable: No such file/.test(line)),
        [],
    )
})
