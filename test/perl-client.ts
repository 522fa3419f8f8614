// A client of unix sockets that can name itself, as systemd-cryptsetup does: Perl is on every Debian machine.
// SPDX-License-Identifier: Apache-2.0

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'

/**
 * Connects to a socket from an abstract address (`@` stands for its zero byte), shuts its sending half, and prints what it
 * is given.
 */
export function connectFrom(own: string | null, socket: string): ChildProcessWithoutNullStreams {
    const code = `use Socket;
        socket(S, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
        if ($ARGV[1]) { (my $own = $ARGV[1]) =~ s/^@/\\0/; bind(S, pack_sockaddr_un($own)) or die "bind: $!" }
        connect(S, pack_sockaddr_un($ARGV[0])) or die "connect: $!";
        shutdown(S, 1);
        binmode(STDOUT); $| = 1; while (sysread(S, my $part, 4096)) { print $part }`
    return spawn('perl', ['-e', code, socket, own ?? ''])
}

/** Waits for one datagram at a socket of this path, and prints it. */
export function receiveDatagram(socket: string): ChildProcessWithoutNullStreams {
    const code = `use Socket;
        socket(S, AF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
        bind(S, pack_sockaddr_un($ARGV[0])) or die "bind: $!";
        $| = 1; print "ready\\n"; recv(S, my $text, 4096, 0); print $text`
    return spawn('perl', ['-e', code, socket])
}
