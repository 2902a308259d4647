# How far the prefetch node reads ahead, and what becomes of pairs that nobody
# wants any more.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('window', conf => "autovacuum = off\nfsync = off\n");
my $sim = start_simulator('--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 1000);
$node->safe_psql('postgres', <<'EOS');
CREATE TABLE docs AS SELECT i AS id, 'document ' || i AS body FROM generate_series(1, 200) i;
CREATE INDEX ON docs(id);
ANALYZE docs;
EOS

# The worker starts with the first pair, not with the first wait: here the
# second row is long in coming.
$node->safe_psql('postgres', <<'EOS');
CREATE FUNCTION waits(id int) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN IF id = 2 THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN id; END $$;
EOS
my $blocker = RetroSession->new($node, 'postgres');
$blocker->query('SELECT pg_advisory_lock(1)');
is(queue($node, 'worker_pid'), '', 'no worker yet');
my $reader = ask_background($node, 'postgres',
	"SELECT count(retro_star_score('slow', body)) FROM docs WHERE id <= 2 AND waits(id) = id");
$sim->wait_for('chat', 1);
wait_until('the second row is waited for', sub { $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 1 });
is($sim->stats->{chat}, 1, 'the first pair is sent before the second row is read');
$blocker->quit;
is(finish_background($reader), 2, 'and the second follows');

# All pairs are under way before the first answer comes.
is(in_flight('SELECT id FROM docs ORDER BY retro_star_score(%s, body) DESC NULLS LAST, id LIMIT 1', 200), 200,
	'a sort wants all');
is(in_flight('SELECT max(retro_star_score(%s, body)) FROM docs', 200), 200, 'an aggregate wants all');
is(in_flight('SELECT id, retro_star_score(%s, body) FROM docs', 200), 200, 'and a client that reads to the end');
is(in_flight('SELECT id, lag(retro_star_score(%s, body)) OVER (PARTITION BY id %% 2 ORDER BY id) FROM docs', 198), 198,
	'a window function wants all but the last of each partition');
is(in_flight('SELECT id, retro_star_score(%s, body) FROM docs ORDER BY id LIMIT 17', 17), 17, 'a limit wants no more');
is(in_flight('SET retrostar.prefetch_window = 23; SELECT id, retro_star_score(%s, body) FROM docs', 23), 200,
	'prefetch_window is the most');
is(in_flight("SET work_mem = '64kB'; SELECT id, length(wide), retro_star_score(%s, body) FROM (SELECT id, body, repeat(body, 400) wide FROM docs OFFSET 0) x", 10, 20), 200,
	'work_mem bounds the rows in it');

# A prepared statement, with the limit as a parameter
is(in_flight('SET plan_cache_mode = force_generic_plan; PREPARE p(text, int, int) AS '
		  . 'SELECT id, retro_star_score($1, body) FROM docs ORDER BY id LIMIT $2 OFFSET $3; EXECUTE p(%s, 9, 4)', 13), 13,
	'a limit of parameters wants no more');

# A plan that is kept follows the setting, both ways.
is(asked('SET plan_cache_mode = force_generic_plan; PREPARE p(text) AS SELECT id, retro_star_score($1, body) FROM docs LIMIT (SELECT 1); '
		  . 'EXPLAIN EXECUTE p(%1$s); SET retrostar.prefetch = off; EXECUTE p(%1$s)'), 1, 'off in a kept plan');
like($node->safe_psql('postgres', "SET plan_cache_mode = force_generic_plan; SET retrostar.prefetch = off;
	PREPARE p AS SELECT retro_star_score('kept', body) FROM docs; EXPLAIN EXECUTE p;
	SET retrostar.prefetch = on; EXPLAIN (COSTS OFF) EXECUTE p"), qr/Retro\* Prefetch/, 'on in a kept plan');

# What is read ahead for nothing goes when the statement ends ...
$sim->control({ hold => JSON::PP::true });
my $cancelled = ask_background($node, 'postgres', "SELECT id, retro_star_score('cancel', body) FROM docs");
$sim->wait_for('running', 200);
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%''cancel''%' AND pid <> pg_backend_pid()");
like((finish_background($cancelled))[1], qr/57014/, 'cancelled');
wait_until('nothing is in flight', sub { queue($node, 'pairs') == 0 });
is(queue($node, 'waiters'), 0, 'cancelled pairs are given up');

# ... also when they are so many that their memory has gone back to the system.
$cancelled = ask_background($node, 'postgres',
	"SELECT i FROM generate_series(1, 4000) i ORDER BY retro_star_score('cancel many', 'document ' || i)");
$sim->wait_for('running', 1000);
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%''cancel many''%' AND pid <> pg_backend_pid()");
like((finish_background($cancelled))[1], qr/57014/, 'cancelled with thousands');
wait_until('nothing is in flight', sub { queue($node, 'pairs') == 0 });
is(queue($node, 'waiters'), 0, 'thousands of cancelled pairs are given up');

# ... and when a rescan wants other pairs: each outer row stops at its second
# inner row.
$sim->control({ hold => JSON::PP::false });
$sim->release;
$node->safe_psql('postgres', "SELECT q, (SELECT count(*) FROM (SELECT retro_star_score(q::text, body) FROM docs WHERE id > q LIMIT (SELECT 2)) x)
	FROM generate_series(1, 5) q");
wait_idle($node);
is(queue($node, 'asked = answered + failed + cancelled AND text_bytes = 0 AND lost = 0'), 't',
	'counters balance');

# What is read ahead for nothing and not asked for leaves nothing behind either.
cmp_ok($node->safe_psql('postgres', <<'EOS'), '<', 300_000, 'work_mem bounds what a statement remembers');
BEGIN; SET LOCAL retrostar.on_miss = 'skip'; SET LOCAL work_mem = '64kB';
DECLARE c CURSOR FOR SELECT q FROM generate_series(1, 1000) q
  WHERE EXISTS (SELECT 1 FROM docs WHERE id > 0 AND retro_star_score('skip ' || q, body) IS NULL OFFSET 0);
MOVE 1000 FROM c;
SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name = 'retrostar memo';
ROLLBACK;
EOS

# EXPLAIN ANALYZE counts.
my $plan = JSON::PP::decode_json($node->safe_psql('postgres',
	"SET retrostar.prefetch = on; EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) SELECT id FROM docs WHERE retro_star_score('explain', body) >= 0"));
my $scan = $plan->[0]{Plan};
is($scan->{'Custom Plan Provider'}, 'Retro* Prefetch', 'the node');
is($scan->{'Pairs Sent'}, 200, 'pairs sent');
is($scan->{'Samples'}, 200, 'samples');
is($scan->{'Rows Read Ahead'}, 200, 'rows');
is($scan->{'Largest Window'}, 200, 'window');
cmp_ok($scan->{'Prompt Tokens'}, '>', 0, 'prompt tokens');
cmp_ok($scan->{'Completion Tokens'}, '>', 0, 'completion tokens');
ok(!exists $scan->{'Wait Time'}, 'no times without TIMING');
$plan = JSON::PP::decode_json($node->safe_psql('postgres',
	"EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM docs WHERE retro_star_score('explain', body) >= 0"));
is($plan->[0]{Plan}{'Pairs Cached'}, 200, 'cached the second time');
ok(exists $plan->[0]{Plan}{'Wait Time'}, 'times with TIMING');

done_testing();

# How many pairs are under way at once, and then, answered, how many in all;
# each call with a query of its own.  The reader has to come to a halt at
# $running (or, where that is not known exactly, between that and $most).
my $queries = 0;

sub in_flight
{
	my ($statement, $running, $most) = @_;
	my $before = $sim->stats->{chat};

	$queries++;
	$sim->control({ hold => JSON::PP::true });
	my $session = ask_background($node, 'postgres', sprintf($statement, "'q$queries'"));
	$sim->wait_for('running', $running);
	wait_until('it waits', sub { $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%q$queries''%' AND wait_event_type = 'Extension'") > 0 });
	cmp_ok($sim->stats->{running}, '<=', $most // $running, 'no more are under way');
	$sim->control({ hold => JSON::PP::false });
	$sim->release;
	my ($output, $errors) = finish_background($session);
	is($errors, '', 'it works');
	return $sim->stats->{chat} - $before;
}

sub asked
{
	my ($statement) = @_;
	my $before = $sim->stats->{chat};

	$queries++;
	$node->safe_psql('postgres', sprintf($statement, "'q$queries'"));
	wait_idle($node);
	return $sim->stats->{chat} - $before;
}
