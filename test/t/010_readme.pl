# The README tells the truth: its SQL runs, in order, and its tables name what
# there is.

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

# Settings: a row for each, and none too many
my @settings = split /\n/,
  $node->safe_psql('postgres', q(SELECT name FROM pg_settings WHERE name LIKE 'retrostar.%' ORDER BY 1));
my ($section) = $readme =~ /^## Settings\n(.*?)^## /ms;
my %in_table = map { $_ => 1 } $section =~ /^\| `(retrostar\.[a-z_]+)` \|/mg;
is_deeply([ sort keys %in_table ], \@settings, 'the table of settings');

# Options of servers and user mappings, as the validator's hint names them
my ($ret, $stdout, $stderr) = $node->psql('postgres', q(ALTER SERVER gpu OPTIONS (ADD nonsense '1')));
my ($hint) = $stderr =~ /HINT: +(.*)/;
foreach my $option ($hint =~ /\b([a-z_]{3,})\b(?=[,.]|$)/g)
{
	like($readme, qr/^\| `$option` \|/m, "server option $option");
}

# Every SQL object of the extension that a user may call or read
my $objects = $node->safe_psql('postgres', q(
	SELECT DISTINCT coalesce(p.proname, c.relname)
	FROM pg_depend d
	LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
	LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'v')
	WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retrostar') AND d.deptype = 'e'
	AND coalesce(p.proname, c.relname) IS NOT NULL
	AND coalesce(p.proname, c.relname) !~ '_(transfn|finalfn|validator)$' ORDER BY 1));
foreach my $object (split /\n/, $objects)
{
	like($readme, qr/\b$object\b/, "object $object");
}

done_testing();
