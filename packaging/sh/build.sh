# What the initrd builders share: the volume table, the anchored configuration, libraries, kernel modules.
# Sourced by the initramfs-tools hook, the dracut module and the mkinitcpio hook; runs on the machine that builds.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

ATTEST_LIB=/usr/lib/guest-attest
ATTEST_CONFIG=/etc/guest-attest
TAB=$(printf '\t')

# A guest which would not open its disk is worse than an initrd which is not built.
attest_fail() {
    echo "guest-attest: $*" >&2
    exit 1
}

# attest_table INITRD FRONT_END…: writes the table of the volumes that this initrd opens. Empty: nothing to do, and said.
attest_table() {
    initrd=$1
    shift
    mkdir -p "$initrd/etc/guest-attest"
    attest_owners || exit 1
    all=$("$ATTEST_LIB/guest-attest-initrd" volumes) || attest_fail 'the volume table cannot be read'
    : >"$initrd/etc/guest-attest/volumes.tsv"
    while IFS=$TAB read -r name uuid front profile failure root network deadline; do
        [ -n "$name" ] || continue
        case " $* " in
            *" $front "*) ;;
            *)
                [ "$root" = yes ] || continue
                attest_fail "the front end of $name is $front, which this initrd builder has not: one of: $*"
                ;;
        esac
        # A data volume is opened after the switch, except where it is asked for in the initrd.
        [ "$root" = yes ] || [ "$front" = keyscript ] || continue
        printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' \
            "$name" "$uuid" "$front" "$profile" "$failure" "$root" "$network" "$deadline"
    done >"$initrd/etc/guest-attest/volumes.tsv" <<TABLE
$all
TABLE
    if [ ! -s "$initrd/etc/guest-attest/volumes.tsv" ]; then
        echo "guest-attest: no volume in $ATTEST_CONFIG/volumes.d is opened in the initrd: nothing is put into it" >&2
        rm -f "$initrd/etc/guest-attest/volumes.tsv"
        rmdir "$initrd/etc/guest-attest" 2>/dev/null
    fi
    return 0
}

# What is trusted must be root's: it decides whom the guest asks, and it becomes part of what is measured.
attest_owners() {
    for entry in config.toml config.d trust.d volumes.d; do
        [ -e "$ATTEST_CONFIG/$entry" ] || continue
        found=$(find "$ATTEST_CONFIG/$entry" \( ! -uid 0 -o ! -type l -perm /022 \) -print) || return 1
        [ -z "$found" ] || attest_fail "only root may own and write what is trusted:" "$found"
    done
}

# attest_files INITRD: the anchored configuration, and names by DNS.
attest_files() {
    # Volumes that open with an injected secret need no broker.
    [ -d "$ATTEST_CONFIG/trust.d" ] || ! grep -qs '^[[:space:]]*servers' "$ATTEST_CONFIG"/volumes.d/*.toml ||
        attest_fail 'no broker is trusted: see guest-attest trust add'
    for entry in config.toml config.d trust.d volumes.d; do
        [ ! -e "$ATTEST_CONFIG/$entry" ] || cp -RL "$ATTEST_CONFIG/$entry" "$1/etc/guest-attest/"
    done
    chmod -R go-w "$1/etc/guest-attest"
    # Where the host's quoting service is, for TDs whose kernel makes no quotes.
    [ ! -e /etc/tdx-attest.conf ] || cp -L /etc/tdx-attest.conf "$1/etc/"
    # The builder's own may name modules that are not there, such as mdns or resolve.
    printf 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\n' >"$1/etc/nsswitch.conf"
    [ -e "$1/etc/hosts" ] || printf '127.0.0.1 localhost\n::1 localhost\n' >"$1/etc/hosts"
}

# attest_libraries FILE: fails where one is missing; the builders themselves pass over it in silence.
attest_libraries() {
    [ -f "$1" ] || attest_fail "$1 is missing"
    missing=$(env -u LD_PRELOAD ldd "$1" 2>&1 | grep 'not found')
    [ -z "$missing" ] || attest_fail "$1 lacks libraries:" "$missing"
}

# attest_line NAME FILE: its line of a crypttab.
attest_line() {
    awk -v name="$1" '$1 == name { print; found = 1 } END { exit !found }' "$2"
}

# attest_modules KERNEL: names of those that this kernel has, as modules; warns where none can ask a TEE.
attest_modules() {
    for module in $ATTEST_DRIVERS $ATTEST_MODULES; do
        attest_has "$1" modules.dep "$module" && echo "$module"
    done
    for module in $ATTEST_DRIVERS; do
        attest_has "$1" modules.dep "$module" && return
        attest_has "$1" modules.builtin "$module" && return
    done
    echo "guest-attest: the kernel $1 has no driver of a TEE ($ATTEST_DRIVERS): it cannot ask for evidence" >&2
}

# One for each technology. Those who load them name them too: guest-attest-key@.service and local-top.
ATTEST_DRIVERS='sev-guest tdx-guest efi_secret'

ATTEST_MODULES='configfs tsm tsm_report tsm-mr vsock vmw_vsock_virtio_transport
    hv_sock virtio_net virtio_blk virtio_scsi virtio_pci virtio_rng virtio_console
    hv_netvsc hv_storvsc hv_utils nvme gve ena dm_crypt dm_integrity aes xts sha256 sha512 algif_skcipher af_packet'

# attest_has KERNEL LIST MODULE: file names have `-` or `_` as their authors liked, and may be compressed.
attest_has() {
    pattern=$(printf '%s' "$3" | sed 's/[-_]/[-_]/g')
    grep -Eqs "(^|/)$pattern\.ko(\.[a-z]+)?(:|\$)" "${ATTEST_KERNELS:-/lib/modules}/$1/$2"
}
