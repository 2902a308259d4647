# Logical replication of all tables, both sides with the extension: the initial
# copy ends, and what both have written stops nothing.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $sim = start_simulator();
my %node = map { $_ => new_node($_, allows_streaming => 'logical', conf => "retrostar.worker_idle_timeout = '1h'\n") } qw(left right);

sub sql { my ($side, $sql) = @_; return $node{$side}->safe_psql('postgres', $sql); }

# A row of the cache, so old
sub seed
{
	my ($side, $doc, $scores, $age) = @_;
	sql($side, "INSERT INTO retrostar.score_cache VALUES (retrostar.cache_key('q', '$doc'), 1, '$scores', 0, 'm', 1, 1, now() - interval '$age', now())");
	return;
}

sub row { my ($side, $doc) = @_; return sql($side, "SELECT scores FROM retrostar.score_cache WHERE key = retrostar.cache_key('q', '$doc')"); }

# All that "from" has written until now has been applied
sub caught_up
{
	my ($from) = @_;
	$node{$from}->wait_for_catchup("from_$from");
	return;
}

for my $side (sort keys %node)
{
	create_server($node{$side}, 'postgres', 'gpu', $sim);
	sql($side, q(CREATE TABLE doc (id int PRIMARY KEY, body text);
		INSERT INTO retrostar.task VALUES ('same', 'question', 'section', 'It answers the question.');
		CREATE MATERIALIZED VIEW sky AS SELECT retro_star_score('sky', 'a document') AS score WITH NO DATA;
		CREATE PUBLICATION everything FOR ALL TABLES;
		CREATE PUBLICATION ours FOR TABLES IN SCHEMA retrostar));
	sql($side, "INSERT INTO retrostar.task VALUES ('differs', 'of $side', 'section', 'It answers the question.')");
	sql($side, q(CALL retrostar.refresh('sky')));
	wait_idle($node{$side});
}
sql('left', q(INSERT INTO doc VALUES (1, 'one'); INSERT INTO retrostar.task VALUES ('new', 'question', 'section', 'It is new.')));
sql($_, "INSERT INTO retrostar.budget VALUES ('of $_', 'public', NULL, '1000 months', 1000000)") for sort keys %node;
my $usage = 'SELECT coalesce(sum(samples), 0) FROM retrostar.usage';
is(sql($_, $usage), 1, "usage of $_") for sort keys %node;
seed('left', 'more scores', '{1,2}', '0');
seed('right', 'more scores', '{3}', '1 day');
seed('left', 'fewer scores', '{1}', '1 day');
seed('right', 'fewer scores', '{3,4}', '0');
seed('left', 'older', '{1}', '1 day');
seed('right', 'older', '{3}', '0');
seed('left', 'only there', '{1}', '0');
seed('left', 'grows', '{1}', '0');
seed('right', 'grows', '{3,4,5}', '1 day');
# A column of the user's, of a type that has no equality
sql('right', 'ALTER TABLE retrostar.task ADD note json');

# Both ways since 16: before, what came from elsewhere could not be left out
my $both_ways = $node{left}->pg_version >= 16;
my $origin = $both_ways ? 'WITH (origin = none)' : '';
sub subscribe
{
	my ($to, $from, $publication) = @_;
	my $log = -s $node{$to}->logfile;
	(my $connection = $node{$from}->connstr('postgres')) =~ s/'/''/g;

	sql($to, "CREATE SUBSCRIPTION from_$from CONNECTION '$connection' PUBLICATION $publication $origin");
	ok($node{$to}->poll_query_until('postgres', q(SELECT count(*) >= 3 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel)), "$to has all of $from");
	caught_up($from);
	unlike(slurp_file($node{$to}->logfile, $log), qr/ERROR: /, 'without an error');
	return;
}

subtest 'the initial copy' => sub {
	my $log = -s $node{right}->logfile;

	subscribe('right', 'left', 'everything');
	is(sql('right', 'SELECT body FROM doc'), 'one', 'a table beside ours');
	is(sql('right', q(SELECT count(*) FILTER (WHERE builtin), count(*) FROM retrostar.task)), '12|15', 'tasks');
	is(sql('right', q(SELECT query_type FROM retrostar.task WHERE name = 'differs')), 'of right', 'one that differs stays as it is');
	like(slurp_file($node{right}->logfile, $log), qr/LOG: +task "differs" is there already, and the replicated one is not stored/, 'which is told');
	unlike(slurp_file($node{right}->logfile, $log), qr/LOG: +task "same"/, 'of the same one it is not');
	is(row('right', 'more scores'), '{1,2}', 'the row with more scores');
	is(row('right', 'fewer scores'), '{3,4}', 'on either side');
	is(row('right', 'older'), '{1}', 'else the older one');
	is(row('right', 'only there'), '{1}', 'and one that was not there');
	is(sql('right', 'SELECT count(*), max(run) FROM retrostar.refresh_log'), '1|1', 'runs are those of this side');
	is(sql('right', $usage), 1, 'so is usage');
	is(sql('right', 'SELECT string_agg(name, \' \') FROM retrostar.budget'), 'of right', 'and are budgets');
};

# Samples that come later are an update, of a row that may be another here
subtest 'a row that grows' => sub {
	is(row('right', 'grows'), '{3,4,5}', 'more scores');
	for my $step ([ '{1,2}', '{3,4,5}', 'stay' ], [ '{1,2,6}', '{3,4,5}', 'stay, as the older ones' ], [ '{1,2,6,7}', '{1,2,6,7}', 'until there are more of the others' ])
	{
		my ($new, $kept, $what) = @$step;

		sql('left', "UPDATE retrostar.score_cache SET scores = '$new' WHERE key = retrostar.cache_key('q', 'grows')");
		caught_up('left');
		is(row('right', 'grows'), $kept, $what);
	}
};

subtest 'written on both sides' => sub {
	# what is published has to be there
	sql('left', 'ALTER TABLE retrostar.task ADD note json');
	subscribe('left', 'right', 'ours') if $both_ways;
	my %log = map { $_ => -s $node{$_}->logfile } keys %node;

	for my $round (1 .. 3)
	{
		# at once, as far as that can be
		my @sessions = map { ask_background($node{$_}, 'postgres', "SELECT count(retro_star_score('both', 'document ' || $round * 100 + i)) FROM generate_series(1, 30) i") } sort keys %node;
		is(scalar finish_background($_), 30, 'scores') for @sessions;
		sql($_, "INSERT INTO retrostar.task VALUES ('round $round', 'question', 'section', 'Both have it.') ON CONFLICT DO NOTHING") for qw(right left);
		sql($_, q(CALL retrostar.refresh('sky'))) for sort keys %node;
		wait_idle($node{$_}) for sort keys %node;
	}
	sql('left', q(UPDATE retrostar.task SET relevance_definition = 'x' WHERE builtin AND name = 'biology'; DELETE FROM retrostar.task WHERE name = 'pony'));
	sql('left', q(UPDATE retrostar.task SET query_type = 'changed' WHERE name = 'new'; INSERT INTO doc VALUES (2, 'two')));
	sql('left', q(UPDATE retrostar.budget SET samples = 2000000; INSERT INTO retrostar.budget VALUES ('more', 'public', NULL, '1000 months', 1)));
	sql('left', q(DELETE FROM retrostar.budget));
	caught_up('left');
	caught_up('right') if $both_ways;
	is(sql('right', 'SELECT count(*) FROM doc'), 2, 'other tables go on');
	is(sql('right', q(SELECT query_type FROM retrostar.task WHERE name = 'new')), 'changed', 'a task of the user is changed');
	is(sql('right', q(SELECT count(*) FROM retrostar.task WHERE builtin AND relevance_definition <> 'x')), 12, 'those that are built in are not');
	is(sql($_, 'SELECT count(*) FROM retrostar.refresh_log'), 4, "runs of $_") for sort keys %node;
	# a pair that one has stored and sent may be known to the other before it asks
	is(sql('right', "SELECT sum(samples) = (SELECT samples_used FROM retrostar.stat_budget) AND sum(samples) <= 91 FROM retrostar.usage"), 't', 'what each has asked for is counted there');
	cmp_ok(sql('left', $usage) + sql('right', $usage), '>=', 92, 'and all of it');
	is(sql('right', 'SELECT name, samples FROM retrostar.budget'), 'of right|1000000', 'budgets stay');
	my $rows = q(SELECT key, scores, created FROM retrostar.score_cache WHERE scores <> '{1}' ORDER BY key);
	is(sql('right', $rows), sql('left', $rows), 'both have the same scores') if $both_ways;
	for my $side (sort keys %node)
	{
		unlike(slurp_file($node{$side}->logfile, $log{$side}), qr/ERROR: /, "no error on $side");
	}
};

# After a restore that has enabled the triggers for everybody
subtest 'other writers' => sub {
	sql('right', "ALTER TABLE retrostar.$_ ENABLE TRIGGER ALL") for qw(task score_cache refresh_log);
	is(sql('right', q(UPDATE retrostar.task SET doc_type = 'y' WHERE builtin RETURNING 1)) =~ tr/1//, 12, 'built-in tasks can be changed');
	sql('right', q(CALL retrostar.refresh('sky')));
	is(sql('right', 'SELECT count(*) FROM retrostar.refresh_log'), 5, 'a run is logged');
	is(sqlstate($node{right}, 'postgres', q(INSERT INTO retrostar.score_cache SELECT * FROM retrostar.score_cache LIMIT 1)), '23505', 'a key is there once');
};

sql('left', 'DROP SUBSCRIPTION from_right') if $both_ways;
sql('right', 'DROP SUBSCRIPTION from_left');
$node{$_}->stop for sort keys %node;
done_testing();
