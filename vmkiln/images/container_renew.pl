# Inside a container group that is saved, so that others go on from there: waits until the network is plugged in, which
# the host does when it goes on, and makes it another machine than all that go on from the same.
# Both have the same random numbers to come, for their kernels' are the same; so new ones from the host are mixed in, and
# taken at once. The driver may hold a few from before; what comes after them is new. The second disk is another one too,
# so its driver lets it go and takes it anew.
# Argument: the disk's device. Open: 4, whether the network is plugged in; 5 and 6, the driver's files to let go and take.
# Needs no module of Perl's. Source: random(4), RNDRESEEDCRNG; the kernel's "Hardware random number generators".

my $RNDRESEEDCRNG = 0x5207;
my ($device) = @ARGV;
open my $carrier, '<&=4' or die "carrier: $!";
open my $unbind, '>&=5' or die "unbind: $!";
open my $bind, '>&=6' or die "bind: $!";

until (is_plugged_in()) {
    select undef, undef, undef, 0.01;
}
open my $source, '<', '/dev/hwrng' or die "hwrng: $!";
my $fresh = '';
while (length $fresh < 1024) {
    sysread $source, $fresh, 1024 - length $fresh, length $fresh or die "hwrng: $!";
}
open my $pool, '+>', '/dev/urandom' or die "urandom: $!";
syswrite($pool, $fresh) == 1024 or die "urandom: $!";
ioctl $pool, $RNDRESEEDCRNG, 0 or die "reseed: $!";
syswrite $unbind, $device or die "unbind: $!";
syswrite $bind, $device or die "bind: $!";

sub is_plugged_in {
    sysseek $carrier, 0, 0;
    sysread $carrier, my $state, 8 or return 0;
    return $state == 1;
}
