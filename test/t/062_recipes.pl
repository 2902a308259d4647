# The recipes about retrieval cost what doc/recipes.md says: so many calls, in
# so many rounds.  The collection's vectors are of the words of its texts, so
# that vectors and full text find some of the same documents.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use RetroPages;
use RetroTest;
use Test::More;

my $vector = has_extension('vector');
my $node = new_node('recipes');
my $sim = start_simulator('--disconnect-ms', '10');

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

# The first statement of a section of the page, and what else it says there
sub recipe
{
	my ($heading) = @_;
	my ($section) = page('doc/recipes.md') =~ /^## \Q$heading\E\n(.*?)(?=^## |\z)/ms;
	my ($sql) = $section =~ /^```sql[^\n]*\n(.*?)^```$/ms;

	return ($sql, $section =~ s/^```.*?^```$//msgr =~ tr/\n/ /r);
}

# Runs it, and lets each round go when it is complete: it has so many calls and
# no more.  Returns the rows.
sub run_in_rounds
{
	my ($what, $sql, @rounds) = @_;
	my $answered = 0;

	$sim->reset_stats;
	$sim->control({ hold => JSON::PP::true });
	my $session = ask_background($node, 'postgres', $sql);
	foreach my $n (@rounds)
	{
		$sim->wait_for('running', $n);
		wait_until('nothing waits to be sent', sub { queue($node, 'waiting') == 0 });
		is($sim->stats->{running}, $n, "$what: a round of $n calls");
		is($sim->stats->{chat}, $answered + $n, "$what: and none before");
		$sim->release;
		$answered += $n;
		$sim->wait_for('completed', $answered);
	}
	$sim->control({ hold => JSON::PP::false });
	my ($out, $err) = finish_background($session);
	is($err, '', "$what: no error");
	is($sim->stats->{chat}, $answered, "$what: no more calls");
	return split /\n/, $out;
}

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 256);

# 600 documents of ten words each, of three subjects mixed; the vector is how
# many words of each there are
sql(q(CREATE EXTENSION vector)) if $vector;
my $type = $vector ? 'vector(3)' : 'real[]';
sql(qq(
	CREATE TABLE doc (id integer PRIMARY KEY, body text NOT NULL, embedding $type NOT NULL);
	INSERT INTO doc
	WITH word AS (
		SELECT word, (n - 1) / 6 AS subject, n FROM unnest('{sky,air,cloud,sun,wind,star,light,ray,wave,glow,lamp,prism,
			blue,red,green,paint,shade,colour}'::text[]) WITH ORDINALITY AS w (word, n)),
	chosen AS (
		SELECT id, i, word, subject FROM generate_series(1, 600) id CROSS JOIN generate_series(1, 10) i
			CROSS JOIN LATERAL (SELECT ('x' || left(md5(id || ' ' || i), 7))::bit(28)::int AS r) AS x
			JOIN word ON n = 1 + CASE WHEN i <= 5 THEN (id % 3) * 6 + r % 6 ELSE r % 18 END)
	SELECT id, format('Text %s: %s.', id, string_agg(word, ' ' ORDER BY i)),
		ARRAY[0.1 + count(*) FILTER (WHERE subject = 0), 0.1 + count(*) FILTER (WHERE subject = 1),
			0.1 + count(*) FILTER (WHERE subject = 2)]::real[]::$type
	FROM chosen GROUP BY id));
sql('CREATE INDEX ON doc USING hnsw (embedding vector_cosine_ops)') if $vector;
sql('ANALYZE doc');
cmp_ok(sql(q(SELECT count(*) FROM doc WHERE to_tsvector('english', body) @@ to_tsquery('english', 'sky | blue'))), '>', 150,
	'more documents match than are candidates');

subtest 'fused in plain SQL' => sub {
	my ($fuse, $said) = recipe('Fuse with the first ranking');
	my @rows = map { [ split /\|/ ] } run_in_rounds('fusing', $fuse, 100);

	like($said, qr/All candidates are read ahead in one round/, 'as the page says');
	is(scalar @rows, 10, 'the ten best');
	my @fused = map { $_->[2] } @rows;
	is("@fused", join(' ', sort { $b <=> $a } @fused), 'in the order of both');
	ok((grep { abs($_->[2] - 0.8 * $_->[1]) > 1 } @rows), 'the first ranking has a say');
	ok(!(grep { $_->[2] < 0.8 * $_->[1] || $_->[2] > 0.8 * $_->[1] + 20 } @rows), 'of a fifth');
	like($said, qr/with the weight and the numbers changed nothing is asked for again/, 'as the page says');
	sql($fuse =~ s/0\.8 \* score \+ 20/0.5 * score + 50/r);
	sql($fuse =~ s/ts_rank\((.*)\) AS prior/ts_rank_cd($1) AS prior/r =~ s/ORDER BY prior/ORDER BY ts_rank(to_tsvector('english', body), query)/r);
	is($sim->stats->{chat}, 100, 'nothing');
};

subtest 'hybrid candidates' => sub {
	plan skip_all => 'the extension vector is not installed' unless $vector;
	my ($hybrid, $said) = recipe('Hybrid candidates');
	my %score;

	# Both lists, and what is the best of them, in Perl
	my @lists = map { [ split /\n/, sql("SET hnsw.ef_search = 100; $_ LIMIT 100") ] }
	  q(SELECT id FROM (SELECT id, embedding <=> '[0.5,0.5,0.5]' AS d FROM doc ORDER BY d LIMIT 100) x ORDER BY d, id),
	  q(SELECT id FROM doc, to_tsquery('english', 'sky | blue') q WHERE to_tsvector('english', body) @@ q
		ORDER BY ts_rank(to_tsvector('english', body), q) DESC, id);
	foreach my $list (@lists)
	{
		$score{ $list->[$_] } += 1 / (61 + $_) foreach 0 .. $#$list;
	}
	my @best = (sort { $score{$b} <=> $score{$a} || $a <=> $b } keys %score)[ 0 .. 99 ];
	cmp_ok(scalar(keys %score), '>', 110, 'the lists differ');
	cmp_ok(scalar(keys %score), '<', 200, 'and have some in common');

	sql('DELETE FROM retrostar.score_cache');
	my @rows = run_in_rounds('hybrid', $hybrid, 100);
	like($said, qr/100 calls here, all in one round/, 'as the page says');
	is(scalar @rows, 10, 'the ten best');
	my %asked = map { /\[Begin of Document\]\\nText (\d+):/ ? ($1 => 1) : () } map { $_->{body} } @{ $sim->log(200) };
	is_deeply([ sort keys %asked ], [ sort @best ], 'of those that both lists together put first');
};

subtest 'guided search' => sub {
	plan skip_all => 'the extension vector is not installed' unless $vector;
	my ($guided, $said) = recipe('Guided search');
	my $seeds = q(SELECT id FROM doc ORDER BY embedding <=> '[0.5,0.5,0.5]' LIMIT 50);

	wait_idle($node);
	sql('DELETE FROM retrostar.score_cache');
	my @rows = run_in_rounds('guided', $guided, 50, 50);
	like($said, qr/100 calls, two rounds/, 'as the page says');
	is(scalar @rows, 10, 'the ten best');

	# The second half lies where the good ones of the first half are
	my @asked = map { /\[Begin of Document\]\\nText (\d+):/ ? $1 : () } map { $_->{body} } @{ $sim->log(200) };
	my %seed = map { $_ => 1 } split /\n/, sql("SET hnsw.ef_search = 100; $seeds");
	is(scalar(grep { $seed{$_} } @asked[ 0 .. 49 ]), 50, 'the first round is the nearest fifty');
	is(scalar(grep { !$seed{$_} } @asked[ 50 .. 99 ]), 50, 'the second is others');
};

wait_idle($node);
$node->stop;
done_testing();
