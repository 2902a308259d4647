# Which document it was: what errors and warnings say of the pair to the session
# that asked, and what the server's log does not say.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('which', conf => "log_statement = none\nlog_min_error_statement = panic\n");
my $sim = start_simulator('--model', 'm');

create_server($node, 'postgres', 'gpu', $sim, retries => 0);
$node->safe_psql('postgres', q(
	CREATE TABLE doc (id text PRIMARY KEY, title text, body text);
	INSERT INTO doc SELECT 'CWE-' || i, 'title ' || i, 'a body of no interest ' || i FROM generate_series(1, 20) i;
));

# What a client hears, and what the log has of it, which is not told of statements
sub ask
{
	my ($sql, $settings) = @_;
	my $offset = -s $node->logfile;
	my (undef, undef, $err) = $node->psql('postgres', ($settings // '') . ' ' . $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	wait_until('the log has it', sub { slurp_file($node->logfile, $offset) =~ /ERROR|WARNING/ });
	my $log = slurp_file($node->logfile, $offset);
	return ($err, $log);
}

my $refused = q([[sim:status=400]] the secret of the house is under the third stone beside the gate);
my $other = $refused =~ s/status=400/status=422/r;

# Whose rights are used may read it, the session may not
subtest 'rights of others' => sub {
	$node->safe_psql('postgres', "CREATE TABLE kept (id text, body text); INSERT INTO kept VALUES ('an id', '$refused');
		CREATE VIEW seen AS SELECT retro_star_score('q', body) AS s FROM kept;
		CREATE FUNCTION definer() RETURNS float8 LANGUAGE sql STABLE SECURITY DEFINER
			BEGIN ATOMIC SELECT retro_star_score('q', body) FROM kept; END;
		CREATE FUNCTION ranks() RETURNS SETOF double precision LANGUAGE sql STABLE SECURITY DEFINER
			BEGIN ATOMIC SELECT r.score FROM (SELECT array_agg(id) ids, array_agg(body) docs FROM kept) t, retro_star_rerank('q', ids, docs) r; END;
		CREATE ROLE eve LOGIN; GRANT USAGE ON FOREIGN SERVER gpu TO eve; GRANT SELECT ON seen TO eve");
	foreach my $sql ('SELECT s FROM seen', 'SELECT definer()', 'SELECT ranks()')
	{
		my ($err) = ask($sql, 'SET SESSION AUTHORIZATION eve;');

		like($err, qr/retrostar\.cache_key\(\) of the pair: \\x[0-9a-f]{64}\./, "$sql: the key");
		unlike($err, qr/secret|an id/, 'and nothing else');
	}
	my ($err) = ask('SELECT s FROM seen');
	like($err, qr/The document begins with/, 'to who may read it');
	$node->safe_psql('postgres', 'DROP VIEW seen; DROP FUNCTION definer, ranks; DROP TABLE kept');
};

subtest 'score' => sub {
	my ($err, $log) = ask("SELECT retro_star_score('q', '$refused')");
	like($err, qr/ERROR: .*\nDETAIL: .*\nThe document begins with "\Q[[sim:status=400]] the secret of the hou\E\.\.\."\.$/m,
		'the beginning of the document');
	like($log, qr/server "gpu" refused the request/, 'the log has the error');
	unlike($log, qr/secret/, 'and not the document');

	($err, $log) = ask("SELECT retro_star_score('q', '$other')", q(SET retrostar.on_error = 'null';));
	like($err, qr/WARNING: .*1 pair could not.*\nDETAIL: +The first: .*\nThe document begins with "\Q[[sim:status=422]]\E the secret/,
		'the warning, too');
	like($log, qr/1 pair could not/, 'the log has the warning');
	unlike($log, qr/secret/, 'and not the document');

	($err, $log) = ask("SELECT retro_star_score('q', body) FROM (SELECT '$refused' AS body FROM doc) t ORDER BY 1");
	like($err, qr/The document begins with/, 'also where calls are made ahead');
	unlike($log, qr/secret/, 'and not in the log');
	($err) = ask("SELECT retro_star_prefetch('q', ' ')");
	like($err, qr/The query begins with "q"\./, 'retro_star_prefetch()');
	($err) = ask("SELECT * FROM retro_star_explain('q', '$refused')");
	like($err, qr/The document begins with/, 'retro_star_explain()');
	($err) = ask(q(SELECT retro_star_score('q', E'two\nlines\t[[sim:status=400]]')));
	like($err, qr/begins with "two lines \[\[sim/, 'on one line');
	($err) = ask(q(SELECT retro_star_score('q', repeat('ü', 50) || '[[sim:status=400]]')));
	like($err, qr/begins with "(?:ü|\xc3\xbc){40}\.\.\."/, 'whole characters');
};

subtest 'sets name the id' => sub {
	my ($err, $log) = ask(qq(SELECT * FROM retro_star_rerank('q', ARRAY['CWE-1', 'CWE-79'], ARRAY['fine', '$refused'])));
	like($err, qr/ERROR: .*\nDETAIL: .*\nThe id of the document: CWE-79\.$/m, 'retro_star_rerank()');
	unlike($log, qr/secret|CWE-79/, 'but not in the log');
	($err) = ask(q(SELECT * FROM retro_star_rerank('q', ARRAY[1, 2, NULL], ARRAY['fine', 'as well', ''])));
	like($err, qr/The id of the document is null\./, 'an id that is null');
	($err) = ask(qq(SELECT retro_star_rerank_agg('q', id, CASE WHEN id = 'CWE-7' THEN '$refused' ELSE body END) FROM doc));
	like($err, qr/The id of the document: CWE-7\./, 'retro_star_rerank_agg()');
	($err) = ask(qq(SELECT * FROM retro_star_rerank('q', ARRAY[7, 8], ARRAY['fine', '$refused'])), q(SET retrostar.on_error = 'null';));
	like($err, qr/WARNING: .*\nDETAIL: +The first: .*\nThe id of the document: 8\./, 'in the warning');
};

subtest 'without text' => sub {
	my @texts = (q(''), q(' '), q(E'\t\n\r\f\x0b'));

	for my $text (@texts)
	{
		for my $call ("retro_star_score('q', $text)", "retro_star_prefetch('q', $text)")
		{
			my ($err) = ask("SELECT $call");
			like($err, qr/ERROR: +22023: document is empty\n.*white space.*\nThe query begins with "q"\./, "$call");
		}
		my ($err) = ask("SELECT retro_star_score($text, 'a document')");
		like($err, qr/ERROR: +22023: query is empty\n.*\nThe document begins with "a document"\./, "query $text");
		($err) = ask("SELECT * FROM retro_star_rerank('q', ARRAY[5], ARRAY[$text])");
		like($err, qr/ERROR: +22023: document is empty\n.*\nThe id of the document: 5\./, "retro_star_rerank() of $text");
	}
	$sim->reset_stats;
	is($node->safe_psql('postgres', q(SET retrostar.on_error = 'null'; SELECT count(retro_star_score('q', t)) FROM unnest(ARRAY['', ' ', E'\n']) t)),
		0, 'NULL with on_error = null');
	is($sim->stats->{chat}, 0, 'and nothing was asked');
};

subtest 'refresh' => sub {
	my $find = q(SELECT string_agg(id, ' ' ORDER BY id) FROM doc, LATERAL (SELECT failed_keys FROM retrostar.refresh_log ORDER BY run DESC LIMIT 1) l
		WHERE retrostar.cache_key('q', body) = ANY (failed_keys));

	$node->safe_psql('postgres', q(CREATE MATERIALIZED VIEW mv AS SELECT id, retro_star_score('q', body) AS score FROM doc WITH NO DATA));
	$node->safe_psql('postgres', q(UPDATE doc SET body = '' WHERE id = 'CWE-3'));
	my ($err, $log) = ask(q(CALL retrostar.refresh('mv')));
	like($err, qr/ERROR: +22023: document is empty\n.*\nThe retrostar\.cache_key\(\) of the pair: \\x[0-9a-f]{64}\./, 'the error names the key');
	is($node->safe_psql('postgres', $find), 'CWE-3', 'by which the row is found');
	$node->safe_psql('postgres', "UPDATE doc SET body = '$refused' WHERE id = 'CWE-5'");
	($err, $log) = ask(q(CALL retrostar.refresh('mv', on_error => 'null')));
	like($err, qr/WARNING: .*2 pairs could not be scored.*\nDETAIL: +The first: .*\nThe retrostar\.cache_key\(\) of/, 'on_error');
	unlike($err . $log, qr/secret/, 'without a document, also to the session');
	is($node->safe_psql('postgres', 'SELECT count(*), count(score) FROM mv'), '20|18', 'the view is fresh');
	is($node->safe_psql('postgres', 'SELECT status, failed FROM retrostar.refresh_log ORDER BY run DESC LIMIT 1'), 'done|2', 'the log says so');
	is($node->safe_psql('postgres', $find), 'CWE-3 CWE-5', 'and which');
	is($node->safe_psql('postgres', q(SHOW retrostar.on_error)), 'error', 'the setting is what it was');
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('mv'))), '22023', 'and counts where nothing is said');
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('mv', 'NULL'))), '00000', 'in any case');
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('mv', 'ignore'))), '22023', 'a wrong value');
	$node->safe_psql('postgres', q(UPDATE doc SET body = id));
	is(sqlstate($node, 'postgres', q(CALL retrostar.refresh('mv'))), '00000', 'when all is well');
	is($node->safe_psql('postgres', 'SELECT failed, failed_keys IS NULL FROM retrostar.refresh_log ORDER BY run DESC LIMIT 1'), '0|t', 'nothing is listed');
};

done_testing();
