# retrostar.usage: what pairs cost whom, in the same transaction as their scores;
# and what is done to the table harms no score.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('usage', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $sim = start_simulator('--dialect', 'openai');

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub as { my ($role, $sql) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]); }

# All of it: a test that begins at the end of an hour has two rows of one kind
sub total
{
	my ($columns, $where) = @_;
	return sql('SELECT ' . join(', ', map { "coalesce(sum($_), 0)" } split / /, $columns) . ' FROM retrostar.usage ' . ($where // ''));
}

# Of the cache, the same
my $cached = 'SELECT count(*), sum(cardinality(scores) + unscored), sum(prompt_tokens), sum(completion_tokens) FROM retrostar.score_cache';

create_server($node, 'postgres', 'gpu', $sim, dialect => 'openai', retries => 0);
sql('CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats; GRANT USAGE ON FOREIGN SERVER gpu TO PUBLIC');

# What fails without a reply has no scores to come with, and is written all the same
sub wait_usage
{
	my ($what, $sum) = @_;
	ok($node->poll_query_until('postgres', "SELECT $sum FROM retrostar.usage"), $what);
	return;
}

subtest 'what is counted' => sub {
	as('alice', q(SELECT count(retro_star_score('usage', i::text, samples => 2)) FROM generate_series(1, 30) i));
	wait_idle($node);
	is(total('pairs samples prompt_tokens completion_tokens'), '30|60|' . sql('SELECT sum(prompt_tokens) || \'|\' || sum(completion_tokens) FROM retrostar.score_cache'), 'as the cache has it');
	is(total('pairs', q(WHERE rolname = 'alice' AND role = 'alice'::regrole AND server = 'gpu' AND priority = 'interactive')), 30, 'of whom, where');
	cmp_ok(total('seconds'), '>', 0, 'seconds');
	is(total('failures'), 0, 'no failure');
	as('alice', q(SELECT count(retro_star_score('usage', i::text, samples => 2)) FROM generate_series(1, 30) i));
	wait_idle($node);
	is(total('pairs'), 30, 'what is known costs nothing');
	as('bob', q(SELECT count(retro_star_score('usage', i::text, samples => 3)) FROM generate_series(1, 10) i));
	wait_idle($node);
	is(total('samples', q(WHERE rolname = 'bob')), 10, 'of another: the samples that were missing');
	is(sql('SELECT count(*) FROM retrostar.usage WHERE hour <> date_trunc(\'hour\', hour)'), 0, 'hours are whole');
};

subtest 'cached prompt tokens' => sub {
	my %usage = (vllm => ['"prompt_tokens_details":{"cached_tokens":60}', 60], deepseek => [ '"prompt_cache_hit_tokens":7,"prompt_tokens_details":null', 7 ],
		lies => [ '"prompt_tokens_details":{"cached_tokens":101}', 100 ], none => [ '"prompt_tokens_details":null', 0 ]);

	foreach my $kind (sort keys %usage)
	{
		my ($details, $cached) = @{ $usage{$kind} };
		my ($seen) = (sql('SELECT sum(cached_tokens) FROM retrostar.stat_server'));

		$sim->control({ fail_clear => JSON::PP::true, fail => [ { mode => 'usage', value => qq({"prompt_tokens":100,"completion_tokens":9,"total_tokens":109,$details}) } ] });
		sql("SELECT retro_star_score('cached', '$kind')");
		wait_idle($node);
		is(sql('SELECT sum(cached_tokens) FROM retrostar.stat_server'), $seen + $cached, "$kind: retrostar.stat_server");
		is(total('cached_tokens'), $seen + $cached, 'usage');
	}
	$sim->control({ fail_clear => JSON::PP::true, fail => [ { mode => 'usage', value => qq({"prompt_tokens":100,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":60}}) } ] });
	like(sql(q(EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT retro_star_score('usage', 'other ' || i) FROM generate_series(1, 5) i)),
		qr/prompt tokens=\d+ \(cached=[1-9]\d*\) completion tokens=/, 'EXPLAIN ANALYZE');
	like(sql(q(EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, FORMAT JSON) SELECT retro_star_score('usage', 'another ' || i) FROM generate_series(1, 5) i)),
		qr/"Cached Prompt Tokens": [1-9]/, 'as JSON');
	wait_idle($node);
	$sim->control({ fail_clear => JSON::PP::true });
};

subtest 'failures and replies without a score' => sub {
	my ($pairs, $failures, $samples) = split /\|/, total('pairs failures samples');

	$sim->control({ fail => [ { mode => 'no-score' } ] });
	as('bob', q(SET retrostar.on_error = 'null'; SELECT retro_star_score('usage', 'no score')));
	wait_idle($node);
	is(total('pairs failures samples'), join('|', $pairs + 1, $failures + 1, $samples + 1), 'a reply without a score');
	$sim->control({ fail_clear => JSON::PP::true, fail => [ { mode => 'status', value => 400 } ] });
	as('bob', q(SET retrostar.on_error = 'null'; SELECT count(retro_star_score('usage', 'refused ' || i)) FROM generate_series(1, 7) i));
	wait_usage('no reply at all', 'sum(failures) = ' . ($failures + 8));
	is(total('pairs failures samples'), join('|', $pairs + 8, $failures + 8, $samples + 1), 'pairs and samples of it');
	$sim->control({ fail_clear => JSON::PP::true });
};

subtest 'who sees what' => sub {
	is(as('bob', 'SELECT string_agg(DISTINCT rolname, \' \') FROM retrostar.usage'), 'bob', 'a role its own');
	is(as('watcher', 'SELECT string_agg(DISTINCT rolname::text, \' \' ORDER BY rolname::text) FROM retrostar.usage'), sql('SELECT string_agg(DISTINCT rolname::text, \' \' ORDER BY rolname::text) FROM retrostar.usage'), 'pg_read_all_stats all');
	is(as('bob', 'SELECT DISTINCT role FROM retrostar.usage_by_day'), 'bob', 'the view, too');
	is(sqlstate($node, 'postgres', 'DELETE FROM retrostar.usage', extra_params => [ '-U', 'bob', '-v', 'VERBOSITY=verbose' ]), '42501', 'nobody writes it');
	sql('ALTER ROLE bob RENAME TO robert');
	is(sql(q(SELECT count(*) > 0 FROM retrostar.usage_by_day WHERE role = 'robert')), 't', 'one that was renamed');
	sql('ALTER ROLE robert RENAME TO bob');
	my $was = total('samples', q(WHERE rolname = 'alice'));
	sql('REVOKE ALL ON FOREIGN SERVER gpu FROM alice; DROP ROLE alice; CREATE ROLE alice LOGIN');
	is(sql(q(SELECT sum(samples) FROM retrostar.usage_by_day WHERE role = 'alice')), $was, 'one that was dropped, under its name');
	is(as('alice', 'SELECT count(*) FROM retrostar.usage'), 0, 'which is not the new one of the name');
};

# Neither is there without the other
subtest 'after a crash' => sub {
	sql('TRUNCATE retrostar.score_cache, retrostar.usage');
	my $session = ask_background($node, 'postgres', q(SELECT count(retro_star_score('crash', i::text)) FROM generate_series(1, 3000) i));
	$node->poll_query_until('postgres', 'SELECT count(*) > 500 FROM retrostar.score_cache');
	$node->stop('immediate');
	finish_background($session);
	$node->start;
	my $before = sql($cached);
	note("stored: $before");
	is(total('pairs samples prompt_tokens completion_tokens'), $before =~ /^0/ ? '0|0|0|0' : $before, 'usage is what the scores are');
	is(sql(q(SELECT count(retro_star_score('crash', i::text)) FROM generate_series(1, 3000) i)), 3000, 'the rest');
	wait_idle($node);
	is(total('pairs samples prompt_tokens completion_tokens'), sql($cached), 'and then');
};

# Whatever the owner does to it
subtest 'a table that cannot be written' => sub {
	my $role = sql('SELECT current_user');
	my %broken = (
		'a trigger that raises' => [ q(CREATE FUNCTION boo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'boo'; END $$; CREATE TRIGGER boo BEFORE INSERT ON retrostar.usage FOR EACH ROW EXECUTE FUNCTION boo()),
			'DROP TRIGGER boo ON retrostar.usage', qr/could not store usage: boo/ ],
		'a trigger that drops' => [ q(CREATE FUNCTION nope() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; CREATE TRIGGER nope BEFORE INSERT ON retrostar.usage FOR EACH ROW EXECUTE FUNCTION nope()),
			'DROP TRIGGER nope ON retrostar.usage', qr/could not store usage: table "retrostar.usage" does not take all rows/ ],
		'a column more' => [ 'ALTER TABLE retrostar.usage ADD more int, ADD CONSTRAINT more CHECK (more IS NOT NULL) NOT VALID', 'ALTER TABLE retrostar.usage DROP more', qr/could not store usage: .*violates check constraint/ ],
		'rules' => [ 'CREATE RULE r AS ON INSERT TO retrostar.usage DO ALSO NOTHING', 'DROP RULE r ON retrostar.usage', qr/could not store usage: table "retrostar.usage" has rules/ ],
	);
	my $n = 0;

	foreach my $what (sort keys %broken)
	{
		my ($break, $mend, $said) = @{ $broken{$what} };
		my $log = -s $node->logfile;
		my $was = total('samples');

		sql($break);
		$n++;
		is(sql("SELECT count(retro_star_score('broken $n', i::text)) FROM generate_series(1, 20) i"), 20, "$what: scores");
		wait_idle($node);
		is(sql(q(SELECT store_failures, unstored FROM retrostar.stat_cache)), sql('SELECT 0, 0'), 'which are stored');
		my @said = slurp_file($node->logfile, $log) =~ /$said/g;
		is(scalar @said, 1, 'it is said once');
		is(total('samples'), $was, 'usage is kept');
		sql($mend);
		wait_usage('until it can be written', "sum(samples) = $was + 20");
		ok($node->wait_for_log(qr/storing usage works again/, $log), 'which is said, too');
	}
	# of another owner, with row security for all
	sql('CREATE ROLE keeper; GRANT USAGE ON SCHEMA retrostar TO keeper; ALTER TABLE retrostar.usage OWNER TO keeper; ALTER TABLE retrostar.usage FORCE ROW LEVEL SECURITY');
	my $was = total('samples');
	is(sql(q(SELECT count(retro_star_score('keeper', i::text)) FROM generate_series(1, 20) i)), 20, 'another owner: scores');
	wait_idle($node);
	wait_usage('usage', "sum(samples) = $was + 20");
	sql("ALTER TABLE retrostar.usage NO FORCE ROW LEVEL SECURITY; ALTER TABLE retrostar.usage OWNER TO $role");

	# locked: later
	my $session = RetroSession->new($node, 'postgres');
	$session->query('BEGIN; LOCK retrostar.usage IN ACCESS EXCLUSIVE MODE');
	is(sql(q(SELECT count(retro_star_score('locked', i::text)) FROM generate_series(1, 20) i)), 20, 'locked: scores');
	wait_idle($node);
	$session->query('COMMIT');
	$session->quit;
	wait_usage('usage comes after', "sum(samples) = $was + 40");
};

# Of failures alone nothing is left to store them with
subtest 'a worker that leaves' => sub {
	my ($failures) = split /\|/, total('failures');
	my $session = RetroSession->new($node, 'postgres');

	$session->query('BEGIN; LOCK retrostar.usage IN EXCLUSIVE MODE');
	$sim->control({ fail => [ { mode => 'status', value => 400 } ] });
	sql(q(SET retrostar.on_error = 'null'; SELECT count(retro_star_score('leaves', i::text)) FROM generate_series(1, 5) i));
	$sim->control({ fail_clear => JSON::PP::true });
	my $pid = queue($node, 'worker_pid');
	sql("SELECT pg_terminate_backend($pid)");
	ok($node->poll_query_until('postgres', "SELECT worker_pid IS DISTINCT FROM $pid FROM retrostar.stat_queue"), 'it has gone');
	$session->query('COMMIT');
	$session->quit;
	sql(q(SELECT retro_star_score('leaves', 'another')));
	wait_usage('the next one writes them', 'sum(failures) = ' . ($failures + 5));
};

subtest 'pruned' => sub {
	sql(q(INSERT INTO retrostar.usage SELECT '2020-01-01', 10, 'old', 'gpu', 'interactive', 1, 0, 1, 1, 0, 1, 1));
	sql('CREATE ROLE pruner LOGIN; GRANT SELECT, DELETE ON retrostar.score_cache TO pruner');
	my $rows = sql('SELECT count(*) FROM retrostar.usage');
	as('pruner', q(SELECT retrostar.cache_prune('1 year')));
	is(sql('SELECT count(*) FROM retrostar.usage'), $rows, 'not by who may not');
	sql(q(INSERT INTO retrostar.budget VALUES ('day', 'public', NULL, '1 day', 1000000), ('century', 'alice', NULL, '1200 months', 1000000)));
	sql(q(SELECT retrostar.cache_prune('1 year')));
	is(sql('SELECT count(*) FROM retrostar.usage'), $rows, 'nor what a budget counts');
	sql(q(DELETE FROM retrostar.budget WHERE name = 'century'));
	sql(q(SELECT retrostar.cache_prune('1 year')));
	is(sql('SELECT count(*) FROM retrostar.usage'), $rows - 1, 'old hours go with old scores');
};

subtest 'dropped' => sub {
	my $log = -s $node->logfile;
	sql('ALTER EXTENSION retrostar DROP VIEW retrostar.stat_budget; ALTER EXTENSION retrostar DROP VIEW retrostar.usage_by_day; ALTER EXTENSION retrostar DROP TABLE retrostar.usage; DROP TABLE retrostar.usage CASCADE');
	is(sql(q(SELECT count(retro_star_score('dropped', i::text)) FROM generate_series(1, 20) i)), 20, 'scores');
	wait_idle($node);
	is(sql(q(SELECT count(retro_star_score('dropped too', i::text)) FROM generate_series(1, 20) i)), 20, 'again');
	wait_idle($node);
	is(() = slurp_file($node->logfile, $log) =~ /LOG: +table "retrostar.usage" does not exist/g, 1, 'said once');
	is(sql('SELECT unstored FROM retrostar.stat_cache'), 0, 'all are stored');
};

$node->stop;
done_testing();
