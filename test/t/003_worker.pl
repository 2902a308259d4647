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
use RetroWorker;
use Test::More;

start_all('worker');

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
	$node->poll_query_until('postgres', q(SELECT state <> 'up' FROM retrostar.stat_server WHERE server = 'gone'))
	  or die 'the endpoint is not left out';
	is($session->query($check), "$gone->{url}|f", 'out of use');
	$node->safe_psql('postgres', 'DROP SERVER gone');
	wait_idle($node);
	$session->quit;
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
