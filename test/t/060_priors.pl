# Sets with priors, against a model server: which documents are asked for in
# which round, what comes back, and that nothing is asked for twice.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use RetroTest;
use Test::More;

my $node = new_node('priors');
my $sim = start_simulator('--max-running', '64', '--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 64);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The arrays of a set: documents with these scores, ids from 1
sub arrays
{
	my (@scores) = @_;
	return 'ARRAY[' . join(',', 1 .. @scores) . '], ARRAY['
	  . join(',', map { "'document $_ [[sim:score=$scores[$_ - 1]]]'" } 1 .. @scores) . ']';
}

# A set, as "id:score:fused ..." in its order
sub ranked
{
	my ($query, $scores, $rest) = @_;
	return sql("SELECT string_agg(concat_ws(':', id, coalesce(score::text, '-'), coalesce(fused::numeric(5, 1)::text, '-')), ' ' ORDER BY rank)
		FROM retro_star_rerank('$query', " . arrays(@$scores) . ", $rest)");
}

# What a set asks for, as "document@samples": how many came for each
sub asked
{
	my ($query, $scores, $rest) = @_;
	my %samples;

	$sim->reset_stats;
	my $set = ranked($query, $scores, $rest);
	for my $request (@{ $sim->log })
	{
		$samples{$1}++ if $request->{body} =~ /document (\d+) /;
	}
	return ($set, join ' ', map { "$_\@$samples{$_}" } sort { $a <=> $b } keys %samples);
}

# One set is told nothing, another the priors; each has a query of its own, so
# that nothing is known before
my $query = 0;
for my $case (
	[ 'adaptive rounds', [ 50, 40, 30 ], '0,0,1', q(passes => 'adaptive:1,3', top_n => 1), '1@3 2@1 3@1', '1:50:50.0', '1@3 2@1 3@3', '3:30:44.0' ],
	[ 'the order', [ 80, 60, 90 ], '1,0.5,0', q(passes => '1'), '1@1 2@1 3@1', '3:90:90.0 1:80:80.0 2:60:60.0', '1@1 2@1 3@1', '1:80:84.0 3:90:72.0 2:60:58.0' ],
	[ 'fixed passes', [ 80, 60, 90 ], '1,0.5,0', q(passes => '3@1,1@4', top_n => 1), '1@1 2@1 3@4', '3:90:90.0', '1@4 2@1 3@1', '1:80:84.0' ],
	[ 'a tie', [ 75, 50 ], '0,1', q(passes => '1'), '1@1 2@1', '1:75:75.0 2:50:50.0', '1@1 2@1', '2:50:60.0 1:75:60.0' ],
	[ 'members', [ 50, 40, 30 ], '0,0,1', q(passes => 'members', top_n => 1), '1@4 2@4 3@1', '1:50:50.0', '1@8 2@2 3@8', '3:30:44.0' ],
	[ 'candidates', [ 80, 60, 90, 10 ], '0,0.5,0.2,1', q(passes => '2@1,1@2'), '1@2 2@1', '1:80:80.0 2:60:60.0 3:-:- 4:-:-', '2@2 4@1', '2:60:58.0 4:10:28.0 3:-:- 1:-:-' ])
{
	my ($name, $scores, $priors, $rest, $plain, $plain_order, $fused, $fused_order) = @$case;
	my $with = "$rest, priors => '{$priors}', prior_weight => 0.2";

	is(join(' | ', asked('query ' . ++$query, $scores, $rest)), "$plain_order | $plain", "$name, without priors");
	is(join(' | ', asked('query ' . ++$query, $scores, $with)), "$fused_order | $fused", "$name, with priors");
	is(join(' | ', asked("query $query", $scores, $with)), "$fused_order | ", "$name: again, for nothing");
	is(join(' | ', asked('query ' . ++$query, $scores, "$rest, priors => '{$priors}', prior_weight => 0")), "$plain_order | $plain", "$name, weight 0");
}

# 100 documents, whose scores are noisy
sql(q(CREATE TABLE doc AS SELECT i AS id, 'cats ' || i || repeat(' eat mice', i % 5) AS body, (i * 37 % 100)::float8 AS prior,
	i % 5 + (i * 37 % 100) / 50.0 AS useful FROM generate_series(1, 100) i));

sub set
{
	my ($query, $rest, $columns) = @_;
	$columns //= q(string_agg(concat_ws(':', id, score, fused, samples, error, settled), ' ' ORDER BY rank));
	return "SELECT $columns FROM retro_star_rerank('$query', (SELECT array_agg(id ORDER BY id) FROM doc),
		(SELECT array_agg(body ORDER BY id) FROM doc), $rest)";
}

my $priors = sub { my ($column) = @_; return "priors => (SELECT array_agg($column ORDER BY id) FROM doc)" };

for my $passes ('1', '100@1,30@4', '50@1,50@2', 'adaptive', 'lean', 'members')
{
	my $text = set("repeat $passes", "passes => '$passes', top_n => 10, " . $priors->('useful'));
	my $first = sql($text);

	wait_idle($node);
	$sim->reset_stats;
	is(sql($text), $first, "$passes: the same again");
	is($sim->stats->{chat}, 0, "$passes: for nothing");
}

# What is known is known with other priors and weights
$sim->reset_stats;
sql(set('changed', "passes => '2'"));
is($sim->stats->{chat}, 200, 'two samples of each');
wait_idle($node);
my $table = q(SELECT md5(string_agg(key::text || scores::text, ' ' ORDER BY key)) FROM retrostar.score_cache);
my $before = sql($table);
$sim->reset_stats;
isnt(sql(set('changed', "passes => '2', " . $priors->('useful'))), sql(set('changed', "passes => '2', " . $priors->('useful') . ', prior_weight => 0.5')),
	'another weight is another order');
sql(set('changed', "passes => '2', " . $priors->($_))) for 'prior', '-prior', 'nullif(prior, 3)';
sql(set('changed', "passes => '50\@1,50\@2', " . $priors->($_))) for 'prior', '-useful';
wait_idle($node);
is($sim->stats->{chat}, 0, 'for nothing');
is(sql($table), $before, 'and the cache table is as it was');
is(sql(q(SELECT max(abs(fused - (0.8 * score + 20 * place))) < 1e-9
	FROM (SELECT id, (useful - min(useful) OVER ()) / (max(useful) OVER () - min(useful) OVER ()) AS place FROM doc) p JOIN
		retro_star_rerank('changed', (SELECT array_agg(id) FROM doc), (SELECT array_agg(body) FROM doc), passes => '2',
			priors => (SELECT array_agg(useful) FROM doc), prior_weight => 0.2) USING (id))), 't', 'fused is what the rule says');
is(sql(set('changed', "passes => '2', " . $priors->('prior') . ', prior_weight => 0')), sql(set('changed', "passes => '2'")),
	'weight 0 is as without priors');

# lean: sixty-five, the best by prior, and then a few
$sim->reset_stats;
is(sql(set('lean', "passes => 'lean', top_n => 10, " . $priors->('prior'), 'count(*)')), 10, 'lean');
my %samples;
for my $request (@{ $sim->log }) { $samples{$1}++ if $request->{body} =~ /cats (\d+)/ }
is(join(' ', sort { $a <=> $b } keys %samples), sql(q(SELECT string_agg(id::text, ' ' ORDER BY id) FROM doc WHERE prior >= 35)), 'asks for the best sixty-five by prior');
cmp_ok($sim->stats->{chat}, '<=', 65 + 15 + 15 * 2, 'and of fifteen at most for more, each time');
is(sql(set('lean', "passes => 'lean', " . $priors->('prior'), q(string_agg(DISTINCT concat_ws(' ', rank <= 65, score IS NULL, fused IS NULL, settled IS NULL), ', ')))),
	'f t t t, t f f f', 'the others have no score and are behind');
is(sql(q(SELECT bool_and(rank = 100 - prior) FROM (SELECT id, rank FROM retro_star_rerank('lean', (SELECT array_agg(id ORDER BY id) FROM doc),
	(SELECT array_agg(body ORDER BY id) FROM doc), passes => 'lean', priors => (SELECT array_agg(prior ORDER BY id) FROM doc)) WHERE score IS NULL) r
	JOIN doc USING (id))), 't', 'by prior');

# The aggregate: groups go on together, and their candidates are asked for together
sql(q(CREATE TABLE q AS SELECT 'group ' || i AS query FROM generate_series(1, 4) i; ANALYZE q, doc));
my $groups = q(SELECT query, retro_star_rerank_agg(query, id, body, 3, useful) AS best FROM q, doc WHERE id <= 30 GROUP BY query);
my $expected = sql(q(SELECT string_agg(id::text, ' ' ORDER BY query, rank) FROM q, retro_star_rerank(query, (SELECT array_agg(id ORDER BY id) FROM doc WHERE id <= 30),
	(SELECT array_agg(body ORDER BY id) FROM doc WHERE id <= 30), 3, '8@1,4@3', priors => (SELECT array_agg(useful ORDER BY id) FROM doc WHERE id <= 30)) r));
wait_idle($node);
for my $way ('enable_sort', 'enable_hashagg')
{
	sql('DELETE FROM retrostar.score_cache');
	$sim->reset_stats;
	is(sql("SET retrostar.passes = '8\@1,4\@3'; SET $way = off; SELECT string_agg(id::text, ' ' ORDER BY query, rank)
		FROM ($groups) g, unnest(best) AS r (id int, score float8, rank int)"), $expected, "groups, $way off: as one by one");
	is($sim->stats->{chat}, 4 * (8 + 4 * 2), "$way off: nothing is asked for twice");
	wait_idle($node);
}
sql('DELETE FROM retrostar.score_cache');
$sim->control({ hold => JSON::PP::true });
my $together = ask_background($node, 'postgres', "SET retrostar.passes = '8\@1'; SET enable_sort = off; SELECT count(best) FROM ($groups) g");
$sim->wait_for('running', 32);
pass('the candidates of all hashed groups are asked for at once');
$sim->release;
$sim->control({ hold => JSON::PP::false });
is(finish_background($together), 4, 'and all come');

# EXPLAIN says what the priors weighed, where it shows anything of a set
my $plan = sql("SET enable_hashagg = off; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $groups");
like($plan, qr/Priors: sets=4 weight=0\.\d{3}\.\.0\.\d{3}\n/, 'EXPLAIN ANALYZE');
like(sql("SET enable_hashagg = off; SET retrostar.prior_weight = 0; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON) $groups"),
	qr/"Sets with Priors": 0,\n *"Least Prior Weight": 0\.000,/, 'in JSON, of weight 0');
unlike(sql("SET enable_hashagg = off; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT query, retro_star_rerank_agg(query, id, body, 3)
	FROM q, doc WHERE id <= 30 GROUP BY query"), qr/Priors/, 'and nothing of sets without');

# A document that fails is behind, with its prior; a deadline that has passed
is(sql(q(SET retrostar.on_error = 'null'; SELECT string_agg(id || coalesce(':' || fused, ''), ' ' ORDER BY rank) FROM retro_star_rerank('fails',
	ARRAY[1, 2, 3], ARRAY['', 'x [[sim:score=50]]', ''], priors => '{1,2,3}', prior_weight => 0.2))), '2:50 3 1', 'documents that fail are last, by prior');
$sim->control({ hold => JSON::PP::true });
is(sql(q(SELECT string_agg(id || coalesce(':' || fused, ''), ' ' ORDER BY rank) FROM retro_star_rerank('late',
	ARRAY[1, 2, 3], ARRAY['a', 'b', 'c'], priors => '{1,3,2}', deadline => '100 ms'))), '2 3 1', 'so are those that are late');
$sim->release;
$sim->control({ hold => JSON::PP::false });

# A materialized view warns once of priors with the wrong sign
sql(q(CREATE MATERIALIZED VIEW reversed AS SELECT r.* FROM retro_star_rerank('reversed', (SELECT array_agg(id ORDER BY id) FROM doc),
	(SELECT array_agg('document ' || id || ' [[sim:score=' || id || ']]' ORDER BY id) FROM doc),
	priors => (SELECT array_agg(-id::float8 ORDER BY id) FROM doc)) r WITH NO DATA));
my (undef, undef, $warning) = $node->psql('postgres', q(CALL retrostar.refresh('reversed')));
is(scalar(() = $warning =~ /priors of 1 set fall where scores rise/g), 1, 'a refresh warns once');
is(sql('SELECT count(*) FILTER (WHERE fused = score) FROM reversed'), 100, 'and does not trust them');

wait_idle($node);
is(sql(q(SELECT asked = answered + failed + cancelled AND text_bytes = 0 FROM retrostar.stat_queue)), 't', 'counters balance');

done_testing();
