# Becomes the program of the way to the VM, which its input names, with the words that it goes on with: one line.
# It may have begun long before anybody knew them. Needs no module of Perl's.

my ($program, @words) = split / /, <STDIN> =~ s/\n//r;
@ARGV = @words;
do "/$program" or die "$program: $@";
