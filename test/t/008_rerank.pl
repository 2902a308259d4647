# Sets of documents: the set form, the aggregate, passes, deadline.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use RetroTest;
use Test::More;

my $node = new_node('rerank');
my $sim = start_simulator('--max-running', '64');

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 64);
$node->safe_psql('postgres', q(
	CREATE TABLE doc AS SELECT i AS id,
		(ARRAY['cats', 'dogs', 'birds', 'fish'])[1 + i % 4] || ' ' || i || ' eat '
		|| (ARRAY['mice', 'bones', 'seeds', 'plankton'])[1 + (i / 4) % 4] AS body
	FROM generate_series(1, 100) i));

# retro_star_rerank over all documents, as "id:rank:samples" or what you name
sub rerank
{
	my ($query, $rest, $columns) = @_;
	$columns //= 'id || \':\' || rank';
	return $node->safe_psql('postgres', qq(
		SELECT $columns FROM retro_star_rerank('$query',
			(SELECT array_agg(id ORDER BY id) FROM doc), (SELECT array_agg(body ORDER BY id) FROM doc)$rest)
		ORDER BY rank));
}

# Passes: the samples of the first count in the second.
my $first = rerank('cats eat mice', q(, 5, '100@1,30@16'));
is($sim->stats->{chat}, 550, '100@1,30@16 over 100 documents sends 550 samples');
is(scalar(split(/\n/, $first)), 5, 'top_n');
is(rerank('cats eat mice', q(, 5, '100@1,30@16')), $first, 'the same again');
is($sim->stats->{chat}, 550, 'for nothing');
is(rerank('cats eat mice', q(, 1, '16'), 'samples'), 16, 'samples behind a score');

# The order is that of the scores.
is($node->safe_psql('postgres', q(
	SELECT bool_and(s.score = r.score) FROM retro_star_rerank('dogs eat bones',
		(SELECT array_agg(id) FROM doc), (SELECT array_agg(body) FROM doc)) r
	JOIN doc USING (id), LATERAL (SELECT retro_star_score('dogs eat bones', body) AS score) s)),
	't', 'a score is what retro_star_score says');
is($node->safe_psql('postgres', q(
	SELECT bool_and(ok) FROM (SELECT score <= lag(score) OVER (ORDER BY rank) AS ok
		FROM retro_star_rerank('dogs eat bones', (SELECT array_agg(id) FROM doc), (SELECT array_agg(body) FROM doc))) o)),
	't', 'best first');

# Adaptive: fewer samples, and none when it comes again.
$sim->reset_stats;
$first = rerank('birds eat seeds', q(, 10, 'adaptive'));
my $sent = $sim->stats->{chat};
cmp_ok($sent, '>', 100, 'adaptive asks for more of some');
cmp_ok($sent, '<', 580, 'and less than the two passes');
is(rerank('birds eat seeds', q(, 10, 'adaptive')), $first, 'the same again');
is($sim->stats->{chat}, $sent, 'for nothing');
isnt(rerank('birds eat seeds', q(, 10, 'members')), '', 'members');

# NULLs, duplicates, ties, ids of any type
$sim->reset_stats;
is($node->safe_psql('postgres', q(
	SELECT string_agg(id || coalesce(':' || (score IS NOT NULL)::text, ''), ' ' ORDER BY rank)
	FROM retro_star_rerank('fish', ARRAY['a', 'b', 'c', 'd'], ARRAY[NULL, 'fish swim', 'fish swim', NULL]))),
	'b:true c:true a:false d:false', 'equal documents tie in their order, NULLs come last in theirs');
is($sim->stats->{chat}, 1, 'and equal documents cost one request');
is($node->safe_psql('postgres', q(SELECT count(*) FROM retro_star_rerank('q', ARRAY[]::int[], ARRAY[]::text[]))),
	0, 'empty arrays');
is(sqlstate($node, 'postgres', q(SELECT * FROM retro_star_rerank('q', ARRAY[1], ARRAY['a', 'b']))), '2202E',
	'unequal lengths');
is(sqlstate($node, 'postgres', q(SELECT * FROM retro_star_rerank('q', ARRAY[1], ARRAY['a'], passes => '100@'))),
	'22023', 'wrong passes');
is(sqlstate($node, 'postgres', q(SELECT * FROM retro_star_rerank('q', ARRAY[1], ARRAY['a'], top_n => 0))),
	'22023', 'wrong top_n');
is(sqlstate($node, 'postgres', q(SET retrostar.passes = 'nonsense')), '22023', 'wrong setting');
$sim->reset_stats;
like(($node->psql('postgres', q(SET retrostar.request_limit = 5; SELECT count(*) FROM retro_star_rerank('q',
	(SELECT array_agg(i) FROM generate_series(1, 1000001) i), (SELECT array_agg('many ' || i) FROM generate_series(1, 1000001) i)))))[2],
	qr/too many documents in one set/, 'too many documents');
is($sim->stats->{chat}, 0, 'of which none is asked for');
is(sqlstate($node, 'postgres', q(SELECT * FROM retro_star_rerank('q', ARRAY[1], ARRAY['a'], deadline => '-1 s'))),
	'22023', 'wrong deadline');

# The aggregate, many groups in one statement
$sim->reset_stats;
is($node->safe_psql('postgres', q(
	SELECT string_agg(id::text, ' ' ORDER BY rank)
	FROM unnest((SELECT retro_star_rerank_agg('fish eat plankton', id, body, 3) FROM doc))
		AS r (id int, score float8, rank int))),
	rerank('fish eat plankton', q(, 3), q(string_agg(id::text, ' ') OVER (ORDER BY rank ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)))
	=~ s/\n.*//sr, 'the aggregate agrees with the set form');
is($sim->stats->{chat}, 100, 'and shares its samples');
$sim->control({ hold => JSON::PP::true });
my $groups = ask_background($node, 'postgres', q(
	SELECT count(*), sum(array_length(best, 1)) FROM (
		SELECT q, retro_star_rerank_agg(q, id, body, 2) AS best
		FROM doc, (SELECT 'query ' || i AS q FROM generate_series(1, 5) i) v WHERE id <= 10 GROUP BY q) g));
$sim->wait_for('running', 50);
pass('all groups are asked for at once');
$sim->release;
$sim->control({ hold => JSON::PP::false });
is(finish_background($groups), '5|10', 'and ranked each by itself');

# Sorted groups come one after another; the prefetch node asks for all of them,
# and the aggregate takes its answers: each reply is paid for once.
$sim->reset_stats;
$sim->control({ hold => JSON::PP::true });
$groups = ask_background($node, 'postgres', q(
	SET enable_hashagg = off; SET retrostar.cache = off; SET retrostar.passes = '8@2,3@4';
	SELECT count(*), sum(array_length(best, 1)) FROM (
		SELECT q, retro_star_rerank_agg(q, id, body, 2) AS best
		FROM doc, (SELECT 'sorted ' || i AS q FROM generate_series(1, 4) i) v WHERE id <= 10 GROUP BY q) g));
$sim->wait_for('running', 64);
is($sim->stats->{queued}, 0, 'all sorted groups are asked for at once, for their first pass');
$sim->release;
$sim->control({ hold => JSON::PP::false });
is(finish_background($groups), '4|8', 'and ranked each by itself');
is($sim->stats->{chat}, 4 * (8 * 2 + 3 * 2), 'nothing is asked for twice');
is($node->safe_psql('postgres', q(SELECT retro_star_rerank_agg('q', id, body) IS NULL FROM doc WHERE false)), 't',
	'no rows give NULL');
is($node->safe_psql('postgres', q(SELECT array_length(retro_star_rerank_agg('birds eat seeds', id, body)
	FILTER (WHERE id <= 7), 1) FROM doc)), 7, 'FILTER');
is(sqlstate($node, 'postgres', q(SELECT retro_star_rerank_agg('q' || id, id, body) FROM doc)), '22023',
	'one query a group');
is(sqlstate($node, 'postgres', q(SELECT retro_star_rerank_agg('q', id, body, id) FROM doc WHERE id <= 2)), '22023', 'and one top_n');
is($node->safe_psql('postgres', q(SET retrostar.passes = '100@1,10@3'; SELECT array_length(retro_star_rerank_agg('dogs eat bones', id, body), 1) FROM doc)),
	100, 'passes from the setting');

# Grouping sets, some sorted, some hashed: a set whose rows have not all come is not sampled by its best so far
$node->safe_psql('postgres', q(CREATE TABLE sets AS SELECT i AS id, i / 10 AS a, i % 5 AS b, 'cats ' || i || repeat(' mice', i % 7) AS body
	FROM generate_series(0, 59) i; CREATE INDEX ON sets (a); ANALYZE sets));
my $mixed = q(SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off; SET retrostar.passes = '100@1,1@8';);
my $sets = q(SELECT a, b, retro_star_rerank_agg('sets', id, body, 1) FROM sets GROUP BY GROUPING SETS ((a), (b)));
like($node->safe_psql('postgres', "$mixed EXPLAIN $sets"), qr/MixedAggregate/, 'sorted and hashed');
$node->safe_psql('postgres', "$mixed $sets");
wait_idle($node);
my $known = q(FROM sets JOIN retrostar.score_cache ON key = retrostar.cache_key('sets', body));
is($node->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY id) $known WHERE cardinality(scores) > 1"),
	$node->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY id) FROM (
		(SELECT DISTINCT ON (a) id $known ORDER BY a, scores[1] DESC, id) UNION
		(SELECT DISTINCT ON (b) id $known ORDER BY b, scores[1] DESC, id)) best"), 'only the best of each is asked again');

# Very many groups: hash aggregation looks at each memory context for each group
cmp_ok($node->safe_psql('postgres', q(SET enable_sort = off; SET work_mem = '100MB'; SET retrostar.on_miss = skip;
	SELECT (SELECT count(*) FROM pg_backend_memory_contexts WHERE best IS NOT NULL)
	FROM (SELECT q, retro_star_rerank_agg(q, i, 'doc ' || i) AS best FROM (SELECT 'group ' || i AS q FROM generate_series(1, 1000) i) v,
		generate_series(1, 3) i GROUP BY q) g LIMIT 1)), '<', 500, 'a group has no memory context of its own');

# A large set of which nothing has to be waited for can be cancelled, too
$node->safe_psql('postgres', q(CREATE TABLE large AS SELECT array_agg(i) AS ids, array_agg('large ' || i) AS docs FROM generate_series(1, 300000) i;
	SELECT retrostar.stats_reset()));
is(sqlstate($node, 'postgres', q(SET retrostar.on_miss = skip; SET statement_timeout = '50ms';
	SELECT count(*) FROM large, retro_star_rerank('q', ids, docs))), '57014', 'statement_timeout in a large set');
cmp_ok($node->safe_psql('postgres', 'SELECT misses FROM retrostar.stat_cache'), '<', 200000, 'is not left for its end');

# A deadline: what is scored first, the rest last and unscored, and it goes on.
# Where five come too late, the machine is busy, and there is one more time.
my ($late, $in_time);
for my $seconds (2, 10, 50, 150)
{
	$late = "late $seconds";
	$sim->reset_stats;
	$sim->control({ hold => JSON::PP::true });
	my $session = ask_background($node, 'postgres', qq(
		SELECT count(score), count(*) FROM retro_star_rerank('$late', (SELECT array_agg(id) FROM doc WHERE id <= 20),
			(SELECT array_agg(body) FROM doc WHERE id <= 20), deadline => '$seconds s')));
	wait_until('all are in flight, or it is over', sub {
		my $goes_on = $session->{harness}->pumpable;
		RetroSession::read_some($session->{harness}) if $goes_on;
		return !$goes_on || $sim->stats->{running} == 20;
	});
	$sim->release(5);
	$in_time = finish_background($session);
	$sim->release;
	$sim->control({ hold => JSON::PP::false });
	wait_idle($node);
	last if $in_time eq '5|20';
}
is($in_time, '5|20', 'the best order that is known in time');
is($sim->stats->{chat}, 20, 'what was in flight goes on');
is(rerank($late, '', 'count(score) OVER ()') =~ s/\n.*//sr, 100, 'the next call gets the rest');
is($sim->stats->{chat}, 100, 'and pays nothing twice');

# The same for one score
$sim->control({ hold => JSON::PP::true });
is(sqlstate($node, 'postgres', q(SET retrostar.deadline = '50ms'; SELECT retro_star_score('too', 'late'))), '38000',
	'retrostar.deadline');
is($node->safe_psql('postgres', q(SET retrostar.deadline = '50ms'; SET retrostar.on_error = 'null';
	SELECT retro_star_score('too', 'late') IS NULL)), 't', 'NULL by on_error');
$sim->release;
$sim->control({ hold => JSON::PP::false });
wait_idle($node);
$sim->reset_stats;
isnt($node->safe_psql('postgres', q(SELECT retro_star_score('too', 'late'))), '', 'it went on');
is($sim->stats->{chat}, 0, 'into the cache');

# It is the statement's: groups and sets that come when it has passed ask for nothing
$sim->reset_stats;
$sim->control({ hold => JSON::PP::true });
is($node->safe_psql('postgres', q(SET retrostar.deadline = '100ms'; SET enable_hashagg = off; SET retrostar.prefetch = off;
	SELECT count(*), sum(array_length(best, 1)) FROM (SELECT q, retro_star_rerank_agg(q, 1, 'late group') AS best
		FROM (SELECT 'late ' || i AS q FROM generate_series(1, 3) i) v GROUP BY q) g)), '3|3', 'groups, one after another');
is($node->safe_psql('postgres', q(SET retrostar.deadline = '100ms';
	SELECT count(*), count(r.score) FROM generate_series(1, 3) i, retro_star_rerank('late', ARRAY[i], ARRAY['late set ' || i]) r)), '3|0', 'sets');
$sim->release;
$sim->control({ hold => JSON::PP::false });
wait_idle($node);
is($sim->stats->{chat}, 2, 'have one deadline together');

# That of a set is not that of a call which waits for the same pair
$sim->control({ hold => JSON::PP::true });
$late = ask_background($node, 'postgres', q(
	SELECT id, (SELECT count(r.score) FROM retro_star_rerank('both', ARRAY[id], ARRAY[body], deadline => '100 ms') r),
		retro_star_score('both', body) IS NOT NULL FROM doc WHERE id = 1));
# the set has given up when this is seen
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM retrostar.stat_activity WHERE detached)) or die 'not given up';
$sim->release;
$sim->control({ hold => JSON::PP::false });
is(finish_background($late), '1|0|t', 'a set that was late does not fail a call');

# A document that fails: an error, or NULL and last
is(sqlstate($node, 'postgres', q(SELECT * FROM retro_star_rerank('x', ARRAY[1, 2], ARRAY['', 'y']))), '22023',
	'a failing document is an error');
is($node->safe_psql('postgres', q(SET retrostar.on_error = 'null';
	SELECT string_agg(id::text, ' ' ORDER BY rank) FROM retro_star_rerank('x', ARRAY[1, 2], ARRAY['', 'y']) WHERE rank = 2 AND score IS NULL)),
	'1', 'or comes last');
is($node->safe_psql('postgres', q(SET retrostar.on_miss = skip;
	SELECT count(score) FROM retro_star_rerank('unknown', ARRAY[1, 2], ARRAY['a', 'b']))), 0, 'on_miss = skip');

# The server is altered between two passes: what it says now does not go under the keys of before
$sim->control({ hold => JSON::PP::true });
$groups = ask_background($node, 'postgres', q(SET retrostar.on_error = 'null';
	SELECT count(score) FROM retro_star_rerank('altered', (SELECT array_agg(id) FROM doc WHERE id <= 4),
		(SELECT array_agg(body) FROM doc WHERE id <= 4), passes => '4@1,3@4')));
$sim->wait_for('running', 4);
$sim->release(3);
$node->poll_query_until('postgres', 'SELECT pairs = 1 FROM retrostar.stat_queue') or die 'not stored';
$node->safe_psql('postgres', q(ALTER SERVER gpu OPTIONS (ADD temperature '0.9')));
$sim->release;
$sim->control({ hold => JSON::PP::false });
my ($altered, $warning) = finish_background($groups);
is($altered, 4, 'altered between two passes: the first counts');
like($warning, qr/server "gpu" was altered/, 'which a warning says');
is(scalar(grep { $_->{body} =~ /"temperature":0\.9\b.*altered/s } @{ $sim->log }), 0, 'nothing is asked for with other parameters');

wait_idle($node);
is($node->safe_psql('postgres', q(SELECT asked = answered + failed + cancelled AND text_bytes = 0 FROM retrostar.stat_queue)),
	't', 'counters balance');

done_testing();
