# The way from Packer to the VM's port, inside the container group: a SOCKS5 proxy on the loopback interface.
# Packer tries a refused connection again only after 5 seconds, and ends a silent one after 60. So this answers
# Packer's request when the VM's port is open, and not before; however long that takes. The connection that found the
# port open is kept for the one that Packer uses, so that the VM's ssh server, slow under emulation, serves just one.
# A VM that restarts may leave without a word: what it has not answered for a minute is over, and Packer connects anew.
# No delay for small packets: with it, each short exchange of ssh would take 40 ms longer.
# Arguments: port to listen on, the VM's address, the VM's port. Needs no module of Perl's. Source: RFC 1928.

my ($AF_INET, $SOCK_STREAM, $SOL_SOCKET, $SO_REUSEADDR, $IPPROTO_TCP, $TCP_NODELAY) = (2, 1, 1, 2, 6, 1);
my ($SO_KEEPALIVE, $TCP_KEEPIDLE, $TCP_KEEPINTVL, $TCP_USER_TIMEOUT) = (9, 4, 5, 18);
my $silent_seconds = 60;
my ($listen_port, $host, $port) = @ARGV;
my $vm = pack 'S n C4 x8', $AF_INET, $port, split /\./, $host;
my $reply = pack 'C4 x6', 5, 0, 0, 1;
$SIG{CHLD} = 'IGNORE';
$SIG{PIPE} = 'IGNORE';

socket my $listener, $AF_INET, $SOCK_STREAM, 0 or die "socket: $!";
setsockopt $listener, $SOL_SOCKET, $SO_REUSEADDR, 1;
bind $listener, pack('S n C4 x8', $AF_INET, $listen_port, 127, 0, 0, 1) or die "bind: $!";
listen $listener, 16 or die "listen: $!";

my $server;
while (accept my $client, $listener) {
    setsockopt $client, $IPPROTO_TCP, $TCP_NODELAY, 1;
    request_read($client) or next;
    $server ||= connected();
    syswrite $client, $reply;
    # Packer's first connection only tries the port: it is closed without a word
    sysread $client, my $first, 65536 or next;
    my $child = fork;
    if (defined $child && !$child) {
        close $listener;
        relay($client, $server, $first);
        exit 0;
    }
    undef $server;
}

sub request_read {
    my ($client) = @_;
    my ($version, $count) = unpack 'C2', bytes($client, 2) // return;
    bytes($client, $count) // return;
    syswrite $client, pack 'C2', 5, 0;
    my $type = (unpack 'C4', bytes($client, 4) // return)[3];
    my $length = $type == 1 ? 4 : $type == 4 ? 16 : unpack 'C', bytes($client, 1) // return;
    return bytes($client, $length + 2);
}

sub bytes {
    my ($from, $count) = @_;
    my $read = '';
    while (length $read < $count) {
        sysread $from, $read, $count - length $read, length $read or return;
    }
    return $read;
}

sub connected {
    while (1) {
        socket my $socket, $AF_INET, $SOCK_STREAM, 0 or die "socket: $!";
        setsockopt $socket, $IPPROTO_TCP, $TCP_NODELAY, 1;
        setsockopt $socket, $SOL_SOCKET, $SO_KEEPALIVE, 1;
        setsockopt $socket, $IPPROTO_TCP, $_, 10 for $TCP_KEEPIDLE, $TCP_KEEPINTVL;
        setsockopt $socket, $IPPROTO_TCP, $TCP_USER_TIMEOUT, $silent_seconds * 1000;
        return $socket if connect $socket, $vm;
        select undef, undef, undef, 0.1;
    }
}

sub relay {
    my ($client, $server, $first) = @_;
    write_all($server, $first) or return;
    while (1) {
        my $ready = '';
        vec($ready, fileno $_, 1) = 1 for $client, $server;
        select $ready, undef, undef, undef;
        for ([$client, $server], [$server, $client]) {
            my ($from, $to) = @$_;
            next unless vec $ready, fileno $from, 1;
            sysread $from, my $data, 65536 or return;
            write_all($to, $data) or return;
        }
    }
}

sub write_all {
    my ($to, $data) = @_;
    my $done = 0;
    while ($done < length $data) {
        $done += syswrite($to, $data, length($data) - $done, $done) // return;
    }
    return 1;
}
