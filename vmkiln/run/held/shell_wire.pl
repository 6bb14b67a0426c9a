# The way from a port of the container group to the held VM's ssh server: bytes pass as they are, both ways, until one
# side ends; where the VM's breaks off, that is an error. Arguments: the VM's address, the VM's port, the number of the
# port. Needs no module of Perl's.

my ($AF_INET, $SOCK_STREAM, $IPPROTO_TCP, $TCP_NODELAY) = (2, 1, 6, 1);
my ($host, $port, $number) = @ARGV;
$SIG{PIPE} = 'IGNORE';

my $outside;
for (1 .. 300) {  # the driver's ports come one by one, some time after the driver
    opendir my $devices, '/dev' or die "opendir: $!";
    my ($device) = grep /^vport\d+p$number$/, readdir $devices;
    last if defined $device && open $outside, '+<', "/dev/$device";
    select undef, undef, undef, 0.1;
}
defined fileno $outside or die "there is no port $number";
binmode $outside;
socket my $vm, $AF_INET, $SOCK_STREAM, 0 or die "socket: $!";
setsockopt $vm, $IPPROTO_TCP, $TCP_NODELAY, 1;
connect $vm, pack('S n C4 x8', $AF_INET, $port, split /\./, $host) or die "connect: $!";

sub broken {  # the other side of the port is told by whoever has it; of the VM's only this program knows
    my ($end) = @_;
    die "the connection to the VM: $!" if $end == $vm;
    exit 0;
}

while (1) {
    my $ready = '';
    vec($ready, fileno $_, 1) = 1 for $outside, $vm;
    select $ready, undef, undef, undef;
    for ([$vm, $outside], [$outside, $vm]) {  # one that has closed in order answers what is written to it with a reset
        my ($from, $to) = @$_;
        next unless vec $ready, fileno $from, 1;
        my $count = sysread $from, my $data, 32768;
        broken($from) unless defined $count;
        exit 0 unless $count;
        my $done = 0;
        while ($done < length $data) {
            $done += syswrite($to, $data, length($data) - $done, $done) // broken($to);
        }
    }
}
