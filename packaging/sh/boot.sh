# What scripts share that run at boot: the volume table, what they started, a line for a person.
# The table is ready-made in an initrd, /etc/guest-attest/volumes.tsv, written when the initrd was built by
# `guest-attest-initrd volumes`; on the running system it is read from volumes.d. One line a volume: NAME UUID FRONT_END PROFILE ON_FAILURE ROOT NETWORK DEADLINE_S, separated by tabs.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

ATTEST_CONFIG=${ATTEST_CONFIG:-/etc/guest-attest}
ATTEST_TABLE=$ATTEST_CONFIG/volumes.tsv
TAB=$(printf '\t')

# Above every prompt.
# shellcheck disable=SC2034
CONSOLE_IS_READ='the host can read this console: rotate this key after use'

# Prints the table. What a service manager's generator may not do is start a program that takes its time.
volumes() {
    if [ -f "$ATTEST_TABLE" ]; then
        cat "$ATTEST_TABLE"
        return
    fi
    for file in "$ATTEST_CONFIG"/volumes.d/*.toml; do
        [ -f "$file" ] || continue
        name=${file##*/}
        name=${name%.toml}
        case $name in
            '' | *[!A-Za-z0-9_.]*) continue ;;
        esac
        volume_line "$file"
    done
}

# Only the members whose values are one word are read here; the program judges the file as a whole when it is asked.
volume_line() {
    uuid='' front='' profile='' failure=poweroff root=no deadline=300
    while IFS='=' read -r key value || [ -n "$key" ]; do
        key=${key%%[[:space:]]*}
        value=$(word "$value")
        case $key in
            uuid) uuid=$value ;;
            frontEnd) front=$value ;;
            profile) profile=$value ;;
            onFailure) failure=$value ;;
            deadlineS) deadline=$value ;;
            root) [ "$value" != true ] || root=yes ;;
        esac
    done <"$1"
    case $uuid$front$profile in
        *[!A-Za-z0-9-]*) return 0 ;;
    esac
    if [ -n "$uuid" ] && [ -n "$front" ] && [ -n "$profile" ]; then
        printf '%s\t%s\t%s\t%s\t%s\t%s\tyes\t%s\n' \
            "$name" "$uuid" "$front" "$profile" "$failure" "$root" "$deadline"
    fi
}

# A TOML value that is a word: its quotes and a comment behind it taken away.
word() {
    text=${1#"${1%%[![:space:]]*}"}
    case $text in
        '"'*) text=${text#'"'} text=${text%%'"'*} ;;
        "'"*) text=${text#"'"} text=${text%%"'"*} ;;
        *) text=${text%%[[:space:]#]*} ;;
    esac
    printf '%s' "$text"
}

# root_volume: sets name, uuid, front, profile, failure, network, deadline of the volume that has the root; 1 if none has.
root_volume() {
    volumes_found=1
    # shellcheck disable=SC2034 # columns
    while IFS=$TAB read -r name uuid front profile failure root network deadline; do
        if [ "$root" = yes ]; then
            volumes_found=0
            break
        fi
    done <<TABLE
$(volumes)
TABLE
    return $volumes_found
}

# PID: it and what it started, parents first, so that no shell takes the end of its child for a failure. Busybox has no
# pkill.
end_tree() {
    for entry in /proc/[0-9]*; do
        read -r stat <"$entry/stat" || continue
        # Behind the name, which may have blanks and brackets: the state, and the parent.
        parent=${stat##*) }
        parent=${parent#* }
        [ "${parent%% *}" != "$1" ] || set -- "$@" "${entry#/proc/}"
    done
    kill "$1"
    shift
    for child; do end_tree "$child"; done
} 2>/dev/null

# One line to the kernel's log, which the console shows.
say() {
    printf '<2>guest-attest: %s\n' "$*" >/dev/kmsg 2>/dev/null || printf 'guest-attest: %s\n' "$*" >&2
}
