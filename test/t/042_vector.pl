# The recipe with pgvector: an HNSW index gives the candidates, a filter and
# the model do the rest, in one statement with all requests at once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroPages;
use RetroTest;
use Test::More;

plan skip_all => 'the extension vector is not installed (Debian 13: postgresql-17-pgvector)'
  unless has_extension('vector');

# An HNSW index gives no more rows than this, whatever LIMIT says
my $node = new_node('vector', conf => "hnsw.ef_search = 60\n");
my $sim = start_simulator('--disconnect-ms', '10');

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 128);
sql(q(
	CREATE EXTENSION vector;
	CREATE TABLE doc (id integer PRIMARY KEY, lang text NOT NULL, body text NOT NULL, embedding vector(3) NOT NULL);
	INSERT INTO doc SELECT i, CASE WHEN i % 2 = 0 THEN 'en' ELSE 'de' END, 'body ' || i,
		ARRAY[sin(i), cos(i), i / 1000.0]::real[]::vector FROM generate_series(1, 2000) i;
	CREATE INDEX ON doc USING hnsw (embedding vector_cosine_ops);
	ANALYZE doc));

# As in the recipe, with 60 candidates and a filter
my $candidates = q(SELECT id, lang, body FROM doc ORDER BY embedding <=> '[0.5,0.5,0.5]' LIMIT 60);
my $recipe = qq(SELECT id, retro_star_score('Why is the sky blue?', body) AS score
	FROM ($candidates) AS candidate WHERE lang = 'en' ORDER BY score DESC NULLS LAST LIMIT 10);
my $english = sql("SELECT count(*) FROM ($candidates) c WHERE lang = 'en'");
cmp_ok($english, '>=', 10, 'candidates pass the filter');

my $plan = sql("EXPLAIN (COSTS OFF) $recipe");
note($plan);
like($plan, qr/Index Scan using doc_embedding_idx on doc/, 'candidates come from the HNSW index');
like($plan, qr/Retro\* Prefetch.*Subquery Scan.*Limit.*Index Scan/s, 'and are read ahead');
is($sim->stats->{chat}, 0, 'EXPLAIN asks for nothing');

$sim->control({ hold => JSON::PP::true });
my $session = ask_background($node, 'postgres', $recipe);
$sim->wait_for('running', $english);
is($sim->stats->{running}, $english, 'one request for each candidate that passes the filter, all at once');
$sim->control({ hold => JSON::PP::false });
my @rows = split /\n/, finish_background($session);
is(scalar @rows, 10, 'the ten best');
my @scores = map { (split /\|/)[1] } @rows;
is("@scores", join(' ', sort { $b <=> $a } @scores), 'in the order of their scores');
is($sim->stats->{chat}, $english, 'nothing else was asked for');

# The same, prepared, with parameters as an application has them
$sim->reset_stats;
$sim->control({ hold => JSON::PP::true });
$session = ask_background($node, 'postgres', q(PREPARE rank(text, vector) AS
	SELECT id FROM (SELECT id, body FROM doc ORDER BY embedding <=> $2 LIMIT 100) AS candidate
	ORDER BY retro_star_score($1, body) DESC NULLS LAST LIMIT 10;
	SET plan_cache_mode = force_generic_plan;
	SET hnsw.ef_search = 100;
	EXECUTE rank('Why is grass green?', '[0.1,0.2,0.3]')));
$sim->wait_for('running', 100);
$sim->control({ hold => JSON::PP::false });
is(finish_background($session) =~ tr/\n//, 9, 'prepared, with a generic plan');
is($sim->stats->{peak_running}, 100, 'a hundred candidates at once');

# Scores and distance together; iterative scans where pgvector has them
is(sql(q(SELECT count(*) FROM (SELECT id, 0.7 * retro_star_score('Why is the sky blue?', body) / 100 + 0.3 * (1 - distance) AS s
	FROM (SELECT id, body, embedding <=> '[0.5,0.5,0.5]' AS distance FROM doc ORDER BY distance LIMIT 60) AS candidate
	ORDER BY s DESC NULLS LAST LIMIT 10) x)), 10, 'mixed with the distance');

# The recipes themselves, and the plan that one of them shows.  What the others
# ask for, and in how many rounds: 062_recipes.pl.
is(scalar(blocks('README.md', 'sql pgvector')), 1, 'README.md has the recipe');
is(scalar(blocks('doc/recipes.md', 'sql pgvector')), 3, 'doc/recipes.md has it, and two more');
foreach my $recipe (map { blocks($_, 'sql pgvector') } qw(README.md doc/recipes.md))
{
	my $rows = sql($recipe->{text});

	if ($recipe->{text} !~ /EXPLAIN/)
	{
		is($rows =~ tr/\n//, 9, "ten rows, $recipe->{where}");
		next;
	}
	my ($shown) = map { $_->{text} } blocks('doc/recipes.md', 'text');
	$shown =~ s/^ //mg;
	my $pattern = join '.*', map { quotemeta } split /\Q...\E/, $shown;
	like("$rows\n", qr/^$pattern$/, "the plan, $recipe->{where}");
}

$node->stop;
done_testing();
