# Long documents by passages: the passages of all documents go out at once, an
# edit asks for what it changed, no character is split in any encoding, and
# cutting can be cancelled.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use RetroPages;
use RetroTest;
use Test::More;

my $node = new_node('passages');
my $sim = start_simulator('--disconnect-ms', '10');

sub sql { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql); }

# Eight documents, of 3 to 24 kB
create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 256);
sql(q(
	CREATE TABLE doc (id integer PRIMARY KEY, body text NOT NULL);
	INSERT INTO doc SELECT n, string_agg(format('Sentence %s of %s is about %s. ', i, n, left(md5(n || '.' || i), 20))
			|| CASE WHEN i % 7 = 0 THEN E'\n\n' ELSE '' END, '' ORDER BY i)
		FROM generate_series(1, 8) n, generate_series(1, 50 * n) i GROUP BY n;
	UPDATE doc SET body = left(body, 1500) || E'\n\nAir scatters blue light, so the sky is blue.\n\n' || substr(body, 1501)
		WHERE id = 3;
	ANALYZE doc));

# The statements of the page
my @recipes = grep { /retro_star_passages/ } map { $_->{text} } blocks('doc/recipes.md', 'sql');
is(scalar @recipes, 3, 'three recipes');
my $large = sql('SELECT count(*) FROM doc, retro_star_passages(body)');
cmp_ok($large, '>', 30, 'passages');

# A short document has the same ones, which are known when it is their turn
my $small = sql('SELECT count(*) FROM (SELECT passage FROM doc, retro_star_passages(body, size => 2000, overlap => 200)
	EXCEPT SELECT passage FROM doc, retro_star_passages(body)) x');
cmp_ok($small, '>', $large, 'and smaller ones');

foreach my $recipe (@recipes[0, 1])
{
	my $n = $recipe =~ /size =>/ ? $small : $large;

	like(sql("EXPLAIN (COSTS OFF) $recipe"), qr/Retro\* Prefetch.*Function Scan on retro_star_passages/s, 'read ahead');
	$sim->reset_stats;
	$sim->control({ hold => JSON::PP::true });
	my $session = ask_background($node, 'postgres', $recipe);
	$sim->wait_for('running', $n);
	is($sim->stats->{running}, $n, 'the passages of all documents, all at once');
	$sim->control({ hold => JSON::PP::false });
	my ($best) = split /\n/, finish_background($session);
	like($best, qr/^3\|/, 'the document with the passage that answers is the best');
	is($sim->stats->{chat}, $n, 'nothing else was asked for');
}
like(sql($recipes[1]), qr/^3\|[^\n]*\|.*?sky is blue/s, 'and this is the passage');
is($sim->stats->{chat}, $small, 'all of it is known now');
my ($first) = split /\n/, sql($recipes[2]);
like($first, qr/^3\|1\|/, 'as a set: ids are kept, the best place counts');

# An edit
my $changed = q(SELECT count(*) FROM (SELECT passage FROM doc, retro_star_passages(body) WHERE id = 8
	EXCEPT SELECT passage FROM before) x);
sql(q(
	CREATE TABLE before AS SELECT passage FROM doc, retro_star_passages(body) WHERE id = 8;
	UPDATE doc SET body = replace(body, 'Sentence 200 of', 'This is new. Sentence 200 of') WHERE id = 8));
my $n = sql($changed);
cmp_ok($n, '>=', 1, 'an edit changes passages');
cmp_ok($n, '<=', 3, 'three at most');
$sim->reset_stats;
sql($recipes[0]);
is($sim->stats->{chat}, $n, 'and asks for these alone');

# Other encodings: whole characters, and nothing is left out.  SQL_ASCII, which
# knows of none, has to send UTF-8.
my $text = join '', map { "\x{e4}\x{f6}\x{fc} stra\x{df}e " x 3 . ($_ % 5 == 0 ? "\n\n" : '. ') } 1 .. 40;
my $kana = join '', map { chr(0x3042 + $_ % 80) } 1 .. 2000;
foreach ([ 'LATIN1', $text ], [ 'EUC_JP', $kana ], [ 'UTF8', "$kana$text" ], [ 'SQL_ASCII', "$kana$text" ])
{
	my ($encoding, $body) = @$_;
	my $db = lc $encoding;
	my ($utf8) = map { utf8::encode(my $copy = $_); $copy } $body;

	sql("CREATE DATABASE $db ENCODING '$encoding' TEMPLATE template0");
	sql(q(CREATE EXTENSION retrostar), $db);
	create_server($node, $db, 'gpu', $sim, max_in_flight => 256);
	sql(($encoding eq 'SQL_ASCII' ? '' : q(SET client_encoding = 'UTF8';)) . "CREATE TABLE doc AS SELECT '$utf8'::text AS body", $db);
	is(sql(q(SELECT string_agg(passage, '' ORDER BY no) = min(body) FROM doc, retro_star_passages(body, 90, 0)), $db),
		't', "$encoding: all of it");
	is(sql(q(SELECT max(length(passage)) <= 90, bool_and(substr(body, start, length(passage)) = passage), count(*) > 20
		FROM doc, retro_star_passages(body, 90, 30)), $db), 't|t|t', "$encoding: characters") unless $encoding eq 'SQL_ASCII';
	is(sql(q(SELECT count(retro_star_score('q', passage)) = count(*) FROM doc, retro_star_passages(body, 90, 30)), $db),
		't', "$encoding: each can be sent");
}

# Cutting ends when it is told to
my $session = ask_background($node, 'postgres', q{SELECT count(*) AS endless
	FROM retro_star_passages(repeat('a b. ', 100000000), 10, 0, 2000000000)});
my $cutting = q{FROM pg_stat_activity WHERE query LIKE '%endless%' AND state = 'active' AND pid <> pg_backend_pid()};
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $cutting"), 'it cuts');
sql("SELECT pg_cancel_backend(pid) $cutting");
my ($out, $err) = finish_background($session);
like($err, qr/57014/, 'and can be cancelled');

wait_idle($node);
$node->stop;
done_testing();
