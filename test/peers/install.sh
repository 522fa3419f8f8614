#!/bin/sh
# Installs third-party programs that the peer tests run against, from Debian's own packages. As root, on Debian 12.
# They are newer than Debian 12 has: an extra entry for Debian 13 (trixie) is added whose packages are taken only where
# nothing of Debian 12 will do (pin 100), so that an upgrade of this machine goes on to take Debian 12's.
# To undo: remove the two files that are named below, then `apt-get update`.
# SPDX-License-Identifier: Apache-2.0
set -eu

SOURCES=/etc/apt/sources.list.d/guest-attest-peers.sources
PREFERENCES=/etc/apt/preferences.d/guest-attest-peers
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
