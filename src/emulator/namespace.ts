// The namespaces of an emulated guest: processes and mounts of its own (and users, where the caller is not root), so
// that the kernel itself takes everything back when the first process in them ends, and nothing of the machine is
// changed. unshare(1), setpriv(1), mount(8) and umount(8) of util-linux enter them; Node has no system call for it.
// SPDX-License-Identifier: Apache-2.0

/** Descriptors of the script and of the server. */
export const DESCRIPTORS = {
    /** A socket to the supervisor, whose end tells of the other's death. */
    control: 3,
    /** Script: standard error of the caller. Server: /dev/fuse, mounted. */
    stderr: 4,
    fuse: 4,
    /** Server: a pipe on which it says where what it serves has to appear. */
    ready: 5,
} as const

export interface GuestCommand {
    /** Whose the namespaces are: the machine's root, the root of a container, or a user who becomes root in them. */
    readonly as: 'root' | 'contained' | 'user'
    /** The program that serves the devices, without what follows `--`. */
    readonly server: readonly string[]
    readonly command: readonly string[]
}

/**
 * The command line that runs a command in an emulated guest. When whoever starts it dies, the kernel kills it, with it
 * the first process in the namespace of processes, and with that one all others.
 */
export function guestCommandLine({ as, server, command }: GuestCommand): string[] {
    const unshare = ['unshare', '--mount', '--propagation', 'slave', '--pid', '--fork', '--kill-child']
    if (as === 'user') unshare.push('--user', '--map-root-user')
    const words = [...server, '--', ...command]
    return [
        ...['sh', '-c', START, 'guest-attest'],
        ...['setpriv', '--pdeathsig', 'KILL', '--', ...unshare, '--'],
        ...['sh', '-c', GUEST, 'guest-attest', as, String(server.length + 1), ...words],
    ]
}

/**
 * What the script and the server say on the control socket, `WORD NUMBER` a line each: process ids as the supervisor
 * knows them, the number of the FUSE connection, and that the server is not stuck.
 */
export type GuestLine = 'server' | 'connection' | 'command' | 'alive'

// A folder that exists wherever FUSE does: it is covered, and uncovered when all is done.
const SCRATCH = '/sys/fs/fuse/connections'

// What a terminal sends to everybody in its foreground is for the command: the processes between it and the supervisor
// ignore it. No shell can take back that a signal is ignored, only env(1); so it starts the last shell, which says
// that the command is there, leaves no trace of how it came there, and becomes it.
const START = `trap '' HUP INT QUIT TERM
exec "$@"`
const BECOME = `begin() {
    local pid rest
    read -r pid rest < "${SCRATCH}/proc/self/stat"
    echo "command $pid" >&3
    umount -n -l "${SCRATCH}"
}
begin
export GUEST_ATTEST_INSECURE_EMULATED_DEVICE=1
case $1 in
*/*) ;;
*) command -v "$1" >/dev/null || { echo "guest-attest: there is no program $1" >&4; exit 127; } ;;
esac
exec "$@" 2>&4 3>&- 4>&-`

// The first process in the namespaces. Arguments: as whom, how many words start the server, those words (the last is
// --), the command. Variables are local: one of the same name in the environment is the command's. mount -n: without it
// notes would be left in the machine's own /run.
const GUEST = String.raw`set -eu
prepare() {
    local who scratch device point pid rest server covered old new overlaid entry place folder missing
    local ready word from to status
    who=$1
    shift 2
    scratch=${SCRATCH}
    mount -n -t tmpfs -o mode=700 guest-attest "$scratch"
    mkdir "$scratch/proc" "$scratch/fuse" "$scratch/old"

    # The old /proc still shows process ids as the supervisor knows them.
    mount -n --rbind /proc "$scratch/proc"
    mount -n -t proc -o nosuid,nodev,noexec proc /proc

    exec 5<> /dev/fuse
    # -i: mount(8) does it itself, without a helper of FUSE's.
    mount -n -i -t fuse -o fd=5,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions guest-attest "$scratch/fuse"
    while read -r _ _ device _ point _; do
        [ "$point" != "$scratch/fuse" ] || echo "connection ${'$'}{device#*:}" >&3
    done < /proc/self/mountinfo

    # The server, in a session of its own: a terminal's signals are for the command. It alone holds the connection, so that
    # its end ends every request.
    mkfifo "$scratch/ready"
    (
        read -r pid rest < "$scratch/proc/self/stat"
        echo "server $pid" >&3
        exec setsid "$@" < /dev/null >&4 2>&4 4<&5 5> "$scratch/ready"
    ) &
    server=$!
    exec 5>&-

    # A folder of which everything stays what it was, and in which new names can be made: a tmpfs into which its entries
    # are bound back, in one call, and which then covers it. (Made elsewhere: mount -a leaves out what is mounted at a
    # place, even below what covers it.) /dev is an overlay instead, in which nodes that the machine makes later appear, if
    # the machine's root calls: for others an overlay opens no devices. For /run, whose sockets it would hide, it cannot be
    # one.
    covered=' '
    cover() {
        case $covered in *" $1 "*) return ;; esac
        covered="$covered$1 "
        old=$scratch/old$1
        new=$scratch/new$1
        mkdir -p "$old" "$new"
        mount -n --rbind "$1" "$old"
        overlaid=
        if [ "$1 $who" = '/dev root' ] && mkdir "$scratch/upper" "$scratch/work" &&
            mount -n -t overlay -o "lowerdir=$old,upperdir=$scratch/upper,workdir=$scratch/work" guest-attest "$new" 2> /dev/null
        then
            overlaid=1
        else
            mount -n -t tmpfs -o mode=755 guest-attest "$new"
        fi
        : > "$scratch/fstab"
        for entry in "$old"/* "$old"/.[!.]*; do
            place=$new/${'$'}{entry##*/}
            # What an fstab would need to quote is left out.
            case $place in *[[:space:]\\#]*) continue ;; esac
            if [ -L "$entry" ]; then
                [ "$overlaid" ] || cp -P "$entry" "$place"
                continue
            elif [ -d "$entry" ]; then
                mkdir -p "$place"
            elif [ -e "$entry" ] && [ -z "$overlaid" ]; then
                : > "$place"
            else
                continue
            fi
            echo "$entry $place none rbind 0 0" >> "$scratch/fstab"
        done
        if [ "$1" = /dev ] && [ -z "$overlaid" ]; then
            # The kernel looks for pts beside ptmx, where it is mounted: a node that is bound elsewhere opens no terminal.
            mkdir "$new/.machine"
            echo "$old $new/.machine none rbind 0 0" >> "$scratch/fstab"
            sed -i "\\: $new/ptmx :d" "$scratch/fstab"
            ln -sf .machine/ptmx "$new/ptmx"
        fi
        # An entry that has gone meanwhile is no reason to stop.
        mount -n -a -T "$scratch/fstab" 2> /dev/null || :
        mount -n --rbind "$new" "$1"
    }

    # Makes a path appear; its folder is covered where it does not exist yet. Folders that are made here need no cover.
    place() {
        if ! [ -e "$2" ]; then
            folder=${'$'}{2%/*}
            missing=
            while ! [ -d "$folder" ]; do
                missing="$missing$folder "
                folder=${'$'}{folder%/*}
            done
            cover "$folder"
            if [ "$missing" ]; then
                mkdir -p "${'$'}{2%/*}"
                covered="$covered$missing"
            fi
            if [ -d "$1" ]; then mkdir "$2"; else : > "$2"; fi
        fi
        mount -n --bind "$1" "$2"
    }

    # State of this guest is not the machine's.
    mkdir -m 700 "$scratch/run"
    place "$scratch/run" /run/guest-attest

    ready=
    while read -r word from to; do
        case $word in
            place) place "$scratch/fuse/$from" "$to" ;;
            go) ready=1 ;;
        esac
    done < "$scratch/ready"
    if [ -z "$ready" ]; then
        status=0
        wait "$server" || status=$?
        exit "$status"
    fi
}

prepare "$@"
shift "$(($2 + 2))"
# In a process of its own: no signal would end it as the first one.
( exec env --default-signal=HUP,INT,QUIT,TERM -- sh -c '${BECOME}' guest-attest "$@" )
exit
`
