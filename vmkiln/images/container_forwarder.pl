# The way from Packer to a Windows VM's WinRM port, inside the container group: a plain TCP forwarder on the loopback
# interface. Go uses no proxy for the loopback interface, so the SOCKS5 relay of ssh cannot stand here.
# A connection is held until the VM's port opens for the first time. After that a VM that cannot be reached is told by an
# end: Packer asks a VM that has restarted for the output of a command of before again and again. Windows' firewall drops what comes to a closed port, and a connect that
# blocks would back off for up to a minute: so each try is one second. Packer never closes what it has uploaded by, and
# each upload opens a connection: one process serves all, by one select loop, and the one that was silent longest, with
# nothing asked of the VM, makes room for a new one.
# It always closes towards Packer with FIN: a reset that reaches Packer while a script runs is taken for exit code 0.
# A VM that leaves without a word is over after 40 seconds.
# Arguments: port to listen on, the VM's address, the VM's port. Needs no module of Perl's.

my ($AF_INET, $SOCK_STREAM, $SOL_SOCKET, $SO_REUSEADDR, $SO_ERROR, $IPPROTO_TCP, $TCP_NODELAY) = (2, 1, 1, 2, 4, 6, 1);
my ($SO_KEEPALIVE, $TCP_KEEPIDLE, $TCP_KEEPINTVL, $TCP_USER_TIMEOUT) = (9, 4, 5, 18);
my ($F_SETFL, $O_NONBLOCK, $EINTR, $EAGAIN, $EINPROGRESS) = (4, 2048, 4, 11, 115);
my ($try_seconds, $silent_seconds, $drain_seconds, $most, $chunk) = (1, 40, 10, 400, 65536);
my ($listen_port, $host, $port) = @ARGV;
my $vm = pack 'S n C4 x8', $AF_INET, $port, split /\./, $host;
$SIG{PIPE} = 'IGNORE';

socket my $listener, $AF_INET, $SOCK_STREAM, 0 or die "socket: $!";
setsockopt $listener, $SOL_SOCKET, $SO_REUSEADDR, 1;
bind $listener, pack('S n C4 x8', $AF_INET, $listen_port, 127, 0, 0, 1) or die "bind: $!";
listen $listener, 128 or die "listen: $!";
fcntl $listener, $F_SETFL, $O_NONBLOCK;

# one connection: client, server (none while the VM's port is closed), due (when a try is over), up and down (what is to
# be passed on), is_open, client_ended, server_ended, is_shut (FIN was sent), until (when it is closed), asked (the last word
# was Packer's), last
my ($was_open, @all);
while (1) {
    my $now = time;
    connect_again($_) for grep { !$_->{is_open} && !$_->{server_ended} && $now >= $_->{due} } @all;
    my ($read, $write) = ('', '');
    vec($read, fileno $listener, 1) = 1 if @all < $most || idle();
    for (@all) {
        vec($read, fileno $_->{client}, 1) = 1 if !$_->{client_ended} && length $_->{up} < $chunk;
        vec($write, fileno $_->{client}, 1) = 1 if length $_->{down};
        next unless $_->{server};
        vec($read, fileno $_->{server}, 1) = 1 if $_->{is_open} && !$_->{server_ended} && length $_->{down} < $chunk;
        vec($write, fileno $_->{server}, 1) = 1 if !$_->{is_open} || length $_->{up};
    }
    my $found = select $read, $write, undef, (grep { !$_->{is_open} || $_->{until} } @all) ? 0.1 : undef;
    next if $found < 0;
    for my $one (@all) {
        serve($one, $read, $write);
        finish($one);
    }
    @all = grep { !$_->{is_over} } @all;
    accept_all() if vec $read, fileno $listener, 1;
}

sub accept_all {
    while (@all < $most || idle()) {
        accept my $client, $listener or return;
        fcntl $client, $F_SETFL, $O_NONBLOCK;
        setsockopt $client, $IPPROTO_TCP, $TCP_NODELAY, 1;
        if (@all >= $most) {
            my $silent = idle();
            $silent->{server_ended} = 1;
            finish($silent);
        }
        push @all, { client => $client, up => '', down => '', due => 0, last => time };
    }
}

# the connection that was silent longest, and whose last word was the VM's
sub idle {
    my ($oldest) = sort { $a->{last} <=> $b->{last} } grep { defined $_->{asked} && !$_->{asked} && !$_->{until} } @all;
    return $oldest;
}

sub connect_again {
    my ($one) = @_;
    return give_up($one) if $one->{server} && $was_open;
    close $one->{server} if $one->{server};
    socket my $server, $AF_INET, $SOCK_STREAM, 0 or die "socket: $!";
    fcntl $server, $F_SETFL, $O_NONBLOCK;
    setsockopt $server, $IPPROTO_TCP, $TCP_NODELAY, 1;
    setsockopt $server, $SOL_SOCKET, $SO_KEEPALIVE, 1;
    setsockopt $server, $IPPROTO_TCP, $_, 10 for $TCP_KEEPIDLE, $TCP_KEEPINTVL;
    setsockopt $server, $IPPROTO_TCP, $TCP_USER_TIMEOUT, $silent_seconds * 1000;
    $one->{due} = time + $try_seconds + 1;  # whole seconds: at least one
    $one->{is_open} = connect $server, $vm;
    my $is_trying = $one->{is_open} || $! == $EINPROGRESS;
    $one->{server} = $is_trying ? $server : undef;
    $was_open ||= $one->{is_open};
    give_up($one) if $was_open && !$is_trying;
}

# the VM was there, and is not: Packer shall see an end
sub give_up {
    my ($one) = @_;
    @$one{'server', 'server_ended'} = (undef, 1);
}

sub serve {
    my ($one, $read, $write) = @_;
    my ($client, $server) = @$one{'client', 'server'};
    if ($server && !$one->{is_open}) {
        return unless vec $write, fileno $server, 1;
        my $error = unpack 'i', getsockopt $server, $SOL_SOCKET, $SO_ERROR;
        $one->{is_open} = !$error;
        $was_open ||= !$error;
        @$one{'server', 'due'} = (undef, time + $try_seconds) if $error;
        give_up($one) if $error && $was_open;
    }
    if (!$one->{client_ended} && vec $read, fileno $client, 1) {
        take($client, $one, 'up', 'client_ended');
        $one->{asked} = 1;
        $one->{up} = '' if $one->{server_ended};  # it is read, so that closing sends no reset
    }
    return pass($client, $one, 'down', 'client_ended', $write) unless $one->{server} && $one->{is_open};
    if (!$one->{server_ended} && vec $read, fileno $server, 1) {
        take($server, $one, 'down', 'server_ended');
        $one->{asked} = 0;
    }
    pass($server, $one, 'up', 'server_ended', $write);
    pass($client, $one, 'down', 'client_ended', $write);
}

sub take {
    my ($from, $one, $what, $ended) = @_;
    my $count = sysread $from, $one->{$what}, $chunk, length $one->{$what};
    $one->{last} = time;
    $one->{$ended} = 1 if defined $count ? !$count : $! != $EAGAIN && $! != $EINTR;
}

sub pass {
    my ($to, $one, $what, $ended, $write) = @_;
    return unless length $one->{$what};
    my $count = syswrite $to, $one->{$what};
    if (defined $count) { substr $one->{$what}, 0, $count, '' }
    elsif ($! != $EAGAIN && $! != $EINTR) { @$one{$what, $ended} = ('', 1) }
}

# close in the order that sends no reset to Packer: FIN, read to its end, close
sub finish {
    my ($one) = @_;
    if ($one->{client_ended}) {
        return if length $one->{up} && $one->{is_open} && !$one->{server_ended};
        $one->{is_over} = 1;
    } elsif ($one->{server_ended} && !length $one->{down}) {
        $one->{up} = '';
        shutdown $one->{client}, 1 unless $one->{until};
        $one->{until} ||= time + $drain_seconds;
        $one->{is_over} = 1 if time >= $one->{until};
    }
    return unless $one->{is_over};
    close $one->{client};
    close $one->{server} if $one->{server};
}
