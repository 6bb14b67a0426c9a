#!/perl
# Stands in Packer's place where Packer starts itself once more, as one of its plugins, in a container group that goes on.
# While it rehearses, before the group is saved, each plugin that it asks for is started twice, in the very same way: one
# for the rehearsal, and one that is spare and waits for its connection. After that, a plugin that is asked for with the
# same words in the same environment is a spare one: this tells its address in its place, passes on what it logs, and
# ends when it does. Whatever else is asked for is started as if nothing stood here.
# A plugin says where it listens in one line, and serves one connection. PACKER_RUN_UUID is another in each Packer, and
# is of no use to a plugin whose template does not ask for it.
# Needs no module of Perl's. Source: packer/plugin/client.go and packer-plugin-sdk/plugin/server.go of Packer 1.6.6.

my ($here) = $0 =~ m{^(.*/)};
my ($packer, $spares) = ("${here}tmp/packer", "${here}tmp/spares");
my $asked = join "\0", @ARGV, '', map { "$_=$ENV{$_}" } grep { $_ ne 'PACKER_RUN_UUID' } sort keys %ENV;
$| = 1;

-e "$spares/all" ? take() : spare();
exec $packer, @ARGV or die "$packer: $!";

# starts one that waits, and ends when it has said where
sub spare {
    $^F = 255;  # it reads its own log until somebody else does, so that nothing it logs ends it
    pipe my $read, my $write or die "pipe: $!";
    my $said = "$spares/said.$$";
    defined(my $child = fork) or die "fork: $!";
    if (!$child) {
        open STDOUT, '>', $said or die "$said: $!";
        open STDERR, '>&', $write or die "stderr: $!";
        close $write;
        exec $packer, @ARGV or die "$packer: $!";
    }
    close $_ for $read, $write;
    select undef, undef, undef, 0.01 until content($said) =~ /\n/ || !runs($child);
    open my $file, '>', "$spares/$child" or die "$spares: $!";
    print $file content($said), $asked or die "$spares: $!";
    close $file or die "$spares: $!";
}

# becomes the first that is as it is asked for; comes back if there is none
sub take {
    opendir my $folder, $spares or return;
    for my $spare (sort { $a <=> $b } grep { /^[0-9]+$/ } readdir $folder) {
        my ($said, $is_for) = split /\n/, content("$spares/$spare"), 2;
        next unless $is_for eq $asked && runs($spare);
        open my $log, '<', "/proc/$spare/fd/2" or next;
        rename "$spares/$spare", "$spares/taken.$spare" or next;
        print "$said\n";
        while (sysread $log, my $text, 65536) {
            syswrite STDERR, $text;
        }
        exit 1;
    }
}

# one that has ended, and that nobody has waited for, has no program any more
sub runs {
    return -e "/proc/$_[0]/exe";
}

sub content {
    open my $file, '<', $_[0] or return '';
    local $/;
    return scalar <$file> // '';
}
