# What doc/planning.md says of statements whose calls are made ahead: which stay serial,
# which errors come early, and WHERE CURRENT OF.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('limits', conf => "autovacuum = off\nfsync = off\n");
my $sim = start_simulator('--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim);
$node->safe_psql('postgres', <<'EOS');
CREATE TABLE docs AS SELECT i AS id, CASE WHEN i = 4 THEN '' ELSE 'document ' || i END AS body FROM generate_series(1, 50) i;
CREATE TABLE other AS SELECT i AS id, 'title ' || i AS title FROM generate_series(1, 10) i;
ANALYZE docs, other;
EOS

my $score = "retro_star_score('q', body)";

# Serial, by the page's list
my %serial = (
	'volatile arguments' => "SELECT retro_star_score('q', body || random()) FROM docs",
	'correlated subquery in the arguments' => "SELECT retro_star_score((SELECT title FROM other WHERE other.id = docs.id), body) FROM docs",
	'correlated subquery around the call, one row each' => 'SELECT (SELECT retro_star_score(title, docs.body)) FROM other, docs WHERE other.id = docs.id AND random() < 2',
	'volatile function below' => "SELECT $score FROM (SELECT body, random() FROM docs OFFSET 0) d",
	'row locks below' => "SELECT $score FROM (SELECT body FROM docs FOR UPDATE) d",
	'change of data below' => "WITH d AS (UPDATE docs SET id = id RETURNING body) SELECT $score FROM d",
	'RETURNING' => "UPDATE docs SET id = id RETURNING $score",
	'ON CONFLICT' => "INSERT INTO keyed AS t SELECT id, 'x' FROM other ON CONFLICT (id) DO UPDATE SET body = retro_star_score('q', t.body)::text",
	'MERGE action' => "MERGE INTO docs USING other ON docs.id = other.id WHEN MATCHED AND $score > 5 THEN DELETE",
	'VALUES' => "VALUES (retro_star_score('q', 'a')), (retro_star_score('q', 'b'))",
	'filter of an outer join' => "SELECT 1 FROM other LEFT JOIN docs ON retro_star_score(title, body) > 50",
	'filter of a semi join' => 'SELECT 1 FROM other WHERE EXISTS (SELECT 1 FROM docs WHERE docs.id <> other.id AND retro_star_score(title, body) > 50)',
	'condition of a hash join' => "SELECT 1 FROM other JOIN docs ON other.id = $score",
	'window function with a run condition' => "SELECT * FROM (SELECT row_number() OVER (ORDER BY id) n, retro_star_score('q', count(*) OVER (ORDER BY id)::text) FROM docs) x WHERE n < 3",
	'one pair for all rows' => "SELECT retro_star_score('q', 'd') FROM docs",
	'ids of a set are volatile' => "SET enable_hashagg = off; EXPLAIN (COSTS OFF) SELECT retro_star_rerank_agg('q', random(), body) FROM docs GROUP BY id",
);
$node->safe_psql('postgres', 'CREATE TABLE keyed(id int PRIMARY KEY, body text)');
foreach my $name (sort keys %serial)
{
	my $explain = $serial{$name} =~ /EXPLAIN/ ? $serial{$name} : "EXPLAIN (COSTS OFF) $serial{$name}";
	unlike($node->safe_psql('postgres', $explain), qr/Retro\* Prefetch/, "serial: $name");
}

# What the page says to write instead
my %instead = (
	'MERGE' => "MERGE INTO docs USING (SELECT id, $score s FROM docs OFFSET 0) x ON docs.id = x.id WHEN MATCHED AND s > 5 THEN DELETE",
	'RETURNING, ON CONFLICT' => "INSERT INTO keyed SELECT id, s::text FROM (SELECT id, $score s FROM docs OFFSET 0) x ON CONFLICT DO NOTHING",
	'window function' => "SELECT * FROM (SELECT row_number() OVER (ORDER BY id) n, s FROM (SELECT id, $score s FROM docs OFFSET 0) y) x WHERE n < 3",
	'sorted groups' => "SET enable_hashagg = off; EXPLAIN (COSTS OFF) SELECT retro_star_rerank_agg('q', id, body) FROM docs GROUP BY id",
);
foreach my $name (sort keys %instead)
{
	my $explain = $instead{$name} =~ /EXPLAIN/ ? $instead{$name} : "EXPLAIN (COSTS OFF) $instead{$name}";
	like($node->safe_psql('postgres', $explain), qr/Retro\* Prefetch/, "ahead: $name");
}
like($node->safe_psql('postgres', "SET enable_sort = off; EXPLAIN (COSTS OFF) SELECT retro_star_rerank_agg('q', id, body) FROM docs GROUP BY id"),
	qr/HashAggregate/, 'hashed groups');

# Functions around a call: in SQL and STABLE it is inlined; IMMUTABLE with
# constant arguments it would be folded while nothing is asked.
$node->safe_psql('postgres', <<'EOS');
CREATE FUNCTION stable_one(body text) RETURNS double precision STABLE LANGUAGE sql RETURN retro_star_score('wrapped', body);
CREATE FUNCTION immutable_one(body text) RETURNS double precision IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RETURN retro_star_score('wrapped', body); END $$;
EOS
like($node->safe_psql('postgres', 'EXPLAIN (COSTS OFF) SELECT id FROM docs WHERE stable_one(body) >= 60'), qr/Retro\* Prefetch/,
	'a STABLE function in SQL is inlined');
is(sqlstate($node, 'postgres', "SELECT immutable_one('folded')"), '42P13', 'an IMMUTABLE one has no score that is not known');
my $one = $node->safe_psql('postgres', "SELECT stable_one('folded')");
is($node->safe_psql('postgres', "SELECT immutable_one('folded')"), $one, 'once it is known it has');

# Errors that come early because a row is read that is not reached otherwise:
# from below the node, from a lower one of several nodes, and the limit.
my @early = (
	[ 'an expression below', '22012', "SELECT id FROM docs WHERE 100 / (id - 4) <> 5000 AND $score >= 0 LIMIT 2" ],
	[ 'a pair of a lower condition', '22023', "SELECT id FROM docs WHERE $score >= 0 AND retro_star_score('r', id::text) >= 0 LIMIT 2" ],
	[ 'request_limit', '54000', "SET retrostar.request_limit = 5; SET retrostar.cache = off; SELECT id FROM docs WHERE id > 6 AND $score >= 0 AND retro_star_score('r', body) >= 0 LIMIT 2" ],
);
foreach my $case (@early)
{
	my ($name, $state, $sql) = @$case;
	is(sqlstate($node, 'postgres', "SET retrostar.prefetch = off; $sql"), '00000', "$name: no error one by one");
	is(sqlstate($node, 'postgres', $sql), $state, "$name: an error ahead");
	is(sqlstate($node, 'postgres', "BEGIN; SET LOCAL retrostar.prefetch = off; $sql; COMMIT"), '00000', "$name: off for a transaction");
}

# And those that do not: a pair of its own, arguments, the limit of one node
is(sqlstate($node, 'postgres', "SELECT id FROM docs WHERE $score >= 0 LIMIT 2"), '00000',
	'a pair that fails and is not reached is no error');
is(sqlstate($node, 'postgres', "SELECT id FROM docs WHERE retro_star_score('q', (100 / (id - 4))::text) >= 0 LIMIT 2"), '00000',
	'nor are arguments that raise one');
is(sqlstate($node, 'postgres', "SET retrostar.request_limit = 2; SET retrostar.cache = off; SELECT id FROM docs WHERE $score >= 0 LIMIT 2"),
	'00000', 'nor is the limit');

# WHERE CURRENT OF
my $update = "UPDATE docs SET body = body WHERE CURRENT OF c";
my $cursor = "BEGIN; DECLARE c CURSOR FOR SELECT id, $score FROM docs WHERE id < 4%s; FETCH 2 FROM c; $update; ROLLBACK";
is(sqlstate($node, 'postgres', sprintf($cursor, '')), '24000', 'WHERE CURRENT OF does not find its row');
is(sqlstate($node, 'postgres', 'SET retrostar.prefetch = off; ' . sprintf($cursor, '')), '00000', 'but without prefetching');
is(sqlstate($node, 'postgres', sprintf($cursor, ' FOR UPDATE')), '00000', 'and with FOR UPDATE');
is($node->safe_psql('postgres', sprintf($cursor, ' FOR UPDATE') =~ s/body = body/body = 'x'/r =~ s/ROLLBACK/SELECT string_agg(id::text, ' ') FROM docs WHERE body = 'x'; ROLLBACK/r) =~ s/.*\n//sr,
	2, 'the right row');

# While the planner evaluates functions nothing is sent, whatever is in them.
$node->safe_psql('postgres', <<'EOS');
CREATE FUNCTION best(q text) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN (SELECT id FROM other ORDER BY retro_star_score(q, title) DESC NULLS LAST, id LIMIT 1); END $$;
CREATE FUNCTION ranked(q text) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN array_length((SELECT retro_star_rerank_agg(q, id, title) FROM other), 1); END $$;
EOS
my $asked = $sim->stats->{chat};
like($node->safe_psql('postgres', "EXPLAIN SELECT * FROM other WHERE id > $_('planned $_')"), qr/Scan on other/, "$_ is planned")
  foreach qw(best ranked);
wait_idle($node);
is($sim->stats->{chat}, $asked, 'and nobody is asked');
is($node->safe_psql('postgres', "SELECT count(*) FROM other WHERE ranked('planned') = 10"), 10, 'it is when it runs');
is($sim->stats->{chat}, $asked + 10, 'once for each pair');

# A sort below the node keeps as many rows as the LIMIT takes, but all when
# some of them may be left out.
my $last = "SELECT id, retro_star_score('q', id::text) FROM docs ORDER BY -id LIMIT 2";
my $plan = $node->safe_psql('postgres', "EXPLAIN (ANALYZE, COSTS OFF) $last");
like($plan, qr/Retro\* Prefetch.*Sort Method: top-N heapsort/s, 'a sort that knows of the limit');
my $locker = RetroSession->new($node, 'postgres');
$locker->query('BEGIN; SELECT FROM docs WHERE id IN (50, 49) FOR UPDATE');
$plan = $node->safe_psql('postgres', "EXPLAIN (COSTS OFF) $last FOR UPDATE SKIP LOCKED");
like($plan, qr/LockRows.*Retro\* Prefetch.*Sort/s, 'rows are locked in between');
is($node->safe_psql('postgres', "SELECT string_agg(id::text, ' ') FROM ($last FOR UPDATE SKIP LOCKED) x"), '48 47', 'the next rows');
$locker->query('ROLLBACK');
$locker->quit;

# After the deadline nothing is sent any more, one by one or ahead.
foreach my $prefetch ('off', 'on')
{
	$sim->control({ hold => JSON::PP::true });
	$asked = $sim->stats->{chat};
	is($node->safe_psql('postgres', "SET retrostar.prefetch = $prefetch; SET retrostar.prefetch_window = 5;
		SET retrostar.on_error = 'null'; SET retrostar.deadline = '100ms';
		SELECT count(retro_star_score('late, $prefetch', id::text)) FROM docs"), 0, 'too late');
	$sim->control({ hold => JSON::PP::false });
	$sim->release;
	wait_idle($node);
	cmp_ok($sim->stats->{chat} - $asked, '<=', 5, "pairs after the deadline are not asked for, prefetch $prefetch");
}

# Samples that a request in work gets more count against the limit, too.
$sim->control({ hold => JSON::PP::true });
is(sqlstate($node, 'postgres', "SET retrostar.request_limit = 5;
	SELECT retro_star_prefetch('joined', id::text), retro_star_prefetch('joined', id::text, samples => 4) FROM docs LIMIT 3"), '54000',
	'request_limit counts samples of requests that are joined');
$sim->control({ hold => JSON::PP::false });
$sim->release;
wait_idle($node);

# Many conditions before a call are not kept for each of them.
SKIP:
{
	skip 'EXPLAIN (MEMORY) came with 17', 1 if $node->pg_version < 17;
	my $many = "SELECT 1 FROM docs WHERE " . join(' OR ', map { "(id = $_ AND body = 'x')" } 1 .. 3000) . " OR $score > 5";
	my %memory = map { $_ => JSON::PP::decode_json($node->safe_psql('postgres',
		"SET retrostar.prefetch = $_; EXPLAIN (MEMORY, FORMAT JSON) $many"))->[0]{Planning}{'Memory Used'} } qw(on off);
	cmp_ok($memory{on}, '<', 2 * $memory{off}, 'memory of the planner');
}

done_testing();
