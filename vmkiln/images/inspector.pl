# What is on the disks of this VM, told on standard output. Every disk is read; with `scrub` what is free in its file
# systems is given back first, so that no deleted byte is left there; with `trim` what a first boot needs not wait for
# is taken away before that. Needs no module of Perl's.
#
# A record is a line `KIND COUNT LENGTH...`, the fields one behind the other, and a line feed. Kinds:
#   disk      serial, bytes, kind of partition table
#   volume    number, device, file system, bytes, used bytes, UUID, label, what was not done ('' when it was read)
#   entry     volume, mode, user id, group id, bytes, path, target of a link
#   content   volume, path, bytes of the file
#   mark      volume, path, what kind of secret the file looks like
#   cut       volume, path, why it was not read
#   scrubbed  volume, bytes given back
#   trimmed   volume, what was taken away: a unit's name, or boot-menu
#   end       nothing; without it the answer is not whole
# The guest chose every name and byte here: nothing of it is run, links are not followed, and all has a bound.

my $work = shift @ARGV;
my ($most_entries, $most_content, $most_file, $most_mark, $most_depth) = (1_000_000, 96 << 20, 64 << 20, 64 << 10, 200);
my ($entries, $sent, $volume) = (0, 0, 0);
my (%physical, @groups, %trimmed);
binmode STDOUT;
$| = 0;

# files that are told whole, by their path from the top of any file system; a link is told as a link
my $told = qr{(?:^|/)(?:
    (?:etc|usr/lib)/os-release | etc/(?:passwd|group|machine-id|hostname|hosts|fstab|sudoers|sudoers\.d/[^/]+)
    | (?:var/)?lib/dpkg/status | (?:var/)?lib/dpkg/status\.d/[^/]+ | lib/apk/db/installed
    | (?:(?:var/)?lib|usr/lib/sysimage)/rpm/(?:rpmdb\.sqlite|Packages\.db|Packages)
    | (?:etc|(?:usr/)?lib|usr/local/lib)/systemd/system/[^/]+\.socket(?:\.d/[^/]+\.conf)?
    | (?:var/)?lib/dbus/machine-id | (?:root|[^/]+)/\.ssh/authorized_keys2?
)$}x;
# of these folders only what has such a name is told, and what lies in a folder of the second kind is not looked at:
# they are the distribution's own, and large
my $quiet = qr{(?:^|/)usr/(?:bin|lib|lib32|lib64|libx32|libexec|sbin|share|src|include|games)(?:/|$)};
my $passed_over = qr{(?:^|/)usr/(?:share/(?:doc|man|locale|info|zoneinfo|i18n|icons|fonts|perl)|lib/modules|lib/firmware)$};
my $loud = qr{authorized_keys|id_(?:rsa|dsa|ecdsa|ed25519)|cloud-init|\.pem$|\.key$|packer|vmkiln|credentials|^rpmdb\.|^Packages
    |\.socket$|\.socket\.d$|^os-release$|random-seed|machine-id|_history$|\.leases?$}xi;
# what a secret looks like: words of which one is in every such text, and are looked for first, all in one pass; then the
# pattern. One that begins with a word of its own is found as quickly without
my @marks = (
    # in PEM, in base64 of that as kubeconfig has it, PuTTY's and age's own
    ["private key", qr{-----BEGIN\ [A-Z0-9 ]{0,40}PRIVATE\ KEY(?:\ BLOCK)?-----|LS0tLS1CRUdJTi[\w+/]{0,24}(?:BSSVZBVE|QUklWQVRF|UFJJVkFUR)
        |PuTTY-User-Key-File-\d|AGE-SECRET-KEY-1}x,
        'PRIVATE KEY', 'LS0tLS1CRUdJTi', 'PuTTY-User-Key-File-', 'AGE-SECRET-KEY-1'],
    ["cloud credential", qr{aws_secret_access_key|AccountKey=[\w+/]{40}|SharedAccessSignature|"private_key_id"|\bA[KS]IA[A-Z0-9]{16}\b
        |"(?:refresh|access)_?[tT]oken"\s*:\s*"|\bAIza[\w-]{30}}x,
        'aws_secret_access_key', 'AccountKey=', 'SharedAccessSignature', '"private_key_id"', 'AKIA', 'ASIA', 'oken"', 'AIza'],
    ["access token", qr{\bgh[pousr]_\w{16}|\bgithub_pat_\w{16}|\bglpat-[\w-]{16}|\bxox[abprs]-[\w-]{8}|_authToken=|\bnpm_\w{30}
        |\bpypi-[\w-]{40}|\beyJ[\w-]{16,4096}+\.eyJ[\w-]{8,4096}+\.[\w-]{16}}x,
        'ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_', 'github_pat_', 'glpat-', 'xox', '_authToken=', 'npm_', 'pypi-', '.eyJ'],
    ["password of a tool", qr{^machine\s+\S+\s+login\s+\S+\s+password\s|"auth"\s*:\s*"[\w+/=]{8}
        |^[^\S\n]*psk=(?:"[^"\n]{8}|[^\s"]{8})}mx,
        'machine', '"auth"', 'psk='],
    ["password of a tool", qr{://[^/\s:@]{1,64}:[^/\s@]{1,64}\@}],
);
my ($any) = map { qr{$_} } join '|', map { quotemeta } map { @$_[2 .. $#$_] } @marks;

sub record {
    my ($kind, @fields) = @_;
    my $record = join(' ', $kind, scalar @fields, map { length } @fields) . "\n" . join('', @fields) . "\n";
    $sent += length $record;
    print $record;
}

sub line_of {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    my $line = <$file>;
    chomp $line if defined $line;
    return $line // '';
}

sub names_in {
    my ($folder, $start) = @_;
    opendir my $handle, $folder or return;
    return grep { index($_, $start) == 0 } readdir $handle;
}

sub bytes_at {
    my ($device, $offset, $length) = @_;
    open my $file, '<:raw', $device or return '';
    sysseek $file, $offset, 0;
    my $read = '';
    while (length $read < $length) {
        sysread($file, $read, $length - length $read, length $read) or last;
    }
    return $read;
}

sub uuid_text { join '-', unpack 'H8 H4 H4 H4 H12', $_[0] }
sub plain { my ($text) = @_; $text =~ s/\0.*//s; return $text }

# what leaves the first 4 KiB as they were, where swap may have been: RAID, bcache, ZFS, JFS, ReiserFS, GFS2
my @beyond = (
    [4096, "\xfc\x4e\x2b\xa9"], [4120, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca"], [0x4000, "\1\1\0\0\0\0\0\0\0\0\0\1"],
    [0x8000, 'JFS1'], [0x10034, 'ReIsEr'], [0x10000, "\x01\x16\x19\x70"],
);

# what a volume holds: file system, UUID, label, and its block size where that matters
sub probed {
    my ($device) = @_;
    my $start = bytes_at($device, 0, 0x11000);
    return ('empty') if length $start < 4096;
    return ('xfs', uuid_text(substr $start, 32, 16), plain(substr $start, 108, 12)) if substr($start, 0, 4) eq 'XFSB';
    if (substr($start, 0x438, 2) eq "\x53\xef") {
        return ('ext4', uuid_text(substr $start, 0x468, 16), plain(substr $start, 0x478, 16));
    }
    if (substr($start, 0x10040, 8) eq '_BHRfS_M') {
        return ('btrfs', uuid_text(substr $start, 0x10020, 16), plain(substr $start, 0x1012b, 64));
    }
    return ('luks', substr $start, 168, 36) if substr($start, 0, 6) eq "LUKS\xba\xbe";
    for my $sector (0 .. 3) {
        return ('lvm') if substr($start, $sector * 512, 8) eq 'LABELONE';
    }
    return ('unknown') if grep { substr($start, $_->[0], length $_->[1]) eq $_->[1] } @beyond;
    return ('swap') if substr($start, 4086, 10) =~ /^SWAP(?:SPACE2|-SPACE)$/;
    if (substr($start, 510, 2) eq "\x55\xaa") {
        my $at = substr($start, 0x52, 5) eq 'FAT32' ? 0x43 : substr($start, 0x36, 3) eq 'FAT' ? 0x27 : 0;
        return ('vfat', sprintf('%04X-%04X', reverse unpack 'v2', substr $start, $at, 4), '') if $at;
    }
    return ('ntfs') if substr($start, 3, 4) eq 'NTFS';
    return ('iso9660') if substr($start, 0x8001, 5) eq 'CD001';
    return ('empty') if $start !~ /[^\0]/;
    return ('unknown');
}

sub table_of {
    my ($device) = @_;
    return 'gpt' if bytes_at($device, 512, 8) eq 'EFI PART';
    return 'mbr' if bytes_at($device, 510, 2) eq "\x55\xaa";
    return 'none';
}

sub driver {
    my ($name) = @_;
    my $order = "/lib/modules/order.$name";
    return if !-e $order || $loaded{$name}++;
    open my $file, '<', $order or return;
    while (my $module = <$file>) { chomp $module; system "insmod /lib/modules/$module 2> /dev/null" }
}

sub mounted {
    my ($device, $type, @options) = @_;
    for my $option (@options) {
        return 1 if !system 'mount', '-t', $type, '-o', "nosuid,nodev,noexec,$option", $device, '/mnt';
    }
    return 0;
}

my %options = (
    ext4 => ['ro', 'ro,noload'], xfs => ['ro,nouuid', 'ro,nouuid,norecovery'],
    btrfs => ['ro,subvolid=5', 'ro,subvolid=5,rescue=nologreplay'], vfat => ['ro,iocharset=iso8859-1'],
);

# whether a partition is one that a boot loader lies in, without a file system, as its type in the GPT says
sub is_of_a_loader {
    my ($disk, $number, $bytes) = @_;
    my $header = bytes_at("/dev/$disk", 512, 92);
    return 0 if $bytes > 8 << 20 || length $header < 92 || substr($header, 0, 8) ne 'EFI PART';
    my ($entries, $size) = (unpack('Q<', substr $header, 72, 8), unpack('V', substr $header, 84, 4));
    return bytes_at("/dev/$disk", $entries * 512 + ($number - 1) * $size, 16) eq 'Hah!IdontNeedEFI';
}

sub looked_at {
    my ($device, $name, $bytes, $is_of_a_loader) = @_;
    my ($type, $uuid, $label) = probed($device);
    my $number = $volume++;
    my @told = ('volume', $number, $name, $type, $bytes);
    if ($type eq 'swap' || $type eq 'empty' || ($type eq 'unknown' && ($bytes <= 1 << 20 || $is_of_a_loader))) {
        return record(@told, 0, '', '', '') if $work eq 'look' || $bytes < 4096;
        my $problem = $type eq 'swap' ? swept($device, $bytes) : $type eq 'empty' ? full($device, 0, $bytes) : '';
        return record(@told, 0, '', '', $problem);
    }
    if ($type eq 'lvm') { driver('dm_mod'); $physical{$device} = $name; return record(@told, 0, '', '', '') }
    return record(@told, 0, $uuid // '', '', "$type is not read") if !$options{$type};
    driver($type);
    %trimmed = ();
    my $given = $work eq 'look' ? '' : scrubbed($device, $type);
    if (!mounted($device, $type, @{$options{$type}})) {
        return record(@told, 0, $uuid, $label, 'it could not be mounted');
    }
    my ($free) = `stat -f -c '%f %S' /mnt` =~ /^(\d+ \d+)/ ? ($1) : ('0 0');
    my ($blocks, $size) = split ' ', $free;
    record(@told, $bytes - $blocks * $size, $uuid, $label, '');
    record('scrubbed', $number, $given) if $given ne '';
    record('cut', $number, '', 'what is free could not be given back') if $work ne 'look' && $given eq '';
    record('trimmed', $number, $_) for sort keys %trimmed;
    walked($number);
    system 'umount', '/mnt';
}

# zeros in place of what no file system has: the pages of swap behind its header, and what lies between volumes
# (BLKZEROOUT of linux/fs.h); returns what is wrong, '' for nothing
sub emptied {
    my ($device, $start, $bytes) = @_;
    return '' if $bytes <= 0;
    open my $file, '+<:raw', $device or return 'what is free could not be opened';
    my $range = pack 'Q< Q<', $start, $bytes;
    return ioctl($file, 0x127F, $range) ? '' : 'what is free could not be overwritten';
}

# zeros in the pages of swap behind its header (linux/swap.h): in as many as it says that it has, for what lies behind them
# may be another's, as the description of a RAID is; returns what is wrong, '' for nothing
sub swept {
    my ($device, $bytes) = @_;
    my ($version, $last) = unpack 'V2', bytes_at($device, 1024, 8);
    my $end = ($last + 1) * 4096;
    return 'it is not as large as it says' if $version != 1 || $end > $bytes;
    $end = $bytes if $bytes - $end < 4096;  # a part of a page is nobody's
    return emptied($device, 4096, $end - 4096) || (full($device, $end, $bytes) ? 'what lies behind its pages is not known' : '');
}

# whether something lies from a place on, where zeros begin; returns what is wrong, '' for nothing
my ($empty_seconds, $zeros) = (120, "\0" x (1 << 20));  # for all disks together: the whole look has a limit
sub full {
    my ($device, $at, $bytes) = @_;
    open my $file, '<:raw', $device or return 'it could not be read';
    sysseek $file, $at, 0;
    my ($began, $problem) = (time, '');
    while ($at < $bytes && !$problem) {
        my $length = sysread($file, my $read, $bytes - $at < 1 << 20 ? $bytes - $at : 1 << 20) || 0;
        $problem = !$length ? 'it could not be read'
            : $read ne ($length == 1 << 20 ? $zeros : "\0" x $length) ? 'it begins with zeros, and something else lies behind'
            : time - $began > $empty_seconds ? 'it begins with zeros, and is too large to be read to its end' : '';
        $at += $length;
    }
    $empty_seconds -= time - $began;
    return $problem;
}

# the rows of a table of partitions that are in use: the type, where it begins, how many sectors it has
sub rows_of {
    my ($sector) = @_;
    return if length $sector < 512;
    return grep { $_->[2] } map { [unpack 'x4 C x3 V2', substr $sector, 446 + 16 * $_, 16] } 0 .. 3;
}

sub is_extended { my ($type) = @_; return $type == 0x05 || $type == 0x0f || $type == 0x85 }

# the sectors with the tables of an extended partition, as Linux follows them; nothing when they cannot be followed
sub extended_tables {
    my ($disk, $first) = @_;
    my ($at, @found) = ($first);
    while (@found < 64) {
        my $table = bytes_at("/dev/$disk", $at * 512, 512);
        return if length $table < 512 || substr($table, 510, 2) ne "\x55\xaa";
        push @found, $at;
        my ($next) = grep { is_extended($_->[0]) } rows_of($table);
        return @found if !$next;
        $at = $first + $next->[1];
    }
    return;
}

# what lies between the partitions of a disk and behind the last, but not before the first, where boot loaders are: each
# as sectors, where it begins and how many there are; undefined for a table whose own parts may lie there, or that is not
# of this disk: what is a file system itself, as a hybrid disc is, or has what another system keeps at its end
sub gaps_of {
    my ($disk, $table, $sectors, @partitions) = @_;
    my @rows = rows_of(bytes_at("/dev/$disk", 0, 512));
    my ($last, $whole) = ($sectors - 1, (probed("/dev/$disk"))[0]);
    return undef if $table eq 'none' || $whole =~ /^(?:xfs|ext4|btrfs|swap|luks|lvm|iso9660)$/;
    return undef if grep { $_->[0] == 0x42 } @rows;  # a dynamic disk of Windows
    # the row for a GPT, by which Linux knows one; where there is none, or one of larger sectors, it says nothing
    my @for_gpt = grep { $_->[0] == 0xee } @rows;
    return undef if $table eq 'gpt' ? !grep { $_->[1] == 1 } @for_gpt : @for_gpt > 0;
    if ($table eq 'gpt') {
        $last = unpack 'Q<', bytes_at("/dev/$disk", 512 + 48, 8);
        return undef if $last >= $sectors;
        push @partitions, map { [$_->[1], $_->[2]] } grep { $_->[0] != 0xee && !is_extended($_->[0]) } @rows;
    }
    for my $row (grep { is_extended($_->[0]) } @rows) {
        my @tables = extended_tables($disk, $row->[1]) or return undef;
        push @partitions, map { [$_, 1] } @tables;
    }
    my @found;
    my $next;
    for my $taken (sort { $a->[0] <=> $b->[0] } @partitions) {
        push @found, [$next, $taken->[0] - $next] if defined $next && $taken->[0] > $next;
        my $end = $taken->[0] + $taken->[1];
        $next = $end if !defined $next || $end > $next;
    }
    return \@found if !defined $next || $last < $next;
    # RAID of whole disks is described at their end; a GPT ends before that
    my $end = $next > $sectors - 256 ? $next : $sectors - 256;
    my $behind = $table eq 'gpt' ? '' : bytes_at("/dev/$disk", $end * 512, ($sectors - $end) * 512);
    return undef if $behind =~ /\xfc\x4e\x2b\xa9|Intel Raid ISM|\xde\x11\xde\x11/;
    return [@found, [$next, $last + 1 - $next]];
}

# whether something lies before the first partition, behind the 1 MiB that boot loaders and tables have; it may be a boot
# loader of another machine's, or of a partition that is gone; returns what is wrong, '' for nothing
sub before {
    my ($disk, @partitions) = @_;
    my ($first) = sort { $a <=> $b } map { $_->[0] } @partitions;
    return full("/dev/$disk", 1 << 20, $first * 512) ? 'what lies before the first partition is not known' : '';
}

# what is free is given back by fstrim; where a block is smaller than what the disk takes back, zeros fill it, too
sub scrubbed {
    my ($device, $type) = @_;
    my ($option) = $options{$type}[0] =~ /^ro,?(.*)/;
    return '' if !mounted($device, $type, join ',', 'rw', length $option ? $option : ());
    take_journals($type);
    trim_boot($type) if $work eq 'trim';
    my ($size) = `stat -f -c %S /mnt` =~ /(\d+)/;
    my $filler = '/mnt/.vmkiln-zeros';
    if ($size < 4096) {
        # ext4 keeps some blocks from every file, root's too (Documentation/ABI/testing/sysfs-fs-ext4)
        for my $name (names_in('/sys/fs/ext4', '')) {
            open my $file, '>', "/sys/fs/ext4/$name/reserved_clusters" or next;
            print $file "0\n";
        }
        # a large write that does not fit leaves room, which small ones take
        for my $piece ('1M', '1k') {
            system "dd if=/dev/zero of=$filler-$piece bs=$piece 2> /dev/null";
            system 'sync';
        }
        unlink "$filler-1M", "$filler-1k";
    }
    system 'sync';
    my ($given) = `fstrim -v /mnt 2>&1` =~ /(\d+) bytes/;
    $given = 0 if !defined $given && $size < 4096;
    return !system('umount', '/mnt') && defined $given ? $given : '';
}

# where a system's own files may lie, from the top of a file system: elsewhere than of btrfs, `root` is somebody's home
sub tops_of {
    my ($type) = @_;
    return ('', $type eq 'btrfs' ? ('@/', 'root/', '@rootfs/') : ());
}

# the journal of a machine without an id: the system writes it again while it powers off, in a folder of the old id
sub take_journals {
    my ($type) = @_;
    for my $top (tops_of($type)) {
        next if line_of("/mnt/${top}etc/machine-id") =~ /^[0-9a-f]/;
        for my $folder ("/mnt/${top}var/log/journal", "/mnt/${top}log/journal") {
            next if -l $folder || !-d $folder;
            for my $name (names_in($folder, '')) {
                system 'rm', '-rf', "$folder/$name" if $name =~ /^[0-9a-f]{32}$/;
            }
        }
    }
}

# what a first boot waits for and no VM needs: the boot menu, and services for hardware that no VM has
my @unneeded = qw(
    ModemManager.service alsa-restore.service alsa-state.service bluetooth.service bolt.service e2scrub_reap.service
    iio-sensor-proxy.service lm-sensors.service power-profiles-daemon.service smartd.service smartmontools.service
    switcheroo-control.service thermald.service upower.service wpa_supplicant.service
);

# where a path of the disk lies; nowhere when a part of it is a link
sub without_links {
    my ($path) = @_;
    my $so_far = '/mnt';
    for my $part (grep { length } split m{/}, $path) {
        $so_far .= "/$part";
        return '' if -l $so_far;
    }
    return $so_far;
}

# a waiting time in a text becomes 0, in the same file, which keeps its owner and labels
sub waits_no_more {
    my ($path, $pattern) = @_;
    my $file = without_links($path);
    return if !length $file || !-f $file || -s $file > 1 << 20;
    my $content = bytes_at($file, 0, -s $file);
    $content =~ s/$pattern/${1}0/mg or return;
    open my $out, '+<:raw', $file or return;
    print $out $content;
    truncate $out, tell $out;
    close $out and $trimmed{'boot-menu'} = 1;
}

sub trim_boot {
    my ($type) = @_;
    my $configured = qr/^([ \t]*set[ \t]+timeout=)["']?[1-9]\d{0,3}["']?(?=[ \t]*$)/m;
    my $wanted = qr/^([ \t]*GRUB_(?:RECORDFAIL_)?TIMEOUT=)["']?[1-9]\d{0,3}["']?(?=[ \t]*$)/m;
    my @efi = map { "EFI/$_/grub.cfg" } grep { !/^\./ } names_in(without_links('EFI') || '/none', '');
    waits_no_more($_, $configured) for 'grub/grub.cfg', 'grub2/grub.cfg', @efi;
    waits_no_more('loader/loader.conf', qr/^(timeout[ \t]+)[1-9]\d{0,3}(?=[ \t]*$)/m);
    for my $top (tops_of($type)) {
        waits_no_more("$top$_", $configured) for 'boot/grub/grub.cfg', 'boot/grub2/grub.cfg';
        my $more = without_links("${top}etc/default/grub.d");
        my @more = length $more ? map { "${top}etc/default/grub.d/$_" } grep { /\.cfg$/ } names_in($more, '') : ();
        waits_no_more($_, $wanted) for "${top}etc/default/grub", @more;
        my $units = without_links("${top}etc/systemd/system");
        next if !length $units || !-d $units;
        for my $wants (grep { /\.wants$/ && !-l "$units/$_" } names_in($units, '')) {
            for my $unit (@unneeded) {
                next if $unit eq 'e2scrub_reap.service' && %physical;  # it is for snapshots of LVM
                $trimmed{$unit} = 1 if -l "$units/$wants/$unit" && unlink "$units/$wants/$unit";
            }
        }
    }
}

# the passwords that scanners try first, and images were published with; a guest chose what trying one costs
my $cheap = qr{^(?:\$1\$|\$[56]\$(?:rounds=\d{4,5}\$|(?!rounds=))|\$2[aby]\$(?:0\d|1[0-2])\$|\$y\$j[7-9][T5]\$|[./\w]{13}$)};
my ($most_guessing_seconds, $guessing_ends) = (10);
sub is_known {
    my ($name, $hash) = @_;
    return 0 if $hash !~ $cheap;
    $guessing_ends //= time + $most_guessing_seconds;
    for my $word ($name, qw(password admin root changeme vagrant 123456)) {
        return 0 if time > $guessing_ends;
        my $made = eval { crypt $word, $hash };
        return 1 if defined $made && $made eq $hash;
    }
    return 0;
}

sub password_of {
    my ($name, $hash) = @_;
    return $hash eq '' ? 'empty' : $hash =~ /^[!*]/ ? 'locked' : is_known($name, $hash) ? 'known' : 'set';
}

sub walked {
    my ($number) = @_;
    my @folders = (['', 0, (lstat '/mnt')[3]]);
    while (my $next = pop @folders) {
        my ($folder, $depth, $links) = @$next;
        my $handle;
        if (!opendir $handle, "/mnt/$folder") { record('cut', $number, $folder, 'it could not be read'); next }
        my $is_quiet = $folder =~ $quiet && $folder !~ /\.socket\.d$/;
        my $start = length $folder ? "$folder/" : '';
        # a folder has a link from each folder in it, and two more; some file systems do not count them, and say 1
        my $more = $links < 2 ? 1 << 40 : $links - 2;
        while (defined(my $name = readdir $handle)) {
            next if $name eq '.' || $name eq '..';
            if (++$entries > $most_entries) { record('cut', $number, "$start$name", 'there are too many files'); return }
            next if $is_quiet && !$more && $name !~ $loud;
            my $path = "$start$name";
            my ($mode, $count, $uid, $gid, $bytes) = (lstat "/mnt/$path")[2, 3, 4, 5, 7];
            if (!defined $mode) { record('cut', $number, $path, 'it could not be read'); next }
            my $kind = $mode & 0170000;
            my $is_told = !$is_quiet || $name =~ $loud;
            my $target = $kind == 0120000 && $is_told ? readlink("/mnt/$path") // '' : '';
            record('entry', $number, sprintf('%o', $mode), $uid, $gid, $bytes, $path, $target) if $is_told;
            if ($kind == 0040000) {
                $more--;
                next if $is_quiet && $path =~ $passed_over;
                if ($depth >= $most_depth) { record('cut', $number, $path, 'folders lie too deep') }
                else { push @folders, [$path, $depth + 1, $count] }
            }
            elsif ($kind == 0100000 && $is_told) { read_file($number, $path, $bytes) }
        }
        closedir $handle;
    }
}

sub read_file {
    my ($number, $path, $bytes) = @_;
    if ($path =~ $told) {
        if ($bytes > $most_file || $sent + $bytes > $most_content) { return record('cut', $number, $path, 'it is too large') }
        my $content = bytes_at("/mnt/$path", 0, $bytes);
        return record('cut', $number, $path, 'it could not be read') if length $content < $bytes;
        # an old form has hashes here
        $content =~ s/^([^:\n]*):([^:\n]*)/"$1:" . ($2 eq 'x' ? 'x' : password_of($1, $2))/gme if $path =~ m{(?:^|/)etc/passwd$};
        $content =~ s/^([^:\n]*):([^:\n]+)/$1:x/gm if $path =~ m{(?:^|/)etc/group$};
        record('content', $number, $path, $content);
    }
    elsif ($path =~ m{(?:^|/)etc/shadow$} && $bytes <= $most_mark) {
        # never the hashes: whether each account has one, and whether it is of a password that everybody tries
        my $content = '';
        for my $line (split /\n/, bytes_at("/mnt/$path", 0, $bytes)) {
            my ($name, $hash) = $line =~ /^([^:]*):([^:]*)/ or next;
            $content .= "$name:" . password_of($name, $hash) . "\n";
        }
        record('content', $number, $path, $content);
    }
    return if $bytes < 20 || $bytes > $most_mark || $path =~ m{(?:^|/)(?:var/)?lib/(?:dpkg|apt|rpm)/|(?:^|/)usr/};
    my $content = bytes_at("/mnt/$path", 0, $bytes);
    my ($has_word, %marked) = ($content =~ $any);
    for my $mark (@marks) {
        my ($kind, $pattern, @words) = @$mark;
        next if $marked{$kind} || @words && !$has_word || $content !~ $pattern;
        $marked{$kind} = 1;
        record('mark', $number, $path, $kind);
    }
}

# LVM: logical volumes of plain segments are put together by the kernel's device mapper, from the newest text metadata
sub parsed {
    my ($tokens) = @_;
    my %found;
    while (@$tokens) {
        my $name = shift @$tokens;
        return \%found if $name eq '}';
        my $sign = shift @$tokens // '';
        if ($sign eq '{') { $found{$name} = parsed($tokens) }
        elsif ($sign eq '=') {
            my $value = shift @$tokens // '';
            if ($value eq '[') {
                $value = [];
                while (@$tokens && (my $item = shift @$tokens) ne ']') { push @$value, $item if $item ne ',' }
            }
            $found{$name} = $value;
        }
    }
    return \%found;
}

sub group_of {
    my ($device) = @_;
    my $start = bytes_at($device, 0, 4096);
    for my $sector (0 .. 3) {
        my $label = substr $start, $sector * 512, 512;
        next if substr($label, 0, 8) ne 'LABELONE';
        my $header = substr $label, unpack('V', substr $label, 20, 4);
        my $id = substr $header, 0, 32;
        my @areas = unpack 'Q<*', substr $header, 40, 320;
        while (@areas && $areas[0]) { splice @areas, 0, 2 }  # data areas
        splice @areas, 0, 2;
        my @found;
        while (@areas >= 2 && $areas[0]) {
            my ($at, $size) = splice @areas, 0, 2;
            my ($offset, $length, $flags) = unpack 'Q< Q< x4 V', bytes_at($device, $at + 40, 24);
            next if !$offset || $flags & 1 || $length > 4 << 20;  # what one has that is to be ignored may be old
            my $text = $offset + $length <= $size ? bytes_at($device, $at + $offset, $length)
                : bytes_at($device, $at + $offset, $size - $offset) . bytes_at($device, $at + 512, $offset + $length - $size);
            push @found, parsed([tokens_of($text)]);
        }
        return ($id, @found);
    }
    return ('');
}

# the words and signs of a text of LVM's; a comment begins only where no string is
sub tokens_of {
    my ($text) = @_;
    return grep { defined } $text =~ /"((?:[^"\\]|\\.)*)"|([\w.+-]+)|([{}\[\]=,])|#[^\n]*/g;
}

sub mapper {
    my ($number, $name, $flags, $count, $data) = @_;
    open my $control, '+<', '/dev/mapper/control' or return;
    my $bytes = 16384;
    my $buffer = pack('V3 V4 V3 Q< a128 a129 a7', 4, 0, 0, $bytes, 312, $count, 0, $flags, 0, 0, 0, $name, '', '') . $data;
    $buffer .= "\0" x ($bytes - length $buffer) if length $buffer < $bytes;
    ioctl($control, 0xC138FD00 | $number, $buffer) or return;
    return unpack 'Q<', substr $buffer, 40, 8;
}

# types of segments that lie in extents by their stripes, or in other logical volumes alone; one of another type may name
# extents in a way of its own, as what pvmove left unfinished does
my $placed = qr/^(?:striped|linear|raid\w*|thin|thin-pool|cache|cache-pool|writecache|snapshot|zero|error)$/;

# which extents of each physical volume logical volumes have: each as the first and how many; undefined where not known
sub used_extents {
    my ($logical) = @_;
    my (%used, @segments);
    for my $one (values %$logical) {
        my @own = map { $one->{$_} } grep { /^segment\d+$/ } keys %$one;
        return undef if @own != $one->{segment_count};
        push @segments, @own;
    }
    for my $segment (@segments) {
        return undef if $segment->{type} !~ $placed;
        my @stripes = @{$segment->{stripes} // []};
        my $count = @stripes / 2 or next;
        while (my ($pv, $first) = splice @stripes, 0, 2) { push @{$used{$pv}}, [$first, $segment->{extent_count} / $count] }
    }
    return \%used;
}

# zeros in place of the extents that no logical volume has
sub empty_extents {
    my ($group, $extent, $physical, $logical, $of_id) = @_;
    my ($used, $problem) = (used_extents($logical), '');
    return record('volume', $volume++, "$group-free", 'lvm', 0, 0, '', '', 'which extents are free is not known') if !$used;
    for my $pv (sort keys %$physical) {
        (my $id = $physical->{$pv}{id}) =~ tr/-//d;
        my ($device, $next) = ($of_id->{$id}, 0);
        next if !$device;
        for my $taken ((sort { $a->[0] <=> $b->[0] } @{$used->{$pv} // []}), [$physical->{$pv}{pe_count}, 0]) {
            my ($start, $bytes) = map { $_ * 512 } $physical->{$pv}{pe_start} + $next * $extent, ($taken->[0] - $next) * $extent;
            $problem ||= emptied($device, $start, $bytes);
            $next = $taken->[0] + $taken->[1] if $taken->[0] + $taken->[1] > $next;
        }
    }
    record('volume', $volume++, "$group-free", 'lvm', 0, 0, '', '', $problem) if $problem;
}

sub logical_volumes {
    my (%of_id, %newest, %id_of, %twice);
    for my $device (sort keys %physical) {
        my ($id, @found) = group_of($device);
        $twice{$id} = 1 if $of_id{$id};
        $of_id{$id} = $device;
        $id_of{$device} = $id;
        for my $found (@found) {
            for my $name (keys %$found) {
                next if ref $found->{$name} ne 'HASH';
                $newest{$name} = $found->{$name} if !$newest{$name} || $found->{$name}{seqno} > $newest{$name}{seqno};
            }
        }
    }
    for my $group (sort keys %newest) {
        my ($extent, $physical) = @{$newest{$group}}{'extent_size', 'physical_volumes'};
        my $logical = $newest{$group}{logical_volumes} // {};
        empty_extents($group, $extent, $physical, $logical, \%of_id) if $work ne 'look' && !%twice;
        for my $name (sort keys %$logical) {
            my ($table, $count, $sectors, $problem) = ('', 0, 0, '');
            for my $key (sort { substr($a, 7) <=> substr($b, 7) } grep { /^segment\d+$/ } keys %{$logical->{$name}}) {
                my $segment = $logical->{$name}{$key};
                my ($pv, $first) = @{$segment->{stripes} // []};
                my $below = defined $pv ? $physical->{$pv} : undef;
                (my $id = $below ? $below->{id} : '') =~ tr/-//d;
                if ($segment->{type} ne 'striped' || $segment->{stripe_count} != 1 || !$of_id{$id}) {
                    $problem = "a segment of type $segment->{type} is not read";
                    last;
                }
                my $length = $segment->{extent_count} * $extent;
                (my $node = $of_id{$id}) =~ s{.*/}{};
                my $target = line_of("/sys/class/block/$node/dev") . ' ' . ($below->{pe_start} + $first * $extent) . "\0";
                $target .= "\0" x (-length($target) % 8);
                $table .= pack('Q< Q< l< V a16', $segment->{start_extent} * $extent, $length, 0, 40 + length $target, 'linear') . $target;
                $sectors += $length;
                $count++;
            }
            my $mapped = "$group-$name";
            my $device = $problem || !$count ? undef : mapper(3, $mapped, 0, 0, '');
            if (defined $device && defined mapper(9, $mapped, 16, $count, $table) && defined mapper(6, $mapped, 16, 0, '')) {
                $device = '/dev/dm-' . (($device & 0xff) | (($device >> 12) & 0xfff00));
                for (1 .. 50) { last if -b $device; select undef, undef, undef, 0.1 }
                looked_at($device, $mapped, $sectors * 512);
            }
            else { record('volume', $volume++, $mapped, 'lvm', $sectors * 512, 0, '', '', $problem || 'it could not be put together') }
        }
    }
    # of which nothing was read: in no group that was, as one inside a logical volume is; or one of two that say the same
    my @ids = map { $_->{id} } map { values %{$_->{physical_volumes} // {}} } values %newest;
    tr/-//d for @ids;
    my %is_known = map { $_ => 1 } @ids;
    for my $device (sort keys %physical) {
        my $id = $id_of{$device} // '';
        next if $is_known{$id} && !$twice{$id};
        my $problem = $twice{$id} ? 'another has the same id' : 'it is in no group of volumes that is read';
        record('volume', $volume++, "$physical{$device}-group", 'lvm', 0, 0, '', '', $problem);
    }
}

my @disks = sort { length $a <=> length $b || $a cmp $b } names_in('/sys/block', 'vd');
for my $disk (@disks) {
    my $table = table_of("/dev/$disk");
    my @partitions = sort { line_of("/sys/block/$disk/$a/partition") <=> line_of("/sys/block/$disk/$b/partition") }
        names_in("/sys/block/$disk", $disk);
    my $serial = line_of("/sys/block/$disk/serial");
    record('disk', $serial, line_of("/sys/block/$disk/size") * 512, @partitions ? $table : 'none');
    if (!@partitions) { looked_at("/dev/$disk", $serial, line_of("/sys/block/$disk/size") * 512); next }
    for my $partition (@partitions) {
        my $bytes = line_of("/sys/block/$disk/$partition/size") * 512;
        my $number = line_of("/sys/block/$disk/$partition/partition");
        looked_at("/dev/$partition", "$serial-$number", $bytes, is_of_a_loader($disk, $number, $bytes));
    }
    next if $work eq 'look';
    my @taken = map { [line_of("/sys/block/$disk/$_/start"), line_of("/sys/block/$disk/$_/size")] } @partitions;
    my $gaps = gaps_of($disk, $table, line_of("/sys/block/$disk/size"), @taken);
    my ($problem) = $gaps ? grep { length } map { emptied("/dev/$disk", $_->[0] * 512, $_->[1] * 512) } @$gaps : 'it is not read';
    $problem = $problem ? "what lies between partitions: $problem" : before($disk, @taken);
    record('volume', $volume++, "$serial-between", 'none', 0, 0, '', '', $problem) if $problem;
}
logical_volumes() if %physical;
record('end');
