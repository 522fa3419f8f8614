#!/bin/sh
# Installs third-party programs that the peer tests run against, from Debian's own packages. As root, on Debian 12.
# They are newer than Debian 12 has: an extra entry for Debian 13 (trixie) is added whose packages are taken only where
# nothing of Debian 12 will do (pin 100), so that an upgrade of this machine goes on to take Debian 12's.
# Firmware and kernels that are measured, and not installed, are unpacked beside them.
# To undo: remove the two files and the folder that are named below, then `apt-get update`.
# SPDX-License-Identifier: Apache-2.0
set -eu

SOURCES=/etc/apt/sources.list.d/guest-attest-peers.sources
PREFERENCES=/etc/apt/preferences.d/guest-attest-peers
UNPACKED=/var/lib/guest-attest-peers
PACKAGES='golang-1.24-go golang-github-google-go-sev-guest-dev golang-github-google-go-tdx-guest-dev golang-github-google-go-configfs-tsm-dev golang-github-containerd-ttrpc-dev'
# Its package depends on none of the modules that it imports.
PACKAGES="$PACKAGES libvirt-clients-qemu python3-lxml python3-cryptography"

if [ "$(id -u)" != 0 ]; then
    echo 'install.sh: run this as root' >&2
    exit 2
fi

cat > "$PREFERENCES" <<'END'
Package: *
Pin: release n=trixie
Pin-Priority: 100
END
cat > "$SOURCES" <<'END'
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END

apt-get update
# shellcheck disable=SC2086 # a list of words
apt-get install --yes --no-install-recommends $PACKAGES

# What a package holds, in a folder of its name; a version that the mirrors have no more is left out.
# shellcheck disable=SC2046 # a list of words
for package in ovmf/bookworm ovmf/trixie linux-image-6.1.0-54-cloud-amd64-unsigned \
    $(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: *//p'); do
    folder="$UNPACKED/$(echo "$package" | tr / -)"
    [ -d "$folder" ] && continue
    work=$(mktemp -d)
    if (cd "$work" && apt-get download "$package" && dpkg-deb --extract ./*.deb "$work/unpacked"); then
        # The modules of a kernel are large, and nobody measures them.
        rm -rf "$work/unpacked/lib" "$work/unpacked/usr/lib"
        mkdir -p "$UNPACKED"
        mv "$work/unpacked" "$folder"
    else
        echo "install.sh: $package is not to be had" >&2
    fi
    rm -rf "$work"
done
