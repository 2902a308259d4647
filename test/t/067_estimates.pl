# What a statement will ask for, before it runs: as the planner expects, and
# exactly; and what retrostar.check() says of clients that go.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use List::Util qw(sum0);
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('estimates');
my $sim = start_simulator('--model', 'm');

create_server($node, 'postgres', 'gpu', $sim);
$node->safe_psql('postgres', q(CREATE TABLE doc AS SELECT i AS id, 'document ' || i AS body FROM generate_series(1, 20) i));
$node->safe_psql('postgres', q(CREATE TABLE part (id integer, body text) PARTITION BY LIST (id); CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1, 2, 3);
	CREATE TABLE part2 PARTITION OF part DEFAULT; INSERT INTO part SELECT id, body FROM doc));
$node->safe_psql('postgres', 'VACUUM ANALYZE doc, part1, part2');

# The prefetch nodes of a plan, from the top
sub prefetch_node
{
	my ($plan) = @_;
	return (($plan->{'Custom Plan Provider'} // '') eq 'Retro* Prefetch' ? $plan : (),
		map { prefetch_node($_) } @{ $plan->{Plans} // [] });
}

sub all_explained
{
	my ($sql, $settings, $options) = @_;
	my $json = $node->safe_psql('postgres', ($settings // '') . ' EXPLAIN (FORMAT JSON' . ($options // '') . ") $sql");
	return prefetch_node(decode_json($json)->[0]{Plan});
}

sub explained { return (all_explained(@_))[0]; }

my $score = q(retro_star_score('q', body));
my $sorted = "SELECT id FROM doc ORDER BY $score";

is(explained($sorted)->{'Estimated Calls'}, 20, 'all rows');
is(explained("SELECT id, $score FROM doc LIMIT 5")->{'Estimated Calls'}, 5, 'as many as a LIMIT takes');
is(explained("SELECT id, $score FROM doc LIMIT 5 OFFSET 2")->{'Estimated Calls'}, 7, 'and leaves out');
is(explained("SELECT id FROM doc WHERE $score > 50 LIMIT 5")->{'Estimated Calls'}, 15, 'with a condition: a third is to pass');
is(explained("SELECT id FROM doc ORDER BY $score + retro_star_score('r', body)")->{'Estimated Calls'}, 40, 'two calls');

# A condition on scores drops rows behind the call.  What is looked at is what
# is asked, as is seen when it runs: of none a score is known before.
my $conditions = 0;
my %conditions = (
	'a lower bound' => 'SELECT id FROM doc WHERE S > 50',
	'a value' => 'SELECT id FROM doc WHERE S = 50',
	'a range' => 'SELECT id FROM doc WHERE S BETWEEN 20 AND 80',
	'either' => 'SELECT id FROM doc WHERE S > 90 OR S < 10',
	'none' => 'SELECT id FROM doc WHERE S IS NULL',
	'of a subquery' => 'SELECT id FROM (SELECT id, body FROM doc ORDER BY id OFFSET 3) d WHERE S > 50',
	'of values' => q(SELECT id FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) d (id, body) WHERE S > 50),
	'of a join' => 'SELECT id FROM doc CROSS JOIN (VALUES (1), (2)) d (other) WHERE S + other > 50',
	'of parts' => q(SELECT id FROM (SELECT * FROM doc UNION ALL SELECT id + 20, body || ' again' FROM doc) d WHERE S > 50),
	'of partitions' => 'SELECT id FROM part WHERE S > 50');
foreach my $what (sort keys %conditions)
{
	$conditions++;
	my $sql = $conditions{$what} =~ s/\bS\b/retro_star_score('condition $conditions', body)/gr;
	# of nodes below each other the lowest; parts may have nodes of their own
	my $estimated = $what eq 'of parts' ? sum0(map { $_->{'Estimated Calls'} } all_explained($sql)) : (all_explained($sql))[-1]{'Estimated Calls'};
	my $before = $sim->stats->{chat};

	$node->safe_psql('postgres', $sql);
	my $made = $what eq 'of a join' ? 40 : $sim->stats->{chat} - $before;
	is($estimated, $made, "a condition, $what: $made calls");
}
my $plan = $node->safe_psql('postgres', "EXPLAIN SELECT id FROM doc WHERE $score > 50 AND retro_star_score('r', body) > 50");
like($plan, qr/Prefetch\).*rows=2 .*Estimated Calls: 7\n.*Prefetch\).*rows=7 .*Estimated Calls: 20\n.*Seq Scan on doc  \(.*rows=20 /s, 'one condition after another');

is(explained($sorted)->{'Request Limit'}, undef, 'within the limit');
is(explained($sorted, 'SET retrostar.request_limit = 19;')->{'Request Limit'}, '19 samples, of 20 if none is known', 'beyond');
is(explained($sorted, 'SET retrostar.request_limit = 20;')->{'Request Limit'}, undef, 'just within');
is(explained($sorted, 'SET retrostar.request_limit = 79; SET retrostar.samples = 4;')->{'Request Limit'},
	'79 samples, of 80 if none is known', 'samples of the setting');
is(explained($sorted =~ s/body\)/body, samples => 3)/r, 'SET retrostar.request_limit = 59;')->{'Request Limit'},
	'59 samples, of 60 if none is known', 'samples of the call');
is(explained($sorted, 'SET retrostar.request_limit = -1;')->{'Request Limit'}, undef, 'no limit');
is(explained($sorted, '', ', COSTS OFF')->{'Estimated Calls'}, undef, 'no estimates without costs');
like($node->safe_psql('postgres', "SET retrostar.request_limit = 19; EXPLAIN $sorted"),
	qr/Calls Ahead: .*\n\s+Estimated Calls: 20\n\s+Request Limit: 19 samples, of 20 if none is known\n/, 'as text');

# Budgets, of which EXPLAIN tells what retrostar.stat_budget has
sub budget { my ($name, $columns, $values) = @_; $node->safe_psql('postgres', "INSERT INTO retrostar.budget (name, role, period, $columns) VALUES ('$name', 'public', '1000 months', $values)"); return; }
wait_idle($node);
my $used = $node->safe_psql('postgres', 'SELECT sum(samples) FROM retrostar.usage');
$sim->reset_stats;
is(explained($sorted)->{'Over Budget'}, undef, 'no budget');
budget('enough', 'samples', $used + 20);
is(explained($sorted)->{'Over Budget'}, undef, 'within a budget');
budget('small', 'samples', $used + 19);
is_deeply(explained($sorted)->{'Over Budget'}, ['small (19 samples left, of 20 if none is known)'], 'beyond');
budget('gone', 'samples', 1);
is_deeply(explained($sorted)->{'Over Budget'}, ['small (19 samples left, of 20 if none is known)', 'gone (0 samples left, of 20 if none is known)'], 'two of them');
like($node->safe_psql('postgres', "EXPLAIN $sorted"), qr/Estimated Calls: 20\n\s+Over Budget: small \(19 samples left, of 20 if none is known\), gone \(/, 'as text');
$node->safe_psql('postgres', q(DELETE FROM retrostar.budget; CREATE SERVER other FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm'); SET retrostar.server = gpu));
budget('tokens', 'tokens', 1);
budget('elsewhere', 'server, samples', q('other', 1));
my $gpu = 'SET retrostar.server = gpu;';
is_deeply(explained($sorted, $gpu)->{'Over Budget'}, ['tokens (no tokens left)'], 'of tokens, and none of another server');
is_deeply(explained($sorted =~ s/body\)/body, server => 'other')/r, $gpu)->{'Over Budget'}, ['tokens (no tokens left)', 'elsewhere (1 samples left, of 20 if none is known)'], 'of the server that is named');
is_deeply(explained($sorted)->{'Over Budget'}, ['tokens (no tokens left)'], 'which server is not known');
$node->safe_psql('postgres', 'CREATE ROLE guest; GRANT SELECT ON doc TO guest');
is_deeply(explained($sorted, "SET SESSION AUTHORIZATION guest; $gpu")->{'Over Budget'}, ['tokens (no tokens left)'], 'of who may not use it, and sees no usage of others');
my $session = RetroSession->new($node, 'postgres');
$session->query('BEGIN; LOCK retrostar.usage IN ACCESS EXCLUSIVE MODE');
is(explained($sorted, $gpu)->{'Over Budget'}, undef, 'it waits for no lock');
$session->quit;
$node->safe_psql('postgres', 'DELETE FROM retrostar.budget; DROP SERVER other');
is($sim->stats->{chat}, 0, 'nothing was sent');

# Exactly
my $unknown = "SET retrostar.on_miss = skip; SELECT count(DISTINCT body) FROM doc WHERE $score IS NULL AND body IS NOT NULL";
is($node->safe_psql('postgres', $unknown), 20, 'none is known');
$node->safe_psql('postgres', "SELECT count($score) FROM doc WHERE id <= 5");
is($node->safe_psql('postgres', $unknown), 15, 'some are');
my $before = $sim->stats->{chat};
$node->safe_psql('postgres', "SELECT count($score) FROM doc");
is($sim->stats->{chat} - $before, 15, 'as many as were counted');

my $check = q(SELECT ok, detail FROM retrostar.check('gpu') WHERE endpoint = 'worker');
like($node->safe_psql('postgres', $check), qr/^t\|.*client_connection_check_interval, which is 0/, 'check() tells of clients that go');
unlike($node->safe_psql('postgres', "SET client_connection_check_interval = '1s'; $check"), qr/client_connection/, 'not when it is set');

$node->stop;
done_testing();
