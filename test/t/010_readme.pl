# The README's SQL runs, in order.  Its tables are for 012_reference.pl.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my $node = new_node('readme', extension => 0);
my $sim = start_simulator();

# Each block is run by itself, as a reader would who pastes it into psql.
my @blocks = $readme =~ /^```sql\n(.*?)^```$/msg;
cmp_ok(scalar @blocks, '>', 10, 'the README has SQL');
foreach my $sql (@blocks)
{
	my ($first) = $sql =~ /^(?!--)(\S.*)$/m;

	$sql =~ s{http://127\.0\.0\.1:30000}{$sim->{url}}g;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', $sql, on_error_die => 0, on_error_stop => 1);
	is($ret, 0, $first) or diag($stderr);
	unlike($stderr, qr/WARNING/, "no warning: $first");
}

done_testing();
