// What each Debian package is: its control fields, and where each file goes. Paths of sources are below the project, or
// below the folder of the build where they begin with `dist:`. A folder goes as a whole.
// SPDX-License-Identifier: Apache-2.0

export interface DebPackage {
    readonly name: string
    /** Of the machine's processor, or the same on each. */
    readonly architecture: 'own' | 'all'
    readonly synopsis: string
    readonly description: readonly string[]
    readonly fields: Readonly<Record<string, string>>
    /** Programs and libraries that are ELF files are looked into for what they need. */
    readonly files: readonly (readonly [source: string, target: string])[]
    readonly links?: Readonly<Record<string, string>>
    /** Empty folders. */
    readonly folders?: Readonly<Record<string, number>>
    /** Maintainer scripts and triggers, in the folder of this file. */
    readonly control?: readonly string[]
    /** Tags of lintian that do not hold here, each with its reason. */
    readonly overrides?: readonly (readonly [tag: string, reason: string])[]
}

const HOOKS = 'puts the program and its anchored configuration into the initrd, and the network where a volume needs it'

export const PACKAGES: readonly DebPackage[] = [
    {
        name: 'guest-attest',
        architecture: 'own',
        synopsis: 'attestation agent, verifier, key broker and emulator for confidential VMs',
        description: [
            'Proves to a remote party what a confidential virtual machine is (AMD SEV-SNP, Intel TDX, AMD SEV and SEV-ES), gets keys from a key broker that has verified the proof, and opens LUKS volumes with them, as a pin of clevis too.',
            'The verifier, the key broker and an emulator of the devices are in the same program.',
        ],
        fields: {
            Recommends: 'cryptsetup-bin',
            Suggests: 'guest-attest-initramfs | guest-attest-dracut, clevis, clevis-luks',
        },
        files: [
            ['dist:guest-attest', '/usr/bin/guest-attest'],
            ['dist:guest-attest-initrd', '/usr/lib/guest-attest/guest-attest-initrd'],
            ['dist:koffi.node', '/usr/lib/guest-attest/koffi.node'],
            ['dist:man', '/usr/share/man'],
            ['dist:completions/guest-attest', '/usr/share/bash-completion/completions/guest-attest'],
            ['dist:completions/_guest-attest', '/usr/share/zsh/vendor-completions/_guest-attest'],
            ['dist:completions/guest-attest.fish', '/usr/share/fish/vendor_completions.d/guest-attest.fish'],
            ['packaging/deb/guest-attest-broker.service', '/usr/lib/systemd/system/guest-attest-broker.service'],
            ...['guest-attest-key@.service', 'guest-attest-key@.socket', 'guest-attest-relay.service'].map(
                (name) => [`packaging/systemd/${name}`, `/usr/lib/systemd/system/${name}`] as const,
            ),
            ['packaging/systemd/guest-attest-generator', '/usr/lib/systemd/system-generators/guest-attest-generator'],
            ['packaging/sh', '/usr/lib/guest-attest'],
        ],
        links: {
            '/usr/bin/clevis-encrypt-kbs': '../lib/guest-attest/guest-attest-initrd',
            '/usr/bin/clevis-decrypt-kbs': '../lib/guest-attest/guest-attest-initrd',
            '/usr/bin/clevis-encrypt-sev': '../lib/guest-attest/guest-attest-initrd',
            '/usr/bin/clevis-decrypt-sev': '../lib/guest-attest/guest-attest-initrd',
        },
        folders: { '/etc/guest-attest': 0o755 },
        control: ['guest-attest.postinst', 'guest-attest.prerm', 'guest-attest.postrm'],
        overrides: [
            [
                'hardening-no-pie [usr/bin/guest-attest]',
                'the executables are the Node of nodejs.org, which is built so',
            ],
            ['hardening-no-pie [usr/lib/guest-attest/guest-attest-initrd]', 'the same'],
            ['old-fsf-address-in-copyright-file', 'the licence of Node is quoted as it is, with all that it quotes'],
            ['copyright-file-contains-full-apache-2-license', 'the same'],
            [
                'embedded-library *',
                'the Node of nodejs.org brings its libraries: one measured file, the same everywhere',
            ],
        ],
    },
    {
        name: 'guest-attest-initramfs',
        architecture: 'all',
        synopsis: 'opens disks with guest-attest at boot (initramfs-tools)',
        description: [`With initramfs-tools, ${HOOKS}.`],
        fields: {
            Depends: 'guest-attest (= VERSION), initramfs-tools, cryptsetup-initramfs, busybox | busybox-static',
            Recommends: 'clevis',
            Suggests: 'clevis-initramfs',
            Enhances: 'initramfs-tools',
        },
        files: [
            ['packaging/initramfs-tools/hooks', '/usr/share/initramfs-tools/hooks'],
            ['packaging/initramfs-tools/scripts', '/usr/share/initramfs-tools/scripts'],
            ['packaging/initramfs-tools/keyscript', '/usr/lib/guest-attest/keyscript'],
            ['packaging/initramfs-tools/network', '/usr/lib/guest-attest/network'],
        ],
        control: ['initrd.triggers'],
    },
    {
        name: 'guest-attest-dracut',
        architecture: 'all',
        synopsis: 'opens disks with guest-attest at boot (dracut)',
        description: [`With dracut, ${HOOKS}.`],
        fields: {
            // Before 256 it was part of systemd itself.
            Depends:
                'guest-attest (= VERSION), dracut, dracut-network, iproute2, systemd-cryptsetup | systemd (<< 256~)',
            Recommends: 'clevis',
            Suggests: 'clevis-dracut',
            Enhances: 'dracut',
        },
        files: [['packaging/dracut', '/usr/lib/dracut/modules.d']],
        control: ['initrd.triggers'],
    },
]
