# Headers of options reach every request and nobody else; the name of a trace's
# span, and an id that the engine's log has, too.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('headers');
my $sim = start_simulator('--model', 'm', '--log', '1000');
my $span = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
my $pairs = 0;

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 4);

# Asks for a new pair, with these settings; the headers of its request
sub headers
{
	my ($settings, $user) = @_;

	$pairs++;
	$node->safe_psql('postgres', "$settings SELECT retro_star_score('q', 'document $pairs', server => 'gpu')",
		defined $user ? (extra_params => [ '-U', $user ]) : ());
	return $sim->log(1)->[0]{headers};
}

sub alter { $node->safe_psql('postgres', "ALTER SERVER gpu OPTIONS ($_[0])"); return; }

subtest 'of the server' => sub {
	$node->safe_psql('postgres', q(SELECT retro_star_score('q', 'known', server => 'gpu')));
	my $chats = $sim->stats->{chat};
	alter(q(ADD headers '{"X-Team": "search", "Ocp-Apim-Trace": "true"}'));
	is($node->safe_psql('postgres', q(SET retrostar.on_miss = skip; SELECT retro_star_score('q', 'known', server => 'gpu') IS NOT NULL)), 't',
		'they are not in the key');
	my $got = headers('');
	is($got->{'x-team'}, 'search', 'one');
	is($got->{'ocp-apim-trace'}, 'true', 'and the other');
	is($got->{authorization}, undef, 'no key');
	alter(q(ADD api_key_header 'X-Key'));
	$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key 'sesame-sesame')));
	$got = headers('');
	is($got->{'x-key'}, 'sesame-sesame', 'the key goes in its own header');
	is($got->{authorization}, undef, 'and in no other');
};

subtest 'who asks' => sub {
	is(headers('')->{'user-agent'}, 'retrostar', 'unless an option says so');
	alter(q(SET headers '{"X-Team": "search", "Ocp-Apim-Trace": "true", "user-agent": "search/2"}'));
	is(headers('')->{'user-agent'}, 'search/2', 'who it is');
	alter(q(SET headers '{"X-Team": "search", "Ocp-Apim-Trace": "true"}'));
};

subtest 'of user mappings' => sub {
	$node->safe_psql('postgres', q(ALTER USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (ADD headers '{"X-Team": "secret-team", "Cookie": "secret-cookie"}')));
	my $got = headers('');
	is($got->{'x-team'}, 'secret-team', 'it comes before that of the server');
	is($got->{cookie}, 'secret-cookie', 'besides');
	is($got->{'ocp-apim-trace'}, 'true', 'what only the server has');
	$node->safe_psql('postgres', q(ALTER USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (ADD api_key_header 'Authorization')));
	is(headers('')->{authorization}, 'sesame-sesame', 'without "Bearer"');
	$node->safe_psql('postgres', q(ALTER USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (DROP api_key_header)));

	# What the server repeats is hidden
	$sim->control({ fail => [ { mode => 'status', status => 400, times => 1, envelope => 'raw',
		message => '{"message": "no secret-cookie for sesame-sesame"}' } ] });
	my ($ret, $out, $err) = $node->psql('postgres', q(SELECT retro_star_score('q', 'repeated', server => 'gpu')));
	like($err, qr/no \*{13} for \*{13}/, 'a cookie and a key that the server repeats');
	unlike($err, qr/secret-cookie|sesame/, 'nobody sees them');
};

# A role may choose its own key, but not what else is sent: answers are shared
subtest 'of a role' => sub {
	$node->safe_psql('postgres', q(CREATE ROLE alice LOGIN; GRANT USAGE ON FOREIGN SERVER gpu TO alice));
	my $mapping = sub { $node->safe_psql('postgres', "$_[0] USER MAPPING FOR alice SERVER gpu $_[1]"); };
	my $outcome = sub {
		$pairs++;
		my ($ret, $out, $err) = $node->psql('postgres', "SELECT retro_star_score('q', 'document $pairs', server => 'gpu')",
			extra_params => [ '-U', 'alice' ]);
		return $ret == 0 ? 'ok' : $err;
	};
	$node->safe_psql('postgres', q(SET ROLE alice; CREATE USER MAPPING FOR alice SERVER gpu OPTIONS (api_key 'alice-alice')));
	is($outcome->(), 'ok', 'a key');
	is($sim->log(1)->[0]{headers}{'x-key'}, 'alice-alice', 'in the header that the owner has chosen');
	$mapping->('ALTER', q(OPTIONS (ADD api_key_header 'x-KEY')));
	is($outcome->(), 'ok', 'the same name');
	$mapping->('ALTER', q(OPTIONS (SET api_key_header 'X-Model')));
	like($outcome->(), qr/permission denied to use option "api_key_header" with server "gpu"/, 'another name');
	$mapping->('ALTER', q(OPTIONS (DROP api_key_header, ADD headers '{"X-Model": "mine"}')));
	like($outcome->(), qr/permission denied to use option "headers" with server "gpu"/, 'headers');
	$node->safe_psql('postgres', 'ALTER ROLE alice SUPERUSER');
	is($outcome->(), 'ok', 'whoever may say what the server is');
	is($sim->log(1)->[0]{headers}{'x-model'}, 'mine', 'says what is sent');
	$node->safe_psql('postgres', 'ALTER ROLE alice NOSUPERUSER');
};

# A gateway that lets in nobody without its header
subtest 'every request' => sub {
	my $gate = start_simulator('--model', 'm', '--api-key', 'key-of-the-gate', '--disconnect-ms', '-1');

	create_server($node, 'postgres', 'gate', $gate, max_in_flight => 4,
		headers => '{"X-Sim-Gate": "open"}');
	$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER gate OPTIONS (api_key 'key-of-the-gate')));
	is($node->safe_psql('postgres', q(SELECT bool_and(ok) FROM retrostar.check('gate'))), 't', 'check');
	my $score = ask_background($node, 'postgres', q(SELECT retro_star_score('q', 'd', server => 'gate') IS NOT NULL));
	is(scalar finish_background($score), 't', 'a sample');
	is($gate->log(1)->[0]{headers}{'x-sim-gate'}, 'open', 'has it');
};

subtest 'a span of a trace' => sub {
	is(headers('')->{traceparent}, undef, 'none');
	is(headers("SET retrostar.traceparent = '$span';")->{traceparent}, $span, 'the header');
	# A request that is joined keeps the first one's
	$sim->control({ hold => JSON::PP::true });
	my $first = ask_background($node, 'postgres', "SET retrostar.traceparent = '$span'; SELECT retro_star_score('q', 'joined', server => 'gpu')");
	$sim->wait_for('running', 1);
	my $second = ask_background($node, 'postgres', 'SET retrostar.traceparent = \'' . ($span =~ tr/4/5/r)
		. '\'; SELECT retro_star_score(\'q\', \'joined\', server => \'gpu\')');
	wait_until('both wait', sub { queue($node, 'waiters') == 2 });
	$sim->control({ hold => JSON::PP::false });
	finish_background($_) for $first, $second;
	is($sim->log(1)->[0]{headers}{traceparent}, $span, 'of who made the request');
	is(sqlstate($node, 'postgres', "SET retrostar.traceparent = '$_->[0]'"), '22023', $_->[1])
	  for [ 'abc', 'too short' ], [ "$span-00", 'too long' ], [ uc $span, 'upper case' ],
	  [ '01' . substr($span, 2), 'another version' ], [ $span =~ s/4bf9\w+/'0' x 32/er, 'no trace' ],
	  [ $span =~ s/00f06\w+/'0' x 16/er, 'no span' ], [ substr($span, 0, 54) . 'g', 'no digit' ],
	  [ substr($span, 0, 53) . "\r\n", 'a line end' ];
	is(sqlstate($node, 'postgres', q(SET retrostar.traceparent = '')), '00000', 'none again');
};

subtest 'an id for the log' => sub {
	for my $case ([ 'sglang', 'rid' ], [ 'vllm', 'request_id' ])
	{
		my ($dialect, $member) = @$case;
		my $engine = start_simulator('--model', 'm', '--dialect', $dialect, '--log', '10');

		create_server($node, 'postgres', $dialect, $engine, dialect => $dialect);
		$node->safe_psql('postgres', "SELECT retro_star_score('id', '$dialect', server => '$dialect')");
		my $chat = $engine->log(1)->[0];
		like($chat->{headers}{'x-request-id'}, qr/\A[0-9a-f-]{36}\z/, "$dialect: an id");
		is(decode_json($chat->{body})->{$member}, $chat->{headers}{'x-request-id'}, "is $member, too");
	}
};

$node->stop;
done_testing();
