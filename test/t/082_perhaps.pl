# Names that somebody mistyped: what is said of them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('perhaps');
my $sim = start_simulator('--model', 'm');

create_server($node, 'postgres', 'gpu', $sim, retries => 0);

sub said
{
	my ($sql) = @_;
	my (undef, undef, $err) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	return $err;
}

sub create
{
	my ($options) = @_;

	return said("CREATE SERVER s FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm', $options); DROP SERVER s");
}

subtest 'options' => sub {
	like(create("max_token '7'"), qr/ERROR: +HV00D: invalid option "max_token"\nHINT: +Perhaps you meant the option "max_tokens"\./, 'one letter');
	like(create("\"Max_Tokens\" '7'"), qr/HINT: +Perhaps you meant the option "max_tokens"\./, 'the case');
	like(create("colour 'red'"), qr/HINT: +Valid options in this context are: url, model,/, 'nothing like it');
	like(create("api_key 'x'"), qr/DETAIL: +It is an option of user mappings\.\nHINT: +Valid options/, 'what is one elsewhere');
	like(create("\"" . ('x' x 60) . "\" 'red'"), qr/HINT: +Valid options/, 'a long one');
	like(said("CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_kay 'x')"), qr/HINT: +Perhaps you meant the option "api_key"\./, 'of a mapping');
};

subtest 'values of options in any case' => sub {
	for my $option ("dialect 'SGLang'", "dialect 'VLLM'", "dialect 'LlamaCpp'", "priority_scheduling 'True'", "preempt 'OFF'")
	{
		is(create($option), '', $option);
	}
	like(create("dialect 'sglan'"), qr/ERROR: +22023: .*"sglan"\nDETAIL: +Valid values are .*\nHINT: +Perhaps you meant "sglang"\./, 'a mistyped dialect');
	unlike(create("dialect 'tgi-x'"), qr/HINT/, 'one that nobody knows');
	like($node->safe_psql('postgres', q(SELECT retrostar.cache_key('q', 'd'))), qr/^\\x/, 'a key');
	my $key = $node->safe_psql('postgres', q(SELECT retrostar.cache_key('q', 'd')));
	$node->safe_psql('postgres', q(ALTER SERVER gpu OPTIONS (ADD dialect 'SGLang')));
	is($node->safe_psql('postgres', q(SELECT retrostar.cache_key('q', 'd'))), $key, 'is that of the dialect');
	$node->safe_psql('postgres', q(ALTER SERVER gpu OPTIONS (DROP dialect)));
};

subtest 'settings' => sub {
	is(said(q(SET retrostar.passes = 'Adaptive')), '', 'passes in any case');
	is(said(q(SET retrostar.on_error = 'NULL')), '', 'and words');
	like(said(q(SET retrostar.on_error = 'nul')), qr/HINT: +Available values: error, null/, 'of few words all are told');
};

subtest 'servers and tasks' => sub {
	like(said(q(SELECT retro_star_score('q', 'd', server => 'gpuu'))), qr/ERROR: +42704: server "gpuu" does not exist\nHINT: +Perhaps you meant the server "gpu"\./, 'a server');
	like(said(q(SET retrostar.server = 'gqu'; SELECT retro_star_score('q', 'd'))), qr/server "gqu" does not exist\nDETAIL: +The name comes from.*\nHINT: +Perhaps you meant the server "gpu"\./, 'of the setting');
	unlike(said(q(SELECT retro_star_score('q', 'd', server => 'elsewhere'))), qr/HINT/, 'none is like it');
	like(said(q(SELECT retro_star_score('q', 'd', 'gpu'))), qr/ERROR: +42704: task "gpu" does not exist\nHINT: +A server is named by server => 'gpu'\./, 'a server in the place of a task');
	like(said(q(SELECT retro_star_score('q', 'd', 'Biologie'))), qr/task "Biologie" does not exist\nHINT: +Perhaps you meant the task "biology"\./, 'a task');
	like(said(q(SELECT retro_star_score('q', 'd', 'cooking recipes'))), qr/HINT: +SELECT name FROM retrostar\.task lists/, 'none is like it');
	like(said(q(SELECT retro_star_score('q', 'd', repeat('x', 1000)))), qr/HINT: +SELECT name FROM retrostar\.task lists/, 'a long name');

	$node->safe_psql('postgres', 'CREATE ROLE "Some body"');
	my $err = said(q(SET ROLE "Some body"; SELECT retro_star_score('q', 'd', server => 'gpuu')));
	like($err, qr/server "gpuu" does not exist/, 'who may use none');
	unlike($err, qr/HINT/, 'is told of none');
	like(said(q(SET ROLE "Some body"; SELECT retro_star_score('q', 'd'))),
		qr/ERROR: +42501: permission denied.*\nHINT: +Ask a server's owner for this, for example: GRANT USAGE ON FOREIGN SERVER gpu TO "Some body";/, 'and what to ask for');
};

subtest 'a refusal that names a parameter' => sub {
	like(said(q(SELECT retro_star_score('q', '[[sim:status=400]]'))), qr/refused the request\nDETAIL: +HTTP status 400: Bad Request\nThe document/, 'one that does not');
	unlike(said(q(SELECT retro_star_score('q', '[[sim:status=400]]'))), qr/dialect/, 'has no hint');
	my $other = start_simulator('--model', 'm', '--dialect', 'openai');
	create_server($node, 'postgres', 'other', $other, retries => 0);
	like(said(q(SELECT retro_star_score('q', 'd', server => 'other'))),
		qr/ERROR: .*server "other" refused the request\n(.*\n)+HINT: +The option "dialect" of the server/, 'one that does has one');
};

done_testing();
