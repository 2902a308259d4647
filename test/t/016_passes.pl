# The order of a set that goes through passes: who got into a later one ranks
# before who did not, then by mean.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use RetroTest;
use Test::More;

my $node = new_node('passes');
my $sim = start_simulator('--max-running', '64');
# the means of one sample lie far apart, those of 16 together
create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 64, temperature => 2);
$node->safe_psql('postgres', q(CREATE TABLE doc AS SELECT i AS id, 'cats ' || i || ' eat mice' AS body FROM generate_series(1, 100) i));

my $passes = q(SET retrostar.passes = '100@1,30@16');
my $set = q(SELECT id, rank, score, samples FROM retro_star_rerank('eat something',
	(SELECT array_agg(id ORDER BY id) FROM doc), (SELECT array_agg(body ORDER BY id) FROM doc)));

# What a statement says of the ranked set r
sub of_set { my ($select) = @_; return $node->safe_psql('postgres', "$passes; $select FROM ($set) r"); }
sub ids { my ($where) = @_; return of_set("SELECT string_agg(id::text, ' ' ORDER BY rank) FILTER (WHERE $where)"); }

is(of_set(q(SELECT string_agg(DISTINCT (rank <= 30) || ':' || samples, ' '))), 'false:1 true:16', 'the chosen come first');
is(of_set('SELECT max(score) FILTER (WHERE rank > 30) > min(score) FILTER (WHERE rank <= 30)'), 't',
	'though one that was refused has a better mean');
is($node->safe_psql('postgres', "$passes; SELECT bool_and(ok) FROM (SELECT score <= lag(score) OVER (PARTITION BY rank <= 30 ORDER BY rank)
	AS ok FROM ($set) r) o"), 't', 'by mean among themselves, and so do the others');
is($sim->stats->{chat}, 550, 'for 550 samples');

# More samples, which came otherwise, choose nobody
my ($chosen, $refused) = (ids('rank <= 30'), ids('rank > 60'));
(my $list = $refused) =~ tr/ /,/;
$node->safe_psql('postgres', "SELECT count(retro_star_score('eat something', body, samples => 16)) FROM doc WHERE id IN ($list)");
wait_idle($node);
$sim->reset_stats;
is(ids('rank <= 30'), $chosen, 'the same are chosen when others are as well known');
is(of_set('SELECT count(*) FILTER (WHERE samples = 16)'), 70, 'and they are');
is(of_set('SELECT max(score) FILTER (WHERE rank > 30) > min(score) FILTER (WHERE rank <= 30)'), 't', 'with means that would do');
is(of_set(q(SELECT string_agg(id::text, ' ' ORDER BY rank) = string_agg(id::text, ' ' ORDER BY rank <= 30 DESC, score DESC, id))),
	't', 'behind these by mean, ties in their order');
is($sim->stats->{chat}, 0, 'for nothing');

# The aggregate, and its groups, which go through their passes together
my $agg = q(retro_star_rerank_agg(query, id, body));
is($node->safe_psql('postgres', "$passes; SELECT string_agg(id::text, ' ' ORDER BY rank) FROM unnest((SELECT $agg
	FROM doc, (VALUES ('eat something')) q (query))) AS r (id int, score float8, rank int)"), ids('true'), 'the aggregate has the same order');
my $groups = qq(SELECT query, $agg AS best FROM doc, (SELECT 'eat number ' || i AS query FROM generate_series(1, 4) i) q GROUP BY query);
for my $way ('enable_sort', 'enable_hashagg')
{
	$node->safe_psql('postgres', "DELETE FROM retrostar.score_cache; $passes; SET $way = off;
		CREATE TABLE of_$way AS SELECT query, r.* FROM ($groups) g, unnest(best) AS r (id int, score float8, rank int)");
	wait_idle($node);
	is($node->safe_psql('postgres', "SELECT count(*), string_agg(DISTINCT (rank <= 30) || ':' || cardinality(scores), ' ')
		FROM of_$way JOIN doc USING (id) JOIN retrostar.score_cache ON key = retrostar.cache_key(query, body)"),
		'400|false:1 true:16', "groups, $way off");
}

# Equal documents are one, whose pass they share; NULL is in none
is($node->safe_psql('postgres', q(SELECT string_agg(id || ':' || samples, ' ' ORDER BY rank)
	FROM retro_star_rerank('eat something', ARRAY['a', 'b', 'c', 'd', 'e'], ARRAY['birds', NULL, 'eat something', 'birds', 'eat something'], passes => '2@1,1@3'))),
	'c:3 e:3 a:1 d:1 b:0', 'duplicates and NULLs');

# The deadline ends the asking, not the choosing: c has a low first sample and a
# high mean, and d no answer.  Where this comes too late, there is more time.
sub know
{
	my ($doc, $samples, $score) = @_;
	$sim->control({ fixed => $score });
	$node->safe_psql('postgres', "SELECT retro_star_score('late', '$doc', samples => $samples)");
	wait_idle($node);
	return;
}

know('a', 1, 80);
know('b', 1, 70);
know('c', 1, 10);
know('c', 9, 99);
is($node->safe_psql('postgres', q(SELECT retro_star_score('late', 'c') > 80)), 't', 'a mean that is better, by later samples');
$sim->control({ hold => JSON::PP::true });
my $in_time;
for my $seconds (1, 10, 50, 150)
{
	$in_time = $node->safe_psql('postgres', "SELECT string_agg(id || coalesce(':' || samples, ''), ' ' ORDER BY rank) FROM retro_star_rerank('late',
		ARRAY['d', 'c', 'b', 'a'], ARRAY['d', 'c', 'b', 'a'], passes => '4\@1,2\@2', deadline => '$seconds s')");
	last if $in_time =~ /a:1/;
}
is($in_time, 'a:1 b:1 c:9 d:0', 'at the deadline the order is that of the passes');
$sim->release;
$sim->control({ hold => JSON::PP::false });
wait_idle($node);

done_testing();
