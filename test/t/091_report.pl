# retrostar.report(): what it counts, that nothing in it is more than text, and
# that it shows nobody more than he may see.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('report', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $sim = start_simulator('--model', 'm', '--delay-ms', '0');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# As an XML parser reads it: the text of each element with a text of its own, the
# tables by caption, what an SVG has.  One that is not well-formed is an error.
my $reader = <<'END';
import collections, json, sys, xml.etree.ElementTree as tree
root = tree.fromstring(sys.stdin.buffer.read())
name = lambda e: e.tag.split('}')[1]
words = lambda e: ' '.join(''.join(e.itertext()).split())
all = list(root.iter())
ids = [e.get('id') for e in all if e.get('id')]
svgs = [e for e in all if name(e) == 'svg']
tables = {}
for table in (e for e in all if name(e) == 'table'):
    rows = [[words(cell) for cell in row] for row in table.iter() if name(row) == 'tr']
    tables[words(table[0])] = rows
pair = lambda e: [words(e[0]), words(e[1])]
json.dump({
    'tags': collections.Counter(name(e) for e in all), 'attributes': sorted({a for e in all for a in e.attrib}),
    'ids': len(ids), 'different': len(set(ids)), 'tables': tables,
    'named': [s.get('aria-labelledby').split() == [e.get('id') for e in s if name(e) in ('title', 'desc') and words(e)] for s in svgs],
    'figures': [words(e[0]) for e in all if name(e) == 'figure'],
    'paragraphs': [words(e) for e in all if name(e) in ('p', 'blockquote', 'h1')],
    'tiles': dict(pair(e) for e in all if name(e) == 'div' and len(e) == 2 and name(e[0]) == 'dt'),
}, sys.stdout)
END

# The page of a call, parsed, and as it is
sub report
{
	my ($arguments, %how) = @_;
	my $page = $node->safe_psql($how{db} // 'postgres', ($how{first} // '') . "SELECT retrostar.report($arguments)", extra_params => [ '-q', defined $how{role} ? ('-U', $how{role}) : () ]);
	my ($out, $err) = ('', '');

	is(scalar(IPC::Run::run([ 'python3', '-c', $reader ], '<', \$page, '>', \$out, '2>', \$err)), 1, 'it is well-formed') or diag($err);
	return ($out eq '' ? {} : JSON::PP::decode_json($out), $page);
}

# Text as a reader sees it
sub said { my ($facts, $words) = @_; return scalar grep { index($_, $words) >= 0 } @{ $facts->{paragraphs} }; }

subtest 'nothing yet' => sub {
	my ($facts, $page) = report('');

	ok(said($facts, 'The cache is empty: no pair has a score yet.'), 'the cache');
	ok(said($facts, 'There is no usage: nothing was asked of a model.'), 'usage');
	ok(said($facts, 'There is no server.'), 'endpoints');
	is($facts->{tiles}{'cached pairs, about'}, 0, 'how many');
	is($facts->{tags}{svg} // 0, 0, 'nothing to draw');
};

# Names and texts that mean something to a browser, to XML, or to nobody
my $server = q(<script>alert('s')</script>);
my $model = q("><svg onload=alert(1)>&amp;);
my $role = q(<b onclick="x">me & you</b>);
my $bad = q(<img src=x onerror=alert(1)> ]]> --> &lt; ) . "caf\x{c3}\x{a9} \x{f0}\x{9f}\x{98}\x{80} \x01\x7f \x{ef}\x{bf}\x{bf}\tend";
my $quoted = sub { my ($text) = @_; $text =~ s/'/''/g; return "'$text'"; };

sql(sprintf q(CREATE SERVER %s FOREIGN DATA WRAPPER retrostar OPTIONS (url '%s', model 'm', retries '0')), qq("$server"), $sim->{url});
sql(sprintf q(CREATE SERVER other FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9/a&b''c', model 'm')));
sql(sprintf q(CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (api_key 'a-key-of-the-report')));
sql('ALTER DATABASE postgres SET retrostar.server = ' . $quoted->($server));
sql('CREATE ROLE "' . ($role =~ s/"/""/gr) . '" LOGIN; CREATE ROLE alice LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats');
sql(qq(GRANT USAGE ON FOREIGN SERVER "$server" TO alice));
sql(q(CREATE TABLE doc AS SELECT i AS id, 'sky document ' || i AS body FROM generate_series(1, 30) i));
sql('INSERT INTO doc VALUES (31, ' . $quoted->("$bad sky") . ')');
sql(q(SET retrostar.store_reasoning = on; SELECT count(retro_star_score('why is the <sky> blue & "high"?', body, samples => CASE WHEN id <= 10 THEN 5 ELSE 1 END)) FROM doc));
wait_idle($node);
sql('INSERT INTO retrostar.score_cache SELECT sha256(i::text::bytea), 1, ARRAY[i % 101], 0, ' . $quoted->($model) . q(, 100, 200, now(), now() FROM generate_series(1, 202) i));
my $asked = $sim->stats->{chat};
my $query = q('why is the <sky> blue & "high"?', ARRAY(SELECT body FROM doc ORDER BY id));

subtest 'what it counts' => sub {
	my ($facts, $page) = report($query);
	my @bins = map { [ split /\|/ ] } split /\n/, sql(q(
		SELECT lower || '-' || CASE lower WHEN 95 THEN 100 ELSE lower + 4 END, (SELECT count(*) FROM (SELECT avg(s) AS score FROM retrostar.score_cache, unnest(scores) s GROUP BY key) c
			WHERE score >= lower AND (score < lower + 5 OR lower = 95))
		FROM generate_series(0, 95, 5) lower));

	is_deeply($facts->{tables}{'Scores: pairs'}, [ [ 'score', 'pairs' ], @bins ], 'scores');
	is_deeply($facts->{tables}{'Samples of a pair: pairs'}, [ [ 'samples', 'pairs' ], [ 1, 223 ], [ 2, 0 ], [ '3-4', 0 ], [ '5-8', 10 ], [ '9-16', 0 ], [ '17-32', 0 ], [ '33-64', 0 ] ], 'samples');
	my $spread = 0;
	$spread += $_->[1] foreach @{ $facts->{tables}{'How far the samples of a pair lie apart: pairs'} }[ 1 .. 7 ];
	is($spread, 10, 'spread, of who has several');
	my ($models) = grep { /^Models/ } keys %{ $facts->{tables} };
	my %model = map { $_->[0] => $_ } @{ $facts->{tables}{$models} };
	is($model{$model}[1], 202, 'pairs of a model');
	is($model{$model}[5], '20,200', 'tokens');
	is($model{$model}[7], 200, 'of a reply');
	is($model{m}[1], 31, 'of the other');
	is($model{m}[3], 71, 'samples');
	is($facts->{tables}{'Usage by server'}[1][3], '71', 'usage');
	is($facts->{tables}{'Usage by server'}[1][0], $server, 'by server');
	my ($over_time) = grep { /^Samples by hour/ } keys %{ $facts->{tables} };
	my @hours = @{ $facts->{tables}{$over_time} };
	my $total = 0;
	$total += $_->[1] foreach @hours[ 1 .. $#hours ];
	is($total, 71, 'usage over time');
	cmp_ok(scalar(@hours), '>=', 169, 'hour by hour');
	my ($endpoints) = grep { /^Endpoints/ } keys %{ $facts->{tables} };
	is_deeply([ map { @$_[ 0, 1, 3 ] } grep { $_->[0] eq $server } @{ $facts->{tables}{$endpoints} } ], [ $server, $sim->{url}, 71 ], 'endpoints');
	is($facts->{tiles}{misses}, 31, 'look-ups');
	is(scalar(grep { /^Latency/ } @{ $facts->{figures} }), 1, 'latency');

	# of the query: as retro_star_rerank() has them
	my @documents = @{ $facts->{tables}{'The documents with a score, best first'} };
	my @ranked = map { [ split /\|/ ] } split /\n/, sql(q(SELECT rank, round(score::numeric, 1), samples, id FROM retro_star_rerank('why is the <sky> blue & "high"?',
		(SELECT array_agg(id ORDER BY id) FROM doc), (SELECT array_agg(body ORDER BY id) FROM doc)) ORDER BY rank));
	is(@documents, 32, 'a row for each document');
	is_deeply([ map { [ @$_[ 0, 1, 2 ], $_->[4] =~ /^(\d+): / ] } @documents[ 1 .. 31 ] ], \@ranked, 'best first');
	ok((grep { $_ eq 'why is the <sky> blue & "high"?' } @{ $facts->{paragraphs} }), 'the query');
	ok(said($facts, '31 documents were given; the cache has scores of 31 of them.'), 'how many');
	is($sim->stats->{chat}, $asked, 'nothing is asked for');
};

subtest 'text is text' => sub {
	my ($facts, $page) = report($query);
	my %tags = %{ $facts->{tags} };

	like($page, qr/\A<!DOCTYPE html>\n/, 'a document');
	unlike($page, qr/[^\n\t\x20-\x7e]/, 'of ASCII alone');
	is_deeply([ sort grep { !/^(?:html|head|meta|title|style|body|header|main|section|h1|h2|p|blockquote|dl|div|dt|dd|figure|figcaption|svg|desc|line|rect|circle|text|details|summary|table|caption|thead|tbody|tr|th|td|ul|li|span)$/ } keys %tags ], [], 'no element but ours');
	is_deeply([ grep { /^on|href|src|action/ } @{ $facts->{attributes} } ], [], 'nothing runs, loads or leads elsewhere');
	unlike($page, qr/url\(|\@import|https?:(?!\/\/(?:www\.w3\.org|127\.0\.0\.1))/, 'no other file');
	is($facts->{ids}, $facts->{different}, 'each id is its own');
	cmp_ok($tags{svg}, '>=', 6, 'drawings');
	is(scalar(grep { !$_ } @{ $facts->{named} }), 0, 'each has a title and a description');
	like($page, qr/&#233; &#128512; &#65533;&#65533; &#65533;\tend/, 'characters that XML does not have');
	unlike($page, qr/a-key-of-the-report/, 'no key');
	unlike($page, qr/&lt;score&gt;/, 'no reply');
	($facts, $page) = report('', role => $role);
	ok(said($facts, "for role $role."), 'the name of a role');
};

subtest 'who sees what' => sub {
	my ($facts) = report('', role => 'alice');

	ok(said($facts, 'Your role may not read retrostar.score_cache: no figures of its scores.'), 'the cache');
	ok(!(grep { /^(?:Scores|Samples of a pair|Models)/ } @{ $facts->{figures} }, keys %{ $facts->{tables} }), 'nothing of it');
	ok(said($facts, 'There is no usage: nothing was asked of a model.'), 'usage of others');
	ok(said($facts, 'of your role and of those whose rights it has'), 'which is said');
	$node->safe_psql('postgres', q(SELECT count(retro_star_score('alice', i::text)) FROM generate_series(1, 3) i), extra_params => [ '-U', 'alice' ]);
	wait_idle($node);
	($facts) = report('', role => 'alice');
	is($facts->{tables}{'Usage by server'}[1][3], 3, 'but her own');
	($facts) = report('', role => 'watcher');
	is($facts->{tables}{'Usage by server'}[1][3], 74, 'pg_read_all_stats sees all');
	ok(said($facts, 'of all roles'), 'which is said');
	sql('GRANT SELECT (scores, unscored, model, prompt_tokens, completion_tokens) ON retrostar.score_cache TO alice');
	($facts) = report('', role => 'alice');
	is($facts->{tables}{'Samples of a pair: pairs'}[1][1], 226, 'with SELECT on the columns');
	sql('REVOKE SELECT (scores) ON retrostar.score_cache FROM alice');
	($facts) = report('', role => 'alice');
	ok(said($facts, 'Your role may not read retrostar.score_cache'), 'and without one of them');

	# scores of a query are for who may use the server, as those of retro_star_score()
	($facts) = report(q('why is the <sky> blue & "high"?', '{sky document 1,never scored}'), role => 'alice');
	ok(said($facts, '2 documents were given; the cache has scores of 1 of them.'), 'a query, with USAGE on the server');
	is(sqlstate($node, 'postgres', q(SELECT retrostar.report('q', '{d}', server => 'other')), extra_params => [ '-U', 'alice', '-v', 'VERBOSITY=verbose' ]), '42501', 'without');
	is($sim->stats->{chat}, $asked + 3, 'nothing is asked for');
};

subtest 'arguments' => sub {
	is(sqlstate($node, 'postgres', "SELECT retrostar.report($_)"), '22023', $_) foreach q('q'), q(docs => '{d}'), q(period => '0'), q(period => '-1 day'), q(period => '11 years'), 'period => NULL';
	my ($facts) = report(q('q', '{}'));
	ok(said($facts, '0 documents were given; the cache has scores of 0 of them.'), 'no documents');
	($facts) = report(q('q', '{NULL,""," "}'));
	ok(said($facts, '3 documents were given; the cache has scores of 0 of them.'), 'nor any text');
	($facts) = report(q('q', array_fill('d'::text, '{1200}')));
	ok(said($facts, '1,200 documents were given, and the first 1,000 looked up'), 'many');
	($facts) = report(q(period => '90 days'));
	my ($table) = grep { /^Samples by day/ } keys %{ $facts->{tables} };
	cmp_ok(scalar(@{ $facts->{tables}{$table} }), '>=', 91, 'by day');
	($facts) = report(q(period => '5 years'));
	($table) = grep { /^Samples by month/ } keys %{ $facts->{tables} };
	cmp_ok(scalar(@{ $facts->{tables}{$table} }), '>=', 61, 'by month');
	sql(q(INSERT INTO retrostar.usage SELECT date_trunc('hour', now()), 10, 'x', 'server ' || i, 'interactive', 1, 0, 1, 1, 0, 1, 1 FROM generate_series(1, 9) i));
	($facts) = report('');
	($table) = grep { /^Samples by hour/ } keys %{ $facts->{tables} };
	is_deeply([ @{ $facts->{tables}{$table}[0] }[ 0, 1, 6 ] ], [ 'hour', $server, 'all other servers' ], 'more servers than colours');
	my $total = 0;
	foreach my $row (@{ $facts->{tables}{$table} }[ 1 .. $#{ $facts->{tables}{$table} } ]) { $total += $_ foreach @$row[ 1 .. 6 ]; }
	is($total, 74 + 9, 'all are in it');
};

# Rows that few find room for in a page: a large table of few rows
subtest 'a large cache' => sub {
	sql(q(ALTER TABLE retrostar.score_cache SET (fillfactor = 10);
		INSERT INTO retrostar.score_cache SELECT sha256(('large ' || i)::bytea), 1, ARRAY[40], 0, repeat('m', 400), 1, 1, now(), now() FROM generate_series(1, 18000) i));
	my $rows = sql('SELECT count(*) FROM retrostar.score_cache');
	cmp_ok(sql(q(SELECT pg_relation_size('retrostar.score_cache') / current_setting('block_size')::int)), '>', 16_000, 'it has many pages');
	my ($facts) = report('');
	my ($read) = map { /^A sample: ([\d,]+) pairs, of about 8,192 of [\d,]+ pages of the table, chosen at random\./ } @{ $facts->{paragraphs} };
	ok(defined $read, 'a sample is read') or return;
	$read =~ tr/,//d;
	cmp_ok($read, '>', 0, 'of some rows');
	cmp_ok($read, '<', 0.75 * $rows, 'and not of all');
	my ($again) = report('');
	is_deeply($again->{tables}{'Scores: pairs'}, $facts->{tables}{'Scores: pairs'}, 'the same each time');
};

# Bytes of other encodings become characters
subtest 'encodings' => sub {
	foreach my $encoding (qw(LATIN1 SQL_ASCII EUC_JP))
	{
		my $db = lc $encoding;

		$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
		$node->safe_psql($db, 'CREATE EXTENSION retrostar');
		my $bytes = $encoding eq 'EUC_JP' ? '\xc6\xfc\xcb\xdc' : '\xe9';
		$node->safe_psql($db, "INSERT INTO retrostar.score_cache VALUES ('k', 1, '{7}', 0, E'caf$bytes', 1, 1, now(), now())");
		my ($facts, $page) = report('', db => $db, first => "SET client_encoding = '$encoding'; ");
		my %seen = (LATIN1 => 'caf&#233;<', SQL_ASCII => 'caf?<', EUC_JP => 'caf&#26085;&#26412;<');
		like($page, qr/\Q$seen{$encoding}\E/, $encoding);
	}
};

$node->stop;
done_testing();
