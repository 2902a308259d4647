# What the views say: endpoints, requests, progress, cache; that counters
# balance after everything that can happen to a pair, survive the worker, and
# show nobody what is not his.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use RetroSession;
use RetroTest;
use Test::More;

my $true = JSON::PP::true;
my $false = JSON::PP::false;

my $node = new_node('stats', conf => "retrostar.worker_idle_timeout = '1h'\nretrostar.server = 'gpu'\n");
my $sim = start_simulator('--model', 'm');
my $documents = 0;

# its attempts are counted: none may end for want of time
create_server($node, 'postgres', 'gpu', $sim, connect_timeout => '60s');
$node->safe_psql('postgres', q(
	CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE monitor LOGIN; CREATE ROLE operator LOGIN;
	GRANT pg_read_all_stats TO monitor;
	GRANT USAGE ON FOREIGN SERVER gpu TO alice, bob));

sub sql { return $node->safe_psql('postgres', @_); }
sub hold { $sim->control({ hold => $true }); return; }
sub let_go { $sim->control({ hold => $false }); $sim->release; return; }

# Columns of one endpoint
sub endpoint
{
	my ($columns, $where) = @_;
	return sql("SELECT $columns FROM retrostar.stat_server WHERE " . ($where // "server = 'gpu'"));
}

# A call for a document of its own, with a failure for the simulator
sub call
{
	my ($marker, $more) = @_;
	my $doc = sprintf('document%05d', ++$documents) . (defined $marker ? " [[sim:$marker]]" : '');

	return "retro_star_score('query', \$\$$doc\$\$" . ($more // '') . ")";
}

# Asks, and wants a score, or none
sub ask
{
	my ($marker, $scored, %params) = @_;
	my $user = $params{user} ? "SET ROLE $params{user};" : '';

	is(sql("$user SET retrostar.on_error = 'null'; SELECT " . call($marker, $params{more}) . ' IS NOT NULL'),
		$scored ? 't' : 'f', ($marker // 'well') . ($scored ? ' has a score' : ' has none'));
	return;
}

# Sessions that were closed may still be there, and a command that needs the
# database for itself waits for five seconds only.
sub wait_nobody_in
{
	my ($db) = @_;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = '$db'")
	  or die "sessions in $db do not end";
	return;
}

# What must hold at any moment
sub balanced
{
	my ($name) = @_;

	is(sql(q(SELECT asked = answered + failed + cancelled + waiting + running,
		samples_sent = samples_scored + samples_unscored + samples_failed + samples_cancelled + samples_running,
		lost FROM retrostar.stat_queue)), 't|t|0', "$name: pairs and samples balance");
	is(sql(q(SELECT bool_and(sent = answered + failed + cancelled + in_flight
			AND failed = unreachable + timed_out + pushed_back + refused + server_errors + bad_replies + not_sent
			AND unscored <= answered AND retries <= sent)
		FROM retrostar.stat_server WHERE sent IS NOT NULL)), 't', "$name: attempts balance");
	return;
}

# The same at the end: nothing is in work
sub settled
{
	my ($name) = @_;

	wait_idle($node);
	balanced($name);
	is(sql(q(SELECT asked = answered + failed + cancelled, samples_running, waiting + running
		FROM retrostar.stat_queue)), 't|0|0', "$name: nothing is left");
	is(sql(q(SELECT sum(answered) = (SELECT samples_scored + samples_unscored FROM retrostar.stat_queue)
		FROM retrostar.stat_server)), 't', "$name: each answer was counted once");
	return;
}

subtest 'nothing so far' => sub {
	is(endpoint('endpoint, state, sent, last_error, stats_reset'), "$sim->{url}|unknown|0||", 'an endpoint nobody has asked');
	is(sql('SELECT count(*) FROM retrostar.stat_activity'), 0, 'no requests');
	is(sql('SELECT count(*) FROM retrostar.stat_progress'), 0, 'no statements');
	is(sql('SELECT rows_estimated, hits, misses, stored, store_failures, unstored, oldest_estimated FROM retrostar.stat_cache'),
		'0|0|0|0|0|0|', 'an empty cache');
	is(sql('SELECT asked, samples_sent, stats_reset FROM retrostar.stat_queue'), '0|0|', 'nothing counted');
	# other servers than ours are none of its business
	sql('CREATE FOREIGN DATA WRAPPER other; CREATE SERVER strange FOREIGN DATA WRAPPER other');
	is(sql('SELECT count(*) FROM retrostar.stat_server'), 1, 'only our servers');
	is(sql(q(SELECT count(*) FROM pg_foreign_server s, retrostar.server_state(s.oid) WHERE srvname = 'strange')), 0, 'asked directly, too');
	is(sql('SELECT count(*) FROM retrostar.server_state(0)'), 0, 'no server');
};

subtest 'one of each' => sub {
	ask(undef, 1) for 1 .. 3;
	is(endpoint('state, sent, retries, answered, failed, cancelled, in_flight'), 'up|3|0|3|0|0|0', 'answered');
	is(endpoint(q(in_flight_limit >= 4, prompt_tokens > 0, completion_tokens > 0, last_error IS NULL)), 't|t|t|t', 'the rest');
	is(endpoint(q(latency_mean > '0', latency_p50 > '0', latency_p50 <= latency_p95, latency_p95 <= latency_p99)),
		't|t|t|t', 'latency');
	ask('status=500,times=1', 1);
	is(endpoint('sent, retries, answered, failed, server_errors'), '5|1|4|1|1', 'a server error, tried again');
	like(endpoint('last_error'), qr/^server "gpu" failed: HTTP status 500/, 'it is shown');
	is(endpoint(q(last_error_at BETWEEN now() - interval '5 minutes' AND clock_timestamp())), 't', 'with its time');
	ask('no-score,times=1', 1);
	is(endpoint('sent, retries, answered, unscored'), '7|1|6|1', 'a reply without a score is answered');
	ask('status=400', 0);
	is(endpoint('sent, failed, refused'), '8|2|1', 'refused');
	ask('status=429,times=1', 1);
	is(endpoint('sent, retries, answered, pushed_back'), '10|2|7|1', 'pushed back');
	ask('junk,times=1', 1);
	is(endpoint('sent, retries, answered, bad_replies'), '12|3|8|1', 'a bad reply');
	ask('close,times=1', 1);
	is(endpoint('sent, retries, answered, unreachable'), '14|4|9|1', 'a broken connection');
	is(sql('SELECT asked, answered, failed, samples_sent, samples_scored, samples_unscored, samples_failed
		FROM retrostar.stat_queue'), '9|8|1|10|8|1|1', 'pairs and samples');
	settled('one of each');
};

subtest 'timed out' => sub {
	# time to be sent, also on a slow machine: else it was not reached
	create_server($node, 'postgres', 'hurry', $sim, timeout => '5s', retries => 0);
	ask('silent', 0, more => ", server => 'hurry'");
	is(endpoint('sent, failed, timed_out', q(server = 'hurry')), '1|1|1', 'it is counted');
	like(endpoint('last_error', q(server = 'hurry')), qr/did not answer in time/, 'and shown');
	settled('timed out');
};

# A server may quote a document: others see our words only.
subtest 'whose words' => sub {
	ask('status=400,message=secret,envelope=raw', 0);
	like(sql("SET ROLE monitor; SELECT last_error FROM retrostar.stat_server WHERE server = 'gpu'"),
		qr/refused the request: HTTP status 400: .*secret/, 'pg_read_all_stats reads them');
	is(sql("SET ROLE bob; SELECT last_error FROM retrostar.stat_server WHERE server = 'gpu'"),
		'server "gpu" refused the request: HTTP status 400.', 'others do not');
};

subtest 'cancelled, detached, joined' => sub {
	my $before = endpoint('cancelled');
	hold();
	my $session = RetroSession->new($node, 'postgres');
	my $call = call();
	$session->send("SELECT $call");
	$sim->wait_for('held', 1);
	is(endpoint('in_flight'), 1, 'in flight');
	is(sql('SELECT samples_running FROM retrostar.stat_queue'), 1, 'a sample');
	balanced('in flight');
	sql("SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	wait_until('it is closed', sub { endpoint('cancelled') == $before + 1 });
	settled('cancelled');

	# a session that is ended, while another waits, too
	my @sessions = map { RetroSession->new($node, 'postgres') } 1 .. 2;
	my $joined = sql('SELECT joined FROM retrostar.stat_queue');
	$call = call();
	$_->send("SELECT $call >= 0") for @sessions;
	wait_until('both wait', sub { queue($node, 'waiters') == 2 });
	is(sql("SELECT joined - $joined FROM retrostar.stat_queue"), 1, 'joined');
	is(sql(q(SELECT count(*), max(waiters) FROM retrostar.stat_activity)), '1|2', 'one request, two waiters');
	sql("SELECT pg_terminate_backend($sessions[0]{pid}, 60000)");
	balanced('a session ended');
	# detached
	sql("SELECT retro_star_prefetch('query', 'detached')");
	let_go();
	is($sessions[1]->result, 't', 'the other has its score');
	settled('joined and detached');
	$_->quit for $sessions[1], $session;
};

subtest 'sets' => sub {
	sql(q(SELECT count(*) FROM retro_star_rerank('query', (SELECT array_agg(i) FROM generate_series(1, 12) i),
		(SELECT array_agg('set ' || i) FROM generate_series(1, 12) i), passes => '12@1,4@3')));
	settled('passes');
	is(sqlstate($node, 'postgres', q(SELECT count(*) FROM retro_star_rerank('query', ARRAY[1, 2],
		ARRAY['good', 'bad [[sim:status=400]]']))), '38000', 'a set that fails');
	settled('failed set');
	is(sqlstate($node, 'postgres', q(SELECT retro_star_score('query', 'many', samples => 8) +
		retro_star_score('query', 'poison [[sim:status=400]]', samples => 8))), '38000', 'several samples');
	settled('samples');
};

subtest 'the worker ends' => sub {
	my $before = endpoint('sent, answered');
	hold();
	my $session = RetroSession->new($node, 'postgres');
	$session->send('SELECT ' . call(undef, ', samples => 3') . ' >= 0');
	$sim->wait_for('held', 3);
	my $samples = sql('SELECT samples_cancelled FROM retrostar.stat_queue');
	my $attempts = endpoint('cancelled');
	# the next one sends them again
	sql('SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
	wait_until('they are sent again', sub { sql('SELECT samples_cancelled FROM retrostar.stat_queue') == $samples + 3
		&& sql('SELECT samples_running FROM retrostar.stat_queue') == 3 });
	is(endpoint('cancelled'), $attempts + 3, 'attempts of the first are cancelled');
	balanced('another worker');
	let_go();
	is($session->result, 't', 'the score comes');
	$session->quit;
	settled('another worker');

	my $counts = endpoint('sent, answered, failed, cancelled, latency_p50, last_error');
	my $state = 'state, in_flight, in_flight_limit';
	like(endpoint($state), qr/^up\|0\|\d+$/, 'it knows the endpoint');
	sql('SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
	wait_until('it has left', sub { queue($node, 'worker_pid IS NULL') eq 't' });
	like(endpoint($state), qr/^unknown\|0\|\d+$/, 'without a worker nobody does, but the limit is not forgotten');
	is(endpoint('sent, answered, failed, cancelled, latency_p50, last_error'), $counts, 'what it counted stays');
	settled('no worker');
	ask(undef, 1);
	is(endpoint("sent - split_part('$counts', '|', 1)::int"), 1, 'and is counted on');
};

subtest 'all at once' => sub {
	my @modes = ('none', 'none', 'none', 'status=500,times=1', 'status=500', 'status=400', 'no-score,times=1', 'no-score', 'junk,times=2',
		'close,times=1', 'status=503,times=2', 'delay=20');
	my $modes = join(', ', map { "'[[sim:$_]]'" } @modes);
	# a server of its own: its limit will be low in the end
	create_server($node, 'postgres', 'crowd', $sim);
	# single flight: each document is wanted by two sessions
	my $docs = "(SELECT 'load ' || i || ' ' || (ARRAY[$modes])[1 + i % " . scalar(@modes) . "] AS doc FROM generate_series(%d, %d) i) AS v";
	my @sessions = map { RetroSession->new($node, 'postgres') } 1 .. 6;
	my $answered = sql('SELECT answered FROM retrostar.stat_queue');
	hold();
	for my $i (0 .. $#sessions)
	{
		my $from = sprintf($docs, 60 * int($i / 2), 60 * int($i / 2) + 119);

		$sessions[$i]->query("SET retrostar.on_error = 'null'; SET retrostar.server = 'crowd'");
		$sessions[$i]->send($i == 5 ? "SELECT count(retro_star_prefetch('load', doc)) FROM $from" :
			$i == 4 ? "SELECT count(score) FROM retro_star_rerank('load', (SELECT array_agg(doc) FROM $from),
				(SELECT array_agg(doc) FROM $from), passes => 'adaptive:1,2', top_n => 3)" :
			"SELECT count(retro_star_score('load', doc, samples => " . (1 + $i % 2) . ")) FROM $from");
	}
	# a few at a time, so that they are not done before the last round
	for my $round (1 .. 3)
	{
		wait_until("round $round", sub { $sim->release(8); queue($node, 'answered') >= $answered + 40 * $round });
		balanced("round $round");
		sql("SELECT pg_cancel_backend($sessions[0]{pid})") if $round == 1;
		sql('SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue WHERE worker_pid IS NOT NULL') if $round == 2;
		sql("SELECT pg_terminate_backend($sessions[1]{pid}, 60000)") if $round == 3;
	}
	let_go();
	$sessions[$_]->result for 0, 2 .. 5;
	$sessions[$_]->quit for 0, 2 .. 5;
	settled('all at once');
};

subtest 'states' => sub {
	my $other = start_simulator('--model', 'm', '--control-port', '0');
	create_server($node, 'postgres', 'flaky', $other, unavailable_timeout => '10min', connect_timeout => '1s');
	ask(undef, 1, more => ", server => 'flaky'");
	my $state = q(state FROM retrostar.stat_server WHERE server = 'flaky');
	is(sql("SELECT $state"), 'up', 'well');
	# what goes over the connection that is still open stays there
	$other->control({ listen => $false, hold => $true });
	my $session = RetroSession->new($node, 'postgres');
	$session->send(q(SELECT count(retro_star_score('query', 'flaky ' || i, server => 'flaky')) FROM generate_series(1, 8) i));
	$node->poll_query_until('postgres', "SELECT state IN ('down', 'trying') FROM retrostar.stat_server WHERE server = 'flaky'")
	  or die 'the breaker does not open';
	cmp_ok(endpoint('unreachable', q(server = 'flaky')), '>=', 3, 'after three that nobody took');
	is(sql(q(SET ROLE bob; SELECT last_error ~ '^connection to server "flaky" failed: .' FROM retrostar.stat_server WHERE server = 'flaky')),
		't', 'what the network says is for everybody');
	$node->poll_query_until('postgres', q(SELECT query ~ '^\d+ samples in flight, [1-8] to be sent again, \d+ pairs waiting$'
		FROM pg_stat_activity WHERE backend_type = 'retrostar worker')) or die 'the worker does not say so';
	pass('the worker says what it does');
	balanced('open');
	$other->control({ listen => $true, hold => $false });
	$other->release;
	is($session->result, 8, 'it is well again');
	is(sql("SELECT $state"), 'up', 'up again');
	$session->quit;

	create_server($node, 'postgres', 'wrong', $other, model => 'another');
	ask('model=another', 0, more => ", server => 'wrong'");
	is(endpoint('state, refused', q(server = 'wrong')), 'misconfigured|1', 'misconfigured');
	sql(q(ALTER SERVER wrong OPTIONS (SET model 'm')));
	ask(undef, 1, more => ", server => 'wrong'");
	is(endpoint('state, refused, answered', q(server = 'wrong')), 'up|1|1', 'until the server is altered');

	# an endpoint that goes takes its counters with it, another one has its own
	sql("ALTER SERVER wrong OPTIONS (SET url '$sim->{url}, $other->{url}')");
	ask(undef, 1, more => ", server => 'wrong'") for 1 .. 8;
	is(endpoint('count(*), sum(answered)', q(server = 'wrong')), '2|9', 'two endpoints');
	balanced('two endpoints');
	sql("ALTER SERVER wrong OPTIONS (SET url '$sim->{url}')");
	is(endpoint('endpoint, failed', q(server = 'wrong')), "$sim->{url}|0", 'one of them');
	sql("ALTER SERVER wrong OPTIONS (SET url '$other->{url}, $sim->{url}')");
	is(endpoint('sum(answered)', q(server = 'wrong')), '9', 'which comes back');
	settled('states');
};

subtest 'requests in work' => sub {
	$sim->reset;
	hold();
	my $session = RetroSession->new($node, 'postgres', user => 'alice');
	my $mine = 'usename, server, state, samples, in_flight, attempts, endpoint, waiters, detached';
	$session->send(q(SELECT retro_star_score('q', 'text of a document', samples => 2) >= 0));
	$sim->wait_for('held', 2);
	is(sql("SELECT pid = $session->{pid}, $mine FROM retrostar.stat_activity"),
		"t|alice|gpu|running|2|2|2|$sim->{url}|1|f", 'in flight');
	is(sql(q(SELECT age BETWEEN '0' AND '5 minutes' FROM retrostar.stat_activity)), 't', 'its age');
	for my $reader ('monitor', 'alice')
	{
		is(sql("SET ROLE $reader; SELECT $mine FROM retrostar.stat_activity"),
			"alice|gpu|running|2|2|2|$sim->{url}|1|f", "$reader sees it");
	}
	is(sql("SET ROLE bob; SELECT pid = $session->{pid}, $mine, age FROM retrostar.stat_activity"), 't|alice' . '|' x 9,
		'bob sees who asks, no more');
	is(sql(q(SELECT count(*) FROM retrostar.stat_activity a WHERE a::text ~ 'document')), 0, 'no text in any case');

	$node->poll_query_until('postgres', q(SELECT query = '2 samples in flight, 0 to be sent again, 0 pairs waiting'
		FROM pg_stat_activity WHERE backend_type = 'retrostar worker')) or die 'the worker does not say so';
	pass('the worker says so, although nothing happens any more');

	# a session's waiting
	my $extension = sql('SHOW server_version_num') >= 170000 ? 'RetrostarScore' : 'Extension';
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' AND wait_event = '$extension'
		FROM pg_stat_activity WHERE pid = $session->{pid}") or die 'the session does not wait';
	pass('its wait event');
	$node->poll_query_until('postgres', q(SELECT wait_event_type = 'Extension' AND wait_event = ')
		. ($extension eq 'Extension' ? 'Extension' : 'RetrostarWorker') . q(' FROM pg_stat_activity WHERE backend_type = 'retrostar worker'))
	  or die 'the worker does not wait';
	pass('and the worker\'s');

	sql('SELECT retrostar.pause()');
	sql(q(SELECT retro_star_prefetch('q', 'ahead')), extra_params => [ '-U', 'bob' ]);
	$node->poll_query_until('postgres', 'SELECT pid IS NULL FROM retrostar.stat_activity WHERE detached') or die 'the session does not end';
	is(sql(q(SELECT usename, state, attempts, endpoint IS NULL, waiters, detached FROM retrostar.stat_activity WHERE detached)),
		'bob|queued|0|t|0|t', 'a detached request of a session that is gone');
	sql('SELECT retrostar.resume()');
	let_go();
	is($session->result, 't', 'scores');
	wait_idle($node);
	is(sql('SELECT count(*) FROM retrostar.stat_activity'), 0, 'nothing in work');
	$session->quit;
};

subtest 'progress' => sub {
	my $columns = 'wanted, known, joined, sent, pending, done, failed, not_awaited';
	sql(q(SELECT count(retro_star_score('q', 'row ' || i)) FROM generate_series(1, 5) i));
	wait_idle($node);
	is(sql('SELECT count(*) FROM retrostar.stat_progress'), 0, 'nobody has work');
	hold();
	my $session = RetroSession->new($node, 'postgres', user => 'alice');
	$session->query(q(SET retrostar.on_error = 'null'));
	$session->send(q(SELECT count(retro_star_score('q', doc)) FROM (SELECT CASE WHEN i = 20 THEN '' WHEN i > 18 THEN 'row 18'
		ELSE 'row ' || i END FROM generate_series(1, 20) i) AS v (doc)));
	$sim->wait_for('held', 13);
	# behind the last that is sent are two rows more
	$node->poll_query_until('postgres', 'SELECT wanted = 19 AND failed = 1 FROM retrostar.stat_progress') or die 'not all rows are read';
	is(sql("SELECT pid = $session->{pid}, datname, usename, $columns, started BETWEEN now() - interval '5 minutes' AND clock_timestamp()
		FROM retrostar.stat_progress"), 't|postgres|alice|19|5|0|13|13|5|1|0|t', 'a statement that runs');
	is(sql('SELECT rows_estimated, end_estimated > started FROM retrostar.stat_progress'), '20|t', 'how many there will be, and until when');
	$sim->release(4);
	$node->poll_query_until('postgres', 'SELECT running = 9 FROM retrostar.stat_queue') or die 'four are not answered';
	is(sql("SET ROLE bob; SELECT datname, usename, $columns, started FROM retrostar.stat_progress"), 'postgres|alice' . '|' x 9, 'masked');
	is(sql('SET ROLE bob; SELECT rows_estimated, end_estimated FROM retrostar.stat_progress'), '|', 'estimates, too');
	is(sql("SET ROLE monitor; SELECT wanted, done + pending FROM retrostar.stat_progress"), '19|18', 'not for pg_read_all_stats');
	is($node->safe_psql('template1', 'CREATE EXTENSION retrostar; SELECT datname, wanted FROM retrostar.stat_progress; DROP EXTENSION retrostar CASCADE'),
		'postgres|19', 'from another database');
	let_go();
	is($session->result, 19, 'it ends');
	is(sql('SELECT count(*) FROM retrostar.stat_progress'), 0, 'and is gone');

	# a cursor that stays open, what is skipped, and what nobody waits for
	$session->query(q(BEGIN; SET LOCAL retrostar.on_miss = 'skip';
		DECLARE c CURSOR FOR SELECT retro_star_score('q', d) FROM (VALUES ('row 1'), ('not known')) AS v (d)));
	$session->query('FETCH ALL FROM c');
	is(sql("SELECT $columns FROM retrostar.stat_progress"), '2|1|0|0|0|1|0|1', 'skipped');
	$session->query('COMMIT');
	is(sql('SELECT count(*) FROM retrostar.stat_progress'), 0, 'until the cursor is closed');
	hold();
	$session->query(q(BEGIN; DECLARE c CURSOR FOR SELECT retro_star_prefetch('q', d) FROM (VALUES ('row 1'), ('later')) AS v (d)));
	$session->query('FETCH ALL FROM c');
	is(sql("SELECT $columns FROM retrostar.stat_progress"), '2|1|0|1|0|1|0|1', 'prefetched');
	is(sql('SELECT rows_estimated, end_estimated FROM retrostar.stat_progress'), '|', 'how many is not known');
	$session->query('COMMIT');

	# errors that are caught inside of a statement
	$session->query(q(RESET retrostar.on_error; CREATE FUNCTION pg_temp.inner() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		BEGIN PERFORM retro_star_score('q', 'bad [[sim:status=400]]'); EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN PERFORM retro_star_score('q', ''); EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN PERFORM retro_star_score('q', repeat('too long', 5000000)); EXCEPTION WHEN OTHERS THEN NULL; END;
		PERFORM retro_star_score('q', 'held'); RETURN 1; END $$));
	$session->send("SELECT retro_star_score('q', 'row 1') + pg_temp.inner() > 0");
	$node->poll_query_until('postgres', "SELECT wanted = 5 AND sent = 2 AND pending = 1 FROM retrostar.stat_progress WHERE pid = $session->{pid}")
	  or die 'it does not go on';
	is(sql("SELECT $columns FROM retrostar.stat_progress"), '5|1|0|2|1|1|3|0', 'behind errors');
	let_go();
	$session->result;

	hold();
	$session->send(q(SELECT retro_star_rerank('q', '{1,2,3}'::int[], '{row 1,of a set,of a set as well}')));
	$node->poll_query_until('postgres', "SELECT rows_estimated = 3 AND wanted <= 3 FROM retrostar.stat_progress WHERE pid = $session->{pid}")
	  or die 'how many documents a set has is not known';
	let_go();
	$session->result;
	$session->quit;
	settled('progress');
};

subtest 'the cache' => sub {
	my ($hits, $misses) = split /\|/, sql('SELECT hits, misses FROM retrostar.stat_cache');
	sql(q(SELECT count(retro_star_score('q', d)) FROM (VALUES ('row 1'), ('row 2'), ('row 2'), ('new')) AS v (d)));
	is(sql("SELECT hits - $hits, misses - $misses FROM retrostar.stat_cache"), '2|1', 'hits and misses, of sessions that are gone');
	wait_idle($node);
	sql('VACUUM ANALYZE retrostar.score_cache');
	is(sql(q(SELECT rows_estimated = (SELECT count(*) FROM retrostar.score_cache), table_bytes > 0, index_bytes > 0, reasoning_bytes >= 0,
		oldest_estimated = (SELECT min(updated) FROM retrostar.score_cache), unstored FROM retrostar.stat_cache)), 't|t|t|t|t|0', 'the table');
	is(sql(q(SET ROLE bob; SELECT rows_estimated > 0 AND oldest_estimated IS NOT NULL FROM retrostar.stat_cache)), 't', 'for everybody');
	is(sql(q(SELECT table_bytes + index_bytes + reasoning_bytes = pg_total_relation_size('retrostar.score_cache') FROM retrostar.stat_cache)),
		't', 'sizes add up');

	my $stored = sql('SELECT stored FROM retrostar.stat_cache');
	my $session = RetroSession->new($node, 'postgres');
	sql(q(CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON retrostar.score_cache EXECUTE FUNCTION refuse()));
	ask(undef, 1);
	$node->poll_query_until('postgres', 'SELECT store_failures > 0 FROM retrostar.stat_cache') or die 'it is stored';
	is(sql("SELECT stored - $stored, unstored FROM retrostar.stat_cache"), '0|1', 'a store that fails');
	sql('DROP FUNCTION refuse CASCADE');
	$session->quit;
	wait_idle($node);
	is(sql("SELECT stored - $stored, unstored FROM retrostar.stat_cache"), '1|0', 'and works again');
};

subtest 'reset' => sub {
	is(sqlstate($node, 'postgres', 'SET ROLE operator; SELECT retrostar.stats_reset()'), '42501', 'not for everybody');
	sql('GRANT EXECUTE ON FUNCTION retrostar.stats_reset() TO operator');
	hold();
	my $session = RetroSession->new($node, 'postgres');
	$session->send('SELECT ' . call(undef, ', samples => 2') . ' + ' . call() . ' >= 0');
	$sim->wait_for('held', 2);
	sql('SET ROLE operator; SELECT retrostar.stats_reset()');
	balanced('reset');
	is(sql('SELECT asked = waiting + running, answered, failed, cancelled, joined, samples_sent = samples_running FROM retrostar.stat_queue'),
		't|0|0|0|0|t', 'what is in work counts as asked');
	is(endpoint('sent = in_flight, answered, failed, last_error, latency_mean'), 't|0|0||', 'endpoints');
	like(endpoint('state, in_flight_limit'), qr/^up\|\d+$/, 'what is current is left alone');
	is(sql('SELECT hits, misses, stored, store_failures FROM retrostar.stat_cache'), '0|0|0|0', 'the cache');
	is(sql(q(SELECT count(*) FROM retrostar.stat_queue q, retrostar.stat_server s, retrostar.stat_cache c
		WHERE server = 'gpu' AND q.stats_reset BETWEEN now() - interval '5 minutes' AND now() AND s.stats_reset = q.stats_reset AND c.stats_reset = q.stats_reset)),
		1, 'when it was');
	let_go();
	is($session->result, 't', 'scores come');
	$session->quit;
	settled('reset');
	is(sql('SELECT hits, misses >= 0, stored FROM retrostar.stat_cache'), '0|t|2', 'counted since');
};

subtest 'more endpoints than places' => sub {
	my $many = new_node('many', conf => "retrostar.worker_idle_timeout = '1h'\nretrostar.server = 'gpu'\n");
	for my $n (1 .. 5)
	{
		create_server($many, 'postgres', "s$n", join(',', map { "unix:/nowhere/$n/$_" } 1 .. 64), unavailable_timeout => '200ms');
		is(sqlstate($many, 'postgres', "SELECT retro_star_score('q', 'd', server => 's$n')"), '08006', "server $n");
	}
	wait_idle($many);
	my $counted = q(SELECT server, count(sent), sum(sent) > 0, count(*) FROM retrostar.stat_server GROUP BY 1 ORDER BY 1);
	is($many->safe_psql('postgres', $counted), join("\n", map { "s$_|64|t|64" } 1 .. 4) . "\ns5|0||64", 'the fifth finds no place');
	is($many->safe_psql('postgres', q(SELECT DISTINCT state FROM retrostar.stat_server WHERE server = 's5')), 'unknown', 'and says so');
	is($many->safe_psql('postgres', q(SELECT samples_sent = samples_failed FROM retrostar.stat_queue)), 't', 'samples are counted all the same');
	# the next worker's endpoints take the places of those without one
	$many->safe_psql('postgres', 'SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
	wait_until('the worker has left', sub { queue($many, 'worker_pid IS NULL') eq 't' });
	is(sqlstate($many, 'postgres', "SELECT retro_star_score('q', 'd', server => 's5')"), '08006', 'again');
	is($many->safe_psql('postgres', "SELECT count(sent) FROM retrostar.stat_server WHERE server = 's5'"), 64, 'now it is counted');
	is($many->safe_psql('postgres', "SELECT count(sent) FROM retrostar.stat_server WHERE server <> 's5'"), 192, 'others gave way');
	# endpoints that were taken out of their server give way, too
	my $others = join(',', map { "unix:/nowhere/5/x$_" } 1 .. 64);
	$many->safe_psql('postgres', "ALTER SERVER s5 OPTIONS (SET url '$others')");
	is(sqlstate($many, 'postgres', "SELECT retro_star_score('q', 'e', server => 's5')"), '08006', 'altered');
	is($many->safe_psql('postgres', "SELECT count(sent) FROM retrostar.stat_server WHERE server = 's5'"), 64, 'its new ones are counted');
	$many->stop;
};

# A copy of the database, whose server has the same OID, and which shares a
# bucket of the map with it
sub twin_oid
{
	my $hash = sub {
		my ($h) = @_;
		$h ^= $h >> 16;
		$h = ($h * 0x85ebca6b) & 0xffffffff;
		$h ^= $h >> 13;
		$h = ($h * 0xc2b2ae35) & 0xffffffff;
		return ($h ^ $h >> 16) & 0xffff;
	};
	my $like = $hash->(sql(q(SELECT oid FROM pg_database WHERE datname = 'postgres')));
	my $oid = 100_000;

	$oid++ while $hash->($oid) != $like;
	return $oid;
}

subtest 'another database' => sub {
	my $columns = 'sent, answered, failed, cancelled';
	my $activity = 'SELECT count(*), sum(waiters) FROM retrostar.stat_activity';
	my $lookups = 'SELECT hits, misses FROM retrostar.stat_cache';

	settled('before');
	$node->poll_query_until('template1', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = 'postgres'))
	  or die 'sessions do not end';
	$node->safe_psql('template1', 'CREATE DATABASE gone TEMPLATE postgres OID ' . twin_oid());
	is($node->safe_psql('gone', "SELECT state, $columns FROM retrostar.stat_server WHERE server = 'gpu'"), 'unknown|0|0|0|0', 'nothing is counted there');

	my ($counts, $looked) = (endpoint($columns), sql($lookups));
	hold();
	my $there = RetroSession->new($node, 'gone');
	$there->send(q(SELECT retro_star_score('q', 'of both') >= 0));
	$sim->wait_for('held', 1);
	is(sql($activity), '0|', 'its requests are not shown here');
	is($node->safe_psql('gone', $activity), '1|1', 'but there');
	is($node->safe_psql('gone', q(SELECT retro_star_score('q', 'row 1') >= 0)), 't', 'what is known');
	is($node->safe_psql('gone', $lookups), '1|1', 'is counted there');
	is(sql($lookups), $looked, 'and not here');
	$node->safe_psql('gone', 'SELECT retrostar.stats_reset()');
	is(endpoint($columns), $counts, 'a reset leaves others alone');

	# the same pair, by the same server
	my $here = RetroSession->new($node, 'postgres');
	$here->send(q(SELECT retro_star_score('q', 'of both') >= 0));
	$sim->wait_for('held', 2);
	is($node->safe_psql('gone', $activity), '1|1', 'no request of another database is joined');
	let_go();
	is($_->result, 't', 'a score') for $here, $there;
	$_->quit for $here, $there;
	isnt(endpoint($columns), $counts, 'counted here');
	is($node->safe_psql('gone', "SELECT $columns FROM retrostar.stat_server WHERE server = 'gpu'"), '1|1|0|0', 'and there');
	wait_idle($node, 'gone');
	wait_nobody_in('gone');
	sql('DROP DATABASE gone');
	settled('another database');
};

# shared memory is made anew after a crash
subtest 'a crash' => sub {
	$node->stop('immediate');
	$node->start;
	is(endpoint('state, sent'), 'unknown|0', 'endpoints');
	is(sql('SELECT asked, samples_sent FROM retrostar.stat_queue'), '0|0', 'pairs');
	is(sql('SELECT hits, misses FROM retrostar.stat_cache'), '0|0', 'cache');
	ask(undef, 1);
	settled('a crash');
};

$node->stop;
done_testing();
