#!/bin/bash
# Puts the emulated chip into the initrd of a test guest (dracut).
# SPDX-License-Identifier: Apache-2.0
check() { return 0; }
depends() { echo systemd; }
installkernel() { instmods cuse vsock_loopback; }
install() {
    local here=/usr/lib/guest-attest-emulator unit
    inst_multiple setsid sleep modprobe "$here/node" "$here/start" "$here/emulator.mjs" "$here/mark"
    inst_simple "$moddir/guest-attest-emulator.service" "$systemdsystemunitdir/guest-attest-emulator.service"
    $SYSTEMCTL -q --root "$initdir" enable guest-attest-emulator.service
    for unit in systemd-cryptsetup@root guest-attest-key@root; do
        mkdir -p "$initdir/etc/systemd/system/$unit.service.d"
        cp "$moddir/mark.conf" "$initdir/etc/systemd/system/$unit.service.d/boot-test.conf"
    done
}
