# retrostar.check() tells of what a newcomer has left out: nothing preloaded, no
# place for a worker, no privilege, a dialect that does not fit, shared memory that
# is too small for the texts; and what it says helps.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use RetroTest;
use Test::More;

my $sim = start_simulator('--dialect', 'vllm', '--model', 'm');

# All rows but that of a worker that is well
sub advice
{
	my ($node) = @_;
	return $node->safe_psql('postgres', q(SELECT endpoint, ok, detail FROM retrostar.check('gpu') WHERE endpoint <> 'worker' OR NOT ok));
}

subtest 'nothing is preloaded' => sub {
	my $node = new_node('plain', preload => 0);

	create_server($node, 'postgres', 'gpu', $sim, dialect => 'vllm');
	is(advice($node), 'worker|f|retrostar is not in shared_preload_libraries; add it there, and restart PostgreSQL', 'is told');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'retrostar'\n");
	$node->restart;
	is(advice($node), qq($sim->{url}|t|it serves "m" (vLLM)), 'and helps');
	$node->stop;
};

subtest 'no place for a worker' => sub {
	# one for the launcher of logical replication, and no more
	my $node = new_node('full', conf => "max_worker_processes = 1\nmax_parallel_workers = 0\n");

	create_server($node, 'postgres', 'gpu', $sim, dialect => 'vllm');
	like(advice($node), qr/^worker\|f\|.*  Raise the setting "max_worker_processes" \(now 1\), and restart PostgreSQL\.\z/, 'is told');
	$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
	$node->restart;
	is(advice($node), qq($sim->{url}|t|it serves "m" (vLLM)), 'and helps');
	$node->stop;
};

subtest 'memory for the texts' => sub {
	my $node = new_node('small', conf => "retrostar.shared_memory = '4MB'\n");
	my $long = "SELECT count(retro_star_score('q', repeat('long ', 500000)))";

	create_server($node, 'postgres', 'gpu', $sim, dialect => 'vllm');
	is(advice($node), qq($sim->{url}|t|it serves "m" (vLLM)), 'nothing, before a text was too long');
	is(sqlstate($node, 'postgres', $long), '54000', 'a text that is longer than half of it');
	my ($bytes, $kb, $mb) = advice($node) =~
	  /^shared memory\|\|a request of (\d+) bytes was too long for retrostar\.shared_memory, which is (\d+) kB; set it to (\d+)MB, for example, and restart PostgreSQL$/m;
	ok($bytes, 'is told') or diag(advice($node));
	cmp_ok($bytes, '>', 2500000, 'how long it was');
	is($kb, 4096, 'what there is');
	$node->append_conf('postgresql.conf', "retrostar.shared_memory = '${mb}MB'\n");
	$node->restart;
	is(sqlstate($node, 'postgres', $long), '00000', 'and helps');
	is(advice($node), qq($sim->{url}|t|it serves "m" (vLLM)), 'nothing is wrong any more');

	$node->safe_psql('postgres', 'SELECT retrostar.pause()');
	is($node->safe_psql('postgres', q(SELECT ok, detail FROM retrostar.check('gpu') WHERE endpoint = 'worker')),
		'|it runs, or is being started, and the queue of this database is paused: SELECT retrostar.resume() lets it go on', 'a queue that is paused');
	is(advice($node), qq($sim->{url}|t|it serves "m" (vLLM)), 'whose server is well');
	$node->safe_psql('postgres', 'SELECT retrostar.resume()');
	is($node->safe_psql('postgres', q(SELECT ok FROM retrostar.check('gpu') WHERE endpoint = 'worker')), 't', 'and goes on');

	$node->safe_psql('postgres', q(ALTER SERVER gpu OPTIONS (SET dialect 'sglang')));
	like(advice($node), qr/^\Q$sim->{url}\E\|\|it serves "m" \(vLLM\); the option dialect is "sglang", "vllm" fits: it .+; ALTER SERVER gpu OPTIONS \(SET dialect 'vllm'\)$/, 'a dialect that does not fit');

	$node->safe_psql('postgres', 'CREATE ROLE newcomer LOGIN');
	my (undef, undef, $err) = $node->psql('postgres', 'SELECT * FROM retrostar.check()', extra_params => [ '-v', 'VERBOSITY=verbose', '-U', 'newcomer' ]);
	like($err, qr/ERROR: +42501: permission denied.*\nHINT: .*GRANT USAGE ON FOREIGN SERVER gpu TO newcomer;/, 'no privilege');
	$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN SERVER gpu TO newcomer');
	is(sqlstate($node, 'postgres', 'SELECT * FROM retrostar.check()', extra_params => [ '-v', 'VERBOSITY=verbose', '-U', 'newcomer' ]), '00000', 'and helps');
	$node->stop;
};

done_testing();
