# What servers and networks do wrong, and what becomes of it: an error with its
# own SQLSTATE, or NULL and one warning; never a score that nobody gave, and
# never a neighbour that pays for it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;
use Time::HiRes ();

my $true = JSON::PP::true;
my $false = JSON::PP::false;
my $documents = 0;

my $node = new_node('failures');
my $sim = start_simulator('--model', 'm', '--log', '100000');

create_server($node, 'postgres', 'gpu', $sim);
# Gives up early where nobody answers, and where an answer does not come.
create_server($node, 'postgres', 'brief', $sim, unavailable_timeout => '500ms');
create_server($node, 'postgres', 'hurry', $sim, timeout => '5s', retries => 1);
create_server($node, 'postgres', 'once', $sim, retries => 0);
# The same with connections of its own: curl 8.22 keeps one that closed within
# the header, and loses the next request on it.
create_server($node, 'postgres', 'apart', "http://localhost:$sim->{port}", retries => 0);
create_server($node, 'postgres', 'cold', $sim, temperature => 0);

# A document of its own, with a failure for the simulator; the first word names
# it in the simulator's log.
sub document
{
	my ($marker) = @_;
	my $name = sprintf('document%05d', ++$documents);

	return defined $marker ? "$name [[sim:$marker]]" : $name;
}

# Requests of a document so far
sub requests
{
	my ($doc, $from) = @_;
	my ($name) = $doc =~ /^(\w+)/;

	return @{ ($from // $sim)->_json("/sim/log?n=100000&match=$name") };
}

# Scores one document: score, and what the error says
sub ask { return finish_ask(start_ask(@_)); }

sub start_ask
{
	my ($server, $doc, $settings) = @_;

	return ask_background($node, 'postgres',
		($settings // '') . "SELECT retro_star_score('query', \$\$$doc\$\$, server => '$server')");
}

sub finish_ask
{
	my ($session) = @_;
	my ($out, $err) = finish_background($session);
	my %said = (score => $out, error => $err, sqlstate => '00000', map { $_ => '' } qw(message detail hint));

	if ($err =~ /ERROR: +(\w{5}): +(.*)/)
	{
		@said{qw(sqlstate message)} = ($1, $2);
		($said{ lc $1 }) = $2 while $err =~ /^(DETAIL|HINT): +(.*)/mg;
	}
	return \%said;
}

# The row of a document in the cache: "{scores} unscored", or ""
sub stored
{
	my ($server, $doc) = @_;

	wait_idle($node);
	return $node->safe_psql('postgres', "SELECT scores, unscored FROM retrostar.score_cache
		WHERE key = retrostar.cache_key('query', \$\$$doc\$\$, server => '$server')", extra_params => [ '-F', ' ' ]);
}

# The document between good ones, in one statement that goes on after failures:
# only its own score is missing, and one warning says why.
sub check_neighbours { finish_neighbours(start_neighbours(@_)); return; }

sub start_neighbours
{
	my ($server, $doc, $why, $marker) = @_;
	my @docs = (document($marker), document($marker), $doc, document($marker), document($marker));
	my $values = join(', ', map { "($_, \$\$$docs[$_]\$\$)" } 0 .. 4);
	my $session = ask_background($node, 'postgres', "SET retrostar.on_error = 'null';
		SELECT coalesce(retro_star_score('query', body, server => '$server')::text, 'NULL')
		FROM (VALUES $values) d (i, body) ORDER BY i");

	return { session => $session, why => $why };
}

sub finish_neighbours
{
	my ($neighbours) = @_;
	my ($out, $err) = finish_background($neighbours->{session});

	unlike($err, qr/ERROR/, 'with on_error = null the statement works');
	like($out, qr/^\d+\n\d+\nNULL\n\d+\n\d+$/, 'and the others have their scores');
	is(() = $err =~ /WARNING:/g, 1, 'one warning');
	like($err, qr/WARNING: +01000: 1 pair could not be scored and is NULL\nDETAIL: +The first: $neighbours->{why}/s,
		'counts and says why');
	return;
}

# The same where nobody is answered before the document has failed
sub check_held_neighbours
{
	my ($server, $doc, $why) = @_;
	my $failed = queue($node, 'failed');
	my $neighbours = start_neighbours($server, $doc, $why, 'hold');

	$sim->wait_for('held', 4);
	$node->poll_query_until('postgres', "SELECT failed > $failed FROM retrostar.stat_queue") or die 'it does not fail';
	$sim->release;
	finish_neighbours($neighbours);
	return;
}

# What the document's own error says
sub check_said
{
	my ($said, %expected) = @_;

	is($said->{sqlstate}, $expected{sqlstate} // '38000', 'SQLSTATE');
	like($said->{message}, $expected{message}, 'message');
	like($said->{detail}, $expected{detail}, 'detail') if $expected{detail};
	like($said->{hint}, $expected{hint}, 'hint') if $expected{hint};
	is($said->{score}, '', 'no score');
	return;
}

# A failure that comes with each request of a document.  Where that is the
# network's, its neighbours are held meanwhile: what they were served would say
# that it is not.
sub check_failure
{
	my ($name, %expected) = @_;
	my $server = $expected{server} // 'gpu';
	my $doc = document($expected{marker} // $name);

	subtest "$name" => sub {
		my $said = ask($server, $doc);
		my $once = requests($doc);

		check_said($said, %expected);
		is($once, $expected{requests}, 'number of requests') if $expected{requests};
		if ($expected{held}) { check_held_neighbours($server, $doc, $expected{message}) }
		else { check_neighbours($server, $doc, $expected{message}) }
		is(requests($doc), 2 * $once, 'it was asked again') if $expected{requests};
		is(stored($server, $doc), $expected{unscored} ? '{} ' . requests($doc) : '', 'what is stored');
	};
	return;
}

# Failures that pass: asked as often as said, the document has a score.
sub check_recovery
{
	my ($name, $requests, %params) = @_;
	my $doc = document($params{marker} // $name);

	subtest "$name, then an answer" => sub {
		my $said = ask($params{server} // 'gpu', $doc);

		like($said->{score}, qr/^\d+$/, 'a score') or diag($said->{error});
		is(requests($doc), $requests, 'number of requests');
		like(stored($params{server} // 'gpu', $doc), qr/^\{$said->{score}\} /, 'which is stored');
	};
	return;
}

#
# Statuses
#
my $failed = qr/server "gpu" failed/;
my $refused = qr/server "gpu" refused the request/;

check_failure('status=500', requests => 3, message => $failed, detail => qr/HTTP status 500/);
check_failure('engine-dead', requests => 3, message => $failed, detail => qr/^HTTP status 500\.$/);
check_failure('bad-gateway', requests => 3, message => $failed, detail => qr/HTTP status 502/);
check_failure('gateway-timeout', requests => 3, message => $failed, detail => qr/HTTP status 504/);
check_failure('status=501', requests => 3, message => $failed);
check_failure('status=400', requests => 1, message => $refused, detail => qr/HTTP status 400/);
check_failure('status=404', requests => 1, message => $refused);
check_failure('validation', requests => 1, message => $refused, detail => qr/HTTP status 422: Field required/);
check_failure('duplicate-id', requests => 1, message => $refused);
check_failure('quota', requests => 1, message => $refused, detail => qr/HTTP status 429: You exceeded your current quota/);
check_failure('auth', requests => 1, message => qr/server "gpu" does not accept the API key/, hint => qr/user mapping/);
check_failure('forbidden', requests => 1, message => qr/server "gpu" does not accept the API key/, hint => qr/user mapping/);
check_failure('model', requests => 1, message => qr/server "gpu" does not serve the model/,
	hint => qr/retrostar\.check\('gpu'\)/);

# A redirect is refused: documents and keys go where the administrator said.
check_failure('redirect', marker => "redirect=$sim->{url}/v1/chat/completions", requests => 1,
	message => $refused, detail => qr/HTTP status 307/);
check_failure('redirect, 302', marker => "redirect=$sim->{url}/v1/models,status=302", requests => 1,
	message => $refused, detail => qr/HTTP status 302/);

check_recovery('status=500,times=1', 2);
check_recovery('status=500,times=2', 3);
check_recovery('engine-dead,times=1', 2);
check_recovery('bad-gateway,times=1', 2);
# Refusals for the time being use up no attempt.
check_recovery('queue-full,times=3', 4);
check_recovery('rate-limit,times=3', 4);
check_recovery("$_,times=1", 2) for qw(loading preempted overloaded shed status=408 no-worker);

# ... but if nothing else comes, there is an end.
for my $mode (qw(rate-limit queue-full))
{
	my $refusing = start_simulator();
	my $server = $mode =~ s/-/_/r;

	create_server($node, 'postgres', $server, $refusing, unavailable_timeout => '500ms');
	$refusing->control({ fail => [ { mode => $mode } ] });
	my $said = ask($server, document());
	is($said->{sqlstate}, '08006', "$mode for ever: SQLSTATE");
	like($said->{message}, qr/could not reach server "$server"/, 'message');
	like($said->{detail}, qr/unavailable_timeout.*The last failure: (Rate limit reached|The request queue is full)/, 'detail');
	like($said->{hint}, qr/retrostar\.check\('$server'\)/, 'hint');
	$refusing->control({ fail_clear => $true });
	my $doc = document();
	wait_until('it is used again', sub { ask($server, $doc)->{score} =~ /^\d+$/ });
	is(requests($doc, $refusing), 1, 'what it takes again is scored');
}

subtest 'Retry-After' => sub {
	for my $value ('1', 'date:2')
	{
		my $doc = document("rate-limit,retry-after=$value,times=1");
		my $said = ask('gpu', $doc);
		my @requests = requests($doc);

		like($said->{score}, qr/^\d+$/, 'a score');
		is(@requests, 2, 'of the second request');
		cmp_ok($requests[1]{arrived_us} - $requests[0]{arrived_us}, '>=', 990_000, 'which came no sooner than allowed');
	}
};

#
# Replies that are none
#
my $not_understood = qr/reply of server "\w+" is not understood/;

check_failure($_, requests => 3, message => $not_understood, detail => qr/not a chat completion/) for qw(junk truncated empty);
for my $mode (qw(truncated=1 json=array json=null json=string json=object json=number deep=100 deep=100000 twice
	choices=empty choices=missing choices=null choices=nulls choices=string choices=object choices=no-message
	choices=null-message choices=text gzip))
{
	check_failure($mode, server => 'once', requests => 1, message => $not_understood, detail => qr/not a chat completion/);
}
check_failure('header-cut', server => 'apart', requests => 1, message => $not_understood, detail => qr/not a chat completion/);
check_failure('huge=10000000', requests => 3, message => $not_understood, detail => qr/reply is too large/);
check_failure('huge-chunked=10000000', requests => 3, message => $not_understood, detail => qr/reply is too large/);
check_failure('sse-error', requests => 3, message => $not_understood, detail => qr/request queue is full/);
check_failure('error-200', requests => 3, message => $not_understood, detail => qr/illegal memory access/);
check_failure('error-200=flat', requests => 3, message => $not_understood, detail => qr/illegal memory access/);
check_failure('error-200=string', requests => 3, message => $not_understood, detail => qr/illegal memory access/);
check_failure('abort', requests => 3, message => $not_understood, detail => qr/aborted/);
check_failure("finish=$_", requests => 3, message => $not_understood, detail => qr/aborted the request \(finish_reason "$_"\)/) for qw(error content_filter);
check_failure('no content', marker => 'status=204,envelope=empty', requests => 3, message => $not_understood,
	detail => qr/^HTTP status 204: not a chat completion/);
check_failure('junk under 201', marker => "body='no JSON',status=201", requests => 3, message => $not_understood,
	detail => qr/^HTTP status 201: not a chat completion/);
check_recovery("success=$_", 1) for qw(201 206 299);
check_recovery('junk,times=1', 2);
check_recovery('truncated,times=2', 3);
check_recovery('abort,times=1', 2);
check_recovery('sse-error,times=1', 2);

#
# Connections that break.  Alone in flight, such a document cannot be told from
# an outage.
#
for my $mode ('close,delay=1', qw(close reset garbage bad-length huge-header cut cut=1 cut-reset chunked-cut))
{
	check_failure($mode, server => 'brief', held => 1, sqlstate => '08006',
		message => qr/could not reach server "brief"/, detail => qr/unavailable_timeout/,
		hint => qr/retrostar\.check\('brief'\)/);
}
check_recovery('close,times=1', 2);
check_recovery('reset,times=2', 3);
check_recovery('cut,times=1', 2);
check_recovery('header-cut,times=1', 2);
check_recovery('cut-reset,times=1', 2);

#
# No answer in time.  All at once, each by a server of its own, since it takes
# its time.
#
subtest 'no answer in time' => sub {
	my @cases = map { { doc => document($_) } } qw(hang silent stall drip=1000);
	my $message = qr/server "hurry_\d" did not answer in time/;

	$cases[$_]{server} = "hurry_$_" for 0 .. $#cases;
	create_server($node, 'postgres', $_->{server}, $sim, timeout => '5s', retries => 1) for @cases;
	$_->{session} = start_ask($_->{server}, $_->{doc}) for @cases;
	for (@cases)
	{
		check_said(finish_ask($_->{session}), sqlstate => '08006', message => $message, hint => qr/"timeout"/);
		is(requests($_->{doc}), 2, 'number of requests');
	}
	$_->{neighbours} = start_neighbours($_->{server}, $_->{doc}, $message) for @cases;
	for (@cases)
	{
		finish_neighbours($_->{neighbours});
		is(requests($_->{doc}), 4, 'it was asked again');
		is(stored($_->{server}, $_->{doc}), '', 'nothing is stored');
	}
	$sim->wait_for('hung', 0);
	pass('requests that timed out are closed');
};
check_recovery('hang,times=1', 2, server => 'hurry');

#
# Answers without a score
#
my $no_score = qr/server "\w+" gave no score/;

check_failure('no-score', requests => 3, unscored => 1, message => $no_score, detail => qr/^3 replies came without/,
	hint => qr/Retro\* model/);
check_failure('null-content', requests => 3, unscored => 1, message => $no_score);
check_failure('length', requests => 3, unscored => 1, message => $no_score, detail => qr/max_tokens/, hint => qr/max_tokens/);
for my $score ('150', '101', '-5', '55.5', 'seventy', '1e2', '0x10', '+5', '5 5', ' ')
{
	check_failure("score='$score'", server => 'once', requests => 1, unscored => 1, message => $no_score);
}
check_recovery('no-score,times=1', 2);
check_recovery('length,times=2', 3);
check_recovery('score=150,times=1', 2);

subtest 'a reply without a score' => sub {
	my $doc = document('no-score,times=1');
	my $said = ask('gpu', $doc);
	my %seeds = map { $_->{seed} => 1 } requests($doc);

	is(keys %seeds, 2, 'is asked again with another seed');
	is(stored('gpu', $doc), "{$said->{score}} 1", 'and is counted');

	$doc = document('no-score,times=1');
	$said = ask('gpu', $doc, 'SET retrostar.samples = 4;');
	is(requests($doc), 5, 'among four samples costs a fifth request');
	like(stored('gpu', $doc), qr/^\{\d+,\d+,\d+,\d+\} 1$/, 'for four scores');

	$doc = document('no-score,after=2');
	$said = ask('gpu', $doc, 'SET retrostar.samples = 4;');
	like($said->{score}, qr/^\d+(\.5)?$/, 'where some are scored, the mean is theirs');
	like(stored('gpu', $doc), qr/^\{\d+,\d+\} 6$/, 'and all others are counted');
};

subtest 'unscored_reply = zero' => sub {
	my $doc = document('no-score,times=1');
	my $said = ask('gpu', $doc, 'SET retrostar.unscored_reply = zero;');

	is($said->{score}, 0, 'is 0');
	is(requests($doc), 1, 'of one request');
	is(stored('gpu', $doc), '{} 1', 'which the cache knows for what it is');
	is(ask('gpu', $doc, 'SET retrostar.unscored_reply = zero;')->{score}, 0, 'it is 0 again');
	is(requests($doc), 1, 'from the cache');
	like(my $score = ask('gpu', $doc)->{score}, qr/^\d+$/, 'where it counts for nothing, it is asked');
	is(requests($doc), 2, 'once more');
	is(stored('gpu', $doc), "{$score} 1", 'and stored beside');
	is(ask('gpu', $doc, 'SET retrostar.unscored_reply = zero;')->{score}, $score / 2, 'half of that with the 0');
};

#
# Scores that are hard to find, and text around them that is hard to swallow
#
for my $mode (qw(quoted-score tail think split reasoning-content reasoning parts nul control replacement surrogate
	bad-utf8 unicode usage=missing usage=null usage=string usage=empty usage=wrong usage=negative usage=huge usage=float
	bom padded content-type=text/html chunked drip last close-behind finish=length finish=tool_calls))
{
	my $doc = document();
	my $plain = ask('cold', $doc)->{score};

	my ($name, $value) = split(/=/, $mode);

	$sim->control({ fail_clear => $true, fail => [ { mode => $name, value => $value // '', match => $doc } ] });
	is(ask('cold', $doc, 'SET retrostar.cache = off;')->{score}, $plain, "the right score: $mode");
	is((requests($doc))[-1]{failure}, $name, 'from such a reply');
}
$sim->control({ fail_clear => $true });

#
# Configuration
#
subtest 'wrong model' => sub {
	my $doc = document();

	create_server($node, 'postgres', 'other_model', $sim, model => 'nosuch', connect_timeout => '60s');
	my $said = ask('other_model', $doc);
	is($said->{sqlstate}, '38000', 'SQLSTATE');
	like($said->{message}, qr/server "other_model" does not serve the model/, 'message');
	like($said->{hint}, qr/retrostar\.check/, 'hint');
	is(requests($doc), 0, 'no request: SGLang would answer under any name');
	is($node->safe_psql('postgres', q(SELECT bool_and(ok), string_agg(detail, ' ' ORDER BY endpoint <> 'worker')
		FROM retrostar.check('other_model') WHERE endpoint <> 'worker')),
		'f|server "other_model" does not serve the model: it serves "m"', 'retrostar.check says which there is');
	$node->safe_psql('postgres', q(ALTER SERVER other_model OPTIONS (SET model 'm')));
	like(ask('other_model', $doc)->{score}, qr/^\d+$/, 'heals by ALTER SERVER');
};

subtest 'wrong key' => sub {
	my $guarded = start_simulator('--api-key', 'secret-1234', '--log', '1000');
	my $doc = document();
	my $said;

	create_server($node, 'postgres', 'guarded', $guarded);
	$said = ask('guarded', $doc);
	is($said->{sqlstate}, '38000', 'no key: SQLSTATE');
	like($said->{hint}, qr/api_key.*user mapping/, 'hint');
	$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER guarded OPTIONS (api_key 'wrong-5678')));
	$said = ask('guarded', $doc);
	like($said->{message}, qr/server "guarded" does not accept the API key/, 'wrong key');
	unlike($said->{error}, qr/5678/, 'which is not shown');
	is(requests($doc, $guarded), 2, 'one request each');
	$node->safe_psql('postgres', q(ALTER USER MAPPING FOR PUBLIC SERVER guarded OPTIONS (SET api_key 'secret-1234')));
	like(ask('guarded', $doc)->{score}, qr/^\d+$/, 'heals by ALTER USER MAPPING');
};

#
# Outages
#

# A session that scores documents, one after another
sub ask_many
{
	my ($server, @docs) = @_;

	return ask_background($node, 'postgres',
		join(' ', map { "SELECT retro_star_score('query', '$_', server => '$server');" } @docs));
}

subtest 'server down' => sub {
	my $deaf = start_simulator('--control-port', '0');
	my $doc = document();
	my $said;

	create_server($node, 'postgres', 'down', $deaf, unavailable_timeout => '500ms');
	$deaf->control({ listen => $false });
	$said = ask('down', $doc);
	is($said->{sqlstate}, '08006', 'SQLSTATE');
	like($said->{message}, qr/could not reach server "down"/, 'message');
	like($said->{detail}, qr/"unavailable_timeout".*The last failure: \S/, 'detail');
	like($said->{hint}, qr/retrostar\.check\('down'\)/, 'hint');
	is(stored('down', $doc), '', 'nothing is stored');
	is($node->safe_psql('postgres', q(SET retrostar.on_error = 'null';
		SELECT count(*) FILTER (WHERE s IS NULL) FROM (SELECT retro_star_score('query', 'down' || i, server => 'down') s
		FROM generate_series(1, 3) i) t)), 3, 'with on_error = null all are NULL');

	# More patience, and it comes up meanwhile.
	$node->safe_psql('postgres', q(ALTER SERVER down OPTIONS (SET unavailable_timeout '180s')));
	my $session = ask_many('down', $doc, document());
	wait_until('it is asked', sub { queue($node, 'pairs') >= 1 });
	$deaf->control({ listen => $true });
	like(scalar finish_background($session), qr/^\d+\n\d+$/, 'what waits is answered when it comes up');
	is(requests($doc, $deaf), 1, 'by one request');
};

# The worker reads its servers again, but they are what they were
subtest 'others are altered meanwhile' => sub {
	create_server($node, 'postgres', 'nobody', 'http://127.0.0.1:9', unavailable_timeout => '3s');
	my $session = ask_many('nobody', document());
	wait_until('it waits', sub { queue($node, 'waiters') == 1 });
	wait_until('it fails', sub {
		$node->safe_psql('postgres', 'CREATE ROLE bystander; DROP ROLE bystander');
		return queue($node, 'waiters') == 0;
	});
	like((finish_background($session))[1], qr/ERROR: +08006: .*server "nobody"/, 'it is not waited for any longer');
};

subtest 'loading' => sub {
	my $slow = start_simulator('--loading');
	my $doc = document();

	create_server($node, 'postgres', 'slow', $slow, unavailable_timeout => '180s');
	my $session = ask_many('slow', $doc);
	$slow->wait_for('errors', 2);
	$slow->control({ loading => $false });
	like(scalar finish_background($session), qr/^\d+$/, 'a server that loads its model is waited for');
};

subtest 'two endpoints, one dead' => sub {
	my $deaf = start_simulator('--control-port', '0');
	my $alive = start_simulator();

	$deaf->control({ listen => $false });
	create_server($node, 'postgres', 'half', "$deaf->{url},$alive->{url}");
	my @sessions = map { ask_many('half', map { document() } 1 .. 5) } 1 .. 4;
	is(join(' ', map { scalar(() = finish_background($_) =~ /^\d+$/mg) } @sessions), '5 5 5 5', 'all are scored');
	is($alive->stats->{chat}, 20, 'with one request each');
};

# Who was refused by the one waits for the other, however often it is tried again
# whether that still refuses.
subtest 'two endpoints, one misconfigured' => sub {
	my @endpoints = map { start_simulator('--hold') } 1 .. 2;
	my @sessions;

	create_server($node, 'postgres', 'partly', join(',', map { $_->{url} } @endpoints), max_in_flight => 1);
	push @sessions, ask_many('partly', document());
	wait_until('one is full', sub { grep { $_->stats->{held} } @endpoints });
	my ($holds, $refuses) = sort { $b->stats->{held} <=> $a->stats->{held} } @endpoints;
	$refuses->control({ fail => [ { mode => 'auth' } ] });
	push @sessions, ask_many('partly', document());
	$refuses->wait_for('chat', 2);
	$holds->control({ hold => $false });
	for (@sessions)
	{
		my ($out, $err) = finish_background($_);
		like($out, qr/^\d+$/, 'a score') or diag($err);
	}
	is($holds->stats->{chat}, 2, 'by the other');
};

subtest 'one document breaks connections' => sub {
	my @endpoints = map { start_simulator('--delay-ms', '5', '--max-running', '4') } 1 .. 4;
	my $poison = document('hang');
	my $statement = q(FROM pg_stat_activity WHERE query LIKE '%''another''%' AND pid <> pg_backend_pid());
	my %saw;

	create_server($node, 'postgres', 'four', join(',', map { $_->{url} } @endpoints), retries => 5);
	my $session = ask_background($node, 'postgres',
		"SELECT count(retro_star_score('query ' || i, 'another', server => 'four')) FROM generate_series(1, 1000000) i");
	my $asked = start_ask('four', $poison);
	for (1 .. 6)
	{
		my $at;
		wait_until('an endpoint has it', sub { ($at) = grep { $_->stats->{hung} } @endpoints; return $at });
		$saw{ $at->{url} }++;
		# Others are served there meanwhile: so it is not an outage.
		my $answered = "answered FROM retrostar.stat_server WHERE server = 'four' AND endpoint = '$at->{url}'";
		my $before = $node->safe_psql('postgres', "SELECT $answered");
		$node->poll_query_until('postgres', "SELECT $before < $answered") or die 'nobody is served';
		# closes the connection
		$at->reset;
	}
	my $said = finish_ask($asked);
	is($node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $statement"), 't', 'others are asked for all the time');
	my (undef, $err) = finish_background($session);
	is($said->{sqlstate}, '08006', 'it fails');
	like($said->{message}, qr/^connection to server "four" failed/, 'by the connection');
	like($err, qr/57014/, 'and no other');
	cmp_ok(scalar(keys %saw), '<=', 2, 'at most two endpoints saw it');
	is($_->stats->{hung}, 0, 'and not once more') for @endpoints;
	is(stored('four', $poison), '', 'nothing is stored of it');
};

subtest 'one document breaks the model' => sub {
	my @endpoints = map { start_simulator('--log', '10000') } 1 .. 4;
	my $poison = document('status=500');
	my @docs = map { document() } 1 .. 20;

	create_server($node, 'postgres', 'models', join(',', map { $_->{url} } @endpoints), retries => 5);
	splice(@docs, 10, 0, $poison);
	my $values = join(', ', map { "('$_')" } @docs);
	my ($ret, $out, $err) = $node->psql('postgres', "SET retrostar.on_error = 'null';
		SELECT coalesce(retro_star_score('query', body, server => 'models')::text, 'NULL') FROM (VALUES $values) d (body)");
	is(() = $out =~ /^\d+$/mg, 20, '20 scores');
	is(() = $out =~ /^NULL$/mg, 1, 'and one failure');
	cmp_ok(scalar(grep { requests($poison, $_) } @endpoints), '<=', 2, 'that at most two endpoints saw');
	is((() = map { requests($poison, $_) } @endpoints), 6, 'as often as allowed');
};

subtest 'killed and restarted under load' => sub {
	# Nothing is answered until the end, so that each is killed with requests
	my @endpoints = map { start_simulator('--hold') } 1 .. 2;
	my @urls = map { $_->{url} } @endpoints;
	my @docs;
	my @sessions;

	create_server($node, 'postgres', 'restarted', join(',', @urls), unavailable_timeout => '180s');
	# enough for both, whichever the query prefers
	for (1 .. 16)
	{
		my @some = map { document() } 1 .. 12;
		push @docs, @some;
		push @sessions, ask_many('restarted', @some);
	}
	for my $i (0, 1, 0)
	{
		my $other = $endpoints[ 1 - $i ];
		my $before;

		$endpoints[$i]->wait_for('held', 1);
		$before = $other->stats->{chat};
		$endpoints[$i]{harness}->signal('KILL');
		$endpoints[$i]{harness}->finish;
		$endpoints[$i]{harness} = undef;
		$other->wait_for('chat', $before + 1);
		$endpoints[$i] = start_simulator('--hold', '--port', $endpoints[$i]{port});
	}
	$_->control({ hold => $false }) foreach @endpoints;
	my $scores = join("\n", map { scalar finish_background($_) } @sessions);
	is(() = $scores =~ /^\d+$/mg, @docs, 'every document has a score');
};

subtest 'in deferred triggers, at the end of a transaction' => sub {
	$node->safe_psql('postgres', q(CREATE TABLE deferred (doc text);
		CREATE FUNCTION deferred() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE score float8;
		BEGIN score := retro_star_score('query', NEW.doc); RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION deferred()));
	my ($ret, $out, $err) = $node->psql('postgres', "SET retrostar.on_error = 'null'; SET retrostar.server = 'gpu';
		BEGIN; INSERT INTO deferred VALUES (''), (''); COMMIT");
	is($ret, 0, 'with on_error = null the transaction commits');
	like($err, qr/WARNING: +.*could not be scored/, 'a warning');
	is(() = $err =~ /WARNING:/g, 1, 'one');
};

#
# What cannot be sent fails at once, and leaves room for the next: nothing else
# happens that would remind the worker of those.
#
create_server($node, 'postgres', 'keyless', $sim);
$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER keyless OPTIONS (api_key_file '/nonexistent/key')));
my ($keyless, $none, $why) = $node->psql('postgres', q(SET statement_timeout = '60s'; SET retrostar.on_error = 'null';
	SELECT count(retro_star_score('keyless', i::text, server => 'keyless')) FROM generate_series(1, 4000) i));
is($none, '0', 'many pairs without a key');
like($why, qr/WARNING: .*4000 pairs could not be scored/, 'and all of them fail');

#
# All is accounted for
#
wait_idle($node);
my %ids;
$ids{ $_->{headers}{'x-request-id'} }++ for @{ $sim->log(100_000) };
is(scalar(grep { $_ > 1 } values %ids), 0, 'no request id came twice');
is($node->safe_psql('postgres', q(SELECT asked = answered + failed + cancelled AND pairs = 0
	AND waiters = 0 AND text_bytes = 0 AND lost = 0 FROM retrostar.stat_queue)), 't', 'counters balance');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|was terminated|"retrostar worker" \(PID \d+\) exited|leaked/, 'nothing crashed');

done_testing();
