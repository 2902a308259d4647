# Statements of every plan shape that the prefetch node meets, and the tables
# they run on.  Used by 020_prefetch_shapes.pl.
#
# A shape is a hash: name; query; before and after, what runs around it in the
# same session (output of "after" counts); node: whether EXPLAIN shows a
# prefetch node (undef: the statement cannot be explained); extra: how many
# more pairs than without prefetching may be asked for, because a reader stops
# early.  S( stands for retro_star_score(.

package PrefetchShapes;

use strict;
use warnings;

use Exporter 'import';
our @EXPORT_OK = qw(prefetch_schema prefetch_tables prefetch_shapes without_notice);

# Without what is told where prefetching is on and calls are serial all the same
sub without_notice
{
	my ($said) = @_;

	$said =~ s/^(?:psql:\S+ )?NOTICE:  (?:calls of retro_star_score\(\)|this plan has calls of retro_star_score\(\) that) are made one after another\nDETAIL:(?:.*\n)+?HINT:.*\n//mg;
	return $said;
}

sub prefetch_schema
{
	return <<'EOS';
CREATE TABLE docs(id int, cat int, lang text, title text, body text, emb_distance float8, s float8);
INSERT INTO docs SELECT i, i % 5, CASE WHEN i % 2 = 0 THEN 'en' ELSE 'de' END, 'title ' || i,
  'body of document ' || i || repeat(' x', 50), (i * 7919 % 1000) / 1000.0, NULL
  FROM generate_series(1, 200) i;
CREATE INDEX docs_emb_distance ON docs(emb_distance);
CREATE TABLE qs(qid int, q text, cat int);
INSERT INTO qs SELECT i, 'query ' || i, i % 5 FROM generate_series(1, 10) i;
CREATE TABLE pdocs(id int, cat int, body text) PARTITION BY LIST (cat);
CREATE TABLE pdocs0 PARTITION OF pdocs FOR VALUES IN (0, 1);
CREATE TABLE pdocs1 (body text, junk int, cat int, id int);
ALTER TABLE pdocs1 DROP COLUMN junk;
ALTER TABLE pdocs ATTACH PARTITION pdocs1 FOR VALUES IN (2, 3);
CREATE TABLE pdocs2 PARTITION OF pdocs DEFAULT;
INSERT INTO pdocs SELECT id, cat, body FROM docs;
CREATE TABLE mp(id int, body text) PARTITION BY RANGE (id);
SELECT format('CREATE TABLE mp%s PARTITION OF mp FOR VALUES FROM (%s) TO (%s)', i, i * 10, i * 10 + 10)
  FROM generate_series(0, 19) i \gexec
INSERT INTO mp SELECT i, 'b' || i FROM generate_series(0, 199) i;
CREATE TABLE long(id int, body text);
ALTER TABLE long ALTER body SET STORAGE EXTERNAL;
INSERT INTO long SELECT i, repeat('long ' || i || ' ', 2000) FROM generate_series(1, 30) i;
CREATE DOMAIN document AS text CHECK (length(VALUE) < 100000);
CREATE TABLE typed(id int, d document, v varchar(200), c char(20), j jsonb, a text[]);
INSERT INTO typed SELECT i, 'd' || i, 'v' || i, 'c' || i, jsonb_build_object('body', 'j' || i),
  ARRAY['a' || i, 'b'] FROM generate_series(1, 40) i;
CREATE FUNCTION score_safe(query text, doc text, task text = NULL, relevance_definition text = NULL,
  query_type text = NULL, doc_type text = NULL, samples int = NULL, server text = NULL)
  RETURNS float8 AS '$libdir/retrostar', 'retrostar_retro_star_score'
  LANGUAGE C STABLE PARALLEL SAFE COST 1000000;
CREATE FUNCTION score_set(query text, doc text, task text = NULL, relevance_definition text = NULL,
  query_type text = NULL, doc_type text = NULL, samples int = NULL, server text = NULL)
  RETURNS float8 AS '$libdir/retrostar', 'retrostar_retro_star_score'
  LANGUAGE C STABLE COST 1000000 SET work_mem = '5MB';
CREATE FUNCTION score_volatile(query text, doc text, task text = NULL, relevance_definition text = NULL,
  query_type text = NULL, doc_type text = NULL, samples int = NULL, server text = NULL)
  RETURNS float8 AS '$libdir/retrostar', 'retrostar_retro_star_score'
  LANGUAGE C VOLATILE COST 1000000;
CREATE FUNCTION score_strict(query text, doc text, task text, relevance_definition text,
  query_type text, doc_type text, samples int, server text)
  RETURNS float8 AS '$libdir/retrostar', 'retrostar_retro_star_score'
  LANGUAGE C STABLE STRICT COST 1000000;
CREATE FUNCTION sw(text) RETURNS float8 LANGUAGE sql STABLE PARALLEL RESTRICTED
  AS $$ SELECT retro_star_score('q', $1) $$;
CREATE FUNCTION some_ids(int) RETURNS SETOF int LANGUAGE sql VOLATILE
  AS $$ SELECT i FROM generate_series(1, $1) i $$;
CREATE VIEW bv WITH (security_barrier) AS SELECT * FROM docs WHERE cat > 0;
CREATE VIEW uv AS SELECT id, cat, body, s FROM docs WHERE cat > 0;
CREATE ROLE rls;
GRANT SELECT ON docs TO rls;
VACUUM ANALYZE;
EOS
}

# What makes the tables docs and pdocs of that schema tables of another kind:
# "hypertable", TimescaleDB's; "foreign", of the same database, pdocs with
# partitions that are read asynchronously.
sub prefetch_tables
{
	my ($kind) = @_;

	return <<'EOS' if $kind eq 'hypertable';
SET client_min_messages = warning;
CREATE EXTENSION timescaledb;
SELECT FROM create_hypertable('docs', 'id', chunk_time_interval => 40, migrate_data => true);
DROP TABLE pdocs;
CREATE TABLE pdocs(id int NOT NULL, cat int, body text);
SELECT FROM create_hypertable('pdocs', 'id', chunk_time_interval => 50);
INSERT INTO pdocs SELECT id, cat, body FROM docs;
ANALYZE;
EOS
	return <<'EOS' if $kind eq 'foreign';
CREATE EXTENSION postgres_fdw;
SELECT format('CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L, async_capable %L)',
  split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(), 'true') \gexec
SELECT format('CREATE USER MAPPING FOR %I SERVER here OPTIONS (user %L)', current_user, current_user) \gexec
ALTER TABLE docs RENAME TO docs_there;
CREATE FOREIGN TABLE docs(id int, cat int, lang text, title text, body text, emb_distance float8, s float8)
  SERVER here OPTIONS (table_name 'docs_there');
ALTER TABLE pdocs DETACH PARTITION pdocs1;
ALTER TABLE pdocs DETACH PARTITION pdocs0;
CREATE FOREIGN TABLE pdocs_there1 PARTITION OF pdocs FOR VALUES IN (2, 3) SERVER here OPTIONS (table_name 'pdocs1');
CREATE FOREIGN TABLE pdocs_there0 PARTITION OF pdocs FOR VALUES IN (0, 1) SERVER here OPTIONS (table_name 'pdocs0');
EOS
	return '';
}

my $score = "S('q', body)";
my $parallel =
  'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;';
my $policy = "BEGIN; ALTER TABLE docs ENABLE ROW LEVEL SECURITY; ALTER TABLE docs FORCE ROW LEVEL SECURITY;"
  . " CREATE POLICY p ON docs USING (%s); SET ROLE rls;";
my $rls = sprintf($policy, "lang = 'en'");
my $docs_after = 'SELECT id, s FROM docs ORDER BY id; ROLLBACK;';

# Those that this version of PostgreSQL (170002 or the like) understands
sub prefetch_shapes
{
	my ($version) = @_;
	my @shapes = (plain(), filters(), joins(), groups(), sets(), subqueries(), changes(), partitions(),
		cursors(), parallel(), functions(), conditions(), security(), limits(), refused(), types(),
		$version >= 190000 ? new_in_19() : ());

	foreach my $shape (@shapes)
	{
		$shape->{before} //= '';
		$shape->{after} //= '';
		$shape->{extra} //= 0;
		$shape->{node} = 1 unless exists $shape->{node};
		s/\bS\(/retro_star_score(/g foreach @$shape{qw(query before after)};
	}
	return @shapes;
}

sub shape
{
	my ($name, $query, %rest) = @_;
	return { name => $name, query => $query, %rest };
}

sub plain
{
	my $index = 'SET enable_seqscan = off;';
	return (
		shape('order by', "SELECT id FROM docs ORDER BY $score DESC LIMIT 10"),
		shape('order by, score shown', "SELECT id, $score sc, title FROM docs ORDER BY sc DESC LIMIT 10"),
		shape('star', "SELECT d.*, $score sc FROM docs d ORDER BY sc DESC LIMIT 3"),
		shape('whole row, system columns',
			"SELECT d, tableoid::regclass, ctid, $score sc FROM docs d ORDER BY sc DESC LIMIT 3"),
		shape('two scores', "SELECT id FROM docs ORDER BY $score + S('r', title) DESC LIMIT 3"),
		shape('top 100, then rerank',
			"SELECT id FROM (SELECT id, body FROM docs ORDER BY emb_distance LIMIT 100) c ORDER BY $score DESC LIMIT 10"),
		shape('the same by index',
			"SELECT id FROM (SELECT id, body FROM docs ORDER BY emb_distance LIMIT 100) c ORDER BY $score DESC LIMIT 10",
			before => $index),
		shape('random sample', "SELECT id, $score FROM (SELECT id, body FROM docs ORDER BY random() LIMIT 10) x ORDER BY 2, 1", before => 'SELECT setseed(0.25);'),
		shape('random numbers below, drained later', "SELECT id, n, $score FROM (SELECT id, body, nextval('ts') n FROM docs OFFSET 0) x ORDER BY 3, 1", node => 0, before => 'CREATE TEMP SEQUENCE ts;'),
		shape('volatile aggregate', "SELECT S('q', cat || max(nextval('ts'))::text) FROM docs GROUP BY cat LIMIT 2", node => 0, before => 'CREATE TEMP SEQUENCE ts;', after => "SELECT nextval('ts');"),
		shape('limit by index', "SELECT id, $score FROM docs ORDER BY emb_distance LIMIT 10", before => $index),
		shape('cte, limit and offset',
			"WITH c AS MATERIALIZED (SELECT id, body FROM docs ORDER BY emb_distance LIMIT 100) SELECT id FROM c ORDER BY $score DESC, id LIMIT 10 OFFSET 5"),
		shape('bitmap scan', "SELECT id, $score FROM docs WHERE emb_distance < 0.3 ORDER BY id",
			before => 'SET enable_seqscan = off; SET enable_indexscan = off;'),
		shape('index only scan', "SELECT emb_distance, S('q', emb_distance::text) FROM docs ORDER BY 1", before => $index),
		shape('tid scan', "SELECT id, $score FROM docs WHERE ctid IN ('(0,1)', '(0,2)', '(0,3)') ORDER BY id"),
		shape('tid range scan', "SELECT id, $score FROM docs WHERE ctid < '(0,9)' ORDER BY id"),
		shape('sample', "SELECT id, $score FROM docs TABLESAMPLE system (100) REPEATABLE (1) ORDER BY id"),
		shape('copy to', "COPY (SELECT id, $score FROM docs ORDER BY 2) TO STDOUT", node => undef),
		shape('external documents', "SELECT id, $score FROM long ORDER BY id"),
		shape('few rows in little memory', "SELECT id, $score, repeat(body, 4) FROM long ORDER BY id",
			before => "SET work_mem = '64kB';"),
		shape('windows of one row', "SELECT id, $score FROM docs ORDER BY 2", before => 'SET retrostar.prefetch_window = 1;'),
		shape('other arguments',
			"SELECT id, S('q', body, task => NULL, samples => 1, relevance_definition => lang) FROM docs ORDER BY 2"),
		shape('more columns than a row can have', "SELECT length(ROW(" . join(', ', map { "a.c$_ + b.c$_" } 1 .. 850) . ")::text), $score FROM wide a JOIN wide b ON a.id = b.id"
			. " JOIN docs ON docs.id = a.id ORDER BY 1, 2", node => 0, before => 'CREATE TEMP TABLE wide(id int, ' . join(', ', map { "c$_ int DEFAULT 1" } 1 .. 850) . '); INSERT INTO wide(id) VALUES (1), (2);'),
		shape('expression documents', "SELECT id, S('q', title || E'\\n' || left(body, 30)) FROM docs ORDER BY 2"),
	);
}

sub filters
{
	return (
		shape('where', "SELECT id FROM docs WHERE $score > 60 AND lang = 'en'"),
		shape('where, limit', "SELECT id FROM docs WHERE $score > 60 AND lang = 'en' LIMIT 5", extra => 15),
		shape('three scores', "SELECT id, S('q3', body) FROM docs WHERE $score > 60 AND S('q2', body) > 50 AND lang = 'en'"),
		shape('where and target list', "SELECT id, $score FROM docs WHERE $score > 60 ORDER BY 2 DESC"),
		shape('or', "SELECT id FROM docs WHERE lang = 'de' OR $score > 60"),
		shape('not, is null', "SELECT id FROM docs WHERE NOT ($score > 60) AND ($score IS NOT NULL)"),
		shape('between', "SELECT id FROM docs WHERE $score BETWEEN 20 AND 60"),
		shape('any', "SELECT id FROM docs WHERE round($score) = ANY (ARRAY[10, 20, 30, 40]::float8[])"),
	);
}

sub joins
{
	my $query =
	  "SELECT qid, id FROM qs JOIN docs USING (cat) WHERE id <= 60 ORDER BY S(q, body) DESC, id LIMIT 5";
	return (
		shape('nested loop', $query, before => 'SET enable_hashjoin = off; SET enable_mergejoin = off;'),
		shape('hash join', $query, before => 'SET enable_nestloop = off; SET enable_mergejoin = off;'),
		shape('merge join', $query, before => 'SET enable_nestloop = off; SET enable_hashjoin = off;'),
		shape('inner join filter', "SELECT qid, id FROM qs JOIN docs ON qs.cat = docs.cat AND S(q, body) > 50 WHERE id <= 60 ORDER BY 1, 2"),
		shape('left join, where', "SELECT qid, id FROM qs LEFT JOIN docs ON qs.cat = docs.cat AND id <= 30 WHERE S(q, body) > 50 OR id IS NULL ORDER BY 1, 2"),
		shape('cross join filter', "SELECT qid, id FROM qs, docs WHERE id <= 15 AND S(q, body) > 50 ORDER BY 1, 2"),
		shape('full join', "SELECT qid, id, S(coalesce(q, '-'), coalesce(body, '-')) FROM qs FULL JOIN docs ON qid = id WHERE id IS NULL OR id < 20 ORDER BY 1, 2"),
		shape('scored side of a hash join', "SELECT qid, a.id, sc FROM qs JOIN (SELECT id, $score sc FROM docs WHERE id <= 30 OFFSET 0) a ON a.id = qid ORDER BY 1"),
		shape('scored side of a merge join', "SELECT qid, a.id FROM qs JOIN (SELECT id, round($score) sc FROM docs WHERE id <= 30 OFFSET 0) a ON a.sc = qid ORDER BY 1, 2",
			before => 'SET enable_hashjoin = off; SET enable_nestloop = off;'),
		shape('inner side unique by the score', "SELECT id, f FROM docs JOIN possible ON f = $score ORDER BY 1",
			before => 'CREATE TEMP TABLE possible AS SELECT i::float8 AS f FROM generate_series(0, 100) i; ALTER TABLE possible ADD UNIQUE (f); ANALYZE possible;'
			. ' SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off;'),
		shape('memoize', "SELECT qid, l.id, sc FROM qs, LATERAL (SELECT id, S('q', body) sc FROM docs WHERE docs.cat = qs.cat AND id <= 20 OFFSET 0) l ORDER BY 1, 2",
			before => 'SET enable_hashjoin = off; SET enable_mergejoin = off;'),
	);
}

sub groups
{
	return (
		shape('max', "SELECT max($score), count(*) FROM docs"),
		shape('group by', "SELECT cat, avg($score)::numeric(10,6), count(*) FILTER (WHERE lang = 'en') FROM docs GROUP BY cat ORDER BY 1"),
		shape('group by, sorted', "SELECT cat, max($score) FROM docs GROUP BY cat ORDER BY 1", before => 'SET enable_hashagg = off;'),
		shape('filter', "SELECT cat, sum($score) FILTER (WHERE lang = 'en') FROM docs GROUP BY cat ORDER BY 1"),
		shape('group by score', "SELECT round(${score}::numeric, -1) b, count(*) FROM docs GROUP BY 1 ORDER BY 1"),
		shape('having', "SELECT cat FROM docs GROUP BY cat HAVING max($score) > 99 ORDER BY 1"),
		shape('score of an aggregate', "SELECT id % 20 g, S('q', string_agg(title, ' ' ORDER BY id)) FROM docs GROUP BY 1 ORDER BY 2"),
		shape('having score of an aggregate', "SELECT id % 20 g, count(*) FROM docs GROUP BY 1 HAVING S('q', string_agg(title, ' ' ORDER BY id)) > 50 ORDER BY 1"),
		shape('score of a group', "SELECT cat, S('q', cat::text) FROM docs GROUP BY cat ORDER BY 1", before => 'SET enable_hashagg = off;'),
		shape('rank', "SELECT id, rank() OVER (PARTITION BY cat ORDER BY $score DESC) FROM docs ORDER BY id LIMIT 20"),
		shape('window aggregate', "SELECT id, sum($score) OVER (PARTITION BY cat ORDER BY id)::numeric(12,6) FROM docs ORDER BY id LIMIT 20"),
		shape('window aggregate, filter', "SELECT id, count($score) FILTER (WHERE lang = 'en') OVER (ORDER BY id) FROM docs ORDER BY id"),
		shape('window aggregate, moving', "SELECT id, max($score) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM docs ORDER BY id"),
		shape('score of a window function', "SELECT id, S('q', row_number() OVER (ORDER BY id DESC)::text) FROM docs ORDER BY id"),
		shape('lag', "SELECT id, lag($score) OVER (ORDER BY id) FROM docs ORDER BY id"),
		shape('lag, in partitions', "SELECT id, lag($score) OVER (PARTITION BY cat, lang ORDER BY id) FROM docs ORDER BY id"),
		shape('lag, partitions of one row', "SELECT id, lag($score) OVER (PARTITION BY id) FROM docs ORDER BY id"),
		shape('lag, windows of one row', "SELECT id, lag($score) OVER (ORDER BY id) FROM docs ORDER BY id", before => 'SET retrostar.prefetch_window = 1;'),
		shape('lead, more than one row, in partitions', "SELECT id, lead($score, 3) OVER (PARTITION BY cat ORDER BY id) FROM docs ORDER BY id"),
		shape('lag, further than a partition has rows', "SELECT id, lag($score, 50) OVER (PARTITION BY cat ORDER BY id) FROM docs ORDER BY id"),
		shape('lag back and forth', "SELECT id, lag($score, -2) OVER w, lead(S('r', body), -1) OVER w, lag(S('t', body), 0) OVER w FROM docs WINDOW w AS (PARTITION BY cat ORDER BY id) ORDER BY id"),
		shape('lag and lead of the same, and itself', "SELECT id, $score, lag($score) OVER w, lead($score) OVER w FROM docs WINDOW w AS (PARTITION BY lang ORDER BY id) ORDER BY id"),
		shape('lag and a window aggregate of the same', "SELECT id, lag($score) OVER w, max($score) OVER w FROM docs WINDOW w AS (PARTITION BY cat ORDER BY id) ORDER BY id"),
		shape('lag, score as default and offset', "SELECT id, lag($score, 2, S('d', body)) OVER w, lag(id, (S('o', body) / 50)::int) OVER w FROM docs WINDOW w AS (PARTITION BY cat ORDER BY id) ORDER BY id"),
		shape('lag under a condition', "SELECT id, lag(CASE WHEN lang = 'en' THEN $score END) OVER (PARTITION BY cat ORDER BY id) FROM docs ORDER BY id"),
		shape('lag, null partition', "SELECT id, lag($score) OVER (PARTITION BY nullif(cat, 2) ORDER BY id) FROM docs ORDER BY id"),
		shape('lag, error in the arguments of the last row', "SELECT id, lag(S('q', (100 / (200 - id))::text)) OVER (ORDER BY id) FROM docs ORDER BY id"),
		shape('lead, error in the arguments of first rows', "SELECT id, lead(S('q', (100 / (id - 5))::text)) OVER (PARTITION BY (id - 5) / 200, id > 4 ORDER BY id) FROM docs ORDER BY id"),
		shape('lag, limit', "SELECT id, lag($score) OVER (ORDER BY emb_distance) FROM docs ORDER BY emb_distance LIMIT 5", before => 'SET enable_seqscan = off;', extra => 16),
		shape('lag, rescanned', "SELECT qid, (SELECT max(x) FROM (SELECT lag(S(qs.q, body)) OVER (PARTITION BY lang ORDER BY id) x FROM docs WHERE docs.cat = qs.cat AND id <= 60) y) FROM qs ORDER BY 1"),
		shape('first and last value of frames', "SELECT id, first_value($score) OVER (PARTITION BY cat ORDER BY id ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING), last_value(S('r', body)) OVER (ORDER BY id ROWS 3 PRECEDING), nth_value(id, 1 + ${score}::int % 2) OVER (PARTITION BY lang ORDER BY id) FROM docs ORDER BY id"),
		shape('run condition above', "SELECT * FROM (SELECT row_number() OVER (ORDER BY emb_distance) n, sc FROM (SELECT emb_distance, $score sc FROM docs ORDER BY emb_distance OFFSET 0) y) x WHERE n < 3", before => 'SET enable_seqscan = off; SET enable_sort = off;', extra => 8),
		shape('run condition above, in partitions', "SELECT * FROM (SELECT row_number() OVER (PARTITION BY emb_distance ORDER BY emb_distance) n, sc FROM (SELECT emb_distance, $score sc FROM docs ORDER BY emb_distance OFFSET 0) y) x WHERE n < 2 ORDER BY sc", before => 'SET enable_seqscan = off; SET enable_sort = off;'),
		shape('distinct', "SELECT DISTINCT round(${score}::numeric, -1) FROM docs ORDER BY 1"),
		shape('distinct on', "SELECT DISTINCT ON (cat) cat, id FROM docs ORDER BY cat, $score DESC"),
		shape('grouping sets', "SELECT cat, lang, max($score), grouping(cat) FROM docs GROUP BY GROUPING SETS ((cat), (lang), ()) ORDER BY 1, 2"),
		shape('sorted and hashed groups, limit', "SELECT i, c, max(S('q', b)) FROM big GROUP BY GROUPING SETS ((i), (c)) LIMIT 2", extra => 14,
			before => "CREATE TEMP TABLE big AS SELECT i, i % 5 AS c, 'b' || i AS b FROM generate_series(1, 20000) i; ANALYZE big; SET work_mem = '64kB';"),
		shape('cube over scores', "SELECT cat, round(${score}::numeric, -1) r, count(*) FROM docs GROUP BY CUBE (cat, r) ORDER BY 1, 2"),
		shape('ordered aggregate', "SELECT cat, array_agg(id ORDER BY $score DESC) FROM docs WHERE id <= 50 GROUP BY cat ORDER BY 1"),
		shape('aggregate of distinct scores', "SELECT count(DISTINCT $score) FROM docs"),
		shape('percentile', "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY $score) FROM docs"),
		shape('spilled hash aggregate', "SELECT id, max($score) FROM docs GROUP BY id ORDER BY 1", before => "SET work_mem = '64kB'; SET enable_sort = off;"),
	);
}

sub sets
{
	my $sorted = 'SET enable_hashagg = off;';
	my $from = 'FROM qs JOIN docs USING (cat) WHERE id <= 60 GROUP BY q ORDER BY q';
	return (
		shape('sets, sorted', "SELECT q, retro_star_rerank_agg(q, id, body) $from", before => $sorted),
		shape('sets, hashed', "SELECT q, retro_star_rerank_agg(q, id, body) FROM qs JOIN docs USING (cat) WHERE id <= 60 GROUP BY q", before => 'SET enable_sort = off;', node => 0),
		shape('sets, one of all', "SELECT retro_star_rerank_agg('q', id, body, 3) FROM docs", node => 0),
		shape('sets, filter', "SELECT q, retro_star_rerank_agg(q, id, body, 2) FILTER (WHERE lang = 'en') $from", before => $sorted),
		shape('sets, score as a filter', "SELECT q, retro_star_rerank_agg(q, id, body, 2) FILTER (WHERE $score > 50) $from", before => $sorted),
		shape('sets, sorted in the aggregate', "SELECT q, retro_star_rerank_agg(q, id, body, 2 ORDER BY id DESC) $from", before => $sorted),
		shape('sets, distinct', "SELECT q, retro_star_rerank_agg(DISTINCT q, lang, left(body, 18)) $from", before => $sorted),
		shape('sets, having', "SELECT q FROM qs JOIN docs USING (cat) WHERE id <= 60 GROUP BY q HAVING retro_star_rerank_agg(q, id, body) IS NOT NULL ORDER BY q", before => $sorted),
		shape('sets, nulls', "SELECT q, retro_star_rerank_agg(nullif(q, 'query 3'), id, nullif(body, '')) FILTER (WHERE id > 3) $from", before => $sorted),
		shape('sets, null documents', "SELECT q, retro_star_rerank_agg(q, id, CASE WHEN lang = 'en' THEN body END) $from", before => $sorted),
		shape('sets, document twice', "SELECT q, retro_star_rerank_agg(q, n, body) FROM qs JOIN docs USING (cat), generate_series(1, 2) n WHERE id <= 30 GROUP BY q ORDER BY q", before => $sorted),
		shape('sets, fresh', "SELECT q, retro_star_rerank_agg(q, id, body) $from", before => "$sorted SET retrostar.cache = off; SET retrostar.samples = 2;"),
		shape('sets, adaptive', "SELECT q, retro_star_rerank_agg(q, id, body, 2) $from", before => "$sorted SET retrostar.passes = 'adaptive:1,2,4';"),
		shape('sets, first pass of a few', "SELECT q, retro_star_rerank_agg(q, id, body) $from", before => "$sorted SET retrostar.passes = '5\@1,2\@3';"),
		shape('sets, first pass of a few, sorted', "SELECT q, retro_star_rerank_agg(q, id, body ORDER BY emb_distance) $from", before => "$sorted SET retrostar.passes = '5\@1,2\@3';"),
		shape('sets, first pass of a few, one query', "SELECT lang, retro_star_rerank_agg('q', id, body) FROM docs GROUP BY lang ORDER BY lang", before => "$sorted SET retrostar.passes = '30\@1,2\@3';"),
		shape('sets, priors', "SELECT q, retro_star_rerank_agg(q, id, body, 2, -emb_distance) $from", before => $sorted),
		shape('sets, the best by prior', "SELECT q, retro_star_rerank_agg(q, id, body, 2, -emb_distance) $from", before => "$sorted SET retrostar.passes = '5\@1,2\@3';"),
		shape('sets, rollup', "SELECT cat, lang, retro_star_rerank_agg('q', id, body, 3) FROM docs WHERE id <= 40 GROUP BY ROLLUP (cat, lang) ORDER BY 1, 2", before => $sorted),
		shape('sets, cube', "SELECT cat, lang, retro_star_rerank_agg('q', id, body, 3) FROM docs WHERE id <= 40 GROUP BY CUBE (cat, lang) ORDER BY 1, 2"),
		shape('sets and scores', "SELECT cat, max($score), retro_star_rerank_agg('q', id, body, 2) FROM docs GROUP BY cat ORDER BY cat", before => $sorted),
		shape('sets, little memory', "SELECT q, retro_star_rerank_agg(q, id, body, 2) $from", before => "$sorted SET work_mem = '64kB';"),
		shape('sets, limit', "SELECT q, retro_star_rerank_agg(q, id, body) $from LIMIT 1", before => $sorted, extra => 30),
		shape('sets, limit in a cursor', 'FETCH 1 FROM c', node => undef, extra => 30, before => "BEGIN; $sorted DECLARE c CURSOR FOR SELECT q, retro_star_rerank_agg(q, id, body) $from;", after => 'ROLLBACK;'),
		shape('sets, errors', "SELECT q, retro_star_rerank_agg(q || id, id, body) $from", before => $sorted, extra => 120),
		shape('sets, error in the documents', "SELECT q, retro_star_rerank_agg(q, id, (100 / (60 - id))::text) $from LIMIT 1", before => $sorted, extra => 30),
		shape('sets, no empty document', "SELECT q, retro_star_rerank_agg(q, id, CASE WHEN id = 10 THEN '' ELSE body END) $from", before => "$sorted SET retrostar.on_error = 'null';"),
		shape('sets, volatile ids', "SELECT q, array_length(retro_star_rerank_agg(q, random(), body), 1) $from", before => $sorted, node => 0),
		shape('sets, correlated', "SELECT qid, (SELECT retro_star_rerank_agg(qs.q, id, body, 1) FROM docs WHERE docs.cat = qs.cat AND id <= 60 GROUP BY lang ORDER BY lang LIMIT 1) FROM qs ORDER BY 1", before => $sorted, extra => 60),
	);
}

sub subqueries
{
	return (
		shape('cte materialized', "WITH c AS MATERIALIZED (SELECT id, $score sc FROM docs) SELECT id FROM c WHERE sc > 60 ORDER BY sc DESC LIMIT 10"),
		shape('cte inline', "WITH c AS (SELECT id, $score sc FROM docs) SELECT id FROM c WHERE sc > 60 ORDER BY sc DESC LIMIT 10"),
		shape('cte read twice', "WITH c AS MATERIALIZED (SELECT id, $score sc FROM docs) SELECT (SELECT max(sc) FROM c), id FROM c ORDER BY id LIMIT 3", extra => 200),
		shape('cte of a cte', "WITH a AS MATERIALIZED (SELECT id, body, $score sc FROM docs), b AS MATERIALIZED (SELECT id, S('z', body) sd FROM a WHERE sc > 50) SELECT * FROM b ORDER BY sd"),
		shape('lateral', "SELECT qid, l.id FROM qs, LATERAL (SELECT id FROM docs WHERE docs.cat = qs.cat AND id <= 60 ORDER BY S(qs.q, body) DESC LIMIT 1) l ORDER BY 1"),
		shape('correlated aggregate', "SELECT qid, (SELECT max(S(qs.q, body)) FROM docs WHERE docs.cat = qs.cat AND id <= 60) FROM qs ORDER BY 1"),
		shape('exists', "SELECT qid FROM qs WHERE EXISTS (SELECT 1 FROM docs WHERE docs.cat = qs.cat AND id <= 60 AND S(qs.q, body) > 95 OFFSET 0) ORDER BY 1", extra => 40),
		shape('array of a subquery', "SELECT ARRAY(SELECT id FROM docs WHERE $score > 60)"),
		shape('union all', "SELECT id FROM (SELECT id, $score sc FROM docs WHERE lang = 'en' UNION ALL SELECT id, $score FROM docs WHERE lang = 'de') u ORDER BY sc DESC LIMIT 10"),
		shape('union all of different scores', "SELECT id, $score FROM docs WHERE id <= 30 UNION ALL SELECT id, S('r', body) FROM pdocs WHERE id <= 30 ORDER BY 1, 2"),
		shape('union', "SELECT round(${score}::numeric, -1) FROM docs UNION SELECT round(S('r', body)::numeric, -1) FROM docs ORDER BY 1"),
		shape('intersect', "SELECT id FROM docs WHERE $score > 40 INTERSECT SELECT id FROM docs WHERE S('r', body) > 40 ORDER BY 1"),
		shape('except all', "SELECT cat FROM docs WHERE $score > 40 EXCEPT ALL SELECT cat FROM docs WHERE S('r', body) > 40 ORDER BY 1"),
		shape('query from an init plan', "SELECT id FROM docs ORDER BY S((SELECT q FROM qs WHERE qid = 3), body) DESC LIMIT 5"),
		shape('in', "SELECT qid FROM qs WHERE qid IN (SELECT id FROM docs WHERE $score > 50) ORDER BY 1"),
		shape('not in', "SELECT qid FROM qs WHERE qid NOT IN (SELECT id FROM docs WHERE $score > 50) ORDER BY 1"),
		shape('not exists', "SELECT qid FROM qs WHERE NOT EXISTS (SELECT 1 FROM docs WHERE docs.id = qs.qid AND $score > 50) ORDER BY 1"),
		shape('recursive', "WITH RECURSIVE r AS (SELECT id, body, 1 n FROM docs WHERE id <= 30 UNION ALL SELECT id, body, n + 1 FROM r WHERE n < 3 AND S('q' || n, body) > 50) SELECT n, count(*) FROM r GROUP BY n ORDER BY n"),
		shape('values', "SELECT v, S('q', v) FROM (VALUES ('a'), ('b'), ('c'), ('d')) x(v) ORDER BY 1"),
		shape('function scan', "SELECT g, S('q', g::text) FROM generate_series(1, 40) g ORDER BY 2"),
		shape('volatile function scan', "SELECT g, S('q', g::text) FROM some_ids(40) g ORDER BY 2"),
		shape('xmltable', "SELECT x, S('q', x) FROM json_array_elements_text('[\"a\",\"b\",\"c\"]') x, LATERAL (SELECT 1 OFFSET 0) y ORDER BY 1"),
		shape('set-returning target list', "SELECT id, unnest(ARRAY[1, 2]), $score FROM docs WHERE id <= 40"),
		shape('inner side rescanned', "SELECT qid, l.id, l.sc FROM qs CROSS JOIN LATERAL (SELECT id, S(qs.q, body) sc FROM docs WHERE id <= 10 + qid OFFSET 0) l WHERE l.sc > 80 ORDER BY 1, 2"),
		shape('inner side rescanned, same rows', "SELECT count(*), sum(a.sc * b.id)::numeric(12,4) FROM (SELECT id FROM docs WHERE id <= 5 OFFSET 0) b, (SELECT $score sc FROM docs WHERE id <= 20 OFFSET 0) a", before => 'SET enable_material = off;'),
		shape('transition table', 'SELECT * FROM log ORDER BY 1',
			node => 0,
			before => "BEGIN; CREATE TABLE log(id int, s float8); CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO log SELECT id, $score FROM n; RETURN NULL; END \$\$; CREATE TRIGGER t AFTER UPDATE ON docs REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION t(); UPDATE docs SET s = 1 WHERE id <= 40;",
			after => 'ROLLBACK;'),
	);
}

sub changes
{
	my %docs = (before => 'BEGIN;', after => $docs_after);
	my %pdocs = (before => 'BEGIN;', after => 'SELECT id, body FROM pdocs ORDER BY id; ROLLBACK;');
	return (
		shape('insert select', "INSERT INTO tgt SELECT id, $score FROM docs", before => 'BEGIN; CREATE TEMP TABLE tgt(id int, s float8);', after => 'SELECT * FROM tgt ORDER BY id; ROLLBACK;'),
		shape('insert on conflict', "INSERT INTO tgt SELECT id % 7, $score FROM docs WHERE id < 30 ORDER BY id ON CONFLICT (id) DO NOTHING", before => 'BEGIN; CREATE TEMP TABLE tgt(id int PRIMARY KEY, s float8);', after => 'SELECT * FROM tgt ORDER BY id; ROLLBACK;'),
		shape('update', "UPDATE docs SET s = $score WHERE lang = 'en'", %docs),
		shape('update from', "UPDATE docs SET s = S(q, body) FROM qs WHERE qs.qid = docs.id", %docs),
		shape('update, where', "UPDATE docs SET s = 1 WHERE $score > 60", %docs),
		shape('update returning', "UPDATE docs SET s = $score WHERE id <= 20 RETURNING id, s", %docs),
		shape('update of a view', "UPDATE uv SET s = $score WHERE id <= 20", %docs),
		shape('create table as', "CREATE TABLE ct AS SELECT id, $score sc FROM docs", before => 'BEGIN;', after => 'SELECT * FROM ct ORDER BY id; ROLLBACK;'),
		shape('materialized view', "CREATE MATERIALIZED VIEW mv AS SELECT id, $score sc FROM docs", before => 'BEGIN;', after => 'SELECT * FROM mv ORDER BY id; ROLLBACK;'),
		shape('refresh', 'REFRESH MATERIALIZED VIEW mv', node => undef, before => "BEGIN; CREATE MATERIALIZED VIEW mv AS SELECT id, $score sc FROM docs WITH NO DATA;", after => 'SELECT * FROM mv ORDER BY id; ROLLBACK;'),
		shape('delete returning', "DELETE FROM docs WHERE $score > 60 RETURNING id", %docs),
		shape('merge', "MERGE INTO docs d USING (SELECT id, $score sc FROM docs WHERE lang = 'en' OFFSET 0) x ON d.id = x.id WHEN MATCHED AND x.sc > 50 THEN UPDATE SET s = x.sc", %docs),
		shape('multiple assignment', "UPDATE docs SET (s, title) = (SELECT $score, docs.title || 'x') WHERE id <= 20", %docs, node => 0),
		shape('multiple assignment beside', "UPDATE docs SET (cat, title) = (SELECT max(qid), docs.title || 'x' FROM qs), s = $score WHERE id <= 20", %docs),
		shape('changing cte', "WITH w AS (UPDATE docs SET s = $score WHERE lang = 'en' RETURNING id, s) SELECT sum(s)::numeric(12,4) FROM w", %docs),
		shape('update partitioned', "UPDATE pdocs SET body = body || $score\::text", %pdocs),
		shape('delete partitioned', "DELETE FROM pdocs WHERE $score > 60 RETURNING id", %pdocs),
		shape('update partitioned from', "UPDATE pdocs SET body = S(q, body)::text FROM qs WHERE qid = id", %pdocs),
		shape('moving between partitions', "UPDATE pdocs SET cat = round($score)::int % 5", before => 'BEGIN;', after => 'SELECT id, cat FROM pdocs ORDER BY id; ROLLBACK;'),
		shape('insert from partitioned', "INSERT INTO docs(id, s) SELECT id + 1000, $score FROM pdocs", %docs),
		shape('for update', "SELECT id FROM docs WHERE $score > 60 ORDER BY id FOR UPDATE", before => 'BEGIN;', after => 'ROLLBACK;'),
		shape('for update, limit', "SELECT id, $score FROM docs WHERE lang = 'en' LIMIT 5 FOR UPDATE", before => 'BEGIN;', after => 'ROLLBACK;'),
		shape('skip locked', "SELECT id, $score FROM docs WHERE lang = 'en' LIMIT 5 FOR UPDATE SKIP LOCKED", before => 'BEGIN;', after => 'ROLLBACK;'),
		shape('for update partitioned', "SELECT id FROM pdocs WHERE $score > 60 ORDER BY id FOR UPDATE", before => 'BEGIN;', after => 'ROLLBACK;'),
		shape('where current of', 'SELECT 1', node => 0, before => "BEGIN; DECLARE c CURSOR FOR SELECT id, $score FROM docs FOR UPDATE; FETCH 3 FROM c;", after => 'UPDATE docs SET s = -1 WHERE CURRENT OF c; SELECT id FROM docs WHERE s = -1; ROLLBACK;', extra => 22),
	);
}

sub partitions
{
	return (
		shape('partitioned', "SELECT id FROM pdocs ORDER BY $score DESC LIMIT 10"),
		shape('partitioned, where', "SELECT id FROM pdocs WHERE $score > 60 ORDER BY id"),
		shape('partitionwise aggregate', "SELECT cat, max($score) FROM pdocs GROUP BY cat ORDER BY 1", before => 'SET enable_partitionwise_aggregate = on;'),
		shape('partitionwise join', "SELECT a.id, S('q', a.body) FROM pdocs a JOIN pdocs b ON a.cat = b.cat AND a.id = b.id ORDER BY 2, 1", before => 'SET enable_partitionwise_join = on;'),
		shape('merge append', "SELECT id, $score FROM pdocs ORDER BY id LIMIT 20", before => 'BEGIN; CREATE INDEX ON pdocs(id); SET enable_seqscan = off; SET enable_sort = off;', after => 'ROLLBACK;', extra => 60),
		shape('many partitions', "SELECT id FROM mp ORDER BY $score DESC LIMIT 10"),
		shape('many partitions, limit', "SELECT id, $score FROM mp LIMIT 25"),
		shape('pruned at run time', 'EXECUTE p(35)', before => "SET plan_cache_mode = force_generic_plan; PREPARE p(int) AS SELECT id, $score FROM mp WHERE id < \$1;"),
	);
}

sub cursors
{
	return (
		shape('cursor', 'SELECT 1', node => 0, extra => 30, before => "BEGIN; DECLARE c CURSOR FOR SELECT id, $score FROM docs;", after => 'FETCH 5 FROM c; FETCH 3 FROM c; FETCH BACKWARD 4 FROM c; FETCH 6 FROM c; ROLLBACK;'),
		shape('cursor without scroll', 'SELECT 1', node => 0, extra => 30, before => "BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT id, $score FROM docs;", after => 'FETCH 5 FROM c; FETCH 13 FROM c; FETCH ALL FROM c; FETCH 1 FROM c; ROLLBACK;'),
		shape('scroll cursor', 'SELECT 1', node => 0, before => "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id, $score FROM docs WHERE lang = 'en';", after => 'FETCH 5 FROM c; FETCH LAST FROM c; FETCH BACKWARD 4 FROM c; FETCH FIRST FROM c; ROLLBACK;'),
		shape('hold cursor', 'COMMIT', node => undef, before => "BEGIN; DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT id FROM docs WHERE $score > 60;", after => 'FETCH 5 FROM c; FETCH LAST FROM c; CLOSE c;'),
		shape('two cursors', 'SELECT 1', node => 0, extra => 60, before => "BEGIN; DECLARE a CURSOR FOR SELECT id, $score FROM docs; DECLARE b CURSOR FOR SELECT id, S('r', body) FROM docs;", after => 'FETCH 5 FROM a; FETCH 5 FROM b; FETCH 5 FROM a; CLOSE a; FETCH 5 FROM b; ROLLBACK;'),
		shape('setting off below a cursor', 'SELECT 1', node => 0, extra => 30, before => "BEGIN; DECLARE c CURSOR FOR SELECT id, $score FROM docs; FETCH 4 FROM c; SET retrostar.prefetch = off;", after => 'FETCH 10 FROM c; ROLLBACK;'),
		shape('savepoint below a cursor', 'SELECT 1', node => 0, extra => 30, before => "BEGIN; DECLARE c CURSOR FOR SELECT id, $score FROM docs; FETCH 4 FROM c; SAVEPOINT s; FETCH 4 FROM c; ROLLBACK TO s;", after => 'FETCH 4 FROM c; ROLLBACK;'),
	);
}

sub parallel
{
	return (
		shape('restricted', "SELECT id FROM docs ORDER BY $score DESC, id LIMIT 10", before => $parallel),
		shape('restricted, where', "SELECT id FROM docs WHERE $score > 60 ORDER BY id", before => $parallel),
		shape('above a partial aggregate', "SELECT cat, S('q', max(title)) FROM docs GROUP BY cat ORDER BY 1", before => $parallel),
		shape('gather merge', "SELECT id, emb_distance, $score FROM docs ORDER BY emb_distance, id", before => "$parallel SET enable_indexscan = off; SET enable_incremental_sort = off;"),
		# each process sends for itself, so that a pair may be sent twice
		shape('safe', "SELECT id FROM docs ORDER BY score_safe('q', body) DESC, id LIMIT 10", before => $parallel, extra => 400),
		shape('safe aggregate', "SELECT cat, max(score_safe('q', body)) FROM docs GROUP BY cat ORDER BY 1", before => $parallel, extra => 400),
		shape('safe, hash join', "SELECT sum(score_safe(q, body))::numeric(12,4) FROM qs JOIN docs USING (cat) WHERE id <= 60", extra => 240, before => "$parallel SET enable_nestloop = off; SET enable_mergejoin = off;"),
		shape('safe, append', "SELECT id FROM pdocs ORDER BY score_safe('q', body) DESC, id LIMIT 10", before => $parallel, extra => 400),
	);
}

sub functions
{
	my $loop = "DO \$\$ DECLARE r record; o text = ''; BEGIN FOR r IN %s LOOP o := o || ',' || r.id; END LOOP; RAISE NOTICE '%%', o; END \$\$";
	return (
		shape('plpgsql loop', sprintf($loop, "SELECT id FROM docs WHERE $score > 60 ORDER BY id"), node => undef),
		shape('plpgsql loop, unsorted', sprintf($loop, "SELECT id FROM docs WHERE $score > 60"), node => undef),
		shape('plpgsql loop with scores inside', "DO \$\$ DECLARE r record; o float8 = 0; BEGIN FOR r IN SELECT id, body, $score sc FROM docs WHERE id < 30 LOOP o := o + r.sc + S('z', r.body) + (SELECT max(S('y', body)) FROM docs WHERE id < 4); END LOOP; RAISE NOTICE '%', o::numeric(12,4); END \$\$", node => undef),
		shape('plpgsql exits early', "DO \$\$ DECLARE r record; BEGIN FOR r IN SELECT id, $score sc FROM docs LOOP EXIT WHEN r.id > 3; RAISE NOTICE '%', r.sc; END LOOP; END \$\$", node => undef, extra => 60),
		shape('plpgsql exception below', "DO \$\$ DECLARE r record; BEGIN FOR r IN SELECT id, $score sc FROM docs WHERE id < 20 LOOP BEGIN PERFORM id, S('z', body), 1 / (id - 3) FROM docs; EXCEPTION WHEN division_by_zero THEN RAISE NOTICE '% %', r.id, r.sc; END; END LOOP; END \$\$", node => undef, extra => 4000),
		shape('plpgsql expression', "DO \$\$ DECLARE o float8 = 0; BEGIN FOR i IN 1..5 LOOP o := o + S('q', i::text); END LOOP; RAISE NOTICE '%', o; END \$\$", node => undef),
		shape('plpgsql select into', "DO \$\$ DECLARE o float8; BEGIN SELECT $score INTO o FROM docs ORDER BY id; RAISE NOTICE '%', o; END \$\$", node => undef, extra => 0),
		shape('plpgsql update returning into', "DO \$\$ DECLARE o float8; BEGIN UPDATE docs SET s = $score WHERE id = 4 RETURNING s INTO o; RAISE NOTICE '%', o; END \$\$", node => undef, before => 'BEGIN;', after => 'ROLLBACK;'),
		shape('sql function', "SELECT h('zz')", node => 0, before => "BEGIN; CREATE FUNCTION h(text) RETURNS SETOF int LANGUAGE sql AS \$\$ SELECT id FROM docs ORDER BY S(\$1, body) DESC LIMIT 5 \$\$;", after => 'ROLLBACK;'),
		shape('sql function, stopped', "SELECT h('zz') LIMIT 2", node => 0, extra => 30, before => "BEGIN; CREATE FUNCTION h(text) RETURNS SETOF int LANGUAGE sql AS \$\$ SELECT id FROM docs WHERE S(\$1, body) > 20 \$\$;", after => 'ROLLBACK;'),
		shape('return query', "SELECT * FROM k('zz')", node => 0, before => "BEGIN; CREATE FUNCTION k(t text) RETURNS TABLE(i int) LANGUAGE plpgsql AS \$\$ BEGIN RETURN QUERY SELECT id FROM docs ORDER BY S(t, body) DESC LIMIT 5; END \$\$;", after => 'ROLLBACK;'),
		shape('declared strict', "SELECT id, score_strict('q', body, 'biology', nullif(lang, 'de'), 'a', 'b', 1, 'gpu') FROM docs ORDER BY id"),
		shape('inlined wrapper', "SELECT id FROM docs ORDER BY sw(body) DESC LIMIT 5"),
		shape('volatile beside', "SELECT id, nextval('ts'), $score FROM docs ORDER BY emb_distance LIMIT 10", before => 'SET enable_seqscan = off; CREATE TEMP SEQUENCE ts;', after => "SELECT nextval('ts');"),
		shape('prepared', "EXECUTE p('hello', 60)", before => "SET plan_cache_mode = force_generic_plan; PREPARE p(text, float8) AS SELECT id FROM docs WHERE S(\$1, body) > \$2 ORDER BY id;"),
		shape('prepared, limit', "EXECUTE p('hello', 5)", before => "SET plan_cache_mode = force_generic_plan; PREPARE p(text, int) AS SELECT id FROM docs ORDER BY S(\$1, body) DESC LIMIT \$2;"),
		shape('prepared before the setting', "EXECUTE p('hello')", node => undef, before => "SET plan_cache_mode = force_generic_plan; PREPARE p(text) AS SELECT id FROM docs ORDER BY S(\$1, body) DESC; SET retrostar.prefetch = off; EXPLAIN (COSTS OFF) EXECUTE p('x'); SET retrostar.prefetch = on;"),
	);
}

sub conditions
{
	return (
		shape('case', "SELECT id, CASE WHEN lang = 'en' THEN $score END FROM docs ORDER BY id"),
		shape('case of a value', "SELECT id, CASE lang WHEN 'en' THEN $score WHEN 'fr' THEN S('f', body) ELSE 0 END FROM docs ORDER BY id"),
		shape('case guards an error', "SELECT id, CASE WHEN cat <> 0 THEN S('q', (100 / cat)::text) ELSE -1 END FROM docs ORDER BY id"),
		shape('error in the arguments', "SELECT id, S('q', (100 / (id - 50))::text) FROM docs"),
		shape('coalesce', "SELECT id, COALESCE(s, $score) FROM docs ORDER BY id"),
		shape('score of a score', "SELECT id, S('q', $score\::text) FROM docs WHERE id <= 50 ORDER BY id"),
		shape('score decides', "SELECT id, CASE WHEN $score > 60 THEN S('r', body) ELSE 0 END FROM docs ORDER BY id"),
		shape('scores decide in turn', "SELECT id FROM docs WHERE $score > 80 OR S('r', body) > 80 OR S('t', body) > 80"),
		shape('scores decide, one guard keeps the next from an error', "SELECT id, CASE WHEN nullif(cat, 0) > 0 THEN CASE WHEN 100 / cat > 0 THEN CASE WHEN $score > 50 THEN S('r', body) END END END FROM docs ORDER BY id"),
		shape('same guarded call twice, another depends', "SELECT id, CASE WHEN lang = 'en' THEN S('r', body) END, CASE WHEN lang = 'de' THEN CASE WHEN S('r', body) > 50 THEN S('t', body) END END, cat = 1 OR $score > 50 OR S('u', body) > 50 FROM docs ORDER BY id"),
		shape('and in a condition', "SELECT id, ($score > 50 AND S('r', body) > 50) FROM docs ORDER BY id"),
		shape('null arguments', "SELECT id, S(CASE WHEN lang = 'en' THEN 'q' END, body) FROM docs ORDER BY id"),
		shape('nullif, greatest', "SELECT id, nullif($score, 0), greatest($score, S('r', body)) FROM docs ORDER BY id"),
		shape('same call twice, once guarded', "SELECT id, CASE WHEN lang = 'en' THEN $score END, $score FROM docs ORDER BY id"),
		shape('row and array', "SELECT ROW(id, $score), ARRAY[$score, S('r', body)] FROM docs ORDER BY id"),
	);
}

sub security
{
	return (
		shape('row security', "SELECT id FROM docs ORDER BY $score DESC LIMIT 10", before => $rls, after => 'ROLLBACK;'),
		shape('row security, where', "SELECT id FROM docs WHERE $score > 60 AND emb_distance < 0.5", before => $rls, after => 'ROLLBACK;'),
		shape('row security by score', "SELECT id FROM docs WHERE S('u', title) > 50", before => sprintf($policy, "S('pol', body) > 50"), after => 'ROLLBACK;'),
		shape('row security by score, then a cheap filter', "SELECT id FROM docs WHERE title LIKE '%1%'", before => sprintf($policy, "S('pol', body) > 50"), after => 'ROLLBACK;'),
		shape('security barrier', "SELECT id FROM bv WHERE S('q', (1 / cat)::text) > 0 AND cat < 4"),
	);
}

sub limits
{
	my $index = 'SET enable_seqscan = off;';
	return (
		shape('error in the arguments, limit', "SELECT id, S('q', (100 / (id - 50))::text) FROM docs WHERE id >= 10 LIMIT 20"),
		shape('error in the arguments of the next group, limit', "SELECT (id - 1) / 5, max(S('q', (100 / (id - 6))::text)) FROM docs WHERE id <= 20 GROUP BY 1 ORDER BY 1 LIMIT 1", before => 'SET retrostar.prefetch_window = 1; SET enable_hashagg = off;'),
		shape('error in the arguments of the next partition, limit', "SELECT id, sum(S('q', (100 / (id - 6))::text)) OVER (PARTITION BY (id - 1) / 5)::numeric(12,4) FROM docs WHERE id <= 20 LIMIT 5", before => 'SET retrostar.prefetch_window = 1;'),
		shape('wrong task of a later row, limit', "SELECT id FROM docs WHERE S('q', body, task => CASE WHEN id = 4 THEN 'none' ELSE 'biology' END) >= 0 LIMIT 2", extra => 15),
		shape('wrong task under a condition, cursor', 'SELECT 1', node => 0, before => "BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT id, CASE WHEN id > 3 THEN S('q', body, 'none') END FROM docs;", after => 'FETCH 3 FROM c; ROLLBACK;'),
		shape('wrong samples of a later row, limit', "SELECT id FROM docs WHERE S('q', body, samples => CASE WHEN id = 4 THEN 0 ELSE 1 END) >= 0 LIMIT 2", extra => 15),
		shape('wrong server of a later row, cursor', 'SELECT 1', node => 0, before => "BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT id, S('q', body, server => CASE WHEN id < 4 THEN 'gpu' ELSE 'none' END) FROM docs;", after => 'FETCH 3 FROM c; ROLLBACK;'),
		shape('score decides, limit', "SELECT id, CASE WHEN $score > 60 THEN S('r', body) ELSE 0 END FROM docs LIMIT 10"),
		shape('scores decide in turn, limit', "SELECT id, $score > 80 OR S('r', body) > 80 OR S('t', body) > 80 FROM docs LIMIT 21"),
		shape('limit parameter', 'EXECUTE p(3, 2)', before => "$index SET plan_cache_mode = force_generic_plan; PREPARE p(int, int) AS SELECT id, $score FROM docs ORDER BY emb_distance LIMIT \$1 OFFSET \$2;"),
		shape('limit parameter null', 'EXECUTE p(NULL)', before => "$index SET plan_cache_mode = force_generic_plan; PREPARE p(int) AS SELECT id, $score FROM docs ORDER BY emb_distance LIMIT \$1;"),
		shape('offset only', "SELECT id, $score FROM docs ORDER BY emb_distance LIMIT ALL OFFSET 190", before => $index),
		shape('limit null', "SELECT id, $score FROM docs ORDER BY emb_distance LIMIT NULL OFFSET 190", before => $index),
		shape('limit zero', "SELECT id, $score FROM docs LIMIT 0"),
		shape('limit one', "SELECT id, $score FROM docs LIMIT 1"),
		shape('huge limit', "SELECT id, $score FROM docs ORDER BY emb_distance LIMIT 9223372036854775807 OFFSET 9223372036854775", before => $index),
		shape('limit of a subquery', "SELECT id, $score FROM docs LIMIT (SELECT 3)", extra => 20),
		shape('with ties', "SELECT id, cat, $score FROM docs ORDER BY cat FETCH FIRST 3 ROWS WITH TIES", extra => 60),
		shape('init plan, limit', "SELECT id, S((SELECT q FROM qs WHERE qid = 3), body) FROM docs LIMIT 10"),
		shape('init plan that raises, guarded, limit', "SELECT id, CASE WHEN id > 5 THEN S((SELECT q FROM qs), body) END FROM docs LIMIT 5"),
		shape('rare rows', "SELECT id FROM docs WHERE $score > 95 LIMIT 2", extra => 60),
		shape('limit in a limit', "SELECT * FROM (SELECT id, $score FROM docs LIMIT 20) x LIMIT 3"),
	);
}

sub refused
{
	return (
		shape('left join filter', "SELECT qid, id FROM qs LEFT JOIN docs ON qs.cat = docs.cat AND id <= 10 AND S(q, body) > 90 ORDER BY 1, 2", node => 0),
		shape('window with run condition', "SELECT * FROM (SELECT id, row_number() OVER (ORDER BY id) rn, S('q', body || count(*) OVER (PARTITION BY cat)) FROM docs) x WHERE rn <= 20", node => 0),
		shape('frame without the row itself', "SELECT id, sum($score) OVER (ORDER BY id ROWS BETWEEN 5 PRECEDING AND 3 PRECEDING)::numeric(12,4) FROM docs ORDER BY id", node => 0),
		shape('first value of all', "SELECT id, first_value($score) OVER (ORDER BY id), nth_value(S('r', body), 2) OVER (ORDER BY id) FROM docs ORDER BY id", node => 0),
		shape('first value of peers', "SELECT id, first_value($score) OVER (ORDER BY lang RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING), last_value(S('r', body)) OVER (ORDER BY lang) FROM docs ORDER BY id", node => 0),
		shape('frames without the row itself', "SELECT id, first_value($score) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING EXCLUDE CURRENT ROW) FROM docs ORDER BY id", node => 0),
		shape('number of tiles', "SELECT id, ntile(1 + ${score}::int) OVER (ORDER BY id) FROM docs ORDER BY id", node => 0),
		shape('lag by what the row says', "SELECT id, lag($score, cat) OVER (ORDER BY id) FROM docs ORDER BY id", node => 0),
		shape('correlated subquery in the arguments', "SELECT id FROM docs d WHERE id <= 40 ORDER BY S((SELECT q FROM qs WHERE qid = d.cat), body) DESC LIMIT 5", node => 0),
		shape('returning', "UPDATE docs SET s = 1 WHERE id <= 20 RETURNING $score", node => 0, before => 'BEGIN;', after => 'ROLLBACK;'),
		shape('volatile arguments', "SELECT count(S('q', body || random())) FROM docs WHERE id <= 40", node => 0),
		shape('volatile below', "SELECT id, n, $score FROM (SELECT id, body, nextval('ts') n FROM docs OFFSET 0) x LIMIT 10", node => 0, before => 'CREATE TEMP SEQUENCE ts;', after => "SELECT nextval('ts');"),
		shape('volatile function for each row', "SELECT id, g, $score FROM docs, LATERAL some_ids(id) g LIMIT 10", node => 0),
		shape('volatile condition with a score, another score above', 'SELECT 1', node => 0, before => "BEGIN; CREATE TEMP SEQUENCE ts; DECLARE c NO SCROLL CURSOR FOR SELECT S('r', body) FROM docs WHERE $score > 100 OR nextval('ts') > 5;", after => "FETCH 1 FROM c; SELECT nextval('ts'); ROLLBACK;"),
		shape('volatile init plan', "SELECT count(S((SELECT 'q' || (random() < 2)), body)) FROM docs WHERE id <= 40", node => 0),
		shape('changing cte below', "WITH w AS (UPDATE docs SET s = 1 WHERE id <= 20 RETURNING id, body) SELECT id, $score FROM w", node => 0, before => 'BEGIN;', after => $docs_after),
		shape('row locks below', "SELECT id, $score FROM (SELECT id, body FROM docs ORDER BY id FOR UPDATE) x LIMIT 5", node => 0, before => 'BEGIN;', after => 'ROLLBACK;'),
		shape('declared volatile', "SELECT id, score_volatile('q', body) FROM docs WHERE id <= 20 ORDER BY id", node => 0),
		shape('with settings of its own', "SELECT id, score_set('q', body) FROM docs WHERE id <= 20 ORDER BY id", node => 0),
		shape('no table', "SELECT S('q', 'd')", node => 0),
		shape('constant pair', "SELECT id, S('q', 'd') FROM docs WHERE id <= 20 ORDER BY id", node => 0),
		shape('merge action', "MERGE INTO docs d USING qs ON d.id = qid WHEN MATCHED AND S(q, body) > 50 THEN UPDATE SET s = S('z', body)", node => 0, before => 'BEGIN;', after => $docs_after),
		shape('values list', "SELECT * FROM (VALUES (S('q', 'a')), (S('q', 'b'))) v ORDER BY 1", node => 0),
	);
}

sub types
{
	return (
		shape('domain', "SELECT id, S('q', d) FROM typed ORDER BY id"),
		shape('varchar', "SELECT id, S('q', v) FROM typed ORDER BY id"),
		shape('char', "SELECT id, S('q', c) FROM typed ORDER BY id"),
		shape('json member', "SELECT id, S('q', j->>'body') FROM typed ORDER BY id"),
		shape('array element', "SELECT id, S('q', a[1]) FROM typed ORDER BY id"),
		shape('concat', "SELECT id, S('q', concat_ws(' ', d, v, id)) FROM typed ORDER BY id"),
		shape('composite column', "SELECT (x.d).id, S('q', (x.d).body) FROM (SELECT d FROM docs d OFFSET 0) x ORDER BY 2"),
		shape('record column', "SELECT (x.r).f1, (x.r).f3 FROM (SELECT ROW(id, body, $score) r FROM docs OFFSET 0) x WHERE S('z', (x.r).f2) > 50 ORDER BY 1"),
		shape('record column of a union, in a cte', "WITH x AS MATERIALIZED (SELECT ROW(id, body, $score) r FROM docs UNION ALL SELECT ROW(id, body, $score) FROM pdocs) SELECT (x.r).f1, S('r', (x.r).f2) FROM x WHERE (x.r).f3 > 50 ORDER BY 1, 2"),
		shape('concat, limit', "SELECT id, S('q', concat(v, substr(c, 1, 3), id)) FROM typed LIMIT 7"),
	);
}

sub new_in_19
{
	my $known = 'CREATE TEMP TABLE known(id int PRIMARY KEY, body text); INSERT INTO known SELECT id, body FROM docs WHERE id <= 5;';
	my $new = 'INSERT INTO known SELECT id, body FROM docs WHERE id <= 12';
	my $eager = 'SET enable_eager_aggregate = on; SET min_eager_agg_group_size = 0;';

	return (
		shape('on conflict do select', "$new AND $score > 4 ON CONFLICT (id) DO SELECT RETURNING id, body", before => $known),
		shape('on conflict do select, score returned', "$new ON CONFLICT (id) DO SELECT RETURNING id, $score", before => $known, node => 0),
		shape('on conflict do select, score decides', "$new ON CONFLICT (id) DO SELECT FOR UPDATE WHERE S('q', excluded.body) > 4 RETURNING id", before => $known, node => 0),
		shape('eager aggregation', "SELECT qid, max($score), count(*) FROM qs JOIN docs USING (cat) WHERE id <= 60 GROUP BY 1 ORDER BY 1", before => $eager),
		shape('eager aggregation of partitions', "SELECT q.cat, min(S('q', d.body)) FROM qs q JOIN pdocs d USING (cat) GROUP BY 1 ORDER BY 1", before => "$eager SET enable_partitionwise_aggregate = on; SET enable_partitionwise_join = on;"),
		shape('lag over rows without NULL', "SELECT id, lag(S('q', CASE WHEN id % 3 > 0 THEN body END)) IGNORE NULLS OVER (ORDER BY id) FROM docs WHERE id <= 40 ORDER BY id", node => 0),
		shape('not in, as an anti join', "SELECT id, $score FROM docs WHERE id NOT IN (SELECT qid FROM qs WHERE qid IS NOT NULL) AND id <= 40 ORDER BY 2, 1"),
		shape('array of a query', "SELECT JSON_ARRAY(SELECT $score FROM docs WHERE id <= 20 ORDER BY 1)"),
		shape('copy as json', "COPY (SELECT id, $score FROM docs WHERE id <= 20 ORDER BY 2, 1) TO STDOUT (FORMAT json)", node => undef),
		shape('tid ranges in parallel', "SELECT count($score) FROM docs WHERE ctid < '(3,1)'", before => $parallel),
	);
}

1;
