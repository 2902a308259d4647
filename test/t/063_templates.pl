# Tasks with a prompt, scale and answer of their own, for other models than
# Retro*: from the row of the task to the score, and what keys, refreshes, dumps
# and subscriptions make of them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('templates', allows_streaming => 'logical');
my $sim = start_simulator('--log', '100000');

create_server($node, 'postgres', 'gpu', $sim, retries => 0);

sub sql { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql); }

# A score, or what the error says
sub score
{
	my ($task, $doc, $arguments) = @_;
	my ($ret, $out, $err) = $node->psql('postgres',
		sprintf('SELECT retro_star_score($$query$$, $$%s$$, task => $$%s$$%s)', $doc, $task, $arguments // ''));

	return $ret == 0 ? $out : $err;
}

# Prompts of answered requests that have this word in them
sub prompts
{
	my ($server, $word) = @_;

	return map { JSON::PP->new->decode($_->{body})->{messages}[0]{content} }
	  grep { $_->{status} == 200 } @{ $server->_json("/sim/log?n=100000&match=$word") };
}

my $no_score = qr/gave no score/;

sql(q(INSERT INTO retrostar.task (name, scale, answer, template) VALUES
	('erank', '0..10', '<answer>{score}</answer>', E'Relevant: {relevance_definition}\n\nHere is the query:\n{query}\n\n'
		'Here is the document:\n{document}\n\nAfter thinking, write <think> thoughts </think><answer> 0 to 10 </answer>'),
	('diver', '0.0..10.0', 'Relevance score: {score}', E'Say ''Relevance score: X.''\nQuery: {query}\nPassage: {document}'),
	('of three', '0..3', NULL, '<d>{document}</d> "{query}" {{ }}')));

subtest 'ERank' => sub {
	is(score('erank', 'eight [[sim:score=8]]'), 80, 'a number of its scale');
	is(score('erank', 'none [[sim:score=0]]'), 0, 'the lowest');
	is(score('erank', 'ten [[sim:score=10]]'), 100, 'the highest');
	like(score('erank', "beyond [[sim:score='$_']]"), $no_score, "$_ is no answer") for 11, '8.5', 'ten', -1;
	like(score('erank', 'silent [[sim:no-score]]'), $no_score, 'without an answer');
	like(score('erank', 'words that the query has'), qr/^\d*0$/, 'as the simulator judges it');

	my $doc = "Awkward \"query\" \\ with\ttabs {query} {{braces}} and </think>";
	like(score('erank', $doc), qr/^\d*0$/, 'odd characters');
	my ($prompt) = prompts($sim, 'Awkward');
	utf8::encode($prompt);
	is($prompt, sql("SELECT retro_star_prompt('query', \$\$$doc\$\$, task => 'erank')"), 'it was asked as retro_star_prompt() shows');
	utf8::decode($prompt);
	like($prompt, qr/^Relevant: Given a query.*\n\nHere is the query:\nquery\n\nHere is the document:\nAwkward "query" \\ with\ttabs \{query\} \{\{braces\}\} and <\x{200b}\/think>\n\nAfter thinking, write <think>/s,
		'the texts are in their places');

	is(sql(q(SELECT score, reasoning LIKE '%<answer>8</answer>' FROM retro_star_explain('query', 'why [[sim:score=8]]', task => 'erank'))),
		'80|t', 'retro_star_explain()');
	is(sql(q(SELECT count(*) FILTER (WHERE score BETWEEN 0 AND 100), sum(samples)
		FROM retro_star_rerank('query', ARRAY[1, 2, 3], ARRAY['a query', 'b', 'c'], task => 'erank', passes => '3'))), '3|9', 'a set, with samples');
	sql(q(SET retrostar.task = 'erank'; SELECT retro_star_prefetch('query', 'by setting [[sim:score=3]]')));
	is(score('erank', 'by setting [[sim:score=3]]'), 30, 'the setting, and asked for ahead');
	wait_idle($node);
	is(sql(q(SELECT count(*) > 8, count(*) FILTER (WHERE s % 10 <> 0) FROM retrostar.score_cache, unnest(scores) s)), 't|0', 'the table has them as 0 to 100');
};

subtest 'other scales and answers' => sub {
	is(score('diver', 'd [[sim:score=7.9]]'), 79, 'a fraction');
	is(score('diver', 'd [[sim:score=10]]'), 100, 'a whole number');
	is(score('diver', 'd [[sim:score=0.04]]'), 0, 'rounded');
	like(score('diver', "d [[sim:score='$_']]"), $no_score, "$_ is no answer") for '10.1', '8/10', 'X';
	like(score('diver', 'a query'), qr/^\d+$/, 'as the simulator judges it');
	is(score('of three', 'd [[sim:score=1]]'), 33, 'a third');
	is(score('of three', 'd [[sim:score=2]]'), 67, 'two of them');
	like(score('of three', 'd [[sim:score=4]]'), $no_score, 'four');
};

# One worker reads them all, and each as its request says
subtest 'several tasks at once' => sub {
	$sim->control({ hold => JSON::PP::true });
	my $session = ask_background($node, 'postgres', q(SELECT string_agg(s::text, ' ' ORDER BY n) FROM (
		SELECT n, retro_star_score('together', 'e [[sim:score=2]]', task => t) AS s
		FROM unnest(ARRAY['biology', 'erank', 'diver', 'of three']) WITH ORDINALITY AS u (t, n)) v));
	$sim->wait_for('held', 4);
	$sim->control({ hold => JSON::PP::false });
	is(finish_background($session), '2 20 20 67', 'each in its form');
};

subtest 'an argument without a place' => sub {
	like(score('diver', 'd', q(, doc_type => 'page')), qr/argument "doc_type" has no place in the template of task "diver"/, 'is an error');
	like(score('erank', 'd [[sim:score=4]]', q(, relevance_definition => 'It is about it.')), qr/^40$/, 'one that has a place');
	is(sql(q(SET retrostar.on_error = 'null'; SELECT retro_star_prompt('q', 'd', 'erank', 'It is so.') LIKE 'Relevant: It is so.%')), 't', 'is there');
};

# What does not fit is cut from the document, wherever that stands
subtest 'documents that are too long' => sub {
	my $small = start_simulator('--context', '3000', '--log', '1000');
	create_server($node, 'postgres', 'small', $small, retries => 0);
	sql(q(INSERT INTO retrostar.task (name, template) VALUES
		('first', '{document} | {query} | the end'), ('middle', 'Q {query} | {document} | {query_type} the end'), ('last', '{query} | {document}')));
	my %pattern = (first => qr/^(.*) \| query "\\ of some length \| the end$/s, middle => qr/^Q query "\\ of some length \| (.*) \| query the end$/s,
		last => qr/^query "\\ of some length \| (.*)$/s);
	for my $task (sort keys %pattern)
	{
		my $doc = "Document$task " . ("\xc3\xa4\"\\\\ \n" x 10_000);
		my ($ret, $out, $err) = $node->psql('postgres', "SELECT retro_star_score('query \"\\ of some length', \$\$$doc\$\$, task => '$task', server => 'small')");

		like($out, qr/^\d+$/, "$task: a score") or diag($err);
		like($err, qr/1 document was too long for the model and was shortened/, 'with a warning');
		my ($prompt) = prompts($small, "Document$task");
		like($prompt, $pattern{$task}, 'all but the document is whole');
		my ($sent) = ($prompt // '') =~ $pattern{$task};
		utf8::decode(my $whole = $doc);
		cmp_ok(length($sent // ''), '>', 2000, 'most of what fits');
		is($sent, substr($whole, 0, length($sent // '')), 'it is the beginning of the document');
		cmp_ok(length($sent // ''), '<', length $whole, 'and not all of it');
	}
	wait_idle($node);
	sql('DROP SERVER small');
};

subtest 'a task that is altered' => sub {
	sql(q(CREATE TABLE doc (id int PRIMARY KEY, body text); INSERT INTO doc SELECT i, 'row ' || i || ' [[sim:score=1]]' FROM generate_series(1, 5) i;
		INSERT INTO retrostar.task (name, scale, template) VALUES ('mine', '0..10', '{query}: {document}');
		CREATE MATERIALIZED VIEW kept AS SELECT id, retro_star_score('altered', body, task => 'mine') AS score FROM doc WITH NO DATA));
	my $scores = sub { sql(q(CALL retrostar.refresh('kept'))); return sql('SELECT count(*), min(score), max(score) FROM kept'); };
	my $asked = sub { my $n = $sim->stats->{chat}; $sim->reset_stats; return $n; };

	$asked->();
	is($scores->(), '5|10|10', 'materialized');
	is($asked->(), 5, 'each asked for');
	is($scores->(), '5|10|10', 'again');
	is($asked->(), 0, 'asks for nothing');
	sql(q(UPDATE retrostar.task SET scale = '0..5' WHERE name = 'mine'));
	is($scores->(), '5|20|20', 'with another scale');
	is($asked->(), 5, 'asks anew');
	sql(q(UPDATE retrostar.task SET template = '{document} {query}' WHERE name = 'mine'));
	is($scores->(), '5|20|20', 'with another template');
	is($asked->(), 5, 'asks anew');
	sql(q(UPDATE retrostar.task SET query_type = 'not in the prompt' WHERE name = 'mine'));
	is($scores->(), '5|20|20', 'with a text that it has no place for');
	is($asked->(), 0, 'asks for nothing');
	sql(q(UPDATE retrostar.task SET scale = '0..10', template = '{query}: {document}' WHERE name = 'mine'));
	is($scores->(), '5|10|10', 'as it was at first');
	is($asked->(), 0, 'asks for nothing');
};

subtest 'while a request of its old form is under way' => sub {
	$sim->control({ hold => JSON::PP::true });
	my $old = ask_background($node, 'postgres', q(SELECT retro_star_score('under way', 'd [[sim:score=4]]', task => 'mine')));
	$sim->wait_for('held', 1);
	sql(q(UPDATE retrostar.task SET scale = '0..5' WHERE name = 'mine'));
	my $new = ask_background($node, 'postgres', q(SELECT retro_star_score('under way', 'd [[sim:score=4]]', task => 'mine')));
	$sim->wait_for('held', 2);
	$sim->control({ hold => JSON::PP::false });
	is(finish_background($old), '40', 'that is read on the old scale');
	is(finish_background($new), '80', 'and the next on the new one');
};

subtest 'dumps and subscriptions' => sub {
	my $rows = q(SELECT string_agg(t::text, ' ' ORDER BY name) FROM retrostar.task t WHERE NOT builtin);
	my $dump = PostgreSQL::Test::Utils::tempdir() . '/tasks.sql';

	sql('DROP MATERIALIZED VIEW kept');
	sql('CREATE DATABASE restored');
	$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'and restore');
	is(sql($rows, 'restored'), sql($rows), 'the tasks are there');
	is($node->psql('restored', q(UPDATE retrostar.task SET template = '{query}' WHERE name = 'mine')), 3, 'so is their check');

	# within one cluster the slot has to be there first
	sql('CREATE DATABASE subscriber');
	sql(q(CREATE EXTENSION retrostar; INSERT INTO retrostar.task (name, template, scale) VALUES ('of three', '{query}{document}', NULL);
		INSERT INTO retrostar.task SELECT t.* FROM jsonb_populate_record(NULL::retrostar.task, '{"name": "first", "template": "{document} | {query} | the end", "builtin": false}') t), 'subscriber');
	sql(q(CREATE PUBLICATION tasks FOR TABLE retrostar.task; SELECT pg_create_logical_replication_slot('tasks', 'pgoutput')));
	(my $connection = $node->connstr('postgres')) =~ s/'/''/g;
	my $log = -s $node->logfile;
	sql("CREATE SUBSCRIPTION tasks CONNECTION '$connection' PUBLICATION tasks WITH (create_slot = false)", 'subscriber');
	ok($node->poll_query_until('subscriber', q(SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel)), 'the tables are copied');
	sql(q(INSERT INTO retrostar.task (name, template, scale) VALUES ('later', '{document}{query}', '1..5')));
	$node->wait_for_catchup('tasks');
	is(sql(q(SELECT template, scale FROM retrostar.task WHERE name = 'later'), 'subscriber'), '{document}{query}|1..5', 'and what comes later');
	is(sql(q(SELECT template FROM retrostar.task WHERE name = 'of three'), 'subscriber'), '{query}{document}', 'a task of both sides stays as it is');
	my $said = slurp_file($node->logfile, $log);
	like($said, qr/task "of three" is there already, and the replicated one is not stored/, 'which is told');
	unlike($said, qr/task "first" is there already/, 'but not where they are the same');
	sql('DROP SUBSCRIPTION tasks', 'subscriber');
};

wait_idle($node);
done_testing();
