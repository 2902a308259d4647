# retrostar.request_limit holds for what the client sent, whatever it calls:
# each way to make calls within one statement wants 12 samples and gets 5.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use RetroTest;
use Test::More;

my $node = new_node('limit');
my $sim = start_simulator('--model', 'm');

create_server($node, 'postgres', 'gpu', $sim);
$node->safe_psql('postgres', q(
	CREATE TABLE doc AS SELECT i AS id, 'text ' || i AS body FROM generate_series(1, 12) i;
	CREATE TABLE target (id int, q text, body text);

	CREATE FUNCTION definer(q text, d text) RETURNS float8 LANGUAGE sql STABLE SECURITY DEFINER
		AS 'SELECT retro_star_score(q, d)';
	CREATE FUNCTION with_set(q text, d text) RETURNS float8 LANGUAGE sql STABLE SET work_mem = '4MB'
		AS 'SELECT retro_star_score(q, d)';
	CREATE FUNCTION inlined(q text, d text) RETURNS float8 LANGUAGE sql STABLE
		AS 'SELECT retro_star_score(q, d)';
	CREATE FUNCTION two(q text, d text) RETURNS float8 LANGUAGE sql
		AS 'SELECT 1; SELECT retro_star_score(q, d)';
	CREATE FUNCTION returned(q text, d text) RETURNS float8 LANGUAGE plpgsql
		AS 'BEGIN RETURN retro_star_score(q, d); END';
	CREATE FUNCTION performed(q text, d text) RETURNS float8 LANGUAGE plpgsql
		AS 'BEGIN PERFORM retro_star_score(q, d); RETURN 0; END';
	CREATE FUNCTION executed(q text, d text) RETURNS float8 LANGUAGE plpgsql
		AS 'BEGIN EXECUTE ''SELECT retro_star_score($1, $2)'' USING q, d; RETURN 0; END';
	CREATE FUNCTION caught(q text, d text) RETURNS float8 LANGUAGE plpgsql
		AS 'BEGIN RETURN retro_star_score(q, d); EXCEPTION WHEN OTHERS THEN RETURN NULL; END';
	CREATE FUNCTION of_set(q text) RETURNS SETOF float8 LANGUAGE sql ROWS 12
		AS 'SELECT retro_star_score(q, body) FROM doc';
	CREATE FUNCTION of_row() RETURNS trigger LANGUAGE plpgsql
		AS 'BEGIN PERFORM retro_star_score(new.q, new.body); RETURN new; END';
	CREATE FUNCTION of_event() RETURNS event_trigger LANGUAGE plpgsql
		AS 'BEGIN PERFORM public.retro_star_score(current_setting(''my.query''), body) FROM public.doc; END';
	CREATE FUNCTION computed(q text, d text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE
		AS 'BEGIN RETURN public.retro_star_score(q, d); END';
	CREATE PROCEDURE committing(q text) LANGUAGE plpgsql AS $$
		DECLARE d record; BEGIN
			FOR d IN SELECT body FROM doc LOOP PERFORM retro_star_score(q, d.body); COMMIT; END LOOP;
		END $$;
	CREATE DOMAIN scored AS text CHECK (retro_star_score(split_part(value, '|', 1), split_part(value, '|', 2)) >= 0);
));

my $n = 0;

# Twice: five are sent, then it fails; what they brought is kept, and seven more do
sub limited
{
	my ($name, $sql) = @_;
	my $q = 'query ' . ++$n;

	$sql =~ s/:q/'$q'/g;
	$sim->reset_stats;
	is(sqlstate($node, 'postgres', "SET retrostar.request_limit = 5; $sql"), '54000', "$name: fails");
	wait_idle($node);
	is($sim->stats->{chat}, 5, "$name: 5 are sent");
	is(sqlstate($node, 'postgres', "SET retrostar.request_limit = 12; $sql"), '00000', "$name: 12 are allowed");
	wait_idle($node);
	is($sim->stats->{chat}, 12, "$name: the others are sent");
	return;
}

sub over { my ($call) = @_; return "SELECT $call FROM doc"; }

subtest 'queries' => sub {
	limited('plain', over('retro_star_score(:q, body)'));
	limited('sorted', over('id') . ' ORDER BY retro_star_score(:q, body)');
	limited('not ahead', 'SET retrostar.prefetch = off; ' . over('retro_star_score(:q, body)'));
	limited('aggregate', over('max(retro_star_score(:q, body))'));
	limited('CTE', 'WITH s AS MATERIALIZED (' . over('retro_star_score(:q, body) s') . ') SELECT * FROM s WHERE s >= 0');
	limited('subquery', over('(SELECT retro_star_score(:q, body) OFFSET 0)'));
	limited('aggregate of a set', q(SELECT retro_star_rerank_agg(:q, id, body) FROM doc));
	limited('set', q(SELECT * FROM retro_star_rerank(:q, ARRAY(SELECT id FROM doc ORDER BY id), ARRAY(SELECT body FROM doc ORDER BY id))));
	limited('prepared', 'PREPARE p(text) AS ' . over('retro_star_score($1, body)') . '; EXECUTE p(:q)');
	limited('EXPLAIN ANALYZE', 'EXPLAIN ANALYZE ' . over('retro_star_score(:q, body)'));
	limited('COPY', 'COPY (' . over('retro_star_score(:q, body)') . ') TO STDOUT');
	limited('CREATE TABLE AS', 'DROP TABLE IF EXISTS made; CREATE TABLE made AS ' . over('retro_star_score(:q, body)'));
	limited('prefetch', over('retro_star_prefetch(:q, body)'));
	limited('explain', 'SELECT (SELECT count(*) FROM retro_star_explain(:q, body)) FROM doc');
	limited('LATERAL', 'SELECT s FROM doc, LATERAL (' . over('retro_star_score(:q, doc.body) s') . ' WHERE doc.id = id OFFSET 0) l');
	limited('window', over('sum(retro_star_score(:q, body)) OVER (ORDER BY id)'));
	limited('FILTER', over('count(*) FILTER (WHERE definer(:q, body) >= 0)'));
	limited('recursion', 'WITH RECURSIVE r AS (SELECT 1 AS i, definer(:q, $$1$$) AS s UNION ALL SELECT i + 1, definer(:q, (i + 1)::text) FROM r WHERE i < 12) SELECT * FROM r');
	my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; ';
	$node->safe_psql('postgres', 'ALTER TABLE doc SET (parallel_workers = 2)');
	like($node->safe_psql('postgres', $parallel . q(EXPLAIN SELECT retro_star_score('q', body) FROM doc)), qr/Gather/, 'a parallel plan');
	limited('its leader', $parallel . over('retro_star_score(:q, body)'));
	$node->safe_psql('postgres', 'ALTER TABLE doc RESET (parallel_workers)');
};

subtest 'functions' => sub {
	limited($_, over("$_(:q, body)")) foreach qw(inlined definer with_set two returned performed executed);
	limited('set-returning', 'SELECT * FROM of_set(:q)');
	limited('function in a function', over('performed(:q, body), definer(:q, body)'));

	# Whoever catches the error gets no more
	$sim->reset_stats;
	is($node->safe_psql('postgres', q(SET retrostar.request_limit = 5; SELECT count(caught('caught', body)) FROM doc)), 5, 'caught: 5 scores');
	wait_idle($node);
	is($sim->stats->{chat}, 5, 'caught: 5 are sent');
};

subtest 'blocks and procedures' => sub {
	limited('PERFORM', q(DO $$ BEGIN FOR i IN 1..12 LOOP PERFORM retro_star_score(:q, body) FROM doc WHERE id = i; END LOOP; END $$));
	limited('assignment', q(DO $$ DECLARE x float8; BEGIN FOR i IN 1..12 LOOP x := retro_star_score(:q, 'text ' || i); END LOOP; END $$));
	limited('FOR over a query', q(DO $$ DECLARE r record; BEGIN FOR r IN SELECT definer(:q, body) s FROM doc LOOP NULL; END LOOP; END $$));
	limited('cursor inside', q(DO $$ DECLARE c CURSOR FOR SELECT retro_star_score(:q, body) FROM doc; BEGIN FOR r IN c LOOP NULL; END LOOP; END $$));
	limited('block in a block', q(DO $$ BEGIN FOR i IN 1..12 LOOP EXECUTE format('DO $d$ BEGIN PERFORM retro_star_score(%L, %L); END $d$', :q, i); END LOOP; END $$));
	limited('a procedure that commits', 'CALL committing(:q)');
};

subtest 'cursors' => sub {
	limited('all at once', 'BEGIN; DECLARE c CURSOR FOR ' . over('retro_star_score(:q, body)') . '; FETCH ALL FROM c; COMMIT');
	limited('a row at a time', 'BEGIN; DECLARE c CURSOR FOR ' . over('definer(:q, body)') . ';' . ' FETCH 1 FROM c;' x 12 . ' COMMIT');
	limited('WITH HOLD', 'DECLARE c CURSOR WITH HOLD FOR ' . over('definer(:q, body)') . '; CLOSE c');
};

subtest 'writing' => sub {
	my $insert = 'INSERT INTO target SELECT id, :q, body FROM doc';
	my %places = (
		'BEFORE trigger' => 'CREATE TRIGGER t BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION of_row()',
		'AFTER trigger' => 'CREATE TRIGGER t AFTER INSERT ON target FOR EACH ROW EXECUTE FUNCTION of_row()',
		'deferred trigger' => 'CREATE CONSTRAINT TRIGGER t AFTER INSERT ON target DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION of_row()',
		'CHECK' => 'ALTER TABLE target ADD CONSTRAINT c CHECK (retro_star_score(q, body) >= 0)',
		'rule' => 'CREATE RULE r AS ON INSERT TO target DO ALSO SELECT definer(new.q, new.body)');

	foreach my $place (sort keys %places)
	{
		$node->safe_psql('postgres', $places{$place});
		limited($place, "BEGIN; $insert; COMMIT");
		$node->safe_psql('postgres', 'DROP TRIGGER IF EXISTS t ON target; DROP RULE IF EXISTS r ON target; '
			. 'ALTER TABLE target DROP CONSTRAINT IF EXISTS c; TRUNCATE target');
	}
	limited('DEFAULT', q(CREATE TEMP SEQUENCE numbers;
		CREATE TEMP TABLE d (id int, s float8 DEFAULT retro_star_score(:q, 'text ' || nextval('numbers')));
		INSERT INTO d SELECT id FROM doc));
	limited('RETURNING', 'BEGIN; INSERT INTO target SELECT id, :q, body FROM doc RETURNING definer(q, body); ROLLBACK');
	limited('MERGE', 'BEGIN; MERGE INTO target t USING doc d ON t.id = d.id WHEN NOT MATCHED AND definer(:q, d.body) >= 0 THEN INSERT VALUES (d.id, :q, d.body); ROLLBACK');
	limited('index', 'BEGIN; CREATE INDEX ON doc (computed(:q, body)); ROLLBACK');
	limited('event trigger', 'SET my.query = :q; BEGIN; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION of_event(); CREATE TABLE evented (); ROLLBACK');
	limited('domain', over(':q || $$|$$ || body') . ' WHERE (:q || $$|$$ || body)::scored IS NOT NULL');
	limited('UPDATE', 'BEGIN; UPDATE doc SET id = id WHERE definer(:q, body) >= 0; ROLLBACK');
};

subtest 'a policy' => sub {
	$node->safe_psql('postgres', q(CREATE ROLE reader; GRANT SELECT ON doc TO reader; GRANT USAGE ON FOREIGN SERVER gpu TO reader;
		ALTER TABLE doc ENABLE ROW LEVEL SECURITY;
		GRANT SET ON PARAMETER retrostar.request_limit TO reader));
	$node->safe_psql('postgres', q(CREATE POLICY p ON doc TO reader USING (retro_star_score(current_setting('my.query'), body) >= 0)));
	limited('policy', 'SET my.query = :q; SET ROLE reader; ' . over('id'));
	$node->safe_psql('postgres', 'ALTER TABLE doc DISABLE ROW LEVEL SECURITY');
};

subtest 'a refresh' => sub {
	$node->safe_psql('postgres', q(SET retrostar.on_miss = skip; CREATE MATERIALIZED VIEW v AS SELECT id, retro_star_score('view', body) FROM doc));
	$sim->reset_stats;
	is(sqlstate($node, 'postgres', q(SET retrostar.request_limit = 5; CALL retrostar.refresh('v'))), '54000', 'refresh: fails');
	wait_idle($node);
	is($sim->stats->{chat}, 5, 'refresh: 5 are sent');
	is(sqlstate($node, 'postgres', q(SET retrostar.request_limit = 12; CALL retrostar.refresh('v'))), '00000', 'refresh: 12 are allowed');
	wait_idle($node);
	is($sim->stats->{chat}, 12, 'refresh: the others are sent');
};

# Each of several commands has the limit for itself, also in one transaction
subtest 'what is not one statement' => sub {
	$sim->reset_stats;
	is(sqlstate($node, 'postgres', 'SET retrostar.request_limit = 5; BEGIN; '
		. join('; ', map { "SELECT definer('each', body) FROM doc WHERE id BETWEEN $_ AND $_ + 3" } 1, 5, 9) . '; COMMIT'), '00000', 'three commands');
	wait_idle($node);
	is($sim->stats->{chat}, 12, 'of four samples each');
};

done_testing();
