# Statements that end before their answers come.

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
use RetroQueue;
use Test::More;

start_all('cancel');

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
		wait_until('a row comes', sub { $sim->release(1); RetroSession::read_some($session->{harness}); $session->{out} =~ /mark/ });
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

done_testing();
