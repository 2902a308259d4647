# Documents that are too long for the model: they are cut at a character, their
# statement says so once, and nobody else pays for it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $true = JSON::PP::true;
my $false = JSON::PP::false;
my $node = new_node('too_long');
my $documents = 0;

# All that is hard to cut: escapes, characters of two to four bytes
my $hard = "word \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 \\\\ \" \t\n \x01\x1f <|im_end|> ";

# A document of its own with so many bytes
sub document
{
	my ($bytes) = @_;
	my $name = sprintf('document%05d ', ++$documents);

	return $name . substr('plain text ' x ($bytes / 11 + 1), 0, $bytes - length($name));
}

# Runs SQL; standard output, and the warnings with their details
sub ask
{
	my ($sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	return { out => $out, err => $err, warnings => [ $err =~ /WARNING: +(\w{5}: .*)/g ] };
}

sub score
{
	my ($server, $doc, $query) = @_;

	$query //= 'query';
	return ask("SELECT retro_star_score(\$\$$query\$\$, \$\$$doc\$\$, server => '$server')");
}

# What the simulator saw of a document: status and text
sub requests
{
	my ($sim, $doc) = @_;
	my ($name) = $doc =~ /^(\w+)/;
	my @seen;

	for (@{ $sim->_json("/sim/log?n=100000&match=$name") })
	{
		my $body = JSON::PP->new->decode($_->{body});
		my ($text) = $body->{messages}[0]{content} =~ /\[Begin of Document\]\n(.*)\n\[End of Document\]\n\z/s;
		push @seen, { status => $_->{status}, text => $text, seed => $_->{seed} };
	}
	return @seen;
}

my $one = qr/^01004: 1 document was too long for the model and was shortened$/;

for my $dialect (qw(sglang vllm llamacpp openai))
{
	subtest $dialect => sub {
		my $sim = start_simulator('--dialect', $dialect, '--context', '3000', '--model', 'm', '--log', '1000');
		create_server($node, 'postgres', $dialect, $sim, dialect => $dialect);

		my $doc = document(100_000);
		my $said = score($dialect, $doc);
		like($said->{out}, qr/^\d+$/, 'a score') or diag($said->{err});
		is(@{ $said->{warnings} }, 1, 'one warning');
		like($said->{warnings}[0], $one, 'that says so');
		my @seen = requests($sim, $doc);
		is(join(' ', map { $_->{status} } @seen), '400 200', 'one refusal was enough');
		is($seen[0]{text}, $doc, 'all of it was sent first');
		is($seen[1]{text}, substr($doc, 0, length $seen[1]{text}), 'then its beginning');
		cmp_ok(length $seen[1]{text}, '>', 2000, 'most of what fits');
		is($seen[1]{seed}, $seen[0]{seed}, 'under the same seed');

		is(@{ score($dialect, document(500))->{warnings} }, 0, 'no warning for one that fits');
		$said = score($dialect, $doc);
		like($said->{out}, qr/^\d+$/, 'again');
		is(requests($sim, $doc), 2, 'from the cache');
		is(@{ $said->{warnings} }, 0, 'without a warning');
	};
}

my $sim = start_simulator('--context', '3000', '--model', 'm', '--log', '100000');
create_server($node, 'postgres', 'gpu', $sim);
my $second = start_simulator('--context', '3000', '--model', 'm');
create_server($node, 'postgres', 'pair', "$sim->{url},$second->{url}");

# Cut at each of its bytes, the text stays a text.
subtest 'characters and escapes' => sub {
	$node->safe_psql('postgres', 'CREATE TABLE hard (i int, body text)');
	$node->safe_psql('postgres', "INSERT INTO hard SELECT i, 'hard' || i || repeat('x', i) || repeat(\$\$$hard\$\$, 400)
		FROM generate_series(1, 60) i");
	my $said = ask(q(SELECT count(retro_star_score('hard', body, server => 'gpu')) FROM hard));
	is($said->{out}, 60, 'all are scored');
	like($said->{warnings}[0], qr/60 documents were too long/, 'one warning for all');
	is(@{ $said->{warnings} }, 1, 'and no other');
	my ($cut, $whole) = (0, 0);
	for my $i (1 .. 60)
	{
		my ($text) = map { $_->{text} } grep { $_->{status} == 200 } requests($sim, "hard${i}x");
		# as it is sent, with its control tokens made harmless
		my $full = "hard$i" . 'x' x $i . $hard x 400;
		utf8::decode($full);
		$full =~ s/<\|im_end/<\x{200b}|im_end/g;
		$whole++ if $text eq $full;
		$cut++ if $text eq substr($full, 0, length $text);
	}
	is($cut, 60, 'each is the beginning of its document');
	is($whole, 0, 'and less than that');
};

subtest 'neighbours' => sub {
	my @docs = (document(500), document(80_000), document(500), document(90_000), document(500));
	my $values = join(', ', map { "(\$\$$_\$\$)" } @docs);
	my $said = ask("SELECT retro_star_score('query', body, server => 'pair') IS NOT NULL FROM (VALUES $values) d (body)");
	is($said->{out}, "t\nt\nt\nt\nt", 'all are scored');
	is(@{ $said->{warnings} }, 1, 'one warning');
	like($said->{warnings}[0], qr/^01004: 2 documents were too long/, 'for two');
};

subtest 'several samples' => sub {
	my $doc = document(50_000);
	my $said = ask("SELECT retro_star_score('query', '$doc', samples => 4, server => 'gpu')");
	like($said->{out}, qr/^\d+(\.\d+)?$/, 'a score');
	is("@{ $said->{warnings} }", "01004: 1 document was too long for the model and was shortened", 'one warning');
	my @scored = grep { $_->{status} == 200 } requests($sim, $doc);
	is(@scored, 4, 'four answers');
	is(keys %{ { map { $_->{text} => 1 } @scored } }, 1, 'to the same text');
	cmp_ok(scalar(requests($sim, $doc)), '<=', 8, 'refused once each');

	my ($ids, $docs) = ('1, 2, 3', join(', ', map { "'$_'" } document(50_000), document(60_000), document(100)));
	$said = ask("SELECT count(score) FROM retro_star_rerank('query', ARRAY[$ids], ARRAY[$docs], passes => '3\@1,3\@3', server => 'gpu')");
	is($said->{out}, 3, 'a set');
	is(@{ $said->{warnings} }, 1, 'one warning');
	like($said->{warnings}[0], qr/^01004: 2 documents were/, 'each document counts once');
};

subtest 'two sessions, one request' => sub {
	my $doc = document(70_000);
	$sim->control({ hold => $true });
	my @sessions = map { ask_background($node, 'postgres', "SELECT retro_star_score('query', '$doc', server => 'gpu')") } 1 .. 2;
	wait_until('both wait', sub { queue($node, 'waiters') == 2 });
	$sim->wait_for('held', 1);
	$sim->control({ hold => $false });
	for (@sessions)
	{
		my ($out, $err) = finish_background($_);
		like($out, qr/^\d+$/, 'a score');
		is(() = $err =~ /WARNING: +01004: 1 document/g, 1, 'and a warning');
	}
	is(requests($sim, $doc), 2, 'two requests for both');
};

subtest 'a session that does not wait' => sub {
	my $doc = document(60_000);
	is(ask("SELECT retro_star_prefetch('query', '$doc', server => 'gpu')")->{out}, 'f', 'asked for');
	wait_idle($node);
	is(join(' ', map { $_->{status} } requests($sim, $doc)), '400 200', 'shortened without it');
	like(score('gpu', $doc)->{out}, qr/^\d+$/, 'the score');
	is(requests($sim, $doc), 2, 'is there');
};

subtest 'what cannot be shortened' => sub {
	my $doc = document(100);
	my $said = score('gpu', $doc, 'long query ' x 2000);
	like($said->{err}, qr/ERROR: +54000: query and prompt are longer than the model's context/, 'a query that is too long');
	like($said->{err}, qr/DETAIL: +HTTP status 400: /, 'detail');
	like($said->{err}, qr/HINT: .*"max_tokens"/, 'hint');
	is(requests($sim, $doc), 1, 'one request');

	# A server that always says so: the breaker stays closed, the others are scored.
	$doc = document(5000);
	$said = score('gpu', $doc, 'query [[sim:too-long,tokens=3000]]');
	like($said->{err}, qr/ERROR: +54000: /, 'a server that is never content');
	cmp_ok(scalar(requests($sim, $doc)), '<=', 7, 'is not asked for ever');
	$said = ask("SET retrostar.on_error = 'null'; SELECT retro_star_score('query ' || i ||
		CASE WHEN i % 2 = 0 THEN ' [[sim:too-long,tokens=3000]]' ELSE '' END, '$doc', server => 'gpu') IS NOT NULL
		FROM generate_series(1, 10) i");
	is($said->{out}, join("\n", ('t', 'f') x 5), 'its neighbours are scored');
	like("@{ $said->{warnings} }", qr/5 pairs could not be scored and are NULL/, 'one warning for all');
	unlike(slurp_file($node->logfile), qr/is not used for now/, 'the endpoint stays in use');
};

subtest 'a server that gives no numbers' => sub {
	my $vague = start_simulator('--model', 'm', '--log', '1000');
	my $rule = { mode => 'status', status => 400, message => 'context length exceeded', times => 2 };
	my $doc = document(40_000);

	create_server($node, 'postgres', 'vague', $vague);
	$vague->control({ fail => [$rule] });
	my $said = score('vague', $doc);
	like($said->{warnings}[0], $one, 'shortened');
	is(join(' ', map { $_->{status} . ':' . length $_->{text} } requests($vague, $doc)), '400:40000 400:20000 200:10000', 'by halves');

	# The option says what the server does not.
	create_server($node, 'postgres', 'told', $vague, context_length => 3000);
	$vague->control({ fail_clear => $true, fail => [ { %$rule, times => 1 } ] });
	$doc = document(40_000);
	$said = score('told', $doc);
	like($said->{warnings}[0], $one, 'shortened');
	my @seen = requests($vague, $doc);
	is(@seen, 2, 'at once');
	cmp_ok(length $seen[1]{text}, '<', 12_000, 'to what context_length says');
	cmp_ok(length $seen[1]{text}, '>', 5_000, 'and not much less');
};

wait_idle($node);
is($node->safe_psql('postgres', q(SELECT asked = answered + failed + cancelled AND pairs = 0
	AND waiters = 0 AND text_bytes = 0 AND lost = 0 FROM retrostar.stat_queue)), 't', 'counters balance');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|was terminated|"retrostar worker" \(PID \d+\) exited|leaked/, 'nothing crashed');

done_testing();
