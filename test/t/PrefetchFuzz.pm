# Random statements over the tables of PrefetchShapes, and the comparison of
# what they give with and without prefetching.  Used by 021_prefetch_fuzz.pl
# (a fixed seed) and by test/fuzz/prefetch_fuzz.pl (any seed, any number); also
# queries of materialized views, for 054_refresh_pairs.pl.

package PrefetchFuzz;

use strict;
use warnings;

use Exporter 'import';
our @EXPORT_OK = qw(fuzz_statement fuzz_view fuzz_compare);

my @toggles = qw(seqscan indexscan hashjoin nestloop mergejoin hashagg sort material memoize
  incremental_sort bitmapscan);
my $parallel =
  'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;';

# One statement: what runs before it, itself, what runs after it.  The random
# numbers come from rand(), so srand() decides.  With an argument that is true, one
# that changes data.
sub fuzz_statement
{
	my ($changes) = @_;
	my $kind = $changes ? 17 : int(rand(20));
	my ($before, $after) = (settings(), '');
	my $query;

	if ($kind == 17)
	{
		$before .= ' BEGIN;';
		$query = change();
		$after = 'SELECT id, s, left(body, 30) FROM docs ORDER BY id; ROLLBACK;';
	}
	elsif ($kind == 18)
	{
		my @fetches = map { 'FETCH ' . pick('', 'FORWARD ') . (1 + int(rand(20))) . ' FROM c;' } 1 .. 4;
		$before .= ' BEGIN; DECLARE c ' . pick('', 'SCROLL ', 'NO SCROLL ') . 'CURSOR FOR ' . select_of(int(rand(17))) . ';';
		$query = 'SELECT 1';
		$after = "@fetches ROLLBACK;";
	}
	elsif ($kind == 19)
	{
		my $select = select_of(int(rand(17)));
		$select =~ s/retro_star_score\('q'/retro_star_score(\$1/g;
		$select =~ s/LIMIT \d+/LIMIT \$2/;
		$select = "SELECT * FROM ($select) x WHERE \$1 IS NOT NULL AND \$2 > 0";
		$before .= ' SET plan_cache_mode = force_generic_plan;' if rand() < 0.7;
		$before .= " PREPARE p(text, int) AS $select;";
		$query = "EXECUTE p('q', " . int(1 + rand(9)) . ')';
	}
	else
	{
		$query = select_of($kind);
	}
	# in a set, ties have the order of the rows
	$before = "SET max_parallel_workers_per_gather = 0; $before" if "$before$query" =~ /rerank_agg/;
	return { before => $before, query => $query, after => $after };
}

# The query of a materialized view, which has names and types of its columns,
# and what runs before it.  Neither in parallel nor under a function that may be:
# then the order of the rows, and what a LIMIT takes of them, is anybody's guess.
sub fuzz_view
{
	my $before = settings();
	my $query = select_of(int(rand(17)));

	$before =~ s/\Q$parallel\E//;
	$query =~ s/\bscore_safe\(/retro_star_score(/g;
	# words that documents of 054_refresh_pairs.pl have
	$query =~ s/'q'/'query'/g;
	$query =~ s/'r'/'view'/g;
	return { before => "SET max_parallel_workers_per_gather = 0; $before",
		query => "SELECT x::text AS x FROM ($query) x" };
}

sub pick { return $_[ int(rand(@_)) ]; }

sub settings
{
	my @settings = map { "SET enable_$_ = off;" } grep { rand() < 0.2 } @toggles;

	push @settings, 'SET enable_partitionwise_aggregate = on; SET enable_partitionwise_join = on;' if rand() < 0.3;
	push @settings, $parallel if rand() < 0.3;
	push @settings, "SET work_mem = '64kB';" if rand() < 0.1;
	push @settings, 'SET jit = on; SET jit_above_cost = 0;' if rand() < 0.05;
	push @settings, 'SET retrostar.prefetch_window = ' . pick(1, 2, 3, 8, 64, 4096) . ';';
	return join ' ', @settings;
}

# Expressions over $t, an alias of a table like docs, and perhaps $q, one of qs

sub text_of
{
	my ($t, $q, $depth) = @_;
	my @texts = (
		"$t.body", "$t.body", "$t.body", "$t.id::text", "left($t.body, 12)", "coalesce($t.body, 'z')",
		"'p ' || $t.body", "substr($t.body, 1, 9)", "CASE WHEN $t.cat = 1 THEN NULL ELSE $t.body END");

	push @texts, "$q.q", "$q.q || $t.cat" if $q;
	return score($t, $q, $depth + 1) . '::text' if $depth < 1 && rand() < 0.15;
	return "(100 / $t.cat)::text" if rand() < 0.04;
	return "(SELECT max(q) FROM qs z WHERE z.cat = $t.cat)" if rand() < 0.04;
	return '(SELECT q FROM qs WHERE qid = 4)' if rand() < 0.04;
	return pick(@texts);
}

sub score
{
	my ($t, $q, $depth) = @_;
	my $function = pick('retro_star_score', 'retro_star_score', 'retro_star_score', 'score_safe');

	return "$function(" . pick("'q'", "'r'", text_of($t, $q, 2)) . ', ' . text_of($t, $q, $depth // 0) . ')';
}

sub number
{
	my ($t, $q) = @_;
	my $s = sub { score($t, $q) };
	my $dice = rand();

	return $s->() if $dice < 0.5;
	return '(CASE WHEN ' . cheap($t) . ' THEN ' . $s->() . ' ELSE -1 END)' if $dice < 0.57;
	return '(CASE WHEN ' . $s->() . ' > 50 THEN ' . $s->() . ' END)' if $dice < 0.65;
	return 'coalesce(CASE WHEN ' . cheap($t) . ' THEN 1.5 END, ' . $s->() . ')' if $dice < 0.71;
	return 'greatest(' . $s->() . ', ' . $s->() . ')' if $dice < 0.77;
	return 'round((' . $s->() . ' + ' . $s->() . ')::numeric, 1)' if $dice < 0.82;
	return "(CASE $t.cat WHEN 1 THEN " . $s->() . ' WHEN 2 THEN 2 ELSE ' . $s->() . ' END)' if $dice < 0.88;
	return 'nullif(' . $s->() . ', 0)' if $dice < 0.92;
	return "($t.id * 1.0)";
}

sub cheap
{
	my ($t) = @_;
	return pick("$t.cat = 2", "$t.id % 3 = 0", "$t.id < 25", "$t.cat <> 0", "$t.body LIKE '%1%'",
		"$t.id BETWEEN 5 AND 33", "$t.cat = ANY ('{1,3}')");
}

sub condition
{
	my ($t, $q, $depth) = @_;
	my $dice = rand();

	$depth //= 0;
	return cheap($t) if $dice < 0.35;
	return number($t, $q) . ' ' . pick('>', '<') . ' ' . (10 + int(rand(81))) if $dice < 0.7 || $depth > 1;
	return '(' . condition($t, $q, $depth + 1) . ' AND ' . condition($t, $q, $depth + 1) . ')' if $dice < 0.8;
	return '(' . condition($t, $q, $depth + 1) . ' OR ' . condition($t, $q, $depth + 1) . ')' if $dice < 0.92;
	return 'NOT ' . condition($t, $q, $depth + 1) if $dice < 0.96;
	return '(' . number($t, $q) . ') IS NOT NULL';
}

sub where
{
	return ' WHERE d.id <= 60' if rand() < 0.2;
	return ' WHERE ' . join(' AND ', (map { condition('d') } 1 .. int(rand(3))), 'd.id <= 40');
}

sub limit
{
	return pick('', '', '', ' LIMIT 1', ' LIMIT 5', ' LIMIT 7 OFFSET 3', ' LIMIT 100', ' OFFSET 4');
}

sub order
{
	my @columns = 1 .. $_[0];
	my @order;

	push @order, splice(@columns, int(rand(@columns)), 1) while @columns;
	return ' ORDER BY ' . join(', ', @order);
}

sub select_of
{
	my ($kind) = @_;
	my $table = pick('docs', 'docs', 'pdocs');
	my $from = "FROM $table d";

	if ($kind == 0 || $kind == 15)
	{
		my $n = 1 + int(rand(3));
		return 'SELECT d.id, ' . join(', ', map { number('d') } 1 .. $n) . " $from" . where() . pick('', order($n + 1)) . limit();
	}
	return "SELECT d.id $from" . where() . ' ORDER BY ' . number('d') . ', d.id' . limit() if $kind == 1;
	return "SELECT id FROM (SELECT * $from WHERE id <= 60 ORDER BY id LIMIT " . (5 + int(rand(35))) . ') d ORDER BY ' . number('d') . ', 1' . limit() if $kind == 2;
	if ($kind == 3 || $kind == 4)
	{
		my $join = pick('JOIN', 'LEFT JOIN', 'JOIN', 'RIGHT JOIN', 'FULL JOIN');
		my $on = 'd.cat = s.cat';
		$on .= ' AND ' . condition('d', 's') if rand() < 0.5 && $join ne 'FULL JOIN';
		return 'SELECT d.id, s.qid, ' . number('d', 's') . " $from $join qs s ON $on WHERE (d.id <= 20 OR d.id IS NULL) AND " . condition('d', 's') . order(3) . limit();
	}
	return "SELECT d.cat, " . pick('max', 'min', 'count') . '(' . number('d') . ')' . pick('', ' FILTER (WHERE ' . condition('d') . ')') . ", count(*) $from" . where() . ' GROUP BY 1' . pick('', ' HAVING max(' . number('d') . ') > 60') . order(3) . limit() if $kind == 5;
	return 'SELECT round((' . number('d') . ")::numeric, -1) b, count(*), retro_star_score('q', min(d.body)) $from" . where() . ' GROUP BY 1' . order(3) . limit() if $kind == 6;
	return 'SELECT d.id, ' . window_of() . ', ' . window_of() . " $from" . where() . order(3) . limit() if $kind == 7 && rand() < 0.5;
	return 'SELECT d.id, rank() OVER (PARTITION BY d.cat ORDER BY ' . number('d') . '), max(' . score('d') . ') OVER (ORDER BY d.id' . pick('', ' ROWS BETWEEN 3 PRECEDING AND CURRENT ROW', ' ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING', ' GROUPS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING') . ") $from" . where() . order(3) . limit() if $kind == 7;
	return 'SELECT DISTINCT ' . pick('', 'ON (d.cat) ') . 'd.cat, ' . number('d') . " $from" . where() . ' ORDER BY 1, 2' . limit() if $kind == 8;
	return 'WITH c AS ' . pick('', 'MATERIALIZED ') . '(SELECT d.*, ' . number('d') . " x $from" . where() . ') SELECT d.id, d.x, ' . number('d') . ' FROM c d WHERE ' . pick('d.x > 50', 'true', condition('d'), 'd.x > (SELECT avg(x) FROM c)') . order(3) . limit() if $kind == 9;
	return "SELECT s.qid, l.* FROM qs s, LATERAL (SELECT d.id, " . number('d', 's') . " y $from WHERE d.id <= 20 AND " . pick('d.cat = s.cat', 'true') . ' ORDER BY ' . pick('1', '2, 1') . ' LIMIT ' . (1 + int(rand(6))) . ') l ORDER BY 1, 2' . limit() if $kind == 10;
	return "SELECT s.qid, (SELECT " . pick('max', 'min') . '(' . number('d', 's') . ") $from WHERE d.id <= 20 AND d.cat = s.cat) FROM qs s WHERE " . pick('', 'NOT ') . "EXISTS (SELECT 1 $from WHERE d.id <= 20 AND d.cat = s.cat AND " . condition('d', 's') . ') ORDER BY 1' if $kind == 11;
	return 'SELECT * FROM (SELECT d.id, ' . number('d') . ' x FROM docs d' . where() . ' UNION ' . pick('ALL ', '') . 'SELECT d.id, ' . number('d') . ' FROM pdocs d' . where() . ') u' . order(2) . limit() if $kind == 12;
	return 'SELECT d.id ' . $from . where() . ' ' . pick('INTERSECT', 'EXCEPT', 'INTERSECT ALL', 'EXCEPT ALL') . ' SELECT d.id ' . $from . where() . order(1) . limit() if $kind == 13;
	return 'SELECT d.id, unnest(ARRAY[' . number('d') . ', ' . number('d') . "]) $from" . where() . order(2) . limit() if $kind == 14;

	return sets_of() if rand() < 0.5;

	# 16: grouping sets, ordered and distinct aggregates
	return 'SELECT d.cat, d.id % 2, array_agg(d.id ORDER BY ' . number('d') . ', d.id), count(DISTINCT ' . number('d') . ") $from" . where() . ' GROUP BY ' . pick('GROUPING SETS ((1), (2), ())', 'CUBE (1, 2)', '1, 2') . ' ORDER BY 1, 2' . limit();
}

# A window function that is no aggregate, over rows in an order of their own
sub window_of
{
	my $of = number('d');
	my $function = pick("lag($of)", "lag($of)", "lead($of)", "lag($of, 2)", "lead($of, 3)", "lag($of, -1)",
		"lag($of, 1, " . number('d') . ')', "lead($of, 0)", "lag($of, d.cat)", "first_value($of)", "last_value($of)",
		"nth_value($of, 2)", "nth_value(d.id, 1 + ($of)::int % 3)");

	return "$function OVER (" . pick('', 'PARTITION BY d.cat ', 'PARTITION BY d.id % 2, d.cat ', 'PARTITION BY d.id / 2 ')
	  . 'ORDER BY d.id' . pick('', '', ' ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING', ' ROWS 2 PRECEDING') . ')';
}

# Ranked sets of documents, in groups
sub sets_of
{
	my ($table, $query) = (pick('docs', 'pdocs'), pick("'q'", "'r'", 's.q'));
	my $from = $query eq 's.q' ? "$table d JOIN qs s ON " . pick('d.cat = s.cat', 'true') : "$table d";
	my $group = $query eq 's.q' ? pick('s.q', 's.q, d.cat', 'ROLLUP (d.cat), s.q') : pick('d.cat', 'CUBE (d.cat, d.id % 2)', 'ROLLUP (d.cat, d.id % 3)');
	my $set = "retro_star_rerank_agg($query, d.id, " . text_of('d', undef, 1) . pick('', '', ', 3', ', 3, d.id') . pick('', '', ' ORDER BY d.id DESC') . ')'
	  . pick('', '', ' FILTER (WHERE ' . condition('d') . ')');

	return "SELECT count(*), max(d.id), min(d.id), $set" . pick('', ', max(' . score('d') . ')')
	  . " FROM $from" . where() . " GROUP BY $group ORDER BY 1, 2, 3, 4::text" . pick('', '', ' LIMIT 2');
}

sub newest { return '(SELECT * FROM ' . pick('docs', 'docs', 'pdocs') . ' ORDER BY id DESC LIMIT 40)'; }

sub change
{
	return pick(
		'UPDATE docs d SET s = ' . number('d') . where(),
		'UPDATE docs d SET s = ' . number('d', 's') . ' FROM qs s WHERE s.qid = d.id AND ' . condition('d', 's'),
		'DELETE FROM docs d' . where() . ' AND ' . condition('d') . ' RETURNING d.id, ' . number('d'),
		'INSERT INTO docs (id, s) SELECT d.id + 1000, ' . number('d') . ' FROM pdocs d' . where(),
		'UPDATE docs d SET s = x.y FROM (SELECT d.id, ' . number('d') . ' y FROM pdocs d' . where() . ' OFFSET 0) x WHERE x.id = d.id AND ' . condition('d'),
		'UPDATE docs d SET s = x.y FROM (SELECT d.id, ' . number('d') . ' y FROM ' . newest() . ' d' . where() . ' OFFSET 0) x WHERE x.id = d.id',
		'DELETE FROM docs d USING (SELECT d.id, ' . number('d') . ' y FROM docs d' . where() . order(2) . ' OFFSET 2) x WHERE x.id = d.id AND x.y > 50 RETURNING d.id, x.y',
		'INSERT INTO docs (id, s) SELECT d.id + 1000, ' . number('d') . ' FROM docs d' . where() . order(2) . limit(),
		'INSERT INTO docs (id, s) SELECT d.id + 1000, ' . number('d') . ' FROM ' . newest() . ' d' . where() . ' RETURNING id, s',
		'INSERT INTO qs (qid, q) SELECT d.id, (' . number('d') . ')::text FROM ' . newest() . ' d' . where() . ' RETURNING qid, q',
		'WITH i AS (INSERT INTO docs (id, s) SELECT d.id + 1000, ' . number('d') . ' FROM pdocs d' . where() . ' RETURNING id, s) SELECT * FROM i ORDER BY id',
		'MERGE INTO docs d USING (SELECT d.id, ' . number('d') . ' y FROM pdocs d' . where() . ' OFFSET 0) x ON d.id = x.id WHEN MATCHED AND x.y > 50 THEN UPDATE SET s = x.y WHEN MATCHED THEN DELETE',
		'SELECT d.id, ' . number('d') . ' FROM docs d' . where() . ' ORDER BY d.id' . limit() . ' FOR UPDATE');
}

# Whether the statement gave the same with and without prefetching: 'same',
# 'error' (the same error), or what differs.  Allowed are: the order in which
# parallel workers bring rows, hence also which rows a LIMIT takes, and errors
# of rows that are read ahead of a reader that stops.
sub fuzz_compare
{
	my ($statement, $off, $on) = @_;

	my $text = "$statement->{before}$statement->{query}";
	my $sorted = sub { join("\n", sort split /\n/, $_[0]) };

	return $on =~ /^ERROR/m ? 'error' : 'same' if $off eq $on;
	return 'error ahead' if $on =~ /^ERROR:  division by zero/m && $text =~ /LIMIT|EXISTS|CURSOR/;
	return 'unordered' if $text =~ /parallel|score_safe/ && ($text =~ /LIMIT|OFFSET|CURSOR/ || $sorted->($off) eq $sorted->($on));
	return 'parallel context' if $off =~ s/^CONTEXT:  parallel worker\n//mgr eq $on =~ s/^CONTEXT:  parallel worker\n//mgr;
	return 'DIFFERENT';
}

1;
