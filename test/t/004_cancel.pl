# Statements that end before their answers come, and a queue that is full.

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

my $node = new_node('cancel', conf => q(
retrostar.worker_idle_timeout = '1h'
retrostar.max_requests = 64
retrostar.shared_memory = '4MB'
client_connection_check_interval = '10ms'
));
my $sim = start_simulator('--disconnect-ms', '5', '--log', '0');
my $pairs = 0;

create_server($node, 'postgres', 'gpu', $sim);


# What was cut off before is neither counted nor taken for what is held
sub hold
{
	$sim->wait_for('running', 0);
	$sim->reset_stats;
	$sim->control({ hold => JSON::PP::true });
	return;
}

sub let_go { $sim->control({ hold => JSON::PP::false }); return; }
sub pause { $node->safe_psql('postgres', 'SELECT retrostar.pause()'); return; }
sub resume { $node->safe_psql('postgres', 'SELECT retrostar.resume()'); return; }
sub new_session { return RetroSession->new($node, 'postgres', @_); }
sub cancel { my ($s) = @_; $node->safe_psql('postgres', "SELECT pg_cancel_backend($s->{pid})"); return; }

# A call for a pair that is new
sub new_pair
{
	my ($more) = @_;
	$pairs++;
	return "retro_star_score('cancel', 'document $pairs'" . ($more // '') . ')';
}

sub wait_queue
{
	my ($condition) = @_;
	$node->poll_query_until('postgres', "SELECT $condition FROM retrostar.stat_queue")
	  or die "waited in vain for $condition: " . queue($node, 'stat_queue');
	return;
}

# The session waits for an answer, or for room
sub wait_asleep
{
	my ($session) = @_;
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pid}")
	  or die 'it does not wait';
	return;
}

# Nothing is in work, and nothing is kept for it
sub all_free
{
	my ($name) = @_;
	wait_queue('pairs = 0');
	is($node->safe_psql('postgres', q(SELECT asked = answered + failed + cancelled AND waiting = 0 AND running = 0
		AND unstored = 0 AND waiters = 0 AND free_requests = 64 AND free_waiters = 256 AND text_bytes = 0
		FROM retrostar.stat_queue)), 't', "$name: nothing is left");
	return;
}

# Ways to end a statement, and the SQLSTATE that the client sees
my %ways = (
	'pg_cancel_backend' => sub {
		my ($session) = @_;
		cancel($session);
		$session->result;
		is($session->sqlstate, '57014', 'query_canceled');
	},
	'statement_timeout' => sub {
		my ($session) = @_;
		$session->result;
		is($session->sqlstate, '57014', 'query_canceled');
	},
	'pg_terminate_backend' => sub {
		my ($session) = @_;
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pid})");
		is($session->ended, '57P01', 'admin_shutdown');
	},
	'killed client' => sub {
		my ($session) = @_;
		$session->kill_client;
		$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $session->{pid}")
		  or die 'the session does not end';
	});

# Sends a call; true when its pair is in this state
sub comes_to
{
	my ($session, $call, $state) = @_;
	my $there;

	hold();
	$session->send("SELECT $call");
	wait_until("it is $state", sub {
		$there = $state eq 'queued' ? queue($node, 'waiting = 1 AND waiters = 1') eq 't' : $sim->stats->{held} == 1;
		return $there || $session->done;
	});
	return $there;
}

for my $way (sort keys %ways)
{
	subtest $way => sub {
		for my $state ('queued', 'in flight')
		{
			my $session = new_session();
			my $call = new_pair();
			my $timeout = $way eq 'statement_timeout' ? 500 : 0;
			pause() if $state eq 'queued';
			$session->query("SET statement_timeout = $timeout");
			# with more time, if that was over before we saw it
			until (comes_to($session, $call, $state))
			{
				$session->result;
				$session->query('SET statement_timeout = ' . ($timeout *= 2));
				$call = new_pair();
				wait_queue('pairs = 0');
				let_go();
				$sim->wait_for('connections', 0);
			}
			$ways{$way}($session);
			$sim->wait_for('aborted', 1) if $state eq 'in flight';
			all_free("$way, $state");
			resume();
			let_go();
			is($sim->stats->{chat}, $state eq 'queued' ? 0 : 1, 'what was queued is never sent');
			like($session->query("RESET statement_timeout; SELECT $call"), qr/^\d+$/, 'the session works on')
			  if $session->{harness};
			$session->quit;
			wait_idle($node);
		}
	};
}

subtest 'subtransactions' => sub {
	# A statement in an EXCEPTION block: what it asked for goes at once.
	my $session = new_session();
	my ($first, $second) = (new_pair(), new_pair());
	hold();
	$session->send("DO \$\$ BEGIN
		BEGIN PERFORM $first; EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'caught'; END;
		PERFORM $second; END \$\$");
	$sim->wait_for('running', 1);
	cancel($session);
	$sim->wait_for('aborted', 1);
	$sim->wait_for('chat', 2);
	wait_queue('pairs = 1');
	pass('only the next one is in work');
	let_go();
	$session->result;
	is($session->sqlstate, '00000', 'the block goes on');
	like($session->{err}, qr/caught/, 'after its handler');
	all_free('EXCEPTION block');

	# An expression belongs to the whole block.
	$first = new_pair();
	hold();
	$session->send("DO \$\$ DECLARE s float8; BEGIN
		BEGIN s := $first; EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'caught'; END; END \$\$");
	$sim->wait_for('running', 1);
	cancel($session);
	$session->result;
	is($session->sqlstate, '00000', 'an expression');
	$sim->wait_for('aborted', 1);
	let_go();
	all_free('expression');

	# Savepoints
	$first = new_pair();
	hold();
	$session->query('BEGIN; SAVEPOINT s');
	$session->send("SELECT $first");
	$sim->wait_for('running', 1);
	cancel($session);
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	$sim->wait_for('aborted', 1);
	all_free('savepoint');
	let_go();
	$session->query('ROLLBACK TO s');
	like($session->query("SELECT $first"), qr/^\d+$/, 'asked again in the same transaction');
	$session->query('COMMIT');
	$session->quit;
	wait_idle($node);
};

subtest 'others wait for the same pair' => sub {
	for my $way ('pg_cancel_backend', 'pg_terminate_backend', 'killed client')
	{
		for my $state ('queued', 'in flight')
		{
			my ($maker, $other) = (new_session(), new_session());
			my $call = new_pair();
			hold();
			pause() if $state eq 'queued';
			$maker->send("SELECT $call");
			wait_queue('waiters = 1');
			$sim->wait_for('running', 1) if $state eq 'in flight';
			$other->send("SELECT $call");
			wait_queue('waiters = 2');
			$ways{$way}($maker);
			wait_queue('waiters = 1');
			resume();
			let_go();
			like($other->result, qr/^\d+$/, "$way, $state: the other gets its score");
			is($sim->stats->{chat} . ' ' . $sim->stats->{aborted}, '1 0', 'one request, not cut off');
			$_->quit for $maker, $other;
			wait_idle($node);
			all_free("$way, $state");
		}
	}

	# One that wanted more samples goes: those of the other remain.
	my ($few, $many) = (new_session(), new_session());
	my $call = new_pair();
	(my $three = $call) =~ s/\)$/, samples => 3)/;
	hold();
	$few->send("SELECT $call");
	$sim->wait_for('running', 1);
	$many->send("SELECT $three");
	$sim->wait_for('running', 3);
	cancel($many);
	$many->result;
	is($sim->stats->{aborted}, 0, 'nothing is cut off while somebody waits');
	$sim->release(1);
	like($few->result, qr/^\d+$/, 'the other has what it wanted');
	$sim->wait_for('aborted', 2);
	let_go();
	wait_idle($node);
	all_free('more samples');
	is($node->safe_psql('postgres', qq(SELECT cardinality(scores) FROM retrostar.score_cache
		WHERE key = retrostar.cache_key('cancel', 'document $pairs'))), 1, 'what was answered is stored');
	$_->quit for $few, $many;
};

subtest 'detached requests go on' => sub {
	for my $state ('queued', 'in flight')
	{
		my ($asker, $joiner) = (new_session(), new_session());
		my $call = new_pair();
		(my $prefetch = $call) =~ s/score/prefetch/;
		hold();
		pause() if $state eq 'queued';
		is($asker->query("SELECT $prefetch"), 'f', 'asked for');
		$sim->wait_for('running', 1) if $state eq 'in flight';
		$joiner->send("SELECT $call");
		wait_queue('waiters = 1');
		cancel($joiner);
		$joiner->result;
		is($joiner->sqlstate, '57014', 'who joined is cancelled');
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($asker->{pid})") if $state eq 'queued';
		$asker->kill_client if $state eq 'in flight';
		wait_queue('waiters = 0 AND pairs = 1');
		resume();
		let_go();
		wait_idle($node);
		is($node->safe_psql('postgres', "SELECT $prefetch"), 't', "$state: it is known");
		is($sim->stats->{chat} . ' ' . $sim->stats->{aborted}, '1 0', 'one request, not cut off');
		$_->quit for $asker, $joiner;
		all_free("detached, $state");
	}
};

# A session that ended leaves its place to another, and nothing of its share.
subtest 'the share of a session that is gone' => sub {
	my $big = q(repeat('large ', 250000));

	for my $n (1 .. 4)
	{
		my $session = new_session();
		pause();
		is($session->query("SET statement_timeout = '60s'; SELECT retro_star_prefetch('gone $n', $big)"), 'f', 'asked for');
		$session->quit;
		$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $session->{pid}")
		  or die 'the session does not end';
		resume();
		wait_idle($node);
	}
	all_free('gone');
};

# Answers without a place in the table have one in the map only as long as
# nobody needs it.
subtest 'a queue full of answers that cannot be stored' => sub {
	my $holder = new_session();
	my $last = new_session();

	$sim->reset_stats;
	$last->query(q(SET statement_timeout = '60s'));
	$holder->query('BEGIN; LOCK TABLE retrostar.score_cache IN SHARE MODE');
	pause();
	$node->safe_psql('postgres', "SELECT retro_star_prefetch('no table $_', i::text) FROM generate_series(1, 16) i") for 1 .. 4;
	$last->send(q(SELECT retro_star_score('no table', 'last')));
	wait_asleep($last);
	is(queue($node, 'waiters'), 0, 'no room');
	resume();
	like($last->result . $last->{err}, qr/^\d+$/, 'who waits for room takes the place of one that is answered');
	$holder->query('COMMIT');
	wait_idle($node);
	is($sim->stats->{chat}, 65, 'each was sent once');
	$_->quit for $holder, $last;
	all_free('not stored');
};

# A pair that has failed is asked for again, though somebody has not heard of it yet.
subtest 'a failure that is not taken' => sub {
	my ($idle, $other) = map { new_session() } 1 .. 2;
	my $bad = q('bad [[sim:status=400,times=1]]');

	like($idle->query(q(SELECT retro_star_score('taken', 'good'))), qr/^\d+$/, 'a pair that is known');
	$idle->query("BEGIN; DECLARE c CURSOR FOR SELECT retro_star_score('taken', d) FROM (VALUES ('good'), ($bad)) AS v (d)");
	like($idle->query('FETCH 1 FROM c'), qr/^\d+$/, 'a row');
	wait_queue('waiting + running = 0 AND waiters = 1');
	like($other->query("SELECT retro_star_score('taken', $bad)"), qr/^\d+$/, 'another asks anew');
	is($idle->outcome('FETCH 1 FROM c'), '38000', 'the failure comes to who has asked');
	$_->quit for $idle, $other;
	wait_idle($node);
	all_free('not taken');
};

# A pair that has failed needs none of its other samples.
subtest 'one of several samples fails' => sub {
	my $session = new_session();

	$sim->wait_for('running', 0);
	$sim->reset_stats;
	$sim->control({ fail => [ { mode => 'hold', match => 'one of three', times => 2 },
		{ mode => 'status', status => 400, match => 'one of three' } ] });
	is($session->outcome(q(SELECT retro_star_score('fails', 'one of three', samples => 3))), '38000', 'the pair fails');
	$sim->wait_for('aborted', 2);
	pass('the others are closed');
	$sim->control({ fail_clear => JSON::PP::true });
	$session->quit;
	wait_idle($node);
	all_free('one fails');
};

subtest 'more pairs than the queue holds' => sub {
	$sim->reset_stats;
	my @sessions = map { new_session() } 1 .. 5;
	my $query = q(SELECT count(retro_star_score('full', i::text)) FROM generate_series(1, 500) i);
	$_->send($query) for @sessions[0 .. 2];
	$sessions[$_]->send(qq(SELECT count(retro_star_score('full $_', i::text)) FROM generate_series(1, 300) i)) for 3, 4;
	is($_->result . $_->{err}, '500', 'all come') for @sessions[0 .. 2];
	is($_->result . $_->{err}, '300', 'of others too') for @sessions[3, 4];
	is($sim->stats->{chat}, 1100, 'each was sent once');
	wait_idle($node);
	all_free('full');

	# A session has a share, and can be cancelled while it waits for room.
	pause();
	my ($full, $other) = @sessions;
	$full->send(q(SELECT count(retro_star_prefetch('share', i::text)) FROM generate_series(1, 100) i));
	wait_queue('pairs = 16');
	wait_asleep($full);
	$other->send(q(SELECT retro_star_score('share', 'other')));
	wait_queue('waiters = 1 AND pairs = 17');
	cancel($full);
	$full->result;
	is($full->sqlstate, '57014', 'cancelled while it waits for room');
	is(queue($node, 'pairs'), 17, 'what it had asked for remains');
	resume();
	like($other->result, qr/^\d+$/, 'another is not held up');
	wait_idle($node);
	all_free('share');

	# Terminated while it waits for room; what it waits for goes, the rest too.
	pause();
	$full->send(q(SELECT count(retro_star_score('share again', i::text)) FROM generate_series(1, 100) i));
	wait_queue('pairs = 16');
	wait_asleep($full);
	$ways{'pg_terminate_backend'}($full);
	all_free('terminated');
	resume();
	$_->quit for @sessions;
};

# Cursors that are left open hold the answers to rows that were read ahead.
subtest 'sessions that do not take their answers' => sub {
	my @idle = map { new_session() } 1 .. 16;
	my $last = new_session();

	$sim->reset_stats;
	like($last->query(q(SELECT retro_star_score('idle', 'known'))), qr/^\d+$/, 'a pair that is known');
	wait_idle($node);
	for my $n (0 .. $#idle)
	{
		$idle[$n]->query("BEGIN; SET LOCAL statement_timeout = '60s'; DECLARE c CURSOR FOR SELECT retro_star_score('idle',
			CASE WHEN i <= 12 THEN 'known' ELSE '$n ' || i END) FROM generate_series(1, 16) i");
		is(() = $idle[$n]->query('FETCH 12 FROM c') =~ /^\d+$/mg, 12, 'rows of a cursor');
	}
	wait_queue('waiting + running + unstored = 0');
	is(queue($node, 'waiters'), 48, 'three quarters of the places are taken');
	$last->query(q(SET statement_timeout = '60s'));
	is($last->query(q(SELECT count(retro_star_score('idle', 'last ' || i)) FROM generate_series(1, 100) i)), 100, 'others are served');
	is(() = $_->query('FETCH ALL FROM c') =~ /^\d+$/mg, 4, 'and the cursors go on') for @idle;
	is($sim->stats->{chat}, 1 + 100 + 64, 'each pair was sent once');
	$_->query('COMMIT') for @idle;
	$_->quit for @idle, $last;
	all_free('cursors left open');
};

subtest 'large documents' => sub {
	my $big = q(repeat(md5(i::text), 32 * 1024));	# 1 MB
	my @sessions = map { new_session() } 1 .. 3;
	$sim->reset_stats;
	$sessions[$_]->send(qq(SELECT count(retro_star_score('big $_', $big)) FROM generate_series(1, 12) i)) for 0 .. 2;
	is($_->result . $_->{err}, '12', 'documents of 1 MB') for @sessions;
	is($sim->stats->{chat}, 36, 'each was sent once');
	wait_idle($node);
	all_free('big');
	is($sessions[0]->outcome(q(SELECT retro_star_score('big', repeat('too large ', 300000)))), '54000', 'too large for the shared memory');
	like($sessions[0]->{err}, qr/DETAIL:  .*2048 kB.*HINT:  .*retrostar\.shared_memory/s, 'with a hint');
	all_free('too large');

	# Room that a statement leaves is taken at once, though nothing else
	# happens: not only when all or a certain number of places are free.
	$_->quit for @sessions;
	for my $way ('pg_cancel_backend', 'pg_terminate_backend')
	{
		my ($first, $second, $third, $small) = map { new_session() } 1 .. 4;
		pause();
		$third->without_clock;
		$small->send("SELECT retro_star_score('room $way', 'small')");
		wait_queue('waiters = 1');
		$first->send("SELECT retro_star_score('room $way', repeat('first ', 300000))");
		wait_queue('waiters = 2');
		$second->send("SELECT retro_star_score('room $way', repeat('second ', 250000))");
		wait_queue('waiters = 3');
		$third->send("SELECT retro_star_score('room $way', repeat('third ', 300000))");
		wait_asleep($third);
		is(queue($node, 'waiters'), 3, 'no room for a third');
		my $worker = stop_asleep($node);
		$ways{$way}($first);
		wait_queue('waiters = 3');
		pass('another takes its place');
		kill 'CONT', $worker;
		resume();
		like($_->result, qr/^\d+$/, 'scores come') for $small, $second, $third;
		$_->quit for $first, $second, $third, $small;
		wait_idle($node);
		all_free("room, $way");
	}
};

# Many sessions that want the same pairs: then there may be places, but no way
# to wait for them.
subtest 'more interests than there are' => sub {
	my $set = q(SELECT count(score) FROM retro_star_rerank('interests', (SELECT array_agg(i) FROM generate_series(1, 16) i),
		(SELECT array_agg(i::text) FROM generate_series(1, 16) i), passes => '1'%s));
	my @sessions = map { new_session() } 1 .. 15;
	my ($hasty, $last) = map { new_session() } 1 .. 2;
	my $deadline = 1;

	pause();
	$sim->reset_stats;
	$last->without_clock;
	$_->send(sprintf($set, '')) for @sessions;
	wait_queue('waiters = 240');
	# it is not the worker that tells who waits for room
	my $worker = stop_asleep($node);
	# with more time, if that was over before we saw it
	for (;;)
	{
		my $all;
		$hasty->send(sprintf($set, ", deadline => '$deadline s'"));
		wait_until('all are taken', sub { $all = queue($node, 'free_waiters = 0') eq 't'; return $all || $hasty->done; });
		last if $all;
		is($hasty->result, 0, 'no scores in time');
		$deadline *= 2;
	}
	$last->send(q(SELECT retro_star_score('interests', 'another')));
	is($hasty->result, 0, 'one gives up');
	wait_queue('waiters = 241 AND waiting = 17');
	pass('and another has its place');
	kill 'CONT', $worker;
	resume();
	is($_->result, 16, 'all scores') for @sessions;
	like($last->result, qr/^\d+$/, 'of the last, too');
	is($sim->stats->{chat}, 17, 'each pair was sent once');
	$_->quit for @sessions, $hasty, $last;
	wait_idle($node);
	all_free('interests');
};

subtest 'a big statement and a small one' => sub {
	$node->safe_psql('postgres', q(ALTER SERVER gpu OPTIONS (ADD max_in_flight '4')));
	my ($big, $small) = (new_session(), new_session());
	hold();
	$big->send(q(SELECT count(retro_star_score('much', i::text)) FROM generate_series(1, 100) i));
	$sim->wait_for('running', 4);
	wait_queue('pairs = 16');
	$small->send(q(SELECT count(retro_star_score('little', i::text)) FROM generate_series(1, 2) i));
	wait_queue('pairs = 18');
	my $released = 0;
	# until its pairs are answered; who reads the answers may be slower
	while (queue($node, "(SELECT count(*) FROM retrostar.stat_activity WHERE pid = $small->{pid})") > 0)
	{
		$sim->release(1);
		$released++;
		$sim->wait_for('completed', $released);
		$sim->wait_for('running', 4);
	}
	is($small->result, 2, 'the small one is served');
	cmp_ok($released, '<=', 24, "after $released answers, long before the big one");
	let_go();
	is($big->result, 100, 'the big one too');
	$_->quit for $big, $small;
	$node->safe_psql('postgres', 'ALTER SERVER gpu OPTIONS (DROP max_in_flight)');
	wait_idle($node);
	all_free('big and small');
};

subtest 'cursors' => sub {
	my $session = new_session();
	my $n = 0;
	for my $end ('CLOSE c', 'SELECT 1/0', 'ROLLBACK', 'CLOSE ALL')
	{
		$n++;
		hold();
		$session->query("BEGIN; DECLARE c CURSOR FOR SELECT retro_star_score('cursor $n', i::text) FROM generate_series(1, 30) i");
		is(queue($node, 'pairs'), 0, 'nothing is asked for before the first row');
		$session->send('FETCH 1 FROM c');
		$sim->wait_for('running', 1);
		wait_until('a row comes', sub { $sim->release(1); $session->{harness}->pump_nb; $session->{out} =~ /mark/ });
		like($session->result, qr/^\d+$/, 'a row');
		$session->query($end);
		all_free("cursor, $end");
		$session->query('ROLLBACK');
		let_go();
	}
	# Left open
	hold();
	$session->query("BEGIN; DECLARE c CURSOR FOR SELECT retro_star_score('cursor open', i::text) FROM generate_series(1, 30) i");
	$session->send('FETCH 1 FROM c');
	$sim->wait_for('running', 1);
	cancel($session);
	$session->result;
	is($session->sqlstate, '57014', 'FETCH is cancelled');
	all_free('FETCH');
	let_go();
	is($session->outcome('FETCH 1 FROM c'), '25P02', 'the transaction is aborted');
	$session->query('ROLLBACK');
	# Over the end of the transaction
	is($session->query("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT retro_star_score('cursor hold', i::text) FROM generate_series(1, 30) i;
		COMMIT; SELECT 'committed'"), 'committed', 'WITH HOLD');
	is(() = $session->query('FETCH ALL FROM c') =~ /^\d+$/mg, 30, 'all rows');
	$session->quit;
	wait_idle($node);
	all_free('cursors');
};

subtest 'prepared statements' => sub {
	my $session = new_session();
	$session->query(q(PREPARE p(text) AS SELECT retro_star_score('prepared', $1)));
	like($session->query("EXECUTE p('$_')"), qr/^\d+$/, 'EXECUTE') for 1 .. 7;
	hold();
	$session->send(q(EXECUTE p('cancelled')));
	$sim->wait_for('running', 1);
	cancel($session);
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	$sim->wait_for('aborted', 1);
	all_free('EXECUTE');
	let_go();
	like($session->query(q(EXECUTE p('cancelled'))), qr/^\d+$/, 'and again');
	$session->quit;
	wait_idle($node);
};

subtest 'the leader of a parallel query' => sub {
	my $session = new_session();
	$session->query(q(CREATE TABLE docs AS SELECT i, 'document ' || i AS body FROM generate_series(1, 3000) i;
		ANALYZE docs; ALTER TABLE docs SET (parallel_workers = 2)));
	$session->query('SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0');
	my $query = q(SELECT count(retro_star_score('parallel', body)) FROM docs WHERE i % 60 = 0);
	like($session->query("EXPLAIN (COSTS OFF) $query"), qr/Gather/, 'it is one');
	hold();
	$session->send($query);
	$sim->wait_for('running', 1);
	cancel($session);
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	all_free('parallel');
	$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker'))
	  or die 'parallel workers do not end';
	let_go();
	is($session->query($query), 50, 'and again');
	$session->quit;
	wait_idle($node);
};

subtest 'a procedure that commits' => sub {
	my $session = new_session();
	$session->query(q(CREATE TABLE scored (i int, score float8);
		CREATE PROCEDURE score_all() LANGUAGE plpgsql AS $$
		DECLARE s float8;
		BEGIN
			FOR n IN 1 .. 5 LOOP
				s := retro_star_score('procedure', n::text);
				INSERT INTO scored VALUES (n, s);
				COMMIT;
			END LOOP;
		END $$));
	hold();
	$session->send('CALL score_all()');
	for my $n (1 .. 3)
	{
		$sim->wait_for('chat', $n);
		$sim->wait_for('held', 1);
		$sim->release(1) if $n < 3;
	}
	cancel($session);
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	is($session->query('SELECT count(*) FROM scored'), 2, 'what was committed remains');
	$sim->wait_for('aborted', 1);
	wait_queue('pairs = 0');
	let_go();
	$session->query('TRUNCATE scored');
	$sim->reset_stats;
	is($session->outcome('CALL score_all()'), '00000', 'and again');
	is($session->query('SELECT count(score) FROM scored'), 5, 'with all scores');
	is($sim->stats->{chat}, 3, 'of which two were known');
	$session->quit;
	wait_idle($node);
	all_free('procedure');
};

subtest 'a set whose next samples find no room in time' => sub {
	my $session = new_session();
	my $set = q(SELECT count(score), sum(samples) FROM retro_star_rerank('room', (SELECT array_agg(i) FROM generate_series(1, 20) i),
		(SELECT array_agg(i::text) FROM generate_series(1, 20) i), passes => '%s', deadline => '%s'));
	is($session->query(sprintf($set, 1, '1 h')), '20|20', 'the first ones are known');
	wait_idle($node);
	hold();
	is($session->query(sprintf($set, '20@1,20@3', '1 s')), '20|20', 'and stay known');
	let_go();
	$sim->release;
	wait_idle($node);
	$session->quit;
};

done_testing();
