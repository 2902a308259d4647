# The option dialect is not that of the server: there are scores, so the session
# is told, once, and retrostar.check() is in doubt.  Nobody is told of a router,
# and of a server that does not say what it is.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

# Who is asked what he is gets so much time for it, however busy the machine is
my @patient = (connect_timeout => '60s');
my $node = new_node('dialect');
my %kinds = (sglang => 'SGLang', vllm => 'vLLM', llamacpp => 'llama-server');

# What is lost, by the option's dialect and the server's
my $penalty = 'it ignores the option "repetition_penalty"';
my $first = 'with "priority_scheduling" takes background requests first';
my $openai = 'it is not sent the options "top_k", "min_p" and "repetition_penalty", nor told that the model is not to think';
my %harm = (
	sglang => { vllm => "it does not learn the ids of requests, puts spaces between special tokens, and $first", llamacpp => $penalty },
	vllm => { sglang => "it is not told to abort what nobody waits for, puts spaces between special tokens, and $first", llamacpp => $penalty },
	llamacpp => {
		sglang => "$penalty, leaves special tokens out of its answers, and is not told to abort what nobody waits for",
		vllm => "$penalty, and leaves special tokens out of its answers" },
	openai => { map { $_ => $openai } keys %kinds });

# What a session with these statements is told
sub said
{
	my ($sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql);
	is($ret, 0, 'works') or diag($err);
	return $err =~ s/^psql:<stdin>:\d+: //mgr;
}

# The row of the endpoint of a server
sub check
{
	my ($server) = @_;
	return $node->safe_psql('postgres', "SELECT ok, detail FROM retrostar.check('$server') WHERE endpoint <> 'worker'");
}

my $pairs = 0;

# A score that nobody has asked for
sub score
{
	my ($server) = @_;
	$pairs++;
	return "SELECT retro_star_score('dialect', 'document $pairs', server => '$server');\n";
}

for my $kind (sort keys %kinds)
{
	my $sim = start_simulator('--dialect', $kind, '--model', 'm');

	for my $dialect (qw(sglang vllm llamacpp openai))
	{
		my $server = "${dialect}_for_$kind";

		create_server($node, 'postgres', $server, $sim, dialect => $dialect, @patient);
		if ($dialect eq $kind)
		{
			is(said(score($server)), '', "$server: nothing is said");
			is(check($server), qq(t|it serves "m" ($kinds{$kind})), "$server: check() is sure");
			next;
		}
		my $remedy = "ALTER SERVER $server OPTIONS (SET dialect '$kind')";
		my $told = qq(NOTICE:  option "dialect" of server "$server" does not fit\n)
		  . qq(DETAIL:  It is "$dialect", and "$kind" fits $kinds{$kind}: $harm{$dialect}{$kind}.  There are scores, of another distribution.\n)
		  . "HINT:  $remedy;";

		is(said(score($server) . score($server)), $told, "$server: the session is told, once");
		is(said("SELECT count(s) FROM retro_star_rerank('dialect', '{1,2}'::int[], '{$server,other}', server => '$server') s"),
			$told, "$server: so is another one, of a set of documents");
		is(check($server),
			qq(|it serves "m" ($kinds{$kind}); the option dialect is "$dialect", "$kind" fits: $harm{$dialect}{$kind}; $remedy),
			"$server: check() is in doubt");
		my $log = $node->logfile;
		my $times = () = slurp_file($log) =~ /LOG:  option "dialect" of server "$server" does not fit endpoint "\Q$sim->{url}\E"/g;
		is($times, 1, "$server: the log says it once");

		$node->safe_psql('postgres', $remedy);
		is(said(score($server)), '', "$server: the remedy helps");
		is(check($server), qq(t|it serves "m" ($kinds{$kind})), "$server: and check() is sure");
	}
}

subtest 'the option was not given' => sub {
	my $sim = start_simulator('--dialect', 'vllm', '--model', 'm');
	my $remedy = q(ALTER SERVER "Not Given" OPTIONS (ADD dialect 'vllm'));

	create_server($node, 'postgres', '"Not Given"', $sim, @patient);
	like(said(score('Not Given')), qr/^NOTICE: .*\nDETAIL: .*\nHINT:  \Q$remedy\E;$/, 'is told how to give it');
	like(check('Not Given'), qr/^\|.*; \Q$remedy\E$/, 'by check(), too');
	$node->safe_psql('postgres', $remedy);
	is(said(score('Not Given')), '', 'which helps');
};

subtest 'one session, several servers and dialects' => sub {
	my $sim = start_simulator('--dialect', 'vllm', '--model', 'm');

	create_server($node, 'postgres', 'one', $sim, dialect => 'llamacpp', @patient);
	create_server($node, 'postgres', 'two', $sim, dialect => 'openai', @patient);
	my @told = said(score('one') . score('two') . score('one') . score('two')
		. "ALTER SERVER one OPTIONS (SET dialect 'sglang');\n" . score('one') . score('one')
		. "ALTER SERVER one OPTIONS (SET dialect 'vllm');\n" . score('one')) =~ /^NOTICE:  .* of server "(\w+)"/mg;
	is("@told", 'one two one', 'each is told of once, and again after a remedy that is none');
};

subtest 'nobody is told' => sub {
	my %servers = (
		sglang_router => [ '--dialect', 'vllm', '--router', 'sglang-router' ],
		smg => [ '--dialect', 'vllm', '--router', 'smg' ],
		litellm => [ '--dialect', 'vllm', '--router', 'litellm' ]);

	for my $router (sort keys %servers)
	{
		my $sim = start_simulator('--model', 'm', @{ $servers{$router} });
		create_server($node, 'postgres', $router, $sim, @patient);
		is(said(score($router)), '', "of $router");
		unlike(check($router), qr/dialect/, "check() neither, of $router");
	}
	my $sim = start_simulator('--dialect', 'openai', '--model', 'm');
	create_server($node, 'postgres', 'unknown', $sim, dialect => 'openai', @patient);
	is(said(score('unknown')), '', 'of a server that does not say what it is');
	is(check('unknown'), 't|it serves "m"', 'nor check()');

	for my $status (401, 404, 503)
	{
		$sim = start_simulator('--dialect', 'vllm', '--model', 'm');
		$sim->control({ fail => [ { mode => 'status', status => $status, path => '/v1/models' } ] });
		create_server($node, 'postgres', "no_list_$status", $sim, dialect => 'llamacpp', @patient);
		is(said(score("no_list_$status")), '', "of a server that answers $status");
	}
};

subtest 'one question, and no score twice' => sub {
	for my $dialect (qw(sglang vllm llamacpp openai))
	{
		my $sim = start_simulator('--dialect', $dialect, '--model', 'm');
		create_server($node, 'postgres', "asked_$dialect", $sim, dialect => $dialect, max_in_flight => 8, @patient);
		is($node->safe_psql('postgres', "SELECT count(retro_star_score('$dialect', i::text, server => 'asked_$dialect')) FROM generate_series(1, 50) i"),
			50, $dialect);
		is($sim->stats->{chat}, 50, 'each pair is asked for once');
		cmp_ok($sim->stats->{requests}, '>', 50, 'the server is asked what it is');
	}
};

done_testing();
