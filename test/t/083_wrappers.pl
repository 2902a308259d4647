# Functions and views around a call, by how they are declared: each row of the
# table in doc/planning.md.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('wrappers');
my $sim = start_simulator('--model', 'm');
my $rounds = 0;

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 16);
$node->safe_psql('postgres', q(CREATE TABLE doc AS SELECT i AS id, 'document ' || i AS body FROM generate_series(1, 30) i; ANALYZE doc));

# The body asks about a query that is new each time
my $call = q(SELECT retro_star_score(query, body));
my $arguments = 'f(query text, body text) RETURNS double precision';

my %ahead = (
	'LANGUAGE sql STABLE' => "CREATE FUNCTION $arguments LANGUAGE sql STABLE AS '$call'",
	'LANGUAGE sql' => "CREATE FUNCTION $arguments LANGUAGE sql AS '$call'",
	'RETURN' => "CREATE FUNCTION $arguments LANGUAGE sql STABLE RETURN retro_star_score(query, body)",
);
my %serial = (
	'STRICT' => "CREATE FUNCTION $arguments LANGUAGE sql STABLE STRICT AS '$call'",
	'SECURITY DEFINER' => "CREATE FUNCTION $arguments LANGUAGE sql STABLE SECURITY DEFINER AS '$call'",
	'SET' => "CREATE FUNCTION $arguments LANGUAGE sql STABLE SET work_mem = '4MB' AS '$call'",
	'plpgsql' => "CREATE FUNCTION $arguments LANGUAGE plpgsql STABLE AS 'BEGIN RETURN retro_star_score(query, body); END'",
	'IMMUTABLE' => "CREATE FUNCTION $arguments LANGUAGE sql IMMUTABLE AS '$call'",
	'two statements' => "CREATE FUNCTION $arguments LANGUAGE sql STABLE AS 'SELECT 1; $call'",
	'BEGIN ATOMIC' => "CREATE FUNCTION $arguments LANGUAGE sql STABLE BEGIN ATOMIC SELECT 1; $call; END",
	'plpgsql IMMUTABLE' => "CREATE FUNCTION $arguments LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN retro_star_score(query, body); END'",
);
my $notice = qr/NOTICE: .*calls of retro_star_score\(\) are made one after another\n/;

# What EXPLAIN says of each
my %why = (
	'STRICT' => 'it is STRICT',
	'SECURITY DEFINER' => 'it is SECURITY DEFINER',
	'SET' => 'it has SET',
	'plpgsql' => 'it is not LANGUAGE sql',
	'IMMUTABLE' => 'it is IMMUTABLE',
	'plpgsql IMMUTABLE' => 'it is not LANGUAGE sql',
	'two statements' => 'it is more than a single SELECT or RETURN',
	'BEGIN ATOMIC' => 'it is more than a single SELECT or RETURN',
);
my $explained;

# Does its plan have the node?  And how many rows have a score, and what is said?
sub try_query
{
	my ($query) = @_;
	(undef, my $plan, $explained) = $node->psql('postgres', "EXPLAIN $query");
	my ($ret, $out, $err) = $node->psql('postgres', $query);

	return ($plan =~ /Retro\* Prefetch/ ? 1 : 0, $out, $err);
}

sub try_function
{
	my ($create) = @_;

	$node->safe_psql('postgres', "DROP FUNCTION IF EXISTS f; $create");
	$rounds++;
	return try_query("SELECT count(s) FROM (SELECT f('query $rounds', body) AS s FROM doc ORDER BY s) t");
}

for my $name (sort keys %ahead)
{
	my ($planned, $scores, $err) = try_function($ahead{$name});

	is("$planned $scores", '1 30', "$name: ahead");
	unlike($err, $notice, "$name: nothing is said");
	is($explained, '', "$name: nor by EXPLAIN");
}
for my $name (sort keys %serial)
{
	my ($planned, $scores, $err) = try_function($serial{$name});

	is("$planned $scores", '0 30', "$name: serial");
	like($err, $notice, "$name: which is said");
	like($err, qr/function or block that is not part of its plan|Functions in PL\/pgSQL are not part of a plan/, "$name: and why");
	is(() = $err =~ /NOTICE/g, 1, "$name: once");
	like($explained, qr/made one after another\nDETAIL: +Function f\(text,text\) is not part of the plan: $why{$name}\.\n/, "$name: EXPLAIN says it, too");
}

my ($planned, $scores, $err) = try_query('SELECT count(s) FROM (SELECT retro_star_score($$in a view$$, body) AS s FROM doc ORDER BY s) t');
is("$planned $scores", '1 30', 'a view: ahead');
$node->safe_psql('postgres', q(CREATE VIEW scored AS SELECT id, retro_star_score('in a real view', body) AS s FROM doc));
($planned, $scores) = try_query('SELECT count(s) FROM (SELECT s FROM scored ORDER BY s) t');
is("$planned $scores", '1 30', 'a view: ahead');
is($explained, '', 'of which EXPLAIN has nothing to say');
$node->safe_psql('postgres', q(CREATE FUNCTION g(query text) RETURNS TABLE (id integer, s double precision) LANGUAGE sql STABLE
	AS 'SELECT id, retro_star_score(query, body) FROM doc'));
($planned, $scores) = try_query(q(SELECT count(s) FROM (SELECT s FROM g('of a set') ORDER BY s) t));
is("$planned $scores", '1 30', 'a set: ahead');

$node->safe_psql('postgres', "DROP FUNCTION f; $serial{IMMUTABLE}");
is(sqlstate($node, 'postgres', q(SELECT f('constant', 'of all')) ), '42P13', 'IMMUTABLE of constants: refused');
$node->safe_psql('postgres', q(SELECT retro_star_score('constant', 'of all')));
is(sqlstate($node, 'postgres', q(SELECT f('constant', 'of all'))), '00000', '... unless it is known');

# The same without any function
($planned, undef, $err) = try_query(q(SELECT count(retro_star_score('volatile', body || (random() < 2)::text)) FROM doc));
is($planned, 0, 'no function: serial');
like($err, $notice, 'is said');
like($err, qr/No node of its plan/, 'and why');
like($explained, qr/An argument has a volatile function/, 'by EXPLAIN, too');

# What EXPLAIN says of other calls in the statement itself, and of which it says nothing
for ([ 'SELECT retro_star_score($$q$$, body) FROM doc', '' ],
	[ 'SELECT count(retro_star_score($$q$$, body)), max(length(body)) FROM doc', '' ],
	[ 'SELECT id FROM doc WHERE retro_star_score($$q$$, body) > 50 AND retro_star_score($$r$$, body) > retro_star_score($$s$$, body)', '' ],
	[ 'SELECT retro_star_rerank_agg($$q$$, id, body) FROM doc', '' ],
	[ 'SELECT sum(retro_star_score($$q$$, body)) OVER (ORDER BY id) FROM doc', '' ],
	[ 'SELECT retro_star_score($$q$$, $$d$$)', '' ],
	[ 'SELECT f($$q$$, body) FROM doc WHERE id = 1', '' ],
	[ 'SELECT retro_star_score($$q$$, (SELECT d.body FROM doc d WHERE d.id = doc.id + 1)) FROM doc', 'a subquery that depends on its row' ],
	[ 'UPDATE doc SET id = id RETURNING retro_star_score($$q$$, body)', 'RETURNING' ],
	[ 'SELECT a.id FROM doc a LEFT JOIN doc b ON a.id < b.id AND retro_star_score(a.body, b.body) > 50', 'outer or semi join' ],
	[ 'VALUES (retro_star_score($$q$$, $$a$$)), (retro_star_score($$q$$, $$b$$))', 'VALUES' ],
	[ 'SELECT ntile(1 + (retro_star_score($$q$$, body) / 50)::int) OVER (ORDER BY id) FROM doc', 'window function' ],
	[ 'SELECT retro_star_score($$q$$, body) FROM (SELECT body FROM doc FOR UPDATE) d', 'row locks' ])
{
	my ($sql, $reason) = @$_;
	my $said = ($node->psql('postgres', "EXPLAIN $sql"))[2];

	$reason ? like($said, qr/one after another\nDETAIL: .*\Q$reason\E/, "EXPLAIN: $reason") : is($said, '', "EXPLAIN says nothing: $sql");
	is(($node->psql('postgres', "SET retrostar.prefetch = off; EXPLAIN $sql"))[2], '', 'who has switched it off knows') if $reason;
}

# Not for what is known, nor for few
$rounds++;
($planned, $scores, $err) = try_query("SELECT count(f('query $rounds', body)) FROM (SELECT body FROM doc LIMIT 19) t");
unlike($err, $notice, 'few are nothing to speak of');
$node->safe_psql('postgres', "SELECT count(retro_star_score('query $rounds', body)) FROM doc");
(undef, $scores, $err) = try_query("SELECT count(f('query $rounds', body)) FROM doc");
is($scores, 30, 'known scores');
unlike($err, $notice, 'are not waited for');

# A block is one statement
my $do = 'DO $$DECLARE d text; BEGIN FOR d IN SELECT body FROM doc LOOP PERFORM retro_star_score($q$in a block$q$, d); END LOOP; END$$';
(undef, undef, $err) = $node->psql('postgres', "$do; $do");
like($err, $notice, 'a loop is told, too');
is(() = $err =~ /NOTICE/g, 1, 'once in a session');

# An index is built of it row by row, which is no function's doing
$rounds++;
$node->safe_psql('postgres', "DROP FUNCTION f; CREATE FUNCTION f(body text) RETURNS double precision LANGUAGE sql IMMUTABLE AS 'SELECT public.retro_star_score(''index'', body)'");
(undef, undef, $err) = $node->psql('postgres', 'CREATE INDEX ON doc (f(body))');
like($err, qr/DETAIL: .*in an expression of an index or constraint/, 'an index is built row by row');

# Where many are to be scored with other rights
$node->safe_psql('postgres', q(CREATE FUNCTION best(query text, ids integer[], docs text[]) RETURNS TABLE (id integer, score double precision)
	LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT id, score FROM retro_star_rerank(query, ids, docs) AS r'));
(undef, $scores, $err) = try_query(q(SELECT count(score) FROM best('of arrays', (SELECT array_agg(id) FROM doc), (SELECT array_agg(body) FROM doc))));
is($scores, 30, 'sets');
unlike($err, $notice, 'are asked for together');

done_testing();
