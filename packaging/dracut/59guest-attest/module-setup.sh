#!/bin/bash
# dracut module: what opens the volumes of /etc/guest-attest/volumes.d, by systemd-cryptsetup's key socket or by clevis.
# Nothing in it depends on the machine that builds (generic images): the disk is found by its UUID at boot.
# SPDX-License-Identifier: Apache-2.0

# called by dracut
check() {
    [[ ${mount_needs-} ]] && return 1
    # A crash kernel opens nothing: it has no TEE's memory to spare, and its initrd is not measured.
    [[ "${dracutmodules-} ${add_dracutmodules-} ${force_add_dracutmodules-}" == *kdump* ]] && return 1
    require_binaries modprobe sed grep ip /usr/lib/guest-attest/guest-attest-initrd || return 1
    if ! compgen -G '/etc/guest-attest/volumes.d/*.toml' >/dev/null; then
        dinfo 'guest-attest: no volume in /etc/guest-attest/volumes.d: nothing is put into the initrd'
        return 1
    fi
    return 0
}

# called by dracut
depends() {
    local table more='' cryptsetup=systemd-cryptsetup
    # Before dracut 104 it is a part of `crypt`.
    compgen -G "${dracutbasedir:-/usr/lib/dracut}/modules.d/*systemd-cryptsetup" >/dev/null || cryptsetup='crypt systemd-initrd'
    table=$(/usr/lib/guest-attest/guest-attest-initrd volumes 2>/dev/null | cut -f 3,7)
    [[ $table == *clevis* ]] && more=' clevis'
    # networkd starts wherever it is included.
    [[ $table == *yes* ]] && more+=' systemd-networkd'
    echo "$cryptsetup$more"
}

# called by dracut
installkernel() {
    # shellcheck source=packaging/sh/build.sh
    . /usr/lib/guest-attest/build.sh
    local modules
    modules=$(attest_modules "${kernel:?}")
    # shellcheck disable=SC2086
    hostonly='' instmods $modules
}

# called by dracut
install() {
    # shellcheck source=packaging/sh/build.sh
    . /usr/lib/guest-attest/build.sh
    # shellcheck disable=SC2154
    attest_table "$initdir" socket clevis
    [[ -s $initdir/etc/guest-attest/volumes.tsv ]] || return 0
    rm -f "$initdir/etc/nsswitch.conf"
    attest_files "$initdir"
    attest_programs
    attest_secrets
    local name uuid front profile failure root network deadline retry=0
    # shellcheck disable=SC2034 # columns
    while IFS=$'\t' read -r name uuid front profile failure root network deadline; do
        case $front in
            socket) attest_crypttab ;;
            clevis)
                ln -sf ../lib/guest-attest/guest-attest-initrd "$initdir/usr/bin/clevis-decrypt-kbs"
                ln -sf ../lib/guest-attest/guest-attest-initrd "$initdir/usr/bin/clevis-decrypt-sev"
                ;;
        esac
        [[ $network == yes ]] && attest_network
        ((deadline + 60 > retry)) && retry=$((deadline + 60))
        # Where the kernel command line names no root, it is this volume's. dracut itself gives up after `rd.retry`.
        mkdir -p "$initdir/etc/cmdline.d"
        printf 'root=/dev/mapper/%s rd.retry=%s rd.timeout=0\n' "$name" "$retry" >"$initdir/etc/cmdline.d/20-guest-attest.conf"
        [[ $root$profile == yesstrict ]] && attest_strict
    done <"$initdir/etc/guest-attest/volumes.tsv"
    return 0
}

attest_programs() {
    local program
    for program in "$ATTEST_LIB"/{guest-attest-initrd,koffi.node}; do
        attest_libraries "$program"
        inst "$program" || attest_fail "$program cannot be copied"
    done
    inst_multiple modprobe ip tr cat sed grep ln mkdir mv rm sync sleep true poweroff reboot ||
        attest_fail 'a program that the initrd needs is missing'
    inst_multiple "$ATTEST_LIB"/{boot.sh,on-failure,check-root,wipe-secrets} || attest_fail 'the installation is incomplete'
    # shellcheck disable=SC2154
    inst_multiple "$systemdsystemunitdir"/guest-attest-key@.{socket,service} \
        "$systemdsystemunitdir/modprobe@.service" "$systemdsystemunitdir/sys-kernel-config.mount" \
        "$systemdutildir/system-generators/guest-attest-generator"
}

# The line of the volume, and no other, whether or not this machine's root is on it.
attest_crypttab() {
    local line options option
    line=$(attest_line "$name" /etc/crypttab) || attest_fail "/etc/crypttab has no line of $name"
    options=,${line##*[[:space:]]},
    local -a wanted=("header=/run/guest-attest/$name.hdr" x-initrd.attach)
    if [[ $profile == strict ]]; then
        wanted+=(headless=true)
        [[ $line == *[[:space:]]/run/guest-attest/keys/$name.sock[[:space:]]* ]] ||
            attest_fail "the key file of $name in /etc/crypttab must be /run/guest-attest/keys/$name.sock"
    fi
    for option in "${wanted[@]}"; do
        [[ $options == *",$option,"* ]] || attest_fail "the line of $name in /etc/crypttab lacks the option $option"
    done
    printf '%s\n' "$line" >>"$initdir/etc/crypttab"
}

# What was injected is wiped when the root is about to be switched; a boot does not fail by it, and it says what it left.
attest_secrets() {
    local switch=$initdir/etc/systemd/system/initrd-switch-root.service.d
    mkdir -p "$switch"
    printf '[Service]\nExecStartPre=-%s\n' "$ATTEST_LIB/wipe-secrets" >"$switch/45-guest-attest-secrets.conf"
}

# networkd without waiting for it: a second card that is dead holds up nothing, and the program tries again by itself.
attest_network() {
    local unit switch=$initdir/etc/systemd/system/initrd-switch-root.service.d
    # shellcheck disable=SC2154
    inst_simple "$moddir/guest-attest-resolv.service" "$systemdsystemunitdir/guest-attest-resolv.service"
    inst_script "$moddir/network-down" "$ATTEST_LIB/network-down"
    inst_script "$moddir/resolv-conf" "$ATTEST_LIB/resolv-conf"
    # clevis has no unit of ours that would ask for the network.
    if [[ $front == clevis ]]; then
        mkdir -p "$initdir/etc/systemd/system/initrd.target.wants"
        for unit in systemd-networkd guest-attest-resolv; do
            ln -sf "$systemdsystemunitdir/$unit.service" "$initdir/etc/systemd/system/initrd.target.wants/$unit.service"
        done
    fi
    # networkd has been stopped by then.
    mkdir -p "$switch"
    printf '[Service]\nExecStartPre=-%s\n' "$ATTEST_LIB/network-down" >"$switch/40-guest-attest-network.conf"
}

# strict: no shell on a console that is the host's, whatever fails and whoever asks for one; no credentials that the
# firmware brings; no root that was found by its type or resumed from a disk; and the root that was mounted is looked at
# before anything of it is read.
attest_strict() {
    local unit system=$initdir/etc/systemd/system
    # In the place of dracut's link to systemd.
    [[ -x $initdir/usr/lib/systemd/systemd ]] || attest_fail 'systemd is not in the initrd'
    inst_multiple mount || attest_fail 'a program that the initrd needs is missing'
    rm -f "$initdir/init"
    # Not install(1): here that word is this module.
    { cp "$moddir/init" "$initdir/init" && chmod 0755 "$initdir/init"; } || attest_fail "$moddir/init is missing"
    mkdir -p "$system" "$initdir/etc/systemd/system-generators"
    for unit in emergency rescue dracut-emergency; do
        cp "$moddir/emergency.service" "$system/$unit.service"
    done
    for unit in debug-shell systemd-hibernate-resume; do
        ln -sf /dev/null "$system/$unit.service"
    done
    # dracut wants this one by its name, so it is not masked: it would ask for a kernel command line.
    mkdir -p "$system/dracut-cmdline-ask.service.d"
    printf '[Unit]\nConditionPathExists=!/etc/initrd-release\n' >"$system/dracut-cmdline-ask.service.d/50-guest-attest.conf"
    for unit in gpt-auto debug run hibernate-resume ssh; do
        ln -sf /dev/null "$initdir/etc/systemd/system-generators/systemd-$unit-generator"
    done
    for unit in initrd-parse-etc initrd-switch-root; do
        mkdir -p "$system/$unit.service.d"
        printf '# The root is that of the volume which was opened, or this boot ends.\n%s\n%s\n[Service]\n%s\n' \
            '[Unit]' "FailureAction=$failure-force" "ExecStartPre=$ATTEST_LIB/check-root /sysroot" \
            >"$system/$unit.service.d/50-guest-attest.conf"
    done
}
