# The worker's place: a worker slot, when there is no other; and its database,
# while a command needs that without anybody connected.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroSession;
use RetroTest;
use Test::More;

my $sim = start_simulator('--disconnect-ms', '10');

sub hold { $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }

# A database with the extension and a server
sub new_database
{
	my ($node, $name) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION retrostar');
	create_server($node, $name, 'gpu', $sim);
	return;
}

# $n pairs in flight that nobody waits for, others each time
my $times = 0;

sub prefetch_held
{
	my ($node, $db, $n) = @_;
	$sim->reset_stats;
	hold();
	$times++;
	$node->safe_psql($db, "SELECT retro_star_prefetch('$db $times', i::text) FROM generate_series(1, $n) i");
	$sim->wait_for('running', $n);
	return;
}

# The launcher of logical replication has a slot, so there is one left.
subtest 'the last slot' => sub {
	my $full = new_node('full', conf => "max_worker_processes = 2\nmax_parallel_workers = 0\nretrostar.worker_idle_timeout = '1h'\n");

	create_server($full, 'postgres', 'gpu', $sim);
	for my $end ('TERM', 'FPE')
	{
		prefetch_held($full, 'postgres', 2);
		kill $end, queue($full, 'worker_pid');
		$sim->wait_for('aborted', 2);
		$sim->wait_for('running', 2);
		pass("SIG$end: the worker comes back, in its own slot");
		let_go();
		wait_idle($full);
		is($full->safe_psql('postgres', 'SELECT count(*) FROM retrostar.score_cache'), 2 * $times, 'what nobody waits for goes on');
	}
	unlike(slurp_file($full->logfile), qr/TRAP|PANIC|was terminated|leaked/, 'nothing crashed');
	$full->stop;
};

my $node = new_node('places', conf => "retrostar.worker_idle_timeout = '1h'\n");

# A session that has a lock on the database, as any command on it has, so that
# the next one waits for it after the worker has left.
sub lock_database
{
	my ($db) = @_;
	my $holder = RetroSession->new($node, 'postgres');
	$holder->query("BEGIN; COMMENT ON DATABASE $db IS 'in use'");
	return $holder;
}

sub wait_for_lock
{
	my ($session) = @_;
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $session->{pid}")
	  or die 'it does not wait for the lock';
	return;
}

sub workers_of
{
	my ($db) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'retrostar worker' AND datname = '$db'");
}

subtest 'the command ends with its session' => sub {
	new_database($node, 'staying');
	prefetch_held($node, 'staying', 2);
	my $pid = queue($node, 'worker_pid', 'staying');
	my $session = RetroSession->new($node, 'postgres');

	# while it waits for a worker that cannot leave at the moment
	kill 'STOP', $pid;
	$session->send('DROP DATABASE staying');
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pid}");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pid})");
	is($session->ended, '57P01', 'terminated');
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $session->{pid}");
	kill 'CONT', $pid;
	let_go();
	$node->poll_query_until('staying', 'SELECT count(*) = 2 FROM retrostar.score_cache') or die 'they do not come';
	pass('what the database has in work goes on');

	# after it has left
	prefetch_held($node, 'staying', 3);
	my $holder = lock_database('staying');
	$session = RetroSession->new($node, 'postgres');
	$session->send('DROP DATABASE staying');
	wait_for_lock($session);
	$sim->wait_for('aborted', 1);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pid})");
	is($session->ended, '57P01', 'terminated');
	let_go();
	$node->poll_query_until('staying', 'SELECT count(*) = 5 FROM retrostar.score_cache') or die 'they do not come';
	pass('what the database has in work goes on');
	$holder->query('COMMIT');
	$holder->quit;
	wait_idle($node, 'staying');
	is(sqlstate($node, 'postgres', 'DROP DATABASE staying'), '00000', 'once more');
};

subtest 'no worker comes too late' => sub {
	my $from = -s $node->logfile;

	new_database($node, 'going');
	$sim->reset_stats;
	hold();
	my @waiting = map { ask_background($node, 'going', "SELECT retro_star_score('going', '$_')") } 1 .. 4;
	$sim->wait_for('running', 4);
	my $holder = lock_database('going');
	my $session = RetroSession->new($node, 'postgres');
	$session->send('DROP DATABASE going WITH (FORCE)');
	wait_for_lock($session);
	# those who wait have seen that it is gone, and looked for another
	wait_until('they look after a worker', sub {
		$node->safe_psql('postgres', q(SELECT count(*) = 4 AND bool_and(wait_event_type = 'Extension')
			FROM pg_stat_activity WHERE datname = 'going' AND backend_type = 'client backend')) eq 't' });
	$node->poll_query_until('postgres', 'SELECT 1', '1') for 1 .. 20;
	$holder->query('COMMIT');
	$holder->quit;
	$session->result;
	is($session->sqlstate, '00000', 'DROP DATABASE WITH (FORCE)');
	$session->quit;
	like((finish_background($_))[1], qr/57P01/, 'who waited is ended') for @waiting;
	wait_until('nothing is left in shared memory', sub {
		queue($node, 'free_requests = 16384 AND free_waiters = 65536 AND text_bytes = 0') eq 't' });
	let_go();
	unlike(slurp_file($node->logfile, $from), qr/FATAL:  (3D000: )?database/, 'no worker looks for it in vain');
};

subtest 'several commands at once' => sub {
	new_database($node, 'mould');
	prefetch_held($node, 'mould', 2);
	my $holder = lock_database('mould');
	my $session = RetroSession->new($node, 'postgres');
	$session->send('CREATE DATABASE casting TEMPLATE mould');
	wait_for_lock($session);
	is(workers_of('mould'), 0, 'the worker has left');

	# another one ends
	is(sqlstate($node, 'postgres', q(CREATE DATABASE casting2 TEMPLATE mould ENCODING 'none')), '42704', 'another command fails');
	is(workers_of('mould'), 0, 'no worker comes before the first is over');
	$holder->query('COMMIT');
	$holder->quit;
	$session->result;
	is($session->sqlstate, '00000', 'the first is done');
	$session->quit;
	$sim->wait_for('running', 2);
	let_go();
	$node->poll_query_until('mould', 'SELECT count(*) = 2 FROM retrostar.score_cache') or die 'they do not come';
	pass('and the worker is back');
	wait_idle($node, 'mould');
	is(sqlstate($node, 'postgres', "DROP DATABASE $_"), '00000', "DROP DATABASE $_") for qw(mould casting);
};

# Whoever may create databases may copy one that is marked as a template.
subtest 'a template of somebody else' => sub {
	new_database($node, 'shared');
	$node->safe_psql('postgres', 'ALTER DATABASE shared IS_TEMPLATE true; CREATE ROLE founder LOGIN CREATEDB; CREATE ROLE nobody LOGIN');
	prefetch_held($node, 'shared', 2);
	my $pid = queue($node, 'worker_pid', 'shared');
	is(sqlstate($node, 'postgres', 'CREATE DATABASE copy TEMPLATE shared', extra_params => [ '-v', 'VERBOSITY=verbose', '-U', 'nobody' ]),
		'42501', 'not without the right');
	is(queue($node, 'worker_pid', 'shared'), $pid, 'nor is the worker sent away');
	is(sqlstate($node, 'postgres', 'CREATE DATABASE copy TEMPLATE shared', extra_params => [ '-v', 'VERBOSITY=verbose', '-U', 'founder' ]),
		'00000', 'with it');
	$sim->wait_for('running', 2);
	let_go();
	wait_idle($node, 'shared');
	$node->safe_psql('postgres', 'ALTER DATABASE shared IS_TEMPLATE false');
	is(sqlstate($node, 'postgres', "DROP DATABASE $_"), '00000', "DROP DATABASE $_") for qw(shared copy);
};

no_crash($node);
done_testing();
