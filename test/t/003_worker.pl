# The life of the worker: when it comes, when it goes, and what becomes of the
# requests that it had in work.

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
use Test::More;

my $node = new_node('worker', conf => q(
retrostar.worker_idle_timeout = '1h'
retrostar.max_requests = 256
restart_after_crash = on
max_worker_processes = 8
));
my $sim = start_simulator('--disconnect-ms', '10');
my $balanced = q(SELECT asked = answered + failed + cancelled AND pairs = 0 AND waiting = 0 AND
	running = 0 AND unstored = 0 AND waiters = 0 AND text_bytes = 0 FROM retrostar.stat_queue);

create_server($node, 'postgres', 'gpu', $sim);

# What was cut off before is not taken for what is held
sub hold { $sim->wait_for('running', 0); $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }
sub worker_pid { return queue($node, 'worker_pid', @_); }

# In pg_stat_activity of database $db
sub activity
{
	my ($columns, $db) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM pg_stat_activity
		WHERE backend_type = 'retrostar worker' AND datname = '" . ($db // 'postgres') . "'");
}

sub wait_for_activity
{
	my ($condition, $db) = @_;
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'retrostar worker' AND datname = '" . ($db // 'postgres') . "' AND $condition")
	  or die "no worker with $condition";
	return;
}

sub wait_no_worker
{
	$node->poll_query_until('postgres',
		q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'retrostar worker'))
	  or die 'the worker does not leave';
	return;
}

# Waits for the worker, and its pid
sub worker_in_place
{
	my $pid;

	wait_until('there is a worker', sub { ($pid = worker_pid()) ne '' });
	return $pid;
}

# Sends it a signal, and waits until it is gone.  An error may not come at any
# moment, but while it sleeps.
sub end_worker
{
	my ($signal) = @_;
	my $pid = worker_pid() || die 'there is no worker';

	wait_for_activity(q(wait_event_type = 'Extension')) if $signal eq 'FPE';
	kill $signal, $pid;
	wait_until("worker $pid has left", sub { worker_pid() ne $pid });
	return;
}

sub wait_no_worker_of
{
	my ($db) = @_;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'retrostar worker' AND datname = '$db'")
	  or die 'the worker does not leave';
	return;
}

sub set_idle_timeout
{
	my ($value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET retrostar.worker_idle_timeout = '$value'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	$node->poll_query_until('postgres', "SELECT current_setting('retrostar.worker_idle_timeout') = '$value'")
	  or die 'the setting does not change';
	return;
}

# Sessions that were closed may still be there, and a command that needs the
# database for itself waits for five seconds only.
sub wait_nobody_in
{
	my ($db, $of) = @_;
	($of // $node)->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = '$db'")
	  or die "sessions in $db do not end";
	return;
}

# A database with the extension and a server
sub new_database
{
	my ($name) = @_;
	wait_nobody_in('template1');
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION retrostar');
	create_server($node, $name, 'gpu', $sim);
	return;
}

# $n pairs ($far, '1') and so on in flight in a database that nobody waits for
my $far = 'far 0';

sub prefetch_held
{
	my ($db, $n) = @_;
	$far++ if $far =~ s/^far //;
	$far = "far $far";
	hold();
	$sim->reset_stats;
	$node->safe_psql($db, "SELECT retro_star_prefetch('$far', i::text) FROM generate_series(1, $n) i");
	$sim->wait_for('running', $n);
	return;
}

# Nothing of any database is left in shared memory
sub all_free
{
	return $node->safe_psql('postgres', q(SELECT free_requests = 256 AND free_waiters = 1024
		AND text_bytes = 0 FROM retrostar.stat_queue)) eq 't';
}

subtest 'comes on demand' => sub {
	is(worker_pid(), '', 'none at first');
	is($node->safe_psql('postgres', q(SET retrostar.on_miss = skip; SELECT retro_star_score('a', 'b') IS NULL)),
		't', 'on_miss = skip');
	is(activity('count(*)'), 0, 'needs none');

	hold();
	my $session = ask_background($node, 'postgres', q(SELECT retro_star_score('a', 'b')));
	$sim->wait_for('running', 1);
	wait_for_activity(q(state = 'active' AND query ~ '^1 samples? in flight'));
	is(activity('pid'), worker_pid(), 'the view and pg_stat_activity agree');
	is(activity('xact_start IS NULL AND backend_xmin IS NULL AND backend_xid IS NULL'), 't',
		'no transaction is open while a request is in flight');

	# A store in between does not make it look idle.
	my $second = ask_background($node, 'postgres', q(SELECT retro_star_score('a', 'c')));
	$sim->wait_for('running', 2);
	$sim->release(1);
	$node->poll_query_until('postgres', 'SELECT stored = 1 FROM retrostar.stat_cache') or die 'it is not stored';
	wait_for_activity(q(state = 'active' AND query ~ '^1 samples? in flight'));
	pass('active while a request is in flight');
	let_go();
	like(finish_background($session) . ' ' . finish_background($second), qr/^\d+ \d+$/, 'scores');
	wait_for_activity(q(state = 'idle'));
	wait_idle($node);
	is($node->safe_psql('postgres', $balanced), 't', 'counters balance');
};

subtest 'each database has its own' => sub {
	new_database('d1');
	new_database('d2');
	$sim->reset_stats;
	hold();
	my @sessions = map { ask_background($node, $_, q(SELECT retro_star_score('each', 'own'))) } qw(postgres d1 d2);
	$sim->wait_for('running', 3);
	is($node->safe_psql('postgres', q(SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_stat_activity
		WHERE backend_type = 'retrostar worker')), 'd1,d2,postgres', 'three workers');
	is(queue($node, 'pairs', $_), 1, "one pair in $_") for qw(postgres d1 d2);
	let_go();
	my %scores = map { scalar(finish_background($_)) => 1 } @sessions;
	is(scalar keys %scores, 1, 'the same key and seed give the same score');
	is($sim->stats->{chat}, 3, 'databases do not share requests');
	wait_idle($node, $_) for qw(postgres d1 d2);
};

subtest 'leaves when idle' => sub {
	my $pid = worker_pid();
	set_idle_timeout('100ms');
	wait_no_worker();
	is(worker_pid(), '', 'all have left');
	like($node->safe_psql('postgres', q(SELECT retro_star_score('idle', 'again'))), qr/^\d+$/, 'the next one comes');
	wait_no_worker();

	# Not while a request is in flight, though nothing happens.
	prefetch_held('postgres', 1);
	my $pid_in_flight = worker_pid();
	isnt($pid_in_flight, $pid, 'a new one');
	$node->safe_psql('d1', "SELECT $_") for 1 .. 10;
	is(worker_pid(), $pid_in_flight, 'not while a request is in flight');
	let_go();
	wait_idle($node);
	is($sim->stats->{chat}, 1, 'which was sent once');
	wait_no_worker();
	set_idle_timeout('1h');
};

subtest 'SIGTERM while requests are in flight' => sub {
	$sim->reset_stats;
	hold();
	my @sessions = map { ask_background($node, 'postgres', "SELECT retro_star_score('term', '$_')") } qw(a a b);
	$sim->wait_for('running', 2);
	wait_until('all wait', sub { queue($node, 'waiters') == 3 });
	my $pid = worker_pid();
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	$sim->wait_for('aborted', 2);
	$sim->wait_for('running', 2);
	isnt(worker_pid(), $pid, 'another worker serves them');
	let_go();
	my @scores = map { scalar finish_background($_) } @sessions;
	like("@scores", qr/^\d+ \d+ \d+$/, 'all get their scores');
	is($scores[0], $scores[1], 'of one pair the same');
	is($sim->stats->{chat}, 4, 'each pair was sent once a worker');
	wait_idle($node);
	is($node->safe_psql('postgres', $balanced), 't', 'counters balance');

	# Samples that were answered before are not asked for again.
	$sim->reset_stats;
	hold();
	my $session = ask_background($node, 'postgres', q(SELECT retro_star_score('term', 'c', samples => 4)));
	$sim->wait_for('running', 4);
	my $scored = queue($node, 'samples_scored');
	$sim->release(2);
	$node->poll_query_until('postgres', "SELECT samples_scored = $scored + 2 FROM retrostar.stat_queue")
	  or die 'two are not answered';
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
	$sim->wait_for('aborted', 2);
	$sim->wait_for('running', 2);
	let_go();
	like(finish_background($session), qr/^\d+(\.\d+)?$/, 'the mean of four');
	is($sim->stats->{chat}, 6, 'two were asked for again');
	wait_idle($node);
	is($node->safe_psql('postgres', q(SELECT cardinality(scores) FROM retrostar.score_cache
		WHERE key = retrostar.cache_key('term', 'c'))), 4, 'four are stored');

	# What nobody waits for goes on by itself, also after an error (a signal
	# that PostgreSQL makes one).
	for my $end ('TERM', 'FPE')
	{
		prefetch_held('postgres', 3);
		end_worker($end);
		$sim->wait_for('aborted', 3);
		$sim->wait_for('running', 3);
		let_go();
		wait_idle($node);
		is($sim->stats->{chat}, 6, "SIG$end: detached requests go on");
	}

	# What is answered and cannot be stored at the moment has a successor, too.
	my $holder = RetroSession->new($node, 'postgres');
	$holder->query('BEGIN; LOCK TABLE retrostar.score_cache IN ACCESS EXCLUSIVE MODE');
	$holder->query("SELECT retro_star_prefetch('$far', 'late')");
	wait_until('it is answered', sub { $holder->query('SELECT unstored FROM retrostar.stat_queue') == 1 });
	my $first = $holder->query('SELECT worker_pid FROM retrostar.stat_queue');
	kill 'TERM', $first;
	wait_until('another worker comes', sub {
		my $next = $holder->query('SELECT worker_pid FROM retrostar.stat_queue');
		return $next ne '' && $next != $first; });
	$holder->query('COMMIT');
	$holder->quit;
	wait_idle($node);
	is($node->safe_psql('postgres', "SELECT count(*) FROM retrostar.score_cache
		WHERE key = retrostar.cache_key('$far', 'late')"), 1, 'and stores it');
	is($node->safe_psql('postgres', $balanced), 't', 'counters balance');
};

# Workers that achieve nothing come three times by themselves, then when asked.
subtest 'a line of workers' => sub {
	prefetch_held('postgres', 2);
	for my $successor (1 .. 3)
	{
		end_worker('TERM');
		isnt(worker_in_place(), '', "successor $successor");
		$sim->wait_for('aborted', 2 * $successor);
		$sim->wait_for('running', 2);
	}
	end_worker('TERM');
	wait_no_worker_of('postgres');
	is(queue($node, 'waiting'), 2, 'no fourth');
	$sim->wait_for('running', 0);
	$sim->reset_stats;
	my $session = ask_background($node, 'postgres', "SELECT retro_star_score('$far', '1')");
	$sim->wait_for('running', 2);
	let_go();
	like(finish_background($session), qr/^\d+$/, 'who asks calls one');
	wait_idle($node);
	is($node->safe_psql('postgres', $balanced), 't', 'counters balance');
};

# Who waits for room, and for no answer, calls one, too.
subtest 'room for what nobody waits for' => sub {
	my $session = RetroSession->new($node, 'postgres');

	$session->without_clock;
	hold();
	$session->send(q(SELECT count(retro_star_prefetch('room', i::text)) FROM generate_series(1, 100) i));
	$node->poll_query_until('postgres', "SELECT pairs = 64 AND running > 0 AND (SELECT wait_event_type = 'Extension'
		FROM pg_stat_activity WHERE pid = $session->{pid}) FROM retrostar.stat_queue") or die 'it does not wait for room';
	for my $end (1 .. 4)
	{
		worker_in_place();
		end_worker('TERM');
	}
	let_go();
	is($session->result, 100, 'all are asked for');
	$session->quit;
	wait_idle($node);
	is($node->safe_psql('postgres', $balanced), 't', 'counters balance');
};

# What is cancelled just before the worker leaves, which has not seen it yet
subtest 'cancelled while the worker does not look' => sub {
	my ($first, $second, $third) = map { RetroSession->new($node, 'postgres') } 1 .. 3;

	for my $end ('CONT', 'TERM', 'FPE')
	{
		$sim->reset_stats;
		hold();
		$first->send("SELECT retro_star_score('unseen $end', 'cancelled')");
		$second->send("SELECT retro_star_score('unseen $end', 'wanted')");
		$sim->wait_for('running', 2);
		my $pid = stop_asleep($node);
		$node->safe_psql('postgres', "SELECT pg_cancel_backend($first->{pid})");
		$first->result;
		is($first->sqlstate, '57014', 'cancelled');
		# nobody joins what is to be closed
		$third->send("SELECT retro_star_score('unseen $end', 'cancelled')");
		$node->poll_query_until('postgres', 'SELECT waiting = 1 AND waiters = 2 FROM retrostar.stat_queue')
		  or die 'it is not asked for again';
		kill $end, $pid;
		kill 'CONT', $pid;
		$sim->wait_for('aborted', $end eq 'CONT' ? 1 : 2);
		$sim->wait_for('running', 2);
		is(worker_pid() eq $pid ? 'stays' : 'is another', $end eq 'CONT' ? 'stays' : 'is another', "SIG$end: the worker");
		let_go();
		like($_->result, qr/^\d+$/, 'who waits gets a score') for $second, $third;
		is($sim->stats->{chat}, $end eq 'CONT' ? 3 : 4, 'what was cancelled is not sent again');
		wait_idle($node);
		is($node->safe_psql('postgres', $balanced), 't', 'counters balance');
	}
	$_->quit for $first, $second, $third;
};

# A request that is in flight each time that a worker dies of an error is given
# up; its neighbours, which were not, are not.
subtest 'a request that kills workers' => sub {
	$sim->reset_stats;
	hold();
	my $session = ask_background($node, 'postgres', q(SELECT retro_star_score('kills', 'workers')));
	for my $death (1 .. 3)
	{
		$sim->wait_for('running', 1);
		worker_in_place();
		end_worker('FPE');
		$sim->wait_for('aborted', $death);
	}
	my ($out, $err) = finish_background($session);
	is($out, '', 'no score');
	like($err, qr/ERROR: +58000: the retrostar worker ended several times while it scored the pair/, 'it fails');
	like($err, qr/HINT: .*log/, 'with a hint');
	is($sim->stats->{chat}, 3, 'after three times');

	# Not when it was asked to leave.
	$sim->reset_stats;
	$session = ask_background($node, 'postgres', q(SELECT retro_star_score('kills', 'nobody')));
	for my $end (1 .. 5)
	{
		$sim->wait_for('running', 1);
		worker_in_place();
		end_worker('TERM');
		$sim->wait_for('aborted', $end);
	}
	$sim->wait_for('running', 1);
	let_go();
	like(finish_background($session), qr/^\d+$/, 'five that were sent away do not count');
	wait_idle($node);
	is($node->safe_psql('postgres', $balanced), 't', 'counters balance');
};

# Whenever the worker goes, nobody who waits is forgotten.
subtest 'SIGTERM again and again' => sub {
	my $sessions = q(FROM pg_stat_activity WHERE application_name = 'again' AND state = 'active');
	my $ended = 0;
	my $answered;

	$node->safe_psql('postgres', q(CREATE FUNCTION end_workers() RETURNS int LANGUAGE plpgsql AS $$
		DECLARE pid int; ended int := 0; BEGIN FOR i IN 1 .. 10 LOOP
			pid := worker_pid FROM retrostar.stat_queue;
			CONTINUE WHEN pid IS NULL;
			PERFORM pg_terminate_backend(pid);
			LOOP EXIT WHEN (SELECT worker_pid FROM retrostar.stat_queue) IS DISTINCT FROM pid; END LOOP;
			ended := ended + 1;
		END LOOP; RETURN ended; END $$));
	hold();
	my @sessions = map { ask_background($node, 'postgres', "SET application_name = 'again';
		DO \$\$ BEGIN FOR i IN 1 .. 100 LOOP PERFORM retro_star_score('again $_', i::text); END LOOP; END \$\$;
		SELECT 'done'") } 1 .. 4;
	$sim->wait_for('running', 4);
	do
	{
		$answered = queue($node, 'answered');
		$ended += $node->safe_psql('postgres', 'SELECT end_workers()');
		let_go();
		# some time or other a worker must come to work
		$node->poll_query_until('postgres', "SELECT answered > $answered OR NOT EXISTS (SELECT $sessions) FROM retrostar.stat_queue")
		  or die 'sessions wait in vain';
	} while ($node->safe_psql('postgres', "SELECT count(*) $sessions") > 0);
	is(finish_background($_), 'done', 'a session comes through') for @sessions;
	cmp_ok($ended, '>', 0, 'while workers came and went');
	wait_idle($node);
	is($node->safe_psql('postgres', $balanced), 't', 'counters balance');
};

subtest 'a worker that cannot start' => sub {
	my $session = RetroSession->new($node, 'd1');
	$node->safe_psql('postgres', 'ALTER DATABASE d1 ALLOW_CONNECTIONS false');
	is($session->outcome(q(SELECT retro_star_score('no', 'entry'))), '53400', 'is given up');
	like($session->{err}, qr/HINT: .*log/, 'with a hint');
	is($session->query('SELECT waiters FROM retrostar.stat_queue'), 0, 'nobody waits any more');
	$node->safe_psql('postgres', 'ALTER DATABASE d1 ALLOW_CONNECTIONS true');
	like($session->query(q(SELECT retro_star_score('no', 'entry'))), qr/^\d+$/, 'works when it can');
	$session->quit;
	wait_idle($node, 'd1');
};

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

# Somebody cancels what the worker does, as if it were a session
subtest 'the worker itself is cancelled' => sub {
	my $lost = start_simulator('--control-port', '0', '--hold');
	my $from = -s $node->logfile;

	create_server($node, 'postgres', 'lost', $lost, unavailable_timeout => '1d');
	$node->safe_psql('postgres', "SELECT retro_star_prefetch('lost', i::text, server => 'lost') FROM generate_series(1, 6) i");
	$lost->wait_for('running', 6);
	my $pid = worker_pid();
	# it finds both: that it shall cancel, and that all connections are broken
	kill 'STOP', $pid;
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	$lost->{harness}->signal('KILL');
	$lost->stop;
	kill 'CONT', $pid;
	# which it logs, and goes on
	wait_until('it tells of the endpoint', sub { slurp_file($node->logfile, $from) =~ /of server "lost" fails/ });
	$node->safe_psql('postgres', 'DROP SERVER lost');
	wait_idle($node);
	is(worker_pid(), $pid, 'the worker is the same');
	unlike(slurp_file($node->logfile, $from), qr/canceling statement/, 'and had no error');
};

# Endpoints are checked when that is needed most: when they are out of use, or busy.
subtest 'check() of endpoints that take no samples' => sub {
	my $gone = start_simulator('--control-port', '0', '--model', 'm', '--hold');
	my @ask = map { "SELECT retro_star_prefetch('$_', i::text, server => 'gone') FROM generate_series(1, 6) i" } qw(first second);
	my $check = "SELECT endpoint, ok FROM retrostar.check('gone') WHERE endpoint <> 'worker'";
	my $session = RetroSession->new($node, 'postgres');

	create_server($node, 'postgres', 'gone', $gone, unavailable_timeout => '1d', max_in_flight => 6);
	$session->query($ask[0]);
	$gone->wait_for('running', 6);
	# behind pairs of its own session
	$session->query($ask[1]);
	is($session->query($check), "$gone->{url}|t", 'busy');
	is(queue($node, 'waiting'), 6, 'the others wait');
	$gone->{harness}->signal('KILL');
	$gone->stop;
	$node->poll_query_until('postgres', q(SELECT state <> 'closed' FROM retrostar.stat_server WHERE server = 'gone'))
	  or die 'the endpoint is not left out';
	is($session->query($check), "$gone->{url}|f", 'out of use');
	$node->safe_psql('postgres', 'DROP SERVER gone');
	wait_idle($node);
	$session->quit;
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

subtest 'SIGKILL' => sub {
	my $kept = $node->safe_psql('postgres', q(SELECT retro_star_score('kill', 'kept')));
	wait_idle($node);
	# what the store has committed must be on disk: synchronous_commit is off
	$node->safe_psql('postgres', 'CHECKPOINT');
	$sim->reset_stats;
	hold();
	my $session = ask_background($node, 'postgres', q(SELECT retro_star_score('kill', 'lost')));
	$sim->wait_for('running', 1);
	kill 'KILL', worker_pid();
	my ($out, $err) = finish_background($session);
	is($out, '', 'every session is ended');
	let_go();
	wait_accepts($node);
	is(queue($node, 'pairs + waiters'), 0, 'the queue is empty');
	is($node->safe_psql('postgres', q(SELECT retro_star_score('kill', 'kept'))), $kept, 'a stored score remains');
	is($sim->stats->{chat}, 1, 'and is not paid for again');
	like($node->safe_psql('postgres', q(SELECT retro_star_score('kill', 'lost'))), qr/^\d+$/, 'the other is asked again');
	is($sim->stats->{chat}, 2, 'once');
	wait_idle($node);
	ok(all_free(), 'nothing is left in shared memory');
};

# A fast shutdown is no crash.
subtest 'shutdown' => sub {
	$sim->reset_stats;
	my $score = $node->safe_psql('postgres', q(SELECT retro_star_score('shut', 'down')));
	$node->restart;
	is($node->safe_psql('postgres', q(SELECT retro_star_score('shut', 'down'))), $score,
		'what was answered is stored');
	is($sim->stats->{chat}, 1, 'and not asked again');

	prefetch_held('postgres', 3);
	$node->stop('fast');
	pass('requests in flight do not hold it up');
	let_go();
	$node->start;
	is(queue($node, 'pairs'), 0, 'they are gone');
};

$node->stop;

subtest 'no worker slot' => sub {
	# the launcher of logical replication has one, so there is one left
	my $full = new_node('full', conf => "max_worker_processes = 2\nmax_parallel_workers = 0\nretrostar.worker_idle_timeout = '100ms'\n");
	create_server($full, 'postgres', 'gpu', $sim);
	my $no_worker = sub {
		$full->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'retrostar worker'))
		  or die 'the worker does not leave';
	};
	for my $db (qw(blocker going))
	{
		$full->safe_psql('postgres', "CREATE DATABASE $db");
		$full->safe_psql($db, 'CREATE EXTENSION retrostar');
		create_server($full, $db, 'gpu', $sim);
	}

	# Sessions that have all started a worker before wait for one that does
	# it now: it comes when the slot is free.
	my @sessions = map { RetroSession->new($full, 'postgres') } 1 .. 5;
	for (@sessions)
	{
		$_->query("SELECT retro_star_score('early', '$_->{pid}')");
		$no_worker->();
	}
	$sim->reset_stats;
	hold();
	$full->safe_psql('blocker', q(SELECT retro_star_prefetch('block', 'short')));
	$sim->wait_for('running', 1);
	my $ask_late = sub { my ($session) = @_; $session->send("SELECT retro_star_score('late', '$session->{pid}')"); };
	# who tries gives up after five seconds, which may be before the slot is free
	my $ask_again = sub {
		for (grep { $_->done && $_->{err} =~ /could not register a background worker/ } @sessions)
		{
			$_->result;
			$ask_late->($_);
		}
	};
	$ask_late->($_) for @sessions;
	wait_until('all wait', sub { $ask_again->(); queue($full, 'waiters') == 5 });
	let_go();
	wait_until('all are answered', sub { $ask_again->(); !grep { !$_->done } @sessions });
	like($_->result . $_->{err}, qr/^\d+$/, 'a worker comes when a slot is free') for @sessions;
	$_->quit for @sessions;

	hold();
	$sim->reset_stats;
	$no_worker->();
	$full->safe_psql('blocker', q(SELECT retro_star_prefetch('block', 'long')));
	$sim->wait_for('running', 1);
	my ($ret, $out, $err) = $full->psql('postgres', q(SELECT retro_star_score('no', 'slot')),
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/ERROR:  53400:/, 'configuration_limit_exceeded');
	like($err, qr/HINT:  .*max_worker_processes/, 'with a hint');
	is(queue($full, 'pairs + waiters'), 0, 'the pair is not left behind');
	is($full->safe_psql('postgres', q(SET retrostar.on_miss = skip; SELECT retro_star_score('no', 'slot') IS NULL)), 't',
		'skip needs no worker');

	# A session that ends while it looks for a slot leaves nothing behind.  It
	# looks for five seconds: if they were over before, the next one tries.
	my ($session, $end);
	do
	{
		$session = RetroSession->new($full, 'going');
		$session->send(q(SELECT retro_star_score('no', 'slot')));
		wait_until('it looks for a slot', sub { $session->done || queue($full, 'pairs', 'going') == 1 });
		$full->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pid})");
		$end = $session->ended;
	} while ($end eq '53400');
	is($end, '57P01', 'terminated');
	wait_nobody_in('going', $full);
	is(sqlstate($full, 'postgres', "SET statement_timeout = '180s'; DROP DATABASE going"), '00000', 'DROP DATABASE finds no worker');

	# Cancelled while it looks for one
	$session = RetroSession->new($full, 'postgres');
	do
	{
		$session->send(q(SELECT retro_star_score('no', 'slot')));
		wait_until('it looks for a slot', sub { $session->done || queue($full, 'pairs') == 1 });
		$full->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
		$session->result;
	} while ($session->sqlstate eq '53400');
	is($session->sqlstate, '57014', 'cancelled');
	is(queue($full, 'pairs + waiters'), 0, 'the pair is not left behind');
	$session->quit;
	let_go();
	$full->stop;
};

subtest 'not preloaded' => sub {
	my $plain = new_node('plain', preload => 0);
	create_server($plain, 'postgres', 'gpu', $sim);
	my ($ret, $out, $err) = $plain->psql('postgres', q(SELECT retro_star_score('not', 'loaded')),
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/ERROR:  55000:/, 'object_not_in_prerequisite_state');
	like($err, qr/HINT:  .*shared_preload_libraries/, 'with a hint');
	is(sqlstate($plain, 'postgres', $_), '55000', $_)
	  for q(SELECT retro_star_prefetch('not', 'loaded')), 'SELECT retrostar.pause()', 'SELECT * FROM retrostar.stat_queue';
	is($plain->safe_psql('postgres', q(SELECT retro_star_prompt('q', 'd') <> '')), 't', 'prompts can be seen');
	is($plain->safe_psql('postgres', q(SELECT endpoint, ok FROM retrostar.check('gpu'))), 'worker|f', 'check() says so');
	is($plain->safe_psql('postgres', 'CREATE DATABASE x; ALTER DATABASE x RENAME TO y; DROP DATABASE y; SELECT 1'), 1,
		'commands on databases work');
	$plain->stop;
};

done_testing();
