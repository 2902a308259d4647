# Servers that clamp: a reply gets what the prompt has left of the context, and
# ends there.  That is a document that is too long, not a reply without a score.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $context = 3000;
my $node = new_node('context_full');
my $documents = 0;

# A document of its own with so many bytes
sub document
{
	my ($bytes) = @_;
	my $name = sprintf('document%05d ', ++$documents);

	return $name . substr('plain text ' x ($bytes / 11 + 1), 0, $bytes - length($name));
}

sub score
{
	my ($server, $doc, $query) = @_;

	$query //= 'query';
	my ($ret, $out, $err) = $node->psql('postgres',
		"SELECT retro_star_score(\$\$$query\$\$, \$\$$doc\$\$, server => '$server')",
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return { out => $out, err => $err, warnings => [ $err =~ /WARNING: +(\w{5}: .*)/g ] };
}

# What the simulator saw of a document: status, seed and the document's bytes
sub requests
{
	my ($sim, $doc) = @_;
	my ($name) = $doc =~ /^(\w+)/;
	my @seen;

	for (@{ $sim->_json("/sim/log?n=100000&match=$name") })
	{
		my $body = JSON::PP->new->decode($_->{body});
		my ($text) = $body->{messages}[0]{content} =~ /\[Begin of Document\]\n(.*)\n\[End of Document\]\n\z/s;
		push @seen, { status => $_->{status}, len => length $text, seed => $body->{seed} };
	}
	return @seen;
}

# Bytes of a document that leaves the reply so many tokens
sub leaving
{
	my ($sim, $server, $tokens) = @_;

	my $before = $sim->stats->{prompt_tokens};
	my $said = score($server, document(400));
	BAIL_OUT("no score: $said->{err}") unless $said->{out} =~ /^\d+$/;
	return 400 + 4 * ($context - $tokens - ($sim->stats->{prompt_tokens} - $before));
}

my %options = (vllm => [ '--clamp' ], llamacpp => []);
for my $dialect (sort keys %options)
{
	my $sim = start_simulator('--dialect', $dialect, @{ $options{$dialect} }, '--context', $context,
		'--model', 'm', '--log', '100000');
	# No attempt is to spare: what is asked again uses up none
	create_server($node, 'postgres', $dialect, $sim, dialect => $dialect, retries => 0);
	my $bytes = leaving($sim, $dialect, 0);

	for my $left (100, 14, 1)
	{
		subtest "$dialect: $left tokens are left for the reply" => sub {
			my $doc = document($bytes - 4 * $left);
			my $said = score($dialect, $doc);
			like($said->{out}, qr/^\d+$/, 'a score') or diag($said->{err});
			is("@{ $said->{warnings} }", '01004: 1 document was too long for the model and was shortened', 'a warning');
			my @seen = requests($sim, $doc);
			is(join(' ', map { $_->{status} } @seen), '200 200', 'asked again, once');
			is($seen[1]{seed}, $seen[0]{seed}, 'under the same number');
			cmp_ok($seen[1]{len}, '<', $seen[0]{len} - 4 * (900 - $left), 'with room for the reply');
			cmp_ok($seen[1]{len}, '>', 4 * ($context - 1024) * 0.95 - 2600, 'and most of the document');
		};
	}

	subtest "$dialect: none is left" => sub {
		my $doc = document($bytes);
		my $said = score($dialect, $doc);
		like($said->{out}, qr/^\d+$/, 'a score') or diag($said->{err});
		is(join(' ', map { $_->{status} } requests($sim, $doc)), '400 200', 'refused, and shortened');
	};

	subtest "$dialect: the reply fits, if just so" => sub {
		my $doc = document($bytes - 4 * 1000);
		my $said = score($dialect, $doc);
		like($said->{out}, qr/^\d+$/, 'a score');
		is(@{ $said->{warnings} }, 0, 'no warning');
		is(requests($sim, $doc), 1, 'one request');
	};
}

my $sim = start_simulator('--dialect', 'vllm', '--clamp', '--context', $context, '--model', 'm', '--log', '100000');
create_server($node, 'postgres', 'told', $sim, dialect => 'vllm', context_length => $context);
create_server($node, 'postgres', 'untold', $sim, dialect => 'vllm', retries => 0);

subtest 'a query that fills the context' => sub {
	my $bytes = leaving($sim, 'told', 50);
	my $query = 'long ' x ($bytes / 5);
	my $doc = document(12);
	my $said = score('told', $doc, $query);
	like($said->{err}, qr/ERROR: +38000: server "told" gave no score/, 'an error');
	like($said->{err}, qr/DETAIL: +The model's context was full after \d\d+ of 1024 tokens, before the score\./, 'that says why');
	like($said->{err}, qr/HINT: .*shorten the query.*longer context/, 'and what helps');
	unlike($said->{err}, qr/Raise the option "max_tokens"/, 'which is not max_tokens');
	cmp_ok(scalar(requests($sim, $doc)), '<=', 10, 'it is not asked for ever');
};

subtest 'a server with a limit of its own' => sub {
	my $doc = document(6000);
	my $said = score('untold', $doc, 'query [[sim:length=early]]');
	like($said->{err}, qr/DETAIL: +The server ended the reply after \d+ of 1024 tokens, before the score\./, 'an error');
	like($said->{err}, qr/HINT: .*own limit/, 'with a hint');
	$doc = document(6000);
	$said = score('untold', $doc, 'query [[sim:length=early]]');
	is(join(' ', map { "$_->{status}:$_->{len}" } requests($sim, $doc)), '200:6000', 'the next document is not shortened');
	$doc = document(3000);
	$said = score('untold', $doc, 'query [[sim:length]]');
	like($said->{err}, qr/DETAIL: +The reply ended at the option "max_tokens"/, 'max_tokens are told apart');
	is(requests($sim, $doc), 1, 'and not shortened either');
};

# vLLM counts up to its limit only; replies to other documents say how long a token is
subtest 'a server that stops counting' => sub {
	my $vllm = start_simulator('--dialect', 'vllm', '--count-bound', '--char-bound', '8', '--context', $context,
		'--model', 'm', '--log', '100000');
	create_server($node, 'postgres', 'stops', $vllm, dialect => 'vllm');
	score('stops', document(300 * $_)) for 1 .. 5;
	my $bytes = leaving($vllm, 'stops', 1024);
	for my $more (20, 400, 4000, 40_000, 400_000)
	{
		my $doc = document($bytes + $more);
		my $said = score('stops', $doc);
		like($said->{out}, qr/^\d+$/, "a score, $more bytes too long");
		my @seen = requests($vllm, $doc);
		is(join(' ', map { $_->{status} } @seen), '400 200', 'one refusal');
		cmp_ok(($bytes - $seen[-1]{len}) / 4, '<=', 0.05 * ($context - 1024), 'of what fits, the model sees 95 %');
	}
};

wait_idle($node);
is($node->safe_psql('postgres', q(SELECT asked = answered + failed + cancelled AND pairs = 0
	AND waiters = 0 AND text_bytes = 0 AND lost = 0 FROM retrostar.stat_queue)), 't', 'counters balance');

done_testing();
