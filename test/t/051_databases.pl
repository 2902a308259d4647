# What is done to databases, servers, the extension and its table while the worker
# has requests in work.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroSession;
use RetroTest;
use RetroWorker;
use Test::More;

start_all('databases');

subtest 'commands that need the database for themselves' => sub {
	$node->safe_psql('postgres', q(SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION ''));
	$node->safe_psql('postgres', 'CREATE ROLE other LOGIN CREATEDB');
	new_database('moving');

	# Only who may do it sends the worker away.
	prefetch_held('moving', 2);
	my $pid = worker_pid('moving');
	is(sqlstate($node, 'postgres', $_, extra_params => [ '-v', 'VERBOSITY=verbose', '-U', 'other' ]), '42501', "not allowed: $_")
	  for 'ALTER DATABASE moving RENAME TO moved', 'DROP DATABASE moving',
	  'ALTER DATABASE moving SET TABLESPACE elsewhere', 'CREATE DATABASE copy TEMPLATE moving';
	is(worker_pid('moving'), $pid, 'the worker is still there');
	is($sim->stats->{aborted}, 0, 'nothing was cut off');

	wait_nobody_in('moving');
	is(sqlstate($node, 'postgres', 'CREATE DATABASE copy TEMPLATE moving'), '00000', 'CREATE DATABASE TEMPLATE');
	wait_until('another worker comes', sub { queue($node, 'running', 'moving') == 2 });
	isnt(worker_pid('moving'), $pid, 'its detached requests go on when that is over');
	let_go();
	wait_idle($node, 'moving');
	is($sim->stats->{chat}, 4, 'each was sent by two workers');

	for my $command ('ALTER DATABASE moving RENAME TO moved', 'ALTER DATABASE moved SET TABLESPACE elsewhere')
	{
		my $db = $command =~ /^ALTER DATABASE (\w+)/ ? $1 : die;
		hold();
		$sim->reset_stats;
		$node->safe_psql($db, "SELECT retro_star_prefetch('$command', i::text) FROM generate_series(1, 3) i");
		$sim->wait_for('running', 3);
		wait_nobody_in($db);
		is(sqlstate($node, 'postgres', $command), '00000', $command);
		let_go();
		is($node->safe_psql('moved', "SELECT count(retro_star_score('$command', i::text)) FROM generate_series(1, 3) i"), 3, 'scores come');
		is($sim->stats->{chat}, 6, 'each was sent by two workers');
		wait_idle($node, 'moved');
	}

	# While the worker is only just coming
	hold();
	wait_nobody_in('moved');
	is(sqlstate($node, 'postgres', 'ALTER DATABASE moved RENAME TO moving'), '00000', 'RENAME again');
	$node->safe_psql('moving', q(SELECT retro_star_prefetch('just', 'coming')));
	wait_nobody_in('moving');
	is(sqlstate($node, 'postgres', 'ALTER DATABASE moving RENAME TO moved'), '00000', 'while the worker starts');

	# DROP takes everything with it, sessions that wait too if told so.
	$node->safe_psql('moved', q(SELECT retro_star_prefetch('going', 'away')));
	wait_nobody_in('moved');
	is(sqlstate($node, 'postgres', 'DROP DATABASE moved'), '00000', 'DROP DATABASE');
	ok(all_free(), 'nothing is left in shared memory');
	$sim->wait_for('running', 0);
	my @waiting = map { ask_background($node, 'copy', "SELECT retro_star_score('going', '$_')") } 1 .. 4;
	$sim->wait_for('running', 4);
	is(sqlstate($node, 'postgres', 'DROP DATABASE copy WITH (FORCE)'), '00000', 'DROP DATABASE WITH (FORCE)');
	finish_background($_) for @waiting;
	wait_until('nothing is left in shared memory', \&all_free);
	pass('nothing is left in shared memory');
	let_go();
};

# Stops the worker where it reads a server anew and waits for the catalog's lock.
# $holder has that lock, in a transaction.  The worker does not wait for long:
# then once more.
sub stop_in_catalog
{
	my ($pid, $server, $holder, $looker) = @_;
	my $waits = "SELECT count(*) FROM pg_locks WHERE pid = $pid AND NOT granted";

	for my $round (0 .. 50)
	{
		my $end = time + 1;

		$looker->query("ALTER SERVER $server OPTIONS (" . ($round == 0 ? 'ADD' : 'SET') . " retries '" . ($round % 2) . "')");
		$holder->query('BEGIN; LOCK TABLE pg_foreign_server');
		# wakes it, and needs no server
		$looker->query('SELECT retrostar.resume()');
		until (time > $end)
		{
			next if $looker->query($waits) eq '0';
			kill 'STOP', $pid;
			wait_until('it is stopped', sub { slurp_file("/proc/$pid/stat") =~ /\) T/ });
			if ($looker->query($waits) eq '1')
			{
				# SIGALRM is pending: what it waits for does not wake it later
				wait_until('its time is up', sub { slurp_file("/proc/$pid/status") =~ /^ShdPnd:\s+[0-9a-f]*[2367abef][0-9a-f]{3}$/m });
				return;
			}
			kill 'CONT', $pid;
		}
		$holder->query('ROLLBACK');
	}
	die 'the worker is not caught';
}

# What is cancelled just before the worker takes new pairs is closed before it
# sleeps.  No timer of PostgreSQL's or of curl's is to wake it afterwards.
subtest 'cancelled in the middle of a turn' => sub {
	create_server($node, 'postgres', 'patient', $sim, connect_timeout => '1h');
	$node->safe_psql('postgres', q(ALTER SYSTEM SET deadlock_timeout = '1h'));
	$node->reload;
	$node->safe_psql('postgres', q(SELECT retro_star_score('turn', 'before', server => 'patient')));
	wait_idle($node);
	my ($holder, $looker, $session) = map { RetroSession->new($node, 'postgres') } 1 .. 3;
	my $pid = worker_pid();

	hold();
	$sim->reset_stats;
	$session->send(q(SELECT retro_star_score('turn', 'cancelled', server => 'patient')));
	$sim->wait_for('running', 1);
	stop_in_catalog($pid, 'patient', $holder, $looker);
	$looker->query("SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	$holder->query('ROLLBACK');
	kill 'CONT', $pid;
	$sim->wait_for('running', 0);
	pass('its request is closed');
	let_go();
	$_->quit for $holder, $looker, $session;
	$node->safe_psql('postgres', 'DROP SERVER patient');
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET deadlock_timeout');
	$node->reload;
};

# A session that knows what a server has become is not told that it was altered
# by a worker that does not know it yet.
subtest 'altered in the middle of a turn' => sub {
	create_server($node, 'postgres', $_, $sim) for qw(first last);
	$node->safe_psql('postgres', "SELECT retro_star_score('turn', 'of $_', server => '$_')") for qw(first last);
	my ($holder, $looker, $session) = map { RetroSession->new($node, 'postgres') } 1 .. 3;
	my $pid = worker_pid();

	# it has looked after the first one
	stop_in_catalog($pid, 'last', $holder, $looker);
	$holder->query(q(ALTER SERVER first OPTIONS (ADD temperature '0.1')));
	$holder->query('COMMIT');
	$session->send(q(SELECT retro_star_score('turn', 'altered', server => 'first')));
	$node->poll_query_until('postgres', 'SELECT waiting = 1 FROM retrostar.stat_queue') or die 'it does not wait';
	kill 'CONT', $pid;
	like($session->result, qr/^\d+$/, 'a score');
	is($session->sqlstate, '00000', 'and no error');
	$_->quit for $holder, $looker, $session;
	$node->safe_psql('postgres', 'DROP SERVER first; DROP SERVER last');
};

# Of servers that were dropped the worker keeps nothing.
subtest 'dropped servers' => sub {
	my $pid;
	my $targets = sub {
		my $from = -s $node->logfile;

		$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($pid)");
		wait_until('it has told', sub { slurp_file($node->logfile, $from) =~ /Grand total/ });
		return scalar(() = slurp_file($node->logfile, $from) =~ /; retrostar target: /g);
	};

	$node->safe_psql('postgres', q(SELECT retro_star_score('dropped', 'before', server => 'gpu')));
	$pid = worker_pid();
	for my $i (1 .. 5)
	{
		create_server($node, 'postgres', 'dropped', $sim);
		$node->safe_psql('postgres', "SELECT retro_star_score('dropped', '$i', server => 'dropped')");
		cmp_ok($targets->(), '>', 1, 'it knows the server') if $i == 1;
		# another claim of it comes when it is gone
		if ($i == 5)
		{
			$node->safe_psql('postgres', 'SELECT retrostar.pause()');
			$node->safe_psql('postgres', "SELECT retro_star_prefetch('late', j::text, server => 'dropped') FROM generate_series(1, 40) j");
		}
		$node->safe_psql('postgres', 'DROP SERVER dropped');
	}
	$node->safe_psql('postgres', 'SELECT retrostar.resume()');
	wait_idle($node);
	is(worker_pid(), $pid, 'the same worker');
	wait_until('it knows the one that is left', sub {
		$node->safe_psql('postgres', "SELECT retro_star_score('left', clock_timestamp()::text, server => 'gpu')");
		return $targets->() == 1;
	});
	pass('nothing is kept');
};

subtest 'such a command is cancelled' => sub {
	new_database('staying');
	prefetch_held('staying', 2);
	my $pid = worker_pid('staying') || die 'there is no worker';
	my $session = RetroSession->new($node, 'postgres');

	# while it waits for a worker that cannot leave at the moment
	kill 'STOP', $pid;
	$session->send('DROP DATABASE staying');
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pid}")
	  or die 'it does not wait';
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	kill 'CONT', $pid;
	let_go();
	# nobody waits for them, so nobody else would see to it that there is a worker
	$node->poll_query_until('staying', 'SELECT count(*) = 2 FROM retrostar.score_cache') or die 'they do not come';
	pass('what the database has in work goes on');
	wait_idle($node, 'staying');
	wait_nobody_in('staying');
	is(sqlstate($node, 'postgres', 'DROP DATABASE staying'), '00000', 'once more');
	$session->quit;
};

subtest 'as a template' => sub {
	# one that does not allow connections
	new_database('mould');
	prefetch_held('mould', 2);
	$node->safe_psql('postgres', 'ALTER DATABASE mould ALLOW_CONNECTIONS false IS_TEMPLATE true');
	wait_nobody_in('mould');
	is(sqlstate($node, 'postgres', 'CREATE DATABASE casting TEMPLATE mould'), '00000', 'without connections');
	let_go();
	$node->safe_psql('postgres', 'ALTER DATABASE mould IS_TEMPLATE false');
	is(sqlstate($node, 'postgres', 'DROP DATABASE mould'), '00000', 'and dropped');
	like($node->safe_psql('casting', q(SELECT retro_star_score('casting', 'iron'))), qr/^\d+$/, 'the copy works');
	wait_idle($node, 'casting');

	# the one that the session is connected to
	prefetch_held('casting', 2);
	wait_nobody_in('casting');
	is(sqlstate($node, 'casting', 'CREATE DATABASE casting2 TEMPLATE casting'), '00000', 'its own database');
	let_go();
	wait_idle($node, 'casting');

	# without the word
	$node->safe_psql('template1', 'CREATE EXTENSION retrostar');
	create_server($node, 'template1', 'gpu', $sim);
	prefetch_held('template1', 2);
	wait_nobody_in('template1');
	is(sqlstate($node, 'postgres', 'CREATE DATABASE casting3'), '00000', 'template1');
	let_go();
	wait_idle($node, 'template1');
	$node->safe_psql('template1', 'DROP EXTENSION retrostar CASCADE');
	for (qw(casting casting2 casting3))
	{
		wait_nobody_in($_);
		$node->safe_psql('postgres', "DROP DATABASE $_");
	}
	ok(all_free(), 'nothing is left in shared memory');
};

# A session in the database is a reason to fail, as always; it loses nothing.
subtest 'not while a session waits' => sub {
	hold();
	new_database('d2');
	my $session = ask_background($node, 'd2', q(SELECT retro_star_score('still', 'here')));
	$sim->wait_for('running', 1);
	is(sqlstate($node, 'postgres', 'ALTER DATABASE d2 RENAME TO d3'), '55006', 'RENAME fails');
	let_go();
	like(finish_background($session), qr/^\d+$/, 'the session gets its score');
	wait_idle($node, 'd2');
};

subtest 'what database and roles have set' => sub {
	new_database('odd');
	$node->safe_psql('postgres', q(
		ALTER DATABASE odd SET default_transaction_read_only = on;
		ALTER DATABASE odd SET default_transaction_isolation = 'serializable';
		ALTER DATABASE odd SET search_path = 'nowhere';
		ALTER DATABASE odd SET client_encoding = 'LATIN1';
		ALTER DATABASE odd SET session_replication_role = 'replica';
		CREATE ROLE nobody;
		ALTER DATABASE odd SET role = 'nobody'));
	is($node->safe_psql('odd', q(SET ROLE NONE; SET search_path = public;
		SHOW transaction_isolation; SHOW transaction_read_only;
		SELECT retro_star_score('odd', i::text) >= 0 FROM generate_series(1, 3) i)),
		"serializable\non\nt\nt\nt", 'scores come');
	$node->poll_query_until('odd', q(SELECT unstored = 0 FROM retrostar.stat_queue))
	  or die 'scores are not stored';
	is($node->safe_psql('odd', q(SET ROLE NONE; SELECT count(*) FROM retrostar.score_cache)), 3,
		'and are stored');
	is(queue($node, 'lost', 'odd'), 0, 'none is lost');
};

subtest 'the cache table is locked' => sub {
	my $lost = queue($node, 'lost');
	$sim->reset_stats;
	hold();
	my $before = ask_background($node, 'postgres', q(SELECT retro_star_score('lock', 'before')));
	$sim->wait_for('running', 1);
	my $holder = RetroSession->new($node, 'postgres');
	$holder->query('BEGIN; LOCK TABLE retrostar.score_cache IN ACCESS EXCLUSIVE MODE');
	let_go();
	like(finish_background($before), qr/^\d+$/, 'who waits gets the score');
	like($holder->query("SELECT retro_star_score('lock', '$_')"), qr/^\d+$/, 'the holder gets scores') for 1 .. 3;
	is($holder->query("SELECT retro_star_score('lock', i::text) IS NOT NULL FROM generate_series(1, 3) i"), "t\nt\nt", 'and again');
	is($sim->stats->{chat}, 4, 'each was sent once');
	is($holder->query('SELECT unstored, lost FROM retrostar.stat_queue'), "4|$lost", 'they wait to be stored');
	$holder->query('COMMIT');
	wait_idle($node);
	is($node->safe_psql('postgres', q(SELECT count(*) FROM generate_series(1, 3) i, retrostar.score_cache
		WHERE key = retrostar.cache_key('lock', i::text))), 3, 'stored after the unlock');

	# One row is locked: another sample for it must wait, its neighbours too, but not for long.
	$holder->query(q(BEGIN; SELECT 1 FROM retrostar.score_cache WHERE key = retrostar.cache_key('lock', '1') FOR UPDATE));
	like($node->safe_psql('postgres', q(SELECT retro_star_score('lock', '1', samples => 2))), qr/^\d+(\.\d+)?$/, 'a row is locked');
	like($node->safe_psql('postgres', "SELECT retro_star_score('lock', 'row $_')"), qr/^\d+$/, 'others go on') for 1 .. 3;
	$holder->query('COMMIT');
	wait_idle($node);
	is($node->safe_psql('postgres', q(SELECT cardinality(scores) FROM retrostar.score_cache
		WHERE key = retrostar.cache_key('lock', '1'))), 2, 'stored after the unlock');
	is(queue($node, 'lost'), $lost, 'none is lost');
	$holder->quit;
};

subtest 'ALTER SERVER and DROP SERVER under load' => sub {
	my $other = start_simulator('--disconnect-ms', '10');
	$sim->reset_stats;
	hold();
	create_server($node, 'postgres', 'moves', $sim);
	my $first = ask_background($node, 'postgres', q(SELECT count(retro_star_score('moves', i::text, server => 'moves')) FROM generate_series(1, 1) i));
	$sim->wait_for('running', 1);
	$node->safe_psql('postgres', "ALTER SERVER moves OPTIONS (SET url '$other->{url}')");
	like($node->safe_psql('postgres', q(SELECT retro_star_score('moves', '2', server => 'moves'))), qr/^\d+$/, 'goes to the new URL');
	is($other->stats->{chat}, 1, 'and nowhere else');
	let_go();
	is(finish_background($first), 1, 'what was in flight ends');
	is($sim->stats->{chat} . ' ' . $other->stats->{chat}, '1 1', 'and is not sent again');

	# The address of an endpoint that is not there any more is forgotten.
	$node->safe_psql('postgres', "ALTER SERVER moves OPTIONS (SET url '$sim->{url},$other->{url}')");
	$sim->control({ hold => JSON::PP::true });
	$other->control({ hold => JSON::PP::true });
	$node->safe_psql('postgres', q(SELECT retro_star_prefetch('moves', i::text, server => 'moves') FROM generate_series(10, 19) i));
	wait_until('ten are in flight', sub { $sim->stats->{running} + $other->stats->{running} == 10 });
	$node->safe_psql('postgres', "ALTER SERVER moves OPTIONS (SET url '$other->{url}')");
	$sim->stop;
	$other->control({ hold => JSON::PP::false });
	is($node->safe_psql('postgres', q(SELECT count(retro_star_score('moves', i::text, server => 'moves')) FROM generate_series(10, 19) i)), 10,
		'an endpoint that is gone is left out');
	$sim = start_simulator('--disconnect-ms', '10', '--hold');
	$node->safe_psql('postgres', "ALTER SERVER gpu OPTIONS (SET url '$sim->{url}')");

	# One in flight, two behind it.
	$node->safe_psql('postgres', "ALTER SERVER moves OPTIONS (SET url '$sim->{url}', ADD max_in_flight '1')");
	my @sessions = map { ask_background($node, 'postgres', "SELECT retro_star_score('drop', '$_', server => 'moves')") } 1 .. 3;
	$sim->wait_for('running', 1);
	wait_until('three wait', sub { queue($node, 'waiters') == 3 });
	# and nothing else happens that would have the worker look
	wait_for_activity(q(query ~ '^1 samples in flight, (0 to be sent again, 2|1 to be sent again, 1|2 to be sent again, 0) pairs waiting$'));
	$node->safe_psql('postgres', 'DROP SERVER moves CASCADE');
	wait_until('one waits', sub { queue($node, 'waiters') == 1 });
	let_go();
	my (@scores, @errors);
	for (@sessions)
	{
		my ($out, $err) = finish_background($_);
		push @scores, $out if $out ne '';
		push @errors, $1 if $err =~ /ERROR: +(\w+):/;
	}
	is("@errors", '42704 42704', 'those behind fail');
	is(scalar @scores, 1, 'the one in flight is answered');
	wait_idle($node);
	is($node->safe_psql('postgres', $balanced), 't', 'counters balance');
};

subtest 'DROP EXTENSION under load' => sub {
	new_database('dropped');
	$node->safe_psql('dropped', "ALTER SERVER gpu OPTIONS (SET url '$sim->{url}')");
	hold();
	my @sessions = map { ask_background($node, 'dropped', "SELECT retro_star_score('dropped', '$_')") } 1 .. 3;
	$sim->wait_for('running', 3);
	$node->safe_psql('dropped', 'DROP EXTENSION retrostar CASCADE');
	let_go();
	like(finish_background($_), qr/^\d+$/, 'who waits gets the score') for @sessions;
	is($node->safe_psql('dropped', 'SELECT 1'), 1, 'no crash');
	$node->safe_psql('dropped', 'CREATE EXTENSION retrostar');
	create_server($node, 'dropped', 'gpu', $sim);
	wait_idle($node, 'dropped');
	like($node->safe_psql('dropped', q(SELECT retro_star_score('dropped', 'again'))), qr/^\d+$/, 'works again');
	wait_idle($node, 'dropped');
	is($node->safe_psql('dropped', q(SELECT count(*) FROM retrostar.score_cache
		WHERE key = retrostar.cache_key('dropped', 'again'))), 1, 'and stores');
	is($node->safe_psql('dropped', $balanced), 't', 'counters balance');

	# In the same place, another table
	hold();
	my $session = ask_background($node, 'dropped', q(SELECT retro_star_score('dropped', 'strange')));
	$sim->wait_for('running', 1);
	$node->safe_psql('dropped', 'ALTER TABLE retrostar.score_cache RENAME COLUMN scores TO points');
	let_go();
	like(finish_background($session), qr/^\d+$/, 'a table that is altered does no harm to who waits');
	$node->poll_query_until('dropped', 'SELECT unstored = 1 FROM retrostar.stat_queue') or die 'it is not answered';
	$node->safe_psql('dropped', 'ALTER TABLE retrostar.score_cache RENAME COLUMN points TO scores');
	wait_idle($node, 'dropped');
	is($node->safe_psql('dropped', q(SELECT count(*) FROM retrostar.score_cache
		WHERE key = retrostar.cache_key('dropped', 'strange'))), 1, 'stored when it is right again');
};

done_testing();
