# Answers that the table does not have yet, of which there may be several for a
# pair: which of them count, and that what is asked for besides is new.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('not_stored', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $sim = start_simulator();

create_server($node, 'postgres', 'gpu', $sim);

# A lock that stores must wait for, and look-ups need not
my $holder = RetroSession->new($node, 'postgres');
my $session = RetroSession->new($node, 'postgres');

sub lock_table { $holder->query('BEGIN; LOCK TABLE retrostar.score_cache IN SHARE MODE'); return; }
sub unlock_table { $holder->query('COMMIT'); wait_idle($node); return; }

sub score
{
	my ($doc, $samples, $cache) = @_;
	$session->query("SET retrostar.cache = $cache");
	return $session->query("SELECT retro_star_score('not stored', '$doc', samples => $samples)");
}

# "answers" of a pair: all of these samples say so, after so many without a score
sub answers
{
	my ($score, $unscored) = @_;
	$sim->reset;
	$sim->control({ fail => [ ($unscored ? { mode => 'no-score', times => $unscored } : ()), { mode => 'score', value => $score } ] });
	return;
}

subtest 'with the cache off' => sub {
	lock_table();
	score('seeds', 2, 'on');
	score('seeds', 2, 'off') for 1 .. 3;
	my $stats = $sim->stats;
	is($stats->{chat}, 8, 'each time two are asked for');
	is($stats->{duplicates}, 0, 'none with a seed that was used before');
	unlock_table();
	is($node->safe_psql('postgres', q(SELECT cardinality(scores) FROM retrostar.score_cache WHERE key = retrostar.cache_key('not stored', 'seeds'))),
		8, 'all are stored');
	score('seeds', 2, 'off');
	is($sim->stats->{duplicates}, 0, 'nor is one that the table has');
	wait_idle($node);
};

# Four that say 90, and two that say 10 and were six replies
for my $order ('more scores first', 'more replies first')
{
	subtest $order => sub {
		my @ask = (sub { answers(90, 0); is(score($order, 4, 'off'), 90, 'four'); },
			sub { answers(10, 4); is(score($order, 2, 'off'), 10, 'two'); });

		lock_table();
		$_->() for $order eq 'more scores first' ? @ask : reverse @ask;
		$sim->reset;
		$sim->reset_stats;
		is(score($order, 4, 'on'), 90, 'the four count');
		is($sim->stats->{chat}, 0, 'and nothing is asked for');
		unlock_table();
	};
}

# The table has three; two that came since were five replies
subtest 'more scores in the table' => sub {
	answers(90, 0);
	is(score('table', 3, 'on'), 90, 'three');
	wait_idle($node);
	lock_table();
	answers(10, 4);
	is(score('table', 2, 'off'), 10, 'two that are new');
	$sim->reset;
	$sim->reset_stats;
	is(score('table', 3, 'on'), 90, 'the three count');
	is($sim->stats->{chat}, 0, 'and nothing is asked for');
	unlock_table();
};

# Somebody asks for it anew: who takes what is known does not wait for that, and
# who knows nothing waits with him.
subtest 'asked for with the cache off meanwhile' => sub {
	$sim->reset;
	my $known = score('meanwhile', 2, 'on');
	wait_idle($node);
	$sim->reset_stats;
	$sim->control({ hold => JSON::PP::true });
	$holder->query('SET retrostar.cache = off');
	$holder->send("SELECT retro_star_score('not stored', 'meanwhile')");
	$sim->wait_for('running', 1);
	$session->query("SET statement_timeout = '60s'");
	is(score('meanwhile', 2, 'on'), $known, 'a known score comes at once');
	$session->send("SELECT retro_star_score('not stored', 'meanwhile', samples => 3)");
	$sim->wait_for('running', 2);
	wait_until('it waits', sub { queue($node, 'waiters') == 2 });
	is(queue($node, 'samples_running'), 2, 'the third sample is asked for, not three');
	$sim->control({ hold => JSON::PP::false });
	like($_->result, qr/^\d+(\.\d+)?$/, 'a score') for $holder, $session;
	is($sim->stats->{chat}, 2, 'two were asked for');
	is($sim->stats->{duplicates}, 0, 'with seeds of their own');
	wait_idle($node);

	$sim->reset_stats;
	$sim->control({ hold => JSON::PP::true });
	$holder->send("SELECT retro_star_score('not stored', 'unknown')");
	$sim->wait_for('running', 1);
	$session->send("SELECT retro_star_score('not stored', 'unknown')");
	wait_until('both wait', sub { queue($node, 'waiters') == 2 });
	is(queue($node, 'samples_running'), 1, 'one sample for both');
	$sim->control({ hold => JSON::PP::false });
	is($session->result, $holder->result, 'the same score');
	is($sim->stats->{chat}, 1, 'asked for once');
};

# What the table does with its rows is its owner's affair: what is not there
# afterwards is not stored.
sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub logged { my ($pattern, $from) = @_; return scalar(() = slurp_file($node->logfile, $from) =~ /$pattern/g); }
sub tried_again
{
	my $before = sql('SELECT store_failures FROM retrostar.stat_cache');
	$node->poll_query_until('postgres', "SELECT store_failures >= $before + 2 FROM retrostar.stat_cache") or die 'it is not tried again';
	return;
}

for my $way ('drops', 'changes the key of')
{
	subtest "a trigger that $way rows" => sub {
		my $from = -s $node->logfile;
		my $body = $way eq 'drops' ? 'RETURN NULL;' : 'NEW.key := sha256(NEW.key); RETURN NEW;';
		wait_idle($node);
		my $stored = sql('SELECT stored FROM retrostar.stat_cache');

		$sim->reset;
		sql(qq(CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS \$\$
			BEGIN IF NEW.model = 'm' AND NEW.scores = '{90}' THEN $body END IF; RETURN NEW; END\$\$;
			CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON retrostar.score_cache FOR EACH ROW EXECUTE FUNCTION meddle()));
		answers(90, 0);
		$session->query('SET retrostar.cache = on');
		is($session->query("SELECT count(retro_star_score('$way', 'dropped ' || i)) FROM generate_series(1, 5) i"), 5, 'scores');
		answers(40, 0);
		is($session->query("SELECT count(retro_star_score('$way', 'kept ' || i)) FROM generate_series(1, 5) i"), 5, 'and others');
		$node->poll_query_until('postgres', "SELECT stored = $stored + 5 FROM retrostar.stat_cache") or die 'they are not stored';
		tried_again();
		is(queue($node, 'unstored'), 5, 'what is not stored does not count as stored');
		$sim->reset_stats;
		is($session->query("SELECT count(*) FILTER (WHERE retro_star_score('$way', 'dropped ' || i) = 90) FROM generate_series(1, 5) i"), 5, 'it is known');
		is($session->query("SELECT count(*) FILTER (WHERE retro_star_score('$way', 'kept ' || i) = 40) FROM generate_series(1, 5) i"), 5, 'and so are the others');
		is($session->query("SELECT score FROM retro_star_explain('$way', 'dropped 1')"), 90, 'explained');
		is($sim->stats->{chat}, 0, 'nothing is asked for');
		is(logged(qr/another version/, $from), 0, 'the words are not about a version');
		is(logged(qr/LOG: +table "retrostar.score_cache" does not take all scores\n.*DETAIL: +A trigger on the table has dropped or changed \d of \d+ rows\./, $from),
			$way eq 'drops' ? 1 : 0, 'they are about triggers, once');
		sql('DROP TRIGGER meddle ON retrostar.score_cache; DROP FUNCTION meddle()');
		wait_idle($node);
		is(sql('SELECT stored FROM retrostar.stat_cache'), $stored + 10, 'without the trigger they are stored');
		is(sql("SELECT count(*) FROM retrostar.score_cache, generate_series(1, 5) i
			WHERE key = retrostar.cache_key('$way', 'dropped ' || i) AND scores = '{90}'"), 5, 'as they are');
		is(sql('SELECT lost FROM retrostar.stat_queue'), 0, 'nothing is lost');
	};
}

# More of them than fit into memory
subtest 'many that are not taken' => sub {
	sql('ALTER SYSTEM SET retrostar.max_requests = 64');
	$_->quit for $holder, $session;
	$node->restart;
	sql(q(CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
		CREATE TRIGGER meddle BEFORE INSERT ON retrostar.score_cache FOR EACH ROW EXECUTE FUNCTION meddle()));
	is(sql(q(SELECT count(retro_star_score('many', 'text ' || i)) FROM generate_series(1, 200) i)), 200, 'all are scored');
	cmp_ok(queue($node, 'lost'), '>=', 200 - 64, 'those who do not fit are given up');
	tried_again();
	sql('DROP TRIGGER meddle ON retrostar.score_cache; DROP FUNCTION meddle()');
	wait_idle($node);
	is(sql('SELECT stored + lost FROM retrostar.stat_cache, retrostar.stat_queue'), 200, 'and the others are stored');
	sql('ALTER SYSTEM RESET retrostar.max_requests');
	$node->restart;
	$holder = RetroSession->new($node, 'postgres');
	$session = RetroSession->new($node, 'postgres');
};

# Who owns the table may take its constraints away, and its types: what comes
# back of a row need be no key.  Altered while the pair is in work, since
# look-ups refuse such a table.
my $no_key = 'ALTER TABLE retrostar.score_cache DROP CONSTRAINT score_cache_pkey; ALTER TABLE retrostar.score_cache ALTER key DROP NOT NULL;';
my %keyless = (
	'a key that is null' => [ qq($no_key CREATE UNIQUE INDEX keyless ON retrostar.score_cache (key);
		CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN NEW.key := NULL; RETURN NEW; END\$\$;
		CREATE TRIGGER meddle BEFORE INSERT ON retrostar.score_cache FOR EACH ROW EXECUTE FUNCTION meddle()),
		q(DROP TRIGGER meddle ON retrostar.score_cache; DROP FUNCTION meddle(); DELETE FROM retrostar.score_cache WHERE key IS NULL; DROP INDEX retrostar.keyless),
		qr/table "retrostar.score_cache" does not take all scores/ ],
	'a key of another type' => [ qq($no_key CREATE TYPE odd AS ENUM ('odd'); CREATE FUNCTION odd(bytea) RETURNS odd IMMUTABLE LANGUAGE sql AS \$\$SELECT 'odd'::odd\$\$;
		CREATE CAST (bytea AS odd) WITH FUNCTION odd(bytea) AS ASSIGNMENT; DELETE FROM retrostar.score_cache;
		ALTER TABLE retrostar.score_cache ALTER key TYPE odd USING 'odd'; CREATE UNIQUE INDEX keyless ON retrostar.score_cache (key)),
		q(DROP INDEX retrostar.keyless; DELETE FROM retrostar.score_cache; ALTER TABLE retrostar.score_cache ALTER key TYPE bytea USING ''; DROP TYPE odd CASCADE),
		qr/could not store scores: table "retrostar.score_cache" does not have the columns that it was created with/ ],
);
for my $name (sort keys %keyless)
{
	subtest "rows with $name" => sub {
		my ($do, $undo, $why) = @{ $keyless{$name} };
		my $from = -s $node->logfile;

		$sim->reset;
		$sim->control({ hold => JSON::PP::true });
		my $asker = ask_background($node, 'postgres', "SELECT retro_star_score('keyless', '$name')");
		$sim->wait_for('running', 1);
		sql($do);
		$sim->reset;
		like(scalar finish_background($asker), qr/^\d+$/, 'a score');
		tried_again();
		is(queue($node, 'unstored'), 1, 'is not stored');
		is(logged($why, $from), 1, "which is told");
		sql("$undo; ALTER TABLE retrostar.score_cache ADD CONSTRAINT score_cache_pkey PRIMARY KEY (key)");
		wait_idle($node);
		is(sql("SELECT count(*) FROM retrostar.score_cache WHERE key = retrostar.cache_key('keyless', '$name')"), 1, 'and is in the end');
	};
}

# What fails each store: told once, with the cause, and all is kept
my %obstacle = (
	'a rule' => [ 'CREATE RULE meddle AS ON INSERT TO retrostar.score_cache DO INSTEAD NOTHING', 'DROP RULE meddle ON retrostar.score_cache', qr/table "retrostar.score_cache" has rules/ ],
	'a CHECK' => [ q(ALTER TABLE retrostar.score_cache ADD CONSTRAINT meddle CHECK (model <> 'm') NOT VALID), 'ALTER TABLE retrostar.score_cache DROP CONSTRAINT meddle', qr/check constraint "meddle"/ ],
	'a column more' => [ 'ALTER TABLE retrostar.score_cache ADD meddle integer; ALTER TABLE retrostar.score_cache ADD CHECK (meddle IS NOT NULL) NOT VALID',
		'ALTER TABLE retrostar.score_cache DROP COLUMN meddle', qr/check constraint/ ],
	'rights taken from the owner' => [ 'CREATE ROLE keeper; ALTER TABLE retrostar.score_cache OWNER TO keeper; REVOKE INSERT ON retrostar.score_cache FROM keeper',
		'ALTER TABLE retrostar.score_cache OWNER TO CURRENT_USER; GRANT INSERT ON retrostar.score_cache TO CURRENT_USER; DROP ROLE keeper', qr/permission denied for table score_cache/ ],
);
for my $name (sort keys %obstacle)
{
	subtest "stores are stopped by $name" => sub {
		my ($do, $undo, $why) = @{ $obstacle{$name} };
		my $from = -s $node->logfile;

		sql($do);
		$sim->reset;
		$session->query('SET retrostar.cache = on');
		my $score = $session->query("SELECT retro_star_score('stopped', '$name')");
		like($score, qr/^\d+$/, 'a score');
		tried_again();
		is($session->query("SELECT retro_star_score('stopped', '$name')"), $score, 'is known');
		is(queue($node, 'unstored'), 1, 'and not stored');
		is(logged(qr/LOG: +(?:\w+: +)?could not store scores: .*$why/, $from), 1, 'the cause is told once');
		sql($undo);
		wait_idle($node);
		is(logged(qr/storing scores works again/, $from), 1, 'and that it is over');
	};
}

# Citus would say something about volatile functions.  A catalog of its is enough.
subtest 'a table that has been distributed' => sub {
	my $from = -s $node->logfile;

	$session->query('SET allow_system_table_mods = on');
	is($session->outcome(q(CREATE TABLE pg_catalog.pg_dist_partition AS SELECT 'retrostar.score_cache'::regclass AS logicalrelid)), '00000', 'distributed');
	like($session->query(q(SELECT retro_star_score('distributed', 'score'))), qr/^\d+$/, 'a score');
	tried_again();
	is(logged(qr/LOG: +could not store scores: table "retrostar.score_cache" has been distributed by Citus\n.*DETAIL: +Nothing is found in it any more/, $from),
		1, 'the cause is told once');
	is($session->outcome('DELETE FROM pg_catalog.pg_dist_partition'), '00000', 'its other tables do not matter');
	wait_idle($node);
	is($session->outcome('DROP TABLE pg_catalog.pg_dist_partition; RESET allow_system_table_mods'), '00000', 'no Citus');
};

# What stops nothing
my %harmless = (
	'row-level security' => [ 'ALTER TABLE retrostar.score_cache ENABLE ROW LEVEL SECURITY; ALTER TABLE retrostar.score_cache FORCE ROW LEVEL SECURITY',
		'ALTER TABLE retrostar.score_cache NO FORCE ROW LEVEL SECURITY; ALTER TABLE retrostar.score_cache DISABLE ROW LEVEL SECURITY' ],
	'a generated column' => [ 'ALTER TABLE retrostar.score_cache ADD n integer GENERATED ALWAYS AS (cardinality(scores)) STORED', 'ALTER TABLE retrostar.score_cache DROP COLUMN n' ],
	'no WAL' => [ 'ALTER TABLE retrostar.score_cache SET UNLOGGED', 'ALTER TABLE retrostar.score_cache SET LOGGED' ],
	'another owner' => [ 'CREATE ROLE keeper; ALTER TABLE retrostar.score_cache OWNER TO keeper', 'ALTER TABLE retrostar.score_cache OWNER TO CURRENT_USER; DROP ROLE keeper' ],
);
for my $name (sort keys %harmless)
{
	subtest "stores go on with $name" => sub {
		my ($do, $undo) = @{ $harmless{$name} };

		sql($do);
		like($session->query("SELECT retro_star_score('goes on', '$name')"), qr/^\d+$/, 'a score');
		wait_idle($node);
		is(sql("SELECT count(*) FROM retrostar.score_cache WHERE key = retrostar.cache_key('goes on', '$name')"), 1, 'is stored');
		sql($undo);
	};
}

# What a table says must not be read as if it were another
subtest 'tables of another shape' => sub {
	my $pair = q(SELECT retro_star_score('shape', 'of a table'));
	my $table = q(CREATE TABLE %s (%s, CONSTRAINT %s PRIMARY KEY (%s)));
	my $columns = 'key bytea, version smallint, scores smallint[], unscored integer, model text,
		prompt_tokens bigint, completion_tokens bigint, created timestamptz, updated timestamptz, reasoning %s';

	sql('ALTER EXTENSION retrostar DROP TABLE retrostar.score_cache; ALTER EXTENSION retrostar DROP VIEW retrostar.stat_cache;
		DROP VIEW retrostar.stat_cache; ALTER TABLE retrostar.score_cache RENAME TO ours; ALTER INDEX retrostar.score_cache_pkey RENAME TO ours_pkey');
	for my $shape ([ 'reasoning as text', sprintf($columns, 'text'), 'key', '42809' ], [ 'columns in another order', 'version smallint, key bytea, scores int, unscored int', 'key', '42809' ],
		[ 'fewer columns', 'key bytea', 'key', '42809' ], [ 'another primary key', sprintf($columns, 'jsonb'), 'model', '42P01' ])
	{
		my ($name, $list, $key, $state) = @$shape;

		sql(sprintf($table, 'retrostar.score_cache', $list, 'score_cache_pkey', $key));
		is($session->outcome($pair), $state, $name);
		is($session->outcome(q(SELECT * FROM retro_star_explain('shape', 'of a table'))), $state, "$name, explained");
		sql('DROP TABLE retrostar.score_cache');
	}
	sql('ALTER TABLE retrostar.ours RENAME TO score_cache; ALTER INDEX retrostar.ours_pkey RENAME TO score_cache_pkey');
	is($session->outcome($pair), '00000', 'ours again');

	sql('ALTER TABLE retrostar.task DROP CONSTRAINT task_pkey; ALTER TABLE retrostar.task ADD PRIMARY KEY (relevance_definition, name)');
	is($session->outcome(q(SELECT retro_star_prompt('a', 'b', 'biology'))), '00000', 'tasks with another primary key');
	sql('ALTER TABLE retrostar.task ALTER query_type TYPE integer USING 7');
	is($session->outcome(q(SELECT retro_star_prompt('a', 'b', 'biology'))), '42809', 'tasks of another type');
	wait_idle($node);
};

$_->quit for $holder, $session;
nothing_left($node, 'not stored');
no_crash($node);
done_testing();
