# retrostar.check(): what works, what does not and what is in doubt, on the way
# that samples go; and SGLang, which answers for any model.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('check');

# ok ("t", "f" or "" for doubt) and detail of a server with one endpoint
sub check
{
	my ($server) = @_;

	return $node->safe_psql('postgres', "SELECT ok, detail FROM retrostar.check('$server') WHERE endpoint <> 'worker'");
}

subtest 'servers say who they are' => sub {
	my %servers = (sglang => 'SGLang', vllm => 'vLLM', llamacpp => 'llama-server');

	for my $dialect (sort keys %servers)
	{
		my $sim = start_simulator('--dialect', $dialect, '--model', 'm');
		my $other = $dialect eq 'vllm' ? 'sglang' : 'vllm';

		create_server($node, 'postgres', "is_$dialect", $sim, dialect => $dialect);
		is(check("is_$dialect"), qq(t|it serves "m" ($servers{$dialect})), $dialect);
		create_server($node, 'postgres', "not_$dialect", $sim, dialect => $other);
		like(check("not_$dialect"),
			qr/^\|it serves "m" \(\Q$servers{$dialect}\E\); the option dialect is "$other", "$dialect" fits: it .+; ALTER SERVER not_$dialect OPTIONS \(SET dialect '$dialect'\)$/,
			"$dialect, asked in another dialect");
		is($sim->stats->{completed}, 0, 'no answer was generated') unless $dialect eq 'llamacpp';
		is($sim->stats->{chat}, 2, 'though the way of samples was tried');
	}
	my $sim = start_simulator('--dialect', 'openai', '--model', 'm');
	create_server($node, 'postgres', 'is_openai', $sim, dialect => 'openai');
	is(check('is_openai'), 't|it serves "m"', 'who does not say it');
};

subtest 'routers' => sub {
	my $sim = start_simulator('--dialect', 'vllm', '--model', 'm', '--router', 'sglang-router', '--api-key', 'k3y');

	create_server($node, 'postgres', 'router', $sim, dialect => 'vllm');
	like(check('router'), qr/^f\|server "router" does not accept the API key/, 'the list is open, the chat is not');
	$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER router OPTIONS (api_key 'k3y')));
	is(check('router'), '|its list does not have the model: it serves "unknown" (sglang-router)',
		'a list that does not know what is behind it is no failure');
	is($node->safe_psql('postgres', q(SELECT count(retro_star_score('router', 'd', server => 'router')))), '1', 'and there are scores');

	$sim = start_simulator('--model', 'm', '--router', 'smg');
	create_server($node, 'postgres', 'gateway', $sim);
	is(check('gateway'), 't|it serves "m" (smg)', 'smg');
	$sim->control({ workers => 'none' });
	like(check('gateway'), qr/^f\|.*503.*No models available/, 'without workers');

	$sim = start_simulator('--dialect', 'vllm', '--model', 'm', '--router', 'litellm', '--api-key', 'k3y');
	create_server($node, 'postgres', 'lite', $sim, dialect => 'vllm');
	$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER lite OPTIONS (api_key 'k3y')));
	is(check('lite'), 't|it serves "m" (LiteLLM)', 'LiteLLM');
	$node->safe_psql('postgres', q(ALTER USER MAPPING FOR PUBLIC SERVER lite OPTIONS (SET api_key 'wrong')));
	like(check('lite'), qr/^f\|server "lite" refused the request: HTTP status 400: No connected db/, 'LiteLLM with a wrong key');
};

subtest 'what is wrong' => sub {
	my $sim = start_simulator('--dialect', 'vllm', '--model', 'm');

	create_server($node, 'postgres', 'wrong', $sim, dialect => 'vllm', model => 'x');
	is(check('wrong'), 'f|server "wrong" does not serve the model: it serves "m"', 'a model that vLLM does not serve');
	$node->safe_psql('postgres', q(ALTER SERVER wrong OPTIONS (SET model 'm')));
	$sim->control({ fail => [ { mode => 'status', status => 404, envelope => 'detail', message => 'Not Found' } ] });
	like(check('wrong'), qr/^f\|server "wrong" refused the request: HTTP status 404/, 'no such path');
	$sim->control({ fail_clear => JSON::PP::true, fail => [ { mode => 'queue-full' } ] });
	like(check('wrong'), qr/^\|it takes no requests now: HTTP status 503: .+ \(vLLM\)$/, 'a full queue is a doubt');
	$sim->control({ fail_clear => JSON::PP::true, fail => [ { mode => 'engine-dead' } ] });
	like(check('wrong'), qr/^f\|server "wrong" failed: HTTP status 500/, 'an engine that is dead');
	$sim->control({ fail_clear => JSON::PP::true, fail => [ { mode => 'status', status => 404, path => '/v1/models' } ] });
	is(check('wrong'), 't|it has no list of models', 'who has no list is no failure');
};

subtest 'SGLang answers for any model' => sub {
	my $sim = start_simulator('--log', '1000', '--model', 'default', '--any-model');
	my $any = "SELECT retro_star_score('anyname', i::text, server => 'anyname') FROM generate_series(1, 20) i";

	create_server($node, 'postgres', 'anyname', $sim, model => 'm');
	is(check('anyname'), 'f|server "anyname" does not serve the model: it serves "default"', 'check()');
	my ($out, $err) = finish_background(ask_background($node, 'postgres', $any));
	like($err, qr/ERROR:  38000: server "anyname" does not serve the model.*DETAIL: +it serves "default".*HINT: .*option "model"/s,
		'no score under a wrong name');
	is(scalar(grep { $_->{body} !~ /"messages":\[\]/ } @{ $sim->log }), 0, 'no sample was sent');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM retrostar.score_cache WHERE model = 'm'
		AND key = retrostar.cache_key('anyname', '1', server => 'anyname'))), '0', 'nothing is stored');

	$node->safe_psql('postgres', q(ALTER SERVER anyname OPTIONS (SET model 'default')));
	($out, $err) = finish_background(ask_background($node, 'postgres', "SELECT count(*) FROM ($any) t(s) WHERE s IS NOT NULL"));
	is($out, '20', 'with the right name') or diag($err);
	my $asked = $sim->stats->{requests} - $sim->stats->{chat};
	finish_background(ask_background($node, 'postgres', $any =~ s/'anyname', i/'more', i/r));
	cmp_ok($sim->stats->{requests} - $sim->stats->{chat}, '<=', $asked + 1, 'it is asked once in the life of a worker');
	$node->safe_psql('postgres', q(ALTER SERVER anyname OPTIONS (SET model 'default:adapter')));
	($out, $err) = finish_background(ask_background($node, 'postgres', "SELECT count(*) FROM ($any) t(s) WHERE s IS NOT NULL"));
	is($out, '20', 'and with that of an adapter') or diag($err);
};

subtest 'one of two has another model' => sub {
	my @sims = (start_simulator('--model', 'm'), start_simulator('--model', 'other', '--any-model'));

	create_server($node, 'postgres', 'mixed', join(',', map { $_->{url} } @sims));
	is($node->safe_psql('postgres', q(SELECT count(retro_star_score('mixed' || i % 20, i::text, server => 'mixed'))
		FROM generate_series(1, 100) i)), '100', 'the other one scores all');
	is($sims[1]->stats->{chat}, 0, 'it is sent none');
	is($node->safe_psql('postgres', "SELECT state FROM retrostar.stat_server WHERE endpoint = '$sims[1]->{url}'"),
		'misconfigured', 'and the view says why');
};

done_testing();
