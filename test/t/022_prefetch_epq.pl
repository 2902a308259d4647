# Rows that another session changes while the statement waits for them are
# evaluated again (EvalPlanQual), through the prefetch node too.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use RetroTest;
use Test::More;

my $node = new_node('epq', conf => "autovacuum = off\nfsync = off\n");
my $sim = start_simulator('--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim);
$node->safe_psql('postgres', <<'EOS');
CREATE TABLE docs(id int, cat int, body text, s float8);
CREATE TABLE qs(qid int, q text);
INSERT INTO qs SELECT i, 'query ' || i FROM generate_series(1, 10) i;
CREATE TABLE pdocs(id int, body text, s float8) PARTITION BY RANGE (id);
CREATE TABLE pdocs1 PARTITION OF pdocs FOR VALUES FROM (0) TO (6);
CREATE TABLE pdocs2 PARTITION OF pdocs FOR VALUES FROM (6) TO (100);
EOS

my $score = "retro_star_score('q', body)";
my %cases = (
	'update' => "UPDATE docs SET s = $score WHERE id <= 10",
	'update, where' => "UPDATE docs SET s = $score WHERE id <= 10 AND retro_star_score('r', body)::int % 3 < 2",
	'update from' => 'UPDATE docs SET s = retro_star_score(q, body) FROM qs WHERE qs.qid = docs.id',
	'update from a subquery' =>
	  "UPDATE docs SET s = x.sc FROM (SELECT id i, $score sc FROM docs WHERE id <= 10 OFFSET 0) x WHERE x.i = docs.id AND retro_star_score('z', body || x.sc)::int % 4 > 0",
	'update partitioned' => "UPDATE pdocs SET s = $score WHERE retro_star_score('r', body)::int % 3 < 2",
	'score decides' => "UPDATE docs SET s = CASE WHEN $score\::int % 2 = 0 THEN retro_star_score('r', body) ELSE -1 END WHERE id <= 10",
	'delete' => "DELETE FROM docs WHERE id <= 10 AND retro_star_score('r', body)::int % 3 < 2 RETURNING id",
	'for update' => "SELECT id, $score FROM docs WHERE id <= 10 AND retro_star_score('r', body)::int % 3 < 2 FOR UPDATE",
	'for update of a join' =>
	  "SELECT id, qid, retro_star_score(q, body) FROM docs JOIN qs ON qid = id WHERE retro_star_score('r', body)::int % 3 < 2 FOR UPDATE OF docs",
	'for update, order by, limit' => "SELECT id, $score sc FROM docs WHERE id <= 10 ORDER BY sc DESC, id LIMIT 8 FOR UPDATE",
	'for update partitioned' => "SELECT id, $score FROM pdocs WHERE retro_star_score('r', body)::int % 3 < 2 ORDER BY id FOR UPDATE",
	'merge' =>
	  "MERGE INTO docs USING (SELECT qid, retro_star_score('q', q) sc FROM qs OFFSET 0) x ON x.qid = docs.id WHEN MATCHED AND x.sc >= 0 THEN UPDATE SET s = x.sc",
);

foreach my $name (sort keys %cases)
{
	my $on = run($cases{$name}, 'on');
	my $off = run($cases{$name}, 'off');

	is($on, $off, $name);
	isnt($on, '', "$name: some rows");
}

done_testing();

# The statement meets rows that another session has changed and deleted, but
# not yet committed
sub run
{
	my ($statement, $prefetch) = @_;

	$node->safe_psql('postgres', <<'EOS');
TRUNCATE docs, pdocs;
INSERT INTO docs SELECT i, i % 5, 'body of document ' || i FROM generate_series(1, 30) i;
INSERT INTO pdocs SELECT i, 'body of document ' || i FROM generate_series(1, 12) i;
EOS
	my $other = $node->background_psql('postgres');
	$other->query_safe("BEGIN; UPDATE docs SET body = 'changed ' || id WHERE id IN (2, 5, 7); DELETE FROM docs WHERE id = 3;"
		  . " UPDATE pdocs SET body = 'changed ' || id WHERE id IN (2, 5, 7); DELETE FROM pdocs WHERE id = 3");
	my $waiting = ask_background($node, 'postgres', <<"EOS");
SET retrostar.prefetch = $prefetch; BEGIN; $statement;
SELECT id, s, body FROM docs UNION ALL SELECT id, s, body FROM pdocs ORDER BY 1, 3; ROLLBACK
EOS
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'")
	  or die 'it does not wait for the other session';
	$other->query_safe('COMMIT');
	$other->quit;
	my ($output, $errors) = finish_background($waiting);
	return "$output$errors";
}
