# A program in QEMU's place: tries what should be denied, and tells of each whether it was. Plain Perl without modules.
# ARGUMENTS: the number of the descriptor to tell on, then NAME=VALUE pairs of what to try things on.
my $tell = shift @ARGV; open(my $out, '>&=', $tell) or die "tell: $!"; $| = 1;
my %on = map { split /=/, $_, 2 } @ARGV;
my $scratch = "\0" x 4096;
sub call { my ($number, @copies) = @_; my $r = syscall($number, @copies); return defined $r && $r >= 0; } # it writes to its arguments
sub reads { my $f; return open($f, '<', $_[0]) && defined(sysread($f, my $b, 1)); }
sub writes { my $f; return open($f, '>>', $_[0]); }
sub makes { my $f; return open($f, '>', "$_[0]/intruder") ? (unlink("$_[0]/intruder"), 1)[1] : 0; }
sub lists { my $d; return opendir($d, $_[0]) && scalar(grep { !/^\.\.?$/ } readdir $d); }
sub plug { my ($family, $kind, $protocol) = @_; my $s; return socket($s, $family, $kind, $protocol) ? $s : undef; }
sub connects { my ($address, $port) = @_; my $s = plug(2, 1, 6) or return 0;
    return connect($s, pack('S n C4 x8', 2, $port, split /\./, $address)); }
sub unix { my $s = plug(1, 1, 0) or return 0; return connect($s, pack('S a*', 1, $_[0])); }
my @tries = (
    (map { my $what = $_; ["read $what" => sub { reads($on{$what}) }], ["write $what" => sub { writes($on{$what}) }] }
        qw(ssh_key signing_key database accounts other_disk other_seed source_image bashrc own_program)),
    ["read passwd" => sub { reads('/etc/passwd') }], ["read shadow" => sub { reads('/etc/shadow') }],
    ["read environment of process 1" => sub { reads('/proc/1/environ') }],
    ["read own environment" => sub { reads('/proc/self/environ') }],
    ["read kernel log" => sub { reads('/dev/kmsg') }], ["read /dev/mem" => sub { reads('/dev/mem') }],
    ["read first disk of the host" => sub { reads($on{host_disk}) }], ["open /dev/kvm" => sub { writes('/dev/kvm') }],
    ["open /dev/net/tun" => sub { writes('/dev/net/tun') }], ["open /dev/fuse" => sub { writes('/dev/fuse') }],
    ["open /dev/ptmx" => sub { writes('/dev/ptmx') }],
    (map { my $where = $_; ["make a file in $where" => sub { makes($where) }] } qw(/ /tmp /run /dev /dev/shm /usr/lib /var/tmp)),
    ["make a file at home" => sub { makes($on{home}) }], ["make a file in the run's folder" => sub { makes($on{run}) }],
    (map { my $what = $_; ["list $what" => sub { lists($on{$what}) }] } qw(home run other_run)),
    ["list /proc" => sub { lists('/proc') }], ["list /sys" => sub { lists('/sys') }], ["list /home" => sub { lists('/home') }],
    ["list /run" => sub { lists('/run') }],
    ["follow a link out by .." => sub { reads('/../../../etc/passwd') }],
    ["make a folder" => sub { mkdir '/intruder' }], ["make a device" => sub { call(133, '/intruder', 0020666, 0x103) }],
    ["become root" => sub { call(105, 0) }], ["become the user" => sub { $> = 0; $> == 0 }],
    ["change groups" => sub { call(116, 0, 0) }], ["raise the limit of open files" => sub { call(160, 7, pack('QQ', 1 << 20, 1 << 20)) }],
    ["raise priority" => sub { setpriority(0, 0, -10) }],
    ["signal the supervisor" => sub { kill 0, 1 }], ["signal another VM" => sub { kill 0, $on{other_process} }],
    ["wake the supervisor" => sub { kill 'CONT', 1 }], ["trace another VM" => sub { call(101, 0x4206, $on{other_process}, 0, 0) }],
    ["trace the supervisor" => sub { call(101, 0x4206, 1, 0, 0) }], ["read memory of another VM" => sub { call(310, $on{other_process}, 0, 0, 0, 0, 0) && 0 }],
    ["open another VM by pidfd and take a descriptor" => sub { my $p = syscall(434, $on{other_process}, 0); $p >= 0 && call(438, $p, 0, 0) }],
    ["connect to the host over TCP" => sub { connects($on{host_address}, $on{host_port}) }],
    ["connect to the host over MPTCP" => sub { my $s = plug(2, 1, 262) or return 0; connect($s, pack('S n C4 x8', 2, $on{host_port}, split /\./, $on{host_address})) }],
    ["send over UDP to the host" => sub { my $s = plug(2, 2, 0) or return 0; defined send($s, 'x', 0, pack('S n C4 x8', 2, $on{host_port}, split /\./, $on{host_address})) }],
    ["connect to the router" => sub { connects('10.0.1.1', 22) }],
    ["connect to a socket in the run's folder" => sub { unix("$on{run}/listening") }],
    ["connect to an abstract socket of the host" => sub { unix("\0$on{abstract}") }],
    ["take a port of TCP" => sub { my $s = plug(2, 1, 6) or return 0; bind($s, pack('S n C4 x8', 2, 8081, 0, 0, 0, 0)) }],
    ["listen on TCP" => sub { my $s = plug(2, 1, 6) or return 0; bind($s, pack('S n C4 x8', 2, 8080, 0, 0, 0, 0)) && listen($s, 1) }],
    ["listen on TCP on a port that nobody bound" => sub { my $s = plug(2, 1, 6) or return 0; listen($s, 1) }],
    ["open a connection to the host by its first message" => sub { my $s = plug(2, 1, 6) or return 0; defined send($s, 'x', 0x20000000, pack('S n C4 x8', 2, $on{host_port}, split /\./, $on{host_address})) }],
    ["see a network link" => sub { my $s = plug(2, 2, 0) or return 0; my $r = pack('a16 x16', $on{tap}); ioctl($s, 0x8913, $r) }],
    ["raw socket" => sub { plug(2, 3, 1) }], ["packet socket" => sub { plug(17, 3, 0) }],
    ["crypto socket" => sub { plug(38, 5, 0) }], ["vsock" => sub { my $s = plug(40, 1, 0) or return 0; connect($s, pack('S S L L C4', 40, 0, 22, 2, 0, 0, 0, 0)) }],
    ["load a BPF program" => sub { call(321, 5, $scratch, 64) }], ["open a performance counter" => sub { call(298, pack('LL Q', 1, 112, 0) . "\0" x 96, 0, -1, -1, 0) }],
    ["set up io_uring" => sub { call(425, 1, "\0" x 120) }], ["make a key" => sub { call(248, 'user', 'intruder', 'x', 1, -3) }],
    ["read another's key" => sub { call(250, 11, $on{key}, $scratch, 100) }],
    ["load a module" => sub { call(175, $scratch, 1, '') }], ["set the clock" => sub { call(227, 0, pack('qq', 1, 1)) }],
    ["set the host name" => sub { call(170, 'intruder', 8) }], ["reboot" => sub { call(169, 0xfee1dead, 672274793, 0, 0) }],
    ["load another kernel" => sub { call(246, 0, 0, 0, 0) }], ["swap on" => sub { call(167, '/dev/null', 0) }],
    ["run a shell" => sub { system({'/bin/sh'} '/bin/sh', '-c', 'exit 0') == 0 }],
    ["run setuid su" => sub { system({'/bin/su'} '/bin/su', '--help') == 0 }],
    ["remount the programs for writing" => sub { call(165, 'x', '/usr/bin', 0, 0x1020, 0) }],
    ["mount" => sub { call(165, 'x', '/', 'tmpfs', 0, 0) }],
    # those after which a free program sees another world come last
    ["change root" => sub { chroot '/usr' }],
    ["unmount" => sub { call(166, '/dev/null', 0) }],
    ["pivot root" => sub { call(155, '/', '/') }],
    ["new user namespace" => sub { call(272, 0x10000000) }],
    ["new mount namespace" => sub { call(272, 0x20000) }],
    ["new network namespace" => sub { call(272, 0x40000000) }],
    ["new pid namespace" => sub { call(272, 0x20000000) }],
    ["remount the root for writing" => sub { call(165, 'x', '/', 0, 0x20, 0) }],
);
syswrite $out, join('', map { my ($name, $try) = @$_; my $done = eval { local $SIG{ALRM} = sub { die }; alarm 2; my $is = $try->(); alarm 0; $is }; ($done ? 'allowed' : 'denied') . " $name\n" } @tries) . "end\n";
sleep 60;
