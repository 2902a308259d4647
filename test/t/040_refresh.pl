# retrostar.refresh(): the cache is warmed without a snapshot, then the view
# is refreshed; who may, what runs as whom, and what becomes of failures.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

# A session may have 16 pairs in work.
my $node = new_node('refresh', conf => "retrostar.max_requests = 64\nmax_prepared_transactions = 0\n");
my $sim = start_simulator('--disconnect-ms', '10');

create_server($node, 'postgres', 'gpu', $sim, retries => 0, temperature => 0, max_in_flight => 64);
$node->safe_psql('postgres', q(
	CREATE TABLE doc (id int PRIMARY KEY, body text NOT NULL);
	INSERT INTO doc SELECT i, 'document ' || i FROM generate_series(1, 10) i;
	CREATE MATERIALIZED VIEW sky AS SELECT id, retro_star_score('sky', body) AS score FROM doc WITH NO DATA));

sub hold { $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }
sub sql { my ($sql, @more) = @_; return $node->safe_psql('postgres', $sql, @more); }

# CALL in the background, as soon as that session is known in pg_stat_activity
# Until it waits: what is answered before the pass has come so far does not stop it
sub sleeps
{
	my ($session) = @_;

	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pid}")
	  or die 'it does not sleep';
	return;
}

sub call_background
{
	my ($view) = @_;
	my $session = RetroSession->new($node, 'postgres');
	$session->send("CALL retrostar.refresh('$view')");
	return $session;
}

sub last_run
{
	my ($view, $columns) = @_;
	return sql("SELECT $columns FROM retrostar.refresh_log WHERE matview = '$view'::regclass ORDER BY run DESC LIMIT 1");
}

sub locks { return sql(q(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')); }

subtest 'only what has changed costs requests' => sub {
	sql(q(CALL retrostar.refresh('sky')));
	is($sim->stats->{chat}, 10, 'a request for each document');
	is(sql('SELECT count(score) FROM sky'), 10, 'the view has scores');
	is(last_run('sky', 'status, sent, failed, skipped, message, finished >= started'), 'done|10|0|0||t', 'the log');
	sql(q(CALL retrostar.refresh('sky')));
	is($sim->stats->{chat}, 10, 'again: none');
	is(last_run('sky', 'status, sent'), 'done|0', 'the log');
	sql(q(UPDATE doc SET body = 'edited' WHERE id = 3; INSERT INTO doc VALUES (11, 'new'); DELETE FROM doc WHERE id = 1));
	sql(q(CALL retrostar.refresh('sky')));
	is($sim->stats->{chat}, 12, 'one edited, one new');
	is(sql('SELECT count(score), min(id), max(id) FROM sky'), '10|2|11', 'the view follows');
	is(locks(), 0, 'no lock is left');
};

subtest 'no snapshot while the model works, in slices' => sub {
	sql(q(INSERT INTO doc SELECT i, 'slice ' || i FROM generate_series(101, 188) i));
	$sim->reset_stats;
	hold();
	my $session = call_background('sky');
	for my $slice (1, 2)
	{
		# half of the answers start the next pass
		$sim->wait_for('running', 16);
		$node->poll_query_until('postgres', "SELECT sent = 8 + 8 * $slice FROM retrostar.refresh_log WHERE status = 'running'")
		  or die 'no progress in the log';
		sleeps($session);
		is(sql("SELECT state, backend_xmin IS NULL, backend_xid IS NULL FROM pg_stat_activity WHERE pid = $session->{pid}"),
			'active|t|t', "slice $slice: neither snapshot nor transaction id");
		is(sql("SELECT count(*) FROM pg_locks WHERE pid = $session->{pid} AND relation = 'sky'::regclass"), 0, 'the view is not locked');
		$sim->release(8);
	}
	$sim->wait_for('running', 16);
	let_go();
	$session->result;
	is($session->sqlstate, '00000', 'done');
	is($sim->stats->{chat}, 88, 'a request for each new document');
	is($sim->stats->{peak_running}, 16, 'never more than a share of the queue');
	is(last_run('sky', 'status, sent'), 'done|88', 'the log');
	is(sql('SELECT count(*), count(score) FROM sky'), '98|98', 'the view has all');
	$session->quit;
};

# There is nothing to wait for then but room; after that, for the answers.
# The gate lets the query run again when there is room for all.
subtest 'a queue that is full of what others ask for' => sub {
	sql(q(CREATE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN true; END $$;
		CREATE MATERIALIZED VIEW late AS SELECT i, retro_star_score('late', i::text) AS score FROM generate_series(1, 4) i WHERE gate() WITH NO DATA));
	wait_idle($node);
	hold();
	my @others = map { RetroSession->new($node, 'postgres') } 1 .. 4;
	$others[$_]->send("SELECT count(score) FROM retro_star_rerank('other $_', (SELECT array_agg(i) FROM generate_series(1, 16) i),
		(SELECT array_agg(i::text) FROM generate_series(1, 16) i), passes => '1')") for 0 .. 3;
	$node->poll_query_until('postgres', 'SELECT free_requests = 0 FROM retrostar.stat_queue') or die 'the queue is not full';
	my $session = call_background('late');
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pid}")
	  or die 'it does not wait';
	my $gate = RetroSession->new($node, 'postgres');
	$gate->query('SELECT pg_advisory_lock(7)');
	sql("SELECT pg_cancel_backend($others[0]{pid})");
	$others[0]->result;
	is($others[0]->sqlstate, '57014', 'one of them gives up');
	$node->poll_query_until('postgres', 'SELECT free_requests = 16 FROM retrostar.stat_queue') or die 'there is no room';
	$gate->query('SELECT pg_advisory_unlock(7)');
	$node->poll_query_until('postgres', q(SELECT sent = 4 FROM retrostar.refresh_log WHERE status = 'running'))
	  or die 'no progress in the log';
	is(sql("SELECT count(*) FROM pg_locks WHERE pid = $session->{pid} AND relation = 'late'::regclass"), 0, 'the view is not locked');
	let_go();
	$session->result;
	is($session->sqlstate, '00000', 'done');
	is(sql('SELECT count(score) FROM late'), 4, 'the view has all');
	is(last_run('late', 'status, sent'), 'done|4', 'each was asked for once');
	is($_->result, 16, 'the others have theirs') for @others[1 .. 3];
	$_->quit for $session, $gate, @others;
	sql('DROP MATERIALIZED VIEW late; DROP FUNCTION gate()');
};

subtest 'overlapping runs' => sub {
	sql(q(INSERT INTO doc VALUES (201, 'overlap')));
	hold();
	$sim->reset_stats;
	my $session = call_background('sky');
	$sim->wait_for('running', 1);
	my ($ret, $out, $err) = $node->psql('postgres', q(CALL retrostar.refresh('sky')));
	is($ret, 0, 'the second is no error');
	like($err, qr/NOTICE: +skipped: a refresh of "sky" still runs/, 'but skipped');
	# another view is another matter
	sql(q(CREATE MATERIALIZED VIEW other AS SELECT id, retro_star_score('sky', body) AS score FROM doc WHERE id < 5 WITH NO DATA;));
	sql(q(CALL retrostar.refresh('other')));
	is(last_run('other', 'status'), 'done', 'another view is not held up');
	is($sim->stats->{chat}, 1, 'nothing was sent twice');
	let_go();
	$session->result;
	$session->quit;
	is(last_run('sky', 'status, skipped'), 'done|1', 'the log counts what was skipped');
	sql('DROP MATERIALIZED VIEW other');
};

subtest 'readers' => sub {
	my $reader = RetroSession->new($node, 'postgres');
	$reader->query('BEGIN; SELECT count(*) FROM sky');
	sql(q(CREATE INDEX ON sky (id)));
	is(sqlstate($node, 'postgres', q(SET lock_timeout = '1ms'; CALL retrostar.refresh('sky'))), '55P03',
		'without a unique index the view is locked');
	is(last_run('sky', 'status'), 'failed', 'which the log says');
	$reader->query('COMMIT');
	for my $index ('(id) WHERE id > 0', '((id + 1))', '(id)')
	{
		my ($timeout, $state) = $index eq '(id)' ? ('3min', '00000') : ('1ms', '55P03');
		sql("DROP INDEX IF EXISTS one; CREATE UNIQUE INDEX one ON sky $index");
		$reader->query('BEGIN; SELECT count(*) FROM sky');
		is(sqlstate($node, 'postgres', "SET lock_timeout = '$timeout'; CALL retrostar.refresh('sky')"),
			$state, "with a unique index $index");
		$reader->query('COMMIT');
	}
	$reader->quit;
	is(locks(), 0, 'no lock is left');
};

subtest 'a server that fails' => sub {
	sql(q(INSERT INTO doc SELECT i, 'failing ' || i FROM generate_series(301, 340) i));
	$sim->reset_stats;
	# one bad document: what was sent with it is answered
	$sim->control({ fail => [ { mode => 'status', status => 400, match => 'failing 320' } ] });
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('sky'))), '38000', 'on_error = error');
	is(last_run('sky', q(status, failed, message ~ 'refused')), 'failed|1|t', 'the log');
	is(locks(), 0, 'no lock is left');
	# what came after it may have been given up with an answer on the way
	$node->poll_query_until('postgres', 'SELECT pairs = 0 FROM retrostar.stat_queue');
	my $first = sql(q(SELECT count(*) FROM doc JOIN retrostar.score_cache ON key = retrostar.cache_key('sky', body) WHERE id BETWEEN 301 AND 340));
	cmp_ok($first, '>=', 19, 'what came before is answered and stored');

	# NULL, one warning, and one attempt
	$sim->reset_stats;
	my ($ret, $out, $err) = $node->psql('postgres', q(SET retrostar.on_error = 'null'; CALL retrostar.refresh('sky')));
	is($ret, 0, 'on_error = null');
	is(() = $err =~ /WARNING: +1 pair could not be scored and is NULL/g, 1, 'one warning');
	is($sim->stats->{errors}, 1, 'the bad document was tried once');
	is($sim->stats->{completed}, 39 - $first, 'only what was missing was asked for');
	is(last_run('sky', q(status, failed, message ~ 'refused')), 'done|1|t', 'the log');
	is(sql('SELECT count(*) FROM sky WHERE score IS NULL'), 1, 'its score is NULL');

	$sim->control({ fail_clear => JSON::PP::true });
	$sim->reset_stats;
	sql(q(CALL retrostar.refresh('sky')));
	is($sim->stats->{chat}, 1, 'the next run asks for the missing one');
	is(sql('SELECT count(*) FROM sky WHERE score IS NULL'), 0, 'no score is missing');

	# nobody answers
	sql(q(INSERT INTO doc SELECT i, 'dead ' || i FROM generate_series(341, 380) i));
	sql(q(ALTER SERVER gpu OPTIONS (ADD unavailable_timeout '200ms')));
	$sim->reset_stats;
	$sim->control({ loading => JSON::PP::true });
	# what fails makes room: not before the slice is full
	sql('SELECT retrostar.pause()');
	my $session = call_background('sky');
	$node->poll_query_until('postgres', q(SELECT sent = 16 FROM retrostar.refresh_log WHERE status = 'running')) or die 'no slice';
	sql('SELECT retrostar.resume()');
	$session->result;
	is($session->sqlstate, '08006', 'a dead server');
	$session->quit;
	is(last_run('sky', 'status, sent'), 'failed|16', 'after one slice');
	$sim->control({ loading => JSON::PP::false });
	sql(q(ALTER SERVER gpu OPTIONS (DROP unavailable_timeout)));
	sql(q(CALL retrostar.refresh('sky')));
	is(last_run('sky', 'status, sent'), 'done|40', 'the next run works');
	is($sim->stats->{completed}, 40, 'each was answered once');
};

subtest 'cancelled, terminated' => sub {
	sql(q(INSERT INTO doc SELECT i, 'cancel ' || i FROM generate_series(401, 430) i));
	$sim->reset_stats;
	hold();
	my $session = call_background('sky');
	$sim->wait_for('running', 16);
	sleeps($session);
	$sim->release(4);
	$node->poll_query_until('postgres', q(SELECT count(*) = 4 FROM doc JOIN retrostar.score_cache
		ON key = retrostar.cache_key('sky', body) WHERE id BETWEEN 401 AND 430)) or die 'not stored';
	sql("SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	is(last_run('sky', q(status, sent, message ~ '^cancel')), 'failed|16|t', 'the log');
	is(locks(), 0, 'no lock is left');
	$sim->wait_for('aborted', 12);
	pass('the model need not go on');

	$session->send(q(CALL retrostar.refresh('sky')));
	$sim->wait_for('running', 16);
	sql("SELECT pg_terminate_backend($session->{pid})");
	is($session->ended, '57P01', 'terminated');
	$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory')) or die 'a lock is left';
	is(last_run('sky', 'status, finished IS NULL'), 'running|t', 'nobody could say so');
	# an answer that comes before the worker closes is kept
	$sim->wait_for('aborted', 12 + 16);
	let_go();
	sql(q(CALL retrostar.refresh('sky')));
	is(sql(q(SELECT status, finished IS NOT NULL FROM retrostar.refresh_log ORDER BY run DESC OFFSET 1 LIMIT 1)),
		'interrupted|t', 'the next run does');
	is(last_run('sky', 'status, sent'), 'done|26', 'and goes on');
};

subtest 'limit, skip, cache off' => sub {
	sql(q(INSERT INTO doc SELECT i, 'limit ' || i FROM generate_series(501, 530) i));
	$sim->reset_stats;
	is(sqlstate($node, 'postgres', q(SET retrostar.on_miss = skip; CALL retrostar.refresh('sky'))), '00000', 'on_miss = skip');
	is($sim->stats->{chat} . ' ' . sql('SELECT count(*) FROM sky WHERE score IS NULL'), '0 30', 'asks for nothing');
	is(sqlstate($node, 'postgres', q(SET retrostar.request_limit = 20; CALL retrostar.refresh('sky'))), '54000', 'request_limit is of the whole run');
	is($sim->stats->{completed}, 20, 'and reached when that is answered');
	sql(q(SET retrostar.request_limit = 20; CALL retrostar.refresh('sky')));
	is($sim->stats->{completed}, 30, 'the next run goes on');
	is(sql('SELECT count(*) FROM sky WHERE score IS NULL'), 0, 'to the end');

	sql(q(CREATE MATERIALIZED VIEW few AS SELECT id, retro_star_score('sky', body) AS score FROM doc WHERE id BETWEEN 501 AND 530 WITH NO DATA));
	$sim->reset_stats;
	sql(q(SET retrostar.cache = off; CALL retrostar.refresh('few')));
	is($sim->stats->{chat}, 30, 'cache = off: each is asked for again, once');
	sql(q(SET retrostar.cache = off; SET work_mem = '64kB'; CALL retrostar.refresh('few')));
	is($sim->stats->{chat}, 60, 'also when there is little memory');
	sql('DROP MATERIALIZED VIEW few');
};

subtest 'functions that write' => sub {
	sql('CREATE TABLE written (body text)');
	sql(q(CREATE FUNCTION writes(d text) RETURNS float8 LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO public.written VALUES (d); RETURN public.retro_star_score('writes', d); END$$));
	# goes on where a pass has been stopped
	sql(q(CREATE FUNCTION goes_on(d text) RETURNS float8 LANGUAGE plpgsql AS
		$$BEGIN RETURN public.writes('on ' || d); EXCEPTION WHEN query_canceled THEN INSERT INTO public.written VALUES (d); RETURN NULL; END$$));
	foreach my $function ('writes', 'goes_on')
	{
		sql("TRUNCATE written; CREATE MATERIALIZED VIEW writing AS SELECT id, $function(body) AS score FROM doc WHERE id <= 5 WITH NO DATA");
		sql(q(CALL retrostar.refresh('writing')));
		is(sql('SELECT count(*), count(DISTINCT body) FROM written') . ' ' . sql('SELECT count(score) = count(*) FROM writing'),
			join('|', (sql('SELECT count(*) FROM doc WHERE id <= 5')) x 2) . ' t', "$function writes once for each row");
		sql('DROP MATERIALIZED VIEW writing');
	}
};

# Shapes of queries; in each the view must be what a statement would give, for
# as many samples, and the REFRESH itself must not wait: all is in the cache.
subtest 'queries' => sub {
	sql(q(CREATE FUNCTION wants_score(s float8) RETURNS float8 LANGUAGE plpgsql AS $$
		BEGIN IF s IS NULL THEN RAISE EXCEPTION 'no score'; END IF; RETURN s; END $$));
	my %queries = (
		filter => q(SELECT id FROM doc WHERE id < 20 AND retro_star_score('one', body) >= 5 AND retro_star_score('two', body) >= 5),
		order => q(SELECT id, retro_star_score('order', body) AS s FROM doc WHERE id < 150 ORDER BY s DESC NULLS LAST, id LIMIT 5),
		aggregate => q(SELECT max(retro_star_score('max', body)) FROM doc WHERE id < 20),
		'plpgsql' => q(SELECT id, wants_score(retro_star_score('null', body)) FROM doc WHERE id < 20),
		rerank => q(SELECT r.id, r.score FROM retro_star_rerank('rerank', (SELECT array_agg(id ORDER BY id) FROM doc WHERE id < 150),
			(SELECT array_agg(body ORDER BY id) FROM doc WHERE id < 150), passes => '60@1,5@4', top_n => 5) r),
		adaptive => q(SELECT r.id, r.score FROM retro_star_rerank('adaptive', (SELECT array_agg(id ORDER BY id) FROM doc WHERE id < 12),
			(SELECT array_agg(body ORDER BY id) FROM doc WHERE id < 12), passes => 'adaptive:1,2,4', top_n => 3) r),
		groups => q(SELECT q, r.* FROM (SELECT q, retro_star_rerank_agg(q, id, body, 2) AS best FROM doc, (VALUES ('g1'), ('g2')) v (q)
			WHERE id < 20 GROUP BY q) x, unnest(best) AS r (id int, score float8, rank int)),
		explain => q(SELECT id, e.sample, e.score, e.reasoning <> '' FROM doc, retro_star_explain('why', body, samples => 2) e WHERE id < 8),
		twice => q(SELECT a.id, retro_star_score('tw', a.body) + retro_star_score('tw', b.body) FROM doc a JOIN doc b USING (id) WHERE id < 20),
	);
	for my $name (sort keys %queries)
	{
		my $query = $queries{$name};
		# the same by a statement, in another cache scope
		sql(q(ALTER SERVER gpu OPTIONS (ADD cache_scope 'statement')));
		$sim->reset_stats;
		my $expected = sql("SELECT * FROM ($query) x ORDER BY x");
		my $samples = $sim->stats->{samples};
		wait_idle($node);
		sql(q(ALTER SERVER gpu OPTIONS (DROP cache_scope)));
		sql("CREATE MATERIALIZED VIEW v AS $query WITH NO DATA");
		$sim->reset_stats;
		sql(q(CALL retrostar.refresh('v')));
		is($sim->stats->{samples}, $samples, "$name: samples");
		is(sql('SELECT * FROM v ORDER BY v') eq $expected ? 'same' : 'different', 'same', "$name: rows");
		sql('DROP MATERIALIZED VIEW v');
	}

	# Pairs that are others each time: not for ever
	sql(q(CREATE SEQUENCE s; CREATE MATERIALIZED VIEW v AS SELECT retro_star_score('now', nextval('s')::text) AS score
		FROM generate_series(1, 5) WITH NO DATA));
	$sim->reset_stats;
	hold();
	my $session = call_background('v');
	foreach my $pass (1, 2)
	{
		$sim->wait_for('chat', $pass);
		sleeps($session);
		$sim->release(1);
	}
	$sim->wait_for('chat', 3);
	let_go();
	$session->result;
	like($session->{err}, qr/NOTICE: .*refresh of "v" holds its snapshot while the model works/, 'other pairs each time: it says so');
	is(sql('SELECT count(score) FROM v'), 5, 'refreshed');
	is($sim->stats->{chat}, 5 + 2, 'after two passes, each stopped at the first of them');
	$session->quit;
	is(last_run('v', q(status, warmed, message)), 'done|f|The query of the view asks for other pairs each time it runs.', 'the log');
	# Some of them, more than the queue takes, and under a function that cannot bear NULL: there is no end to these either
	my %circles = (some => q(SELECT i, retro_star_score('now', CASE WHEN i > 3 THEN nextval('s') ELSE i END::text) AS score FROM generate_series(1, 5) i),
		many => q(SELECT i, retro_star_score('now', nextval('s')::text) AS score FROM generate_series(1, 40) i),
		'plpgsql' => q(SELECT i, wants_score(retro_star_score('now', nextval('s')::text)) AS score FROM generate_series(1, 5) i));
	for my $name (sort keys %circles)
	{
		sql("DROP MATERIALIZED VIEW v; CREATE MATERIALIZED VIEW v AS $circles{$name} WITH NO DATA");
		is(sqlstate($node, 'postgres', q(SET retrostar.request_limit = 1000; CALL retrostar.refresh('v'))), '00000', "other pairs each time, $name");
		is(sql('SELECT count(*) - count(score) FROM v'), 0, 'refreshed');
	}
	sql(q(DROP MATERIALIZED VIEW v; CREATE MATERIALIZED VIEW v AS SELECT retro_star_score('error', 1 / (id - 8) || body) FROM doc WHERE id < 20 WITH NO DATA));
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('v'))), '22012', 'an error of the query');
	is(last_run('v', q(status, message)), 'failed|division by zero', 'the log');
	sql('DROP MATERIALIZED VIEW v');
};

subtest 'where it may be called' => sub {
	my $call = q(CALL retrostar.refresh('sky'));
	is(sqlstate($node, 'postgres', "BEGIN; $call"), '25001', 'not in a transaction block');
	is(sqlstate($node, 'postgres', "SELECT 1; $call", extra_params => [ '-v', 'VERBOSITY=verbose', '-c', "SELECT 1; $call" ]), '25001',
		'nor in one of several statements at once');
	is(sqlstate($node, 'postgres', "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN $call; END'; SELECT f()" =~ s/'sky'/''sky''/r),
		'25001', 'nor in a function');
	is(sqlstate($node, 'postgres', "DO \$\$ BEGIN BEGIN $call; EXCEPTION WHEN division_by_zero THEN END; END \$\$"), '25001', 'nor where there is an exception to catch');
	is(sqlstate($node, 'postgres', "DO \$\$ BEGIN $call; $call; END \$\$"), '00000', 'in a procedural block');
	is(sqlstate($node, 'postgres', "SET default_transaction_isolation = 'serializable'; $call"), '00000', 'with serializable transactions');
	is(sqlstate($node, 'postgres', 'CALL retrostar.refresh(NULL)'), '22004', 'null');
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('doc'))), '42809', 'a table');
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('nowhere'))), '42P01', 'nothing');
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh(1))), '42P01', 'no OID of a relation');
	is(locks(), 0, 'no lock is left');
	sql('DROP FUNCTION f');
};

subtest 'who may, and who runs it' => sub {
	sql(q(CREATE ROLE owner; CREATE ROLE guest; GRANT USAGE ON FOREIGN SERVER gpu TO owner;
		GRANT CREATE ON SCHEMA public TO owner; GRANT SELECT ON doc TO owner;
		SET ROLE owner;
		CREATE FUNCTION tell(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'run by %', current_user; RETURN t; END $$;
		CREATE MATERIALIZED VIEW theirs AS SELECT id, retro_star_score('theirs', tell(body)) AS score FROM doc WHERE id < 5 WITH NO DATA));
	is(sqlstate($node, 'postgres', q(SET ROLE guest; CALL retrostar.refresh('theirs'))), '42501', 'not everybody');
	my ($ret, $out, $err) = $node->psql('postgres', q(CALL retrostar.refresh('theirs')));
	is($ret, 0, 'a superuser');
	is(join(' ', sort keys %{ { map { $_ => 1 } $err =~ /run by (\w+)/g } }), 'owner', 'its functions run as the owner');
	is(sqlstate($node, 'postgres', q(SET ROLE owner; CALL retrostar.refresh('theirs'))), '00000', 'the owner');
	is(sql(q(SET ROLE owner; SELECT count(*) FROM retrostar.refresh_log)), 2, 'who reads what the log says of it');
	is(sql(q(SET ROLE guest; SELECT count(*) FROM retrostar.refresh_log)), 0, 'as nobody else does');
	is(sqlstate($node, 'postgres', qq(SET ROLE owner; $_)), '42501', "not: $_")
	  for 'DELETE FROM retrostar.refresh_log', q(UPDATE retrostar.refresh_log SET status = 'done'),
	  q(INSERT INTO retrostar.refresh_log (matview, pid, started, status) VALUES ('sky', 1, now(), 'done'));
	if ($node->pg_version->major >= 17)
	{
		sql('GRANT MAINTAIN ON theirs TO guest');
		is(sqlstate($node, 'postgres', q(SET ROLE guest; CALL retrostar.refresh('theirs'))), '00000', 'with MAINTAIN');
	}

	# What the owner's functions must not do with a superuser's rights
	for my $body ('SET ROLE postgres', 'RESET SESSION AUTHORIZATION', 'CREATE TEMP TABLE t ()', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1')
	{
		sql(qq(CREATE OR REPLACE FUNCTION public.tell(t text) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN EXECUTE '$body'; RETURN t; END \$\$));
		is(sqlstate($node, 'postgres', q(UPDATE doc SET body = body || '!'; CALL retrostar.refresh('theirs'))), '42501', $body);
	}
	sql(q(CREATE OR REPLACE FUNCTION public.tell(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		PERFORM set_config('work_mem', '64kB', false), set_config('search_path', 'nowhere', false); RETURN t; END $$));
	is(sql(q(SET work_mem = '5MB'; CALL retrostar.refresh('theirs'); SHOW work_mem; SHOW search_path)), "5MB\n\"\$user\", public", 'settings are taken back');

	# The right is needed until the end: whose functions run as somebody else now?
	sql(q(CREATE TABLE ran_as (who name); GRANT INSERT ON ran_as TO PUBLIC;
		CREATE OR REPLACE FUNCTION public.tell(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'run by %', current_user; RETURN t; END $$;
		UPDATE doc SET body = body || '?'));
	hold();
	my $session = RetroSession->new($node, 'postgres');
	$session->query('SET ROLE owner');
	$session->send(q(CALL retrostar.refresh('theirs')));
	$sim->wait_for('running', 1);
	sql('ALTER MATERIALIZED VIEW theirs OWNER TO postgres');
	let_go();
	$session->result;
	is($session->sqlstate, '42501', 'the view has another owner meanwhile');
	is(join(' ', sort keys %{ { map { $_ => 1 } $session->{err} =~ /run by (\w+)/g } }), 'owner', 'with whose rights its query does not run');
	is(last_run('theirs', 'status'), 'failed', 'the log');
	$session->quit;
	sql('ALTER MATERIALIZED VIEW theirs OWNER TO owner');

	# Nor do triggers on the log, if somebody else owns it
	sql(q(ALTER TABLE retrostar.refresh_log OWNER TO owner; GRANT USAGE, CREATE ON SCHEMA retrostar TO owner; TRUNCATE ran_as;
		SET ROLE owner;
		CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO public.ran_as VALUES (current_user); PERFORM set_config('work_mem', '64kB', false); RETURN NEW; END $$;
		CREATE TRIGGER logged BEFORE INSERT ON retrostar.refresh_log FOR EACH ROW EXECUTE FUNCTION logged()));
	is(sql(q(SET work_mem = '5MB'; CALL retrostar.refresh('sky'); SHOW work_mem)), '5MB', 'settings of triggers on the log are taken back');
	sql(q(SET ROLE owner; DROP TRIGGER logged ON retrostar.refresh_log; CREATE CONSTRAINT TRIGGER logged AFTER INSERT ON retrostar.refresh_log
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION logged()));
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('sky'))), '42501', 'none is left for the commit');
	is(sql('SELECT string_agg(DISTINCT who, $$ $$) FROM ran_as'), 'owner', 'they run as the owner');
	sql(q(DROP TRIGGER logged ON retrostar.refresh_log; ALTER TABLE retrostar.refresh_log OWNER TO postgres));

	# The owner may not use the server any more
	sql(q(REVOKE USAGE ON FOREIGN SERVER gpu FROM owner));
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('theirs'))), '42501', 'the owner needs USAGE on the server');
};

subtest 'a hostile search_path' => sub {
	sql(q(
		CREATE SCHEMA evil;
		CREATE TABLE evil.refresh_log (LIKE retrostar.refresh_log INCLUDING ALL);
		CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
		CREATE FUNCTION evil.eq(a bigint, b bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
		CREATE FUNCTION evil.eq(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
		CREATE FUNCTION evil.eq(a regclass, b regclass) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
		CREATE FUNCTION evil.plus(a int, b int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
		CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = bigint, RIGHTARG = bigint);
		CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = text, RIGHTARG = text);
		CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = regclass, RIGHTARG = regclass);
		CREATE OPERATOR evil.+ (FUNCTION = evil.plus, LEFTARG = int, RIGHTARG = int);
		CREATE MATERIALIZED VIEW evil.sky AS SELECT 1 AS a;
		INSERT INTO doc VALUES (601, 'evil')));
	is(sqlstate($node, 'postgres', q(SET search_path = evil, pg_catalog, public; CALL retrostar.refresh('public.sky'))), '00000', 'works');
	is(sql('SELECT count(*) FROM sky WHERE id = 601'), 1, 'refreshed');
	is(sql('SELECT count(*) FROM evil.refresh_log'), 0, 'nothing went astray');
	sql('DROP SCHEMA evil CASCADE');
};

subtest 'the log ends somewhere' => sub {
	sql(q(INSERT INTO retrostar.refresh_log (matview, pid, started, status) SELECT 'sky', 1, now(), 'done' FROM generate_series(1, 1500)));
	sql(q(CALL retrostar.refresh('sky')));
	is(sql(q(SELECT count(*) FROM retrostar.refresh_log WHERE matview = 'sky'::regclass)), 1001, 'a thousand, and this one');
};

# The table of the log may have another owner, triggers, rules, and other columns
subtest 'a log that somebody has changed' => sub {
	my $reset = q(DROP TRIGGER IF EXISTS t ON retrostar.refresh_log; DROP RULE IF EXISTS r ON retrostar.refresh_log;
		ALTER TABLE retrostar.refresh_log DROP COLUMN IF EXISTS more; TRUNCATE retrostar.refresh_log);
	my $function = 'CREATE OR REPLACE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s END $$;';
	my $before = 'CREATE TRIGGER t BEFORE %s ON retrostar.refresh_log FOR EACH ROW EXECUTE FUNCTION logged()';
	my $warning = qr/WARNING: +01000: this refresh of "sky" has no entry in retrostar.refresh_log/;
	my $refresh = sub {
		my ($ret, $out, $err) = $node->psql('postgres', q(CALL retrostar.refresh('sky')), extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		return $err =~ /ERROR: +(\w+)/ ? $1 : $err =~ $warning ? 'no entry' : $err eq '' ? 'done' : $err;
	};
	my @changes = (
		[ 'no row is inserted', sprintf($function, 'RETURN NULL;') . sprintf($before, 'INSERT'), 'no entry', '' ],
		[ 'a rule inserts nothing', 'CREATE RULE r AS ON INSERT TO retrostar.refresh_log DO INSTEAD NOTHING', '0A000', '' ],
		[ 'a rule updates, and returns no row', 'CREATE RULE r AS ON INSERT TO retrostar.refresh_log DO INSTEAD UPDATE retrostar.refresh_log SET pid = 0 RETURNING *', 'no entry', '' ],
		[ 'a rule deletes nothing', 'CREATE RULE r AS ON DELETE TO retrostar.refresh_log DO INSTEAD NOTHING', 'done', 'done' ],
		[ 'a rule updates nothing', 'CREATE RULE r AS ON UPDATE TO retrostar.refresh_log DO INSTEAD NOTHING', 'done', 'running' ],
		[ 'a number that is null', 'ALTER EXTENSION retrostar DROP SEQUENCE retrostar.refresh_log_run_seq; ALTER TABLE retrostar.refresh_log DROP CONSTRAINT refresh_log_pkey, ALTER run DROP IDENTITY, ALTER run DROP NOT NULL', 'no entry', 'running' ],
		[ 'a number that is a text', q(ALTER TABLE retrostar.refresh_log ALTER run TYPE text, ALTER run SET DEFAULT 'seven'), '22P02', '' ],
		[ 'a number that is an int', q(ALTER TABLE retrostar.refresh_log ALTER run DROP DEFAULT, ALTER run TYPE int USING 7, ALTER run SET DEFAULT 7), 'done', 'done' ],
		[ 'another column', 'ALTER TABLE retrostar.refresh_log ADD more int GENERATED ALWAYS AS (pid + 1) STORED', 'done', 'done' ],
		[ 'a column that must be given', 'ALTER TABLE retrostar.refresh_log ADD more int NOT NULL', '23502', '' ],
		[ 'row security for its owner', 'ALTER TABLE retrostar.refresh_log FORCE ROW LEVEL SECURITY', 'done', 'done' ],
		[ 'unlogged', 'ALTER TABLE retrostar.refresh_log SET UNLOGGED', 'done', 'done' ],
		[ 'updates fail', sprintf($function, 'RAISE EXCEPTION division_by_zero;') . sprintf($before, 'UPDATE'), '22012', 'running' ],
		[ 'a view', 'ALTER TABLE retrostar.refresh_log RENAME TO log; CREATE VIEW retrostar.refresh_log AS SELECT * FROM retrostar.log', 'done', 'done' ],
	);
	foreach my $change (@changes)
	{
		my ($name, $sql, $outcome, $status) = @$change;
		sql("$reset; $sql");
		is($refresh->(), $outcome, $name);
		is(sql('SELECT string_agg(status, $$ $$) FROM retrostar.refresh_log'), $status, 'the log');
	}
	# The refresh has failed, and then the log: what counts is the first
	sql('DROP VIEW retrostar.refresh_log; ALTER TABLE retrostar.log RENAME TO refresh_log');
	sql($reset . '; ' . sprintf($function, q(IF NEW.status = 'failed' THEN RAISE EXCEPTION division_by_zero; END IF; RETURN NEW;)) . sprintf($before, 'UPDATE'));
	sql(q(INSERT INTO doc VALUES (701, 'log'); TRUNCATE retrostar.refresh_log));
	$sim->control({ fail => [ { mode => 'status', status => 400 } ] });
	my ($ret, $out, $err) = $node->psql('postgres', q(CALL retrostar.refresh('sky')), extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	$sim->control({ fail_clear => JSON::PP::true });
	sql(sprintf($function, 'RAISE EXCEPTION division_by_zero;'));
	is($refresh->(), '22012', 'an error while it warms the cache');
	like($err, qr/WARNING: +22012: could not write to retrostar.refresh_log: division_by_zero.*ERROR: +38000/s, 'both are told');
	is(locks(), 0, 'no lock is left');
};

wait_idle($node);
$node->stop;
done_testing();
