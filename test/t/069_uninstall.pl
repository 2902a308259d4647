# doc/operations.md, "Uninstall": step by step, and what is said to those who
# take another order.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroPages;
use RetroTest;
use Test::More;

my $node = new_node('uninstall', preload => 0, extension => 0);
my $sim = start_simulator('--model', 'm');
my ($ret, $out, $err);

($ret, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION retrostar');
is($ret, 0, 'without preload the extension is created');
like($err, qr/WARNING:  retrostar cannot score anything before it is loaded.*HINT:  Add "retrostar" to "shared_preload_libraries" and restart/s,
	'and it is said that it does not work yet');
($ret, $out, $err) = $node->psql('postgres', "SET retrostar.samples = 2; SELECT retro_star_prompt('q', 'd') IS NOT NULL");
is($err, '', 'in sessions nothing more is said');
$node->safe_psql('postgres', 'DROP EXTENSION retrostar');

$node->safe_psql('postgres', "ALTER SYSTEM SET shared_preload_libraries = 'retrostar'");
$node->restart;
($ret, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION retrostar');
is($err, '', 'with it, nothing is warned of');
create_server($node, 'postgres', 'gpu', $sim);
$node->safe_psql('postgres', q(
	CREATE USER MAPPING FOR PUBLIC SERVER gpu;
	CREATE VIEW ranked AS SELECT retro_star_score('q', 'd') AS score;
	CREATE FUNCTION wrapper(text) RETURNS float8 LANGUAGE sql AS 'SELECT retro_star_score(''q'', $1)';
	ALTER DATABASE postgres SET retrostar.samples = 2;
	SELECT score FROM ranked));
wait_idle($node);

subtest 'the steps' => sub {
	my ($drop) = blocks('doc/operations.md', 'sql uninstall');
	my @shell = grep { /shared_preload|uninstall/ } map { split /\n/, $_->{text} } blocks('doc/operations.md', 'sh');
	my ($reset) = map { /psql -c "(.*)"/ } @shell;

	($ret, $out, $err) = $node->psql('postgres', $drop->{text});
	is($ret, 0, 'DROP EXTENSION');
	like($err, qr/drop cascades to.*$_/s, "tells of $_") foreach 'server gpu', 'view ranked', 'user mapping for public';
	($ret, $out, $err) = $node->psql('postgres', "SELECT wrapper('d')");
	like($err, qr/function retro_star_score\(unknown, text\) does not exist/, 'a function with a string as its body fails');
	$node->safe_psql('postgres', $reset);
	$node->restart;
	is($node->safe_psql('postgres', 'SHOW shared_preload_libraries; SHOW retrostar.samples'), "\n2", 'it is out, and a setting that is left does no harm');

	my $said = '';
	ok((grep { $_ eq 'sudo make uninstall' } @shell), 'the files go last');
	IPC::Run::run([ 'make', '-n', '-C', $top, 'uninstall' ], '<', \undef, '>', \$said, '2>&1');
	like($said, qr/must be out of shared_preload_libraries.*Uninstall/s, 'make says what must be done before');
	like($said, qr/rm -f .*retrostar\.so/, 'and takes the library away');
};

done_testing();
