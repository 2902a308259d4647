# retrostar.refresh() asks for no more pairs than the same REFRESH MATERIALIZED
# VIEW does, and fills the view with the same rows.
#
# Shapes of queries in which a score decides what else is asked for, and random
# views from a fixed seed.  More of them: RETROSTAR_VIEWS=50 RETROSTAR_SEED=7.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use JSON::PP;
use PrefetchFuzz qw(fuzz_view);
use PrefetchShapes qw(prefetch_schema);
use RetroSession;
use RetroTest;
use Test::More;

my $views = $ENV{RETROSTAR_VIEWS} // 20;
my $seed = $ENV{RETROSTAR_SEED} // 20261130;

my $node = new_node('refresh_pairs', conf => "jit = off\nfsync = off\n");
my $sim = start_simulator('--delay-ms', '2');

create_server($node, 'postgres', 'gpu', $sim, temperature => 0, max_in_flight => 64);
sql(prefetch_schema());
# Half of the documents have the word that a query consists of, and a high score
sql(q(
	CREATE FUNCTION words(id int) RETURNS text LANGUAGE sql AS $$ SELECT 'document ' || id || ' ' || string_agg(w, ' ' ORDER BY w)
		FROM unnest('{query,apple,banana,cheap,expensive,xylophone,yellow,zebra,first,second,rerank,adaptive,view,reason,wrapped,number,others,cancel,another}'::text[]) w
		WHERE hashtextextended(w || id, 0) % 2 = 0 $$;
	CREATE FUNCTION wrapped(q text, d text) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN RETURN public.retro_star_score(q, d); END $$;
	CREATE FUNCTION wrapped_query(q text, c int) RETURNS float8 LANGUAGE plpgsql AS
		$$ DECLARE best float8; BEGIN SELECT max(public.retro_star_score(q, body)) INTO best FROM public.docs WHERE cat = c AND id <= 60; RETURN best; END $$;
	CREATE FUNCTION no_null(s float8) RETURNS float8 LANGUAGE plpgsql AS
		$$ BEGIN IF s IS NULL THEN RAISE EXCEPTION 'no score'; END IF; RETURN s; END $$;
	CREATE FUNCTION others(d text) RETURNS float8 LANGUAGE plpgsql AS
		$$ BEGIN RETURN public.retro_star_score('others', d); EXCEPTION WHEN OTHERS THEN RETURN -1; END $$;
	CREATE FUNCTION cancels(d text) RETURNS float8 LANGUAGE plpgsql AS
		$$ BEGIN RETURN public.retro_star_score('cancel', d); EXCEPTION WHEN query_canceled THEN RETURN public.retro_star_score('wrong', d); END $$;
	CREATE FUNCTION again(d text) RETURNS float8 LANGUAGE plpgsql AS
		$$ BEGIN LOOP BEGIN RETURN public.retro_star_score('again', d); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
	CREATE FUNCTION another(d text) RETURNS float8 LANGUAGE plpgsql AS
		$$ BEGIN RETURN public.retro_star_score('another', d); EXCEPTION WHEN query_canceled THEN RAISE EXCEPTION 'something else'; END $$;
	UPDATE docs SET body = words(id); UPDATE pdocs SET body = words(id);
	CREATE VIEW scored AS SELECT id, cat, body, retro_star_score('view', body) AS score FROM docs;
	CREATE MATERIALIZED VIEW below AS SELECT * FROM docs;
	CREATE SEQUENCE numbers));

# Name => [ query, whether it is warmed to the end ]
my @shapes = (
	'plain' => q(SELECT id, S('query', body) FROM docs),
	'filter, limit' => q(SELECT id, S('query', body) FROM docs WHERE S('query', body) > 60 LIMIT 5),
	'exists' => q(SELECT qid FROM qs WHERE EXISTS (SELECT 1 FROM docs WHERE cat = qs.cat AND S(q, body) > 30)),
	'or' => q(SELECT id FROM docs WHERE (S('apple', body) > 50 OR S('banana', body) > 50) AND id <= 100),
	'coalesce' => q(SELECT id, COALESCE(nullif(S('apple', body), 0), S('banana', body)) FROM docs WHERE id <= 100),
	'case' => q(SELECT id, CASE WHEN S('cheap', body) < 60 THEN 0 ELSE S('expensive', body) END FROM docs),
	'recursion' => q(WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE S('walk', 'page ' || n || CASE WHEN n < 8 THEN ' walk' ELSE '' END) > 20) SELECT n FROM r),
	'nested and' => q(SELECT id FROM docs WHERE (S('xylophone', body) > 50 AND (S('yellow', body) > 50 AND S('zebra', body) > 50)) AND id <= 100),
	'top of a first score, then a second' => q(SELECT id, S('second', body) FROM (SELECT id, body FROM docs WHERE id <= 100 ORDER BY S('first', body) DESC, id LIMIT 10) d),
	'lateral' => q(SELECT qid, l.id FROM qs, LATERAL (SELECT id FROM docs WHERE cat = qs.cat AND id <= 60 ORDER BY S(q, body) DESC, id LIMIT 2) l),
	'rerank' => q(SELECT r.id, r.score FROM retro_star_rerank('rerank', (SELECT array_agg(id ORDER BY id) FROM docs),
		(SELECT array_agg(body ORDER BY id) FROM docs), passes => '60@1,5@4', top_n => 5) r),
	'rerank, adaptive' => q(SELECT r.id, r.score FROM retro_star_rerank('adaptive', (SELECT array_agg(id ORDER BY id) FROM docs WHERE id < 30),
		(SELECT array_agg(body ORDER BY id) FROM docs WHERE id < 30), passes => 'adaptive:1,2,4', top_n => 3) r),
	'aggregate' => q(SELECT q, r.* FROM (SELECT q, retro_star_rerank_agg(q, id, body, 2) AS best FROM docs JOIN qs USING (cat)
		WHERE id < 60 GROUP BY q) x, unnest(best) AS r (id int, score float8, rank int)),
	'explain' => q(SELECT id, e.sample, e.score, e.reasoning <> '' FROM docs, retro_star_explain('reason', body, samples => 2) e WHERE id < 20),
	'wrapper' => q(SELECT id, wrapped('wrapped', body) FROM docs WHERE id <= 40),
	'wrapper of a query' => q(SELECT qid, wrapped_query(q, cat) FROM qs),
	'correlated subquery' => q(SELECT qid, (SELECT max(S(q, body)) FROM docs WHERE cat = qs.cat AND id <= 60) FROM qs),
	'cannot bear null' => q(SELECT id, no_null(S('number', body)) FROM docs WHERE id <= 60),
	'catches others' => q(SELECT id, others(body) FROM docs WHERE id <= 30),
	'catches cancellations' => q(SELECT id, cancels(body) FROM docs WHERE id <= 30),
	'tries again' => q(SELECT id, again(body) FROM docs WHERE id <= 10),
	'makes another error of it' => q(SELECT id, another(body) FROM docs WHERE id <= 30),
	'view of a view' => q(SELECT id, score, S('second', body) FROM scored WHERE score > 50 AND cat = 1),
	'materialized view of one' => q(SELECT id, S('query', body) FROM below WHERE S('query', body) > 60 LIMIT 5),
	'now() in a filter' => q(SELECT id, S('query', body) FROM docs WHERE now() > '2020-01-01'),
	'random order' => q(SELECT id, S('query', body) FROM docs ORDER BY random()),
);
my %not_warmed = (
	'other pairs each time' => q(SELECT S('other', nextval('numbers')::text) FROM docs),
	'some other pairs' => q(SELECT S('some', CASE WHEN id % 10 = 0 THEN nextval('numbers') ELSE id END::text) FROM docs),
	'a random sample' => q(SELECT id, S('query', body) FROM (SELECT * FROM docs ORDER BY random() LIMIT 100) d),
	'now() in a pair' => q(SELECT S('now', now() || body) FROM docs),
	'many wrapped' => q(SELECT i, wrapped('many', i::text) FROM generate_series(1, 300) i),
);

while (my ($name, $query) = splice(@shapes, 0, 2))
{
	compare($name, '', $query, warmed => 1);
}
compare($_, '', $not_warmed{$_}, warmed => 0, rows => $_ eq 'many wrapped') foreach sort keys %not_warmed;

# In little room, and with what makes passes differ
compare('small windows', 'SET retrostar.prefetch_window = 4;', q(SELECT id FROM docs WHERE S('apple', body) > 50 OR S('banana', body) > 50), warmed => 1);
compare('little memory', q(SET work_mem = '64kB';), q(SELECT id, S('query', i || body) FROM docs, generate_series(1, 5) i), warmed => 1);
compare('cache off', 'SET retrostar.cache = off;', q(SELECT id, CASE WHEN S('cheap', body) < 60 THEN 0 ELSE S('expensive', body) END FROM docs), warmed => 1);
compare('several samples', 'SET retrostar.samples = 3;', q(SELECT id FROM docs WHERE S('query', body) > 60 LIMIT 5), warmed => 1);

# A pass does not stop for each of them, nor is the window in the way
subtest 'few scores missing among many' => sub {
	sql('DROP MATERIALIZED VIEW v; CREATE TABLE many AS SELECT i, i::text AS body FROM generate_series(1, 2000) i');
	sql(q(CREATE MATERIALIZED VIEW v AS SELECT i, retro_star_score('many', body) AS score FROM many));
	sql(q(UPDATE many SET body = 'new ' || body WHERE i % 50 = 0; CREATE TABLE ordered AS TABLE many ORDER BY i));
	sql(q(DROP MATERIALIZED VIEW v; CREATE MATERIALIZED VIEW v AS SELECT i, retro_star_score('many', body) AS score FROM ordered WITH NO DATA));
	wait_idle($node);
	$sim->control({ hold => JSON::PP::true });
	my $session = RetroSession->new($node, 'postgres');
	$session->query('SET retrostar.prefetch_window = 4');
	$session->send(q(CALL retrostar.refresh('v')));
	$sim->wait_for('running', 40);
	pass('all are asked for at once');
	$sim->control({ hold => JSON::PP::false });
	$session->result;
	is($session->sqlstate, '00000', 'done');
	is(psql('SELECT warmed, sent FROM retrostar.refresh_log ORDER BY run DESC LIMIT 1; SELECT count(score) FROM v'), "t|40\n2000\n", 'all scores');
	$session->quit;
};

# The row that a pass was stopped at is gone when the next one runs
subtest 'rows that change meanwhile' => sub {
	$sim->control({ hold => JSON::PP::true });
	sql('DROP MATERIALIZED VIEW v; CREATE TABLE moving AS SELECT i, i::text AS body FROM generate_series(1, 12) i');
	sql(q(CREATE MATERIALIZED VIEW v AS SELECT i, wrapped('moving', body) AS score FROM moving WITH NO DATA));
	my $session = RetroSession->new($node, 'postgres');
	$session->send(q(CALL retrostar.refresh('v')));
	$sim->wait_for('running', 1);
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pid}")
	  or die 'it does not wait';
	sql(q(UPDATE moving SET body = 'moved ' || body));
	$sim->release(1);
	$sim->wait_for('running', 1);
	$sim->control({ hold => JSON::PP::false });
	$session->result;
	is($session->sqlstate, '00000', 'done');
	is(psql('SELECT count(score) FROM v'), "12\n", 'all scores');
	is(psql('SELECT sent FROM retrostar.refresh_log ORDER BY run DESC LIMIT 1'), "13\n", 'one was asked for in vain');
	$session->quit;
};

srand($seed);
note("seed $seed");
foreach my $n (1 .. $views)
{
	my $view = fuzz_view();
	compare("random view $n", $view->{before}, $view->{query}, random => 1);
}
wait_idle($node);
is(queue($node, 'asked = answered + failed + cancelled AND text_bytes = 0 AND lost = 0'), 't', 'counters balance');
$node->stop;
done_testing();

# The same view by the one and by the other
sub compare
{
	my ($name, $before, $query, %params) = @_;

	$query =~ s/\bS\(/retro_star_score(/g;
	subtest $name => sub {
		my ($refresh_output, $refresh_rows, $refresh) = filled("$before CREATE MATERIALIZED VIEW v AS $query WITH NO DATA; REFRESH MATERIALIZED VIEW v");
		my ($output, $rows, $sent) = filled("$before CREATE MATERIALIZED VIEW v AS $query WITH NO DATA; CALL retrostar.refresh('v')");
		my ($log) = $rows =~ s/^log: (.*)\n//m ? $1 : '';

		note("$refresh and $sent pairs; $log");
		# what has not been sent when a statement fails never is
		cmp_ok($sent, '<=', $refresh + int($refresh / 10) + 20, "no more pairs than REFRESH: $sent, $refresh")
		  or diag($query)
		  unless $log =~ /^failed/;
		$refresh_rows =~ s/^log: .*\n//m;
		if ($params{random})
		{
			is($output =~ /^ERROR:.*/m ? $& : '', $refresh_output =~ /^ERROR:.*/m ? $& : '', 'the same error, or none');
		}
		else
		{
			is($log =~ /^done\|([tf])/ ? $1 : $log, $params{warmed} ? 't' : 'f', 'warmed');
		}
		is($rows, $refresh_rows, 'the same rows') or diag($query) if $params{rows} // $params{warmed} // 1;
	};
	return;
}

# What a script printed, the rows of view v, and the requests that it cost, from
# an empty cache
sub filled
{
	my ($script) = @_;

	sql('DROP MATERIALIZED VIEW IF EXISTS v');
	wait_idle($node);
	sql('TRUNCATE retrostar.score_cache, retrostar.refresh_log');
	my $before = $sim->stats->{samples};
	my $output = psql("$script;\n");
	wait_idle($node);
	my $sent = $sim->stats->{samples} - $before;
	my $rows = psql(q(SELECT 'log: ' || status || '|' || coalesce(warmed::text, '') || '|' || coalesce(message, '') FROM retrostar.refresh_log;
		SELECT v::text FROM v ORDER BY 1;));
	$rows =~ s/^log: (\w+)\|(t|f)(?:rue|alse)/log: $1|$2/m;
	return ($output, $rows, $sent);
}

sub sql { my ($sql) = @_; my $output = psql($sql); die $output if $output =~ /^ERROR/m; return; }

sub psql
{
	my ($sql) = @_;
	my $output = '';

	IPC::Run::run([ 'psql', '-XqAt', '-d', $node->connstr('postgres') ], '<', \$sql, '>&', \$output);
	$output =~ s/^psql:<stdin>:\d+: //mg;
	return $output;
}
