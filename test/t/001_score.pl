# One pair from call to answer, and the cache.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

# one worker for all, for what it logs once
my $node = new_node('score', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $sim = start_simulator('--delay-ms', '20');

create_server($node, 'postgres', 'gpu', $sim);

# A new pair costs one request; asked again it costs none.
my $score = $node->safe_psql('postgres', q(SELECT retro_star_score('cats', 'all about cats')));
like($score, qr/^\d+$/, 'a score');
cmp_ok($score, '<=', 100, 'of 100 at most');
is($node->safe_psql('postgres', q(SELECT retro_star_score('cats', 'all about cats'))), $score,
	'the same score again');
is($sim->stats->{chat}, 1, 'for one request');

# The request says everything that changes the distribution.
my $request = decode_json($sim->log->[0]{body});
is($request->{messages}[0]{content},
	$node->safe_psql('postgres', q(SELECT retro_star_prompt('cats', 'all about cats'))),
	'the prompt is what retro_star_prompt shows');
is_deeply([ map { $request->{$_} } qw(model temperature top_k top_p min_p repetition_penalty max_tokens n) ],
	[ 'm', 0.6, 40, 1, 0, 1, 1024, 1 ], 'sampling parameters are explicit');
ok(exists $request->{seed}, 'with a seed');
ok(!exists $request->{stop}, 'without a stop string');
ok(!$request->{chat_template_kwargs}{enable_thinking}, 'without the thinking mode');

# More samples: only what is missing is asked for, in parallel, with seeds of
# their own.
$sim->control({ hold => JSON::PP::true });
my $more = ask_background($node, 'postgres', q(SELECT retro_star_score('cats', 'all about cats', samples => 4)));
$sim->wait_for('running', 3);
$sim->release;
$sim->control({ hold => JSON::PP::false });
like(finish_background($more), qr/^\d+(\.\d+)?$/, 'mean of four samples');
is($sim->stats->{chat}, 4, 'of which three are new');
my %seeds = map { decode_json($_->{body})->{seed} => 1 } @{ $sim->log };
is(scalar keys %seeds, 4, 'each sample has its own seed');
wait_idle($node);
is($node->safe_psql('postgres', 'SELECT cardinality(scores) FROM retrostar.score_cache'), 4,
	'all four are stored');
is($node->safe_psql('postgres', q(SELECT retro_star_score('cats', 'all about cats') =
	(SELECT avg(s) FROM retrostar.score_cache, unnest(scores) s))), 't',
	'asked for one, the mean of all four comes');

# Eight sessions, one request.
$sim->reset_stats;
$sim->control({ hold => JSON::PP::true });
my @sessions = map { ask_background($node, 'postgres', q(SELECT retro_star_score('dogs', 'all about dogs'))) } 1 .. 8;
wait_until('eight sessions wait', sub { queue($node, 'waiters') == 8 });
$sim->release;
$sim->control({ hold => JSON::PP::false });
my %scores = map { scalar(finish_background($_)) => 1 } @sessions;
is(scalar keys %scores, 1, 'eight sessions get one score');
is($sim->stats->{chat}, 1, 'from one request');

# A transaction that is rolled back keeps its answers, and so does a restart.
$sim->reset_stats;
my $kept = $node->safe_psql('postgres', q(BEGIN; SELECT retro_star_score('birds', 'a bird'); ROLLBACK));
is($node->safe_psql('postgres', q(SELECT retro_star_score('birds', 'a bird'))), $kept,
	'kept over a rollback');
wait_idle($node);
$node->restart;
is($node->safe_psql('postgres', q(SELECT retro_star_score('birds', 'a bird'))), $kept,
	'kept over a restart');
is($sim->stats->{chat}, 1, 'for one request');

# One statement asks for a pair once, wherever it is called.
$sim->reset_stats;
$node->safe_psql('postgres', q(
	SELECT retro_star_score('fish', body) FROM (VALUES ('a'), ('b'), ('a'), ('b')) d (body)
	WHERE retro_star_score('fish', body) >= 0 ORDER BY retro_star_score('fish', body) DESC NULLS LAST));
is($sim->stats->{chat}, 2, 'equal documents cost one request');
is($node->safe_psql('postgres', q(
	SELECT count(*) FROM (SELECT retro_star_score(NULL, 'x') s UNION ALL SELECT retro_star_score('x', NULL)) n
	WHERE s IS NULL)), 2, 'NULL gives NULL');
is($sim->stats->{chat}, 2, 'and costs nothing');

# Plain EXPLAIN costs nothing, though the planner evaluates the call.
$node->safe_psql('postgres', q(EXPLAIN SELECT 1 FROM pg_class WHERE retro_star_score('plan', 'ning') > 50));
is($sim->stats->{chat}, 2, 'EXPLAIN sends nothing');

# Settings
is($node->safe_psql('postgres', q(SET retrostar.on_miss = skip; SELECT retro_star_score('new', 'one') IS NULL)),
	't', 'on_miss = skip');
is($sim->stats->{chat}, 2, 'sends nothing');
$node->safe_psql('postgres', q(SET retrostar.cache = off; SELECT retro_star_score('fish', 'a')));
is($sim->stats->{chat}, 3, 'cache = off asks again');
wait_idle($node);
is($node->safe_psql('postgres', q(SELECT cardinality(scores) FROM retrostar.score_cache
	WHERE key = retrostar.cache_key('fish', 'a'))), 2, 'and stores beside');
is(sqlstate($node, 'postgres', q(SET retrostar.request_limit = 2;
	SELECT retro_star_score('limit', i::text) FROM generate_series(1, 4) i)), '54000', 'request_limit');
is($sim->stats->{chat}, 5, 'what it allows was sent');
is($node->safe_psql('postgres', q(SET retrostar.on_miss = skip;
	SELECT count(retro_star_score('limit', i::text)) FROM generate_series(1, 4) i)), 2, 'and kept');

# Prefetch returns at once, goes on without the session, and joins.
$sim->reset_stats;
$sim->control({ hold => JSON::PP::true });
is($node->safe_psql('postgres', q(SELECT retro_star_prefetch('far', i::text) FROM generate_series(1, 3) i)),
	"f\nf\nf", 'prefetch does not wait');
$sim->wait_for('running', 3);
my $joins = ask_background($node, 'postgres', q(SELECT count(retro_star_score('far', i::text)) FROM generate_series(1, 3) i));
wait_until('it waits', sub { queue($node, 'waiters') >= 1 });
$sim->release;
$sim->control({ hold => JSON::PP::false });
is(finish_background($joins), 3, 'a call joins what was prefetched');
is($sim->stats->{chat}, 3, 'and sends nothing itself');
wait_idle($node);
is($node->safe_psql('postgres', q(SELECT bool_and(retro_star_prefetch('far', i::text)) FROM generate_series(1, 3) i)),
	't', 'true when it is known');

# PL/pgSQL: simple expressions share the statement's memo.
$sim->reset_stats;
$node->safe_psql('postgres', q(SET retrostar.cache = off; DO $$
	DECLARE x float8; BEGIN FOR i IN 1..5 LOOP x := retro_star_score('loop', 'text'); END LOOP; END $$));
is($sim->stats->{chat}, 1, 'a loop in DO asks once');

# A row of a version that is not known is neither read nor changed.
my $version = q(UPDATE retrostar.score_cache SET version = %d, scores = '{%s}' WHERE key = retrostar.cache_key('row', 'other'));
my $row = q(SELECT version, scores, unscored, updated FROM retrostar.score_cache WHERE key = retrostar.cache_key('row', 'other'));
$node->safe_psql('postgres', q(SELECT retro_star_score('row', 'other')));
wait_idle($node);
$node->safe_psql('postgres', sprintf($version, 2, '101'));
my $foreign = $node->safe_psql('postgres', $row);
$sim->reset_stats;
my $again = $node->safe_psql('postgres', q(SELECT retro_star_score('row', 'other')));
like($again, qr/^\d+$/, 'a row of another version is asked for');
$node->poll_query_until('postgres', 'SELECT store_failures > 0 FROM retrostar.stat_cache') or die 'it was not tried to store it';
is(queue($node, 'unstored'), 1, 'and the answer, which is not stored, is kept');
is($node->safe_psql('postgres', q(SELECT retro_star_score('row', 'other'))), $again, 'it is known');
is($sim->stats->{chat}, 1, 'it was asked for once');
is($node->safe_psql('postgres', $row), $foreign, 'the row stays as it was');
is($node->safe_psql('postgres', q(SELECT count(score) FROM retro_star_explain('row', 'other'))), 1, 'explain does not read it either');
is(() = slurp_file($node->logfile) =~ /LOG: +table "retrostar.score_cache" has rows of another version/g, 1, 'one line in the log');
$node->safe_psql('postgres', sprintf($version, 1, '77'));
wait_idle($node);
is($node->safe_psql('postgres', $row =~ s/SELECT version, scores, unscored, updated/SELECT scores/r), "{77,$again}", 'ours again');

# All counters balance.
wait_idle($node);
is($node->safe_psql('postgres', q(SELECT asked = answered + failed + cancelled AND pairs = 0
	AND waiters = 0 AND text_bytes = 0 AND lost = 0 FROM retrostar.stat_queue)), 't', 'counters balance');

done_testing();
