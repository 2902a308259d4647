# What the log says of endpoints: each change once, and nothing of documents,
# keys, or what a server made of them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $true = JSON::PP::true;
my $documents = 0;

# All lines of the worker; PostgreSQL's own do not quote statements.
my $node = new_node('log', conf => q(
log_statement = none
log_min_error_statement = panic
log_min_duration_statement = -1
log_min_messages = debug5
retrostar.worker_idle_timeout = '1h'
));
my $dir = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$dir/key", "secret-1234\n");

# Lines of the log that have this
sub logged
{
	my ($pattern) = @_;
	return scalar(() = slurp_file($node->logfile) =~ /^.*LOG: .*$pattern.*$/mg);
}

# Scores $n documents, errors and all
sub ask
{
	my ($server, $n) = @_;
	my $from = $documents + 1;

	$documents += $n;
	# they wait until all are there: so many are in flight at once, however slowly they are asked for
	$node->safe_psql('postgres', 'SELECT retrostar.pause()');
	my $session = ask_background($node, 'postgres', "SET retrostar.on_error = 'null'; SET client_min_messages = error; SET log_min_messages = fatal;
		SELECT count(retro_star_score('query', 'confidential ' || i, server => '$server')) FROM generate_series($from, $documents) i");
	wait_until('all wait', sub { queue($node, 'waiting') == $n });
	$node->safe_psql('postgres', 'SELECT retrostar.resume()');
	return scalar finish_background($session);
}

# From when on what waits fails: soon, while an endpoint is to fail, and never,
# when it is to be well again
sub give_up_after
{
	my ($server, $time) = @_;
	$node->safe_psql('postgres', "ALTER SERVER $server OPTIONS (SET unavailable_timeout '$time')");
	return;
}

my $sim = start_simulator('--model', 'm', '--control-port', '0');
create_server($node, 'postgres', 'gpu', $sim, retries => 0, connect_timeout => '180s', unavailable_timeout => '300ms');
$node->safe_psql('postgres', "CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key_file '$dir/key')");
my $endpoint = qr/endpoint "\Q$sim->{url}\E" of server "gpu"/;

subtest 'an endpoint that fails' => sub {
	my $echo = { mode => 'status', status => 500, message => 'confidential 1 secret-1234' };

	$sim->control({ fail => [$echo], health => 500 });
	is(ask('gpu', 30), 0, 'nothing is scored');
	is(logged(qr/$endpoint fails and is not used for now/), 1, 'is told once');
	like(slurp_file($node->logfile), qr/fails and is not used for now\n.*DETAIL: +The last failure: HTTP status 500\.\n/, 'with the cause');
	ask('gpu', 5);
	is(logged(qr/$endpoint/), 1, 'while it lasts there is nothing to tell');
	$sim->control({ fail_clear => $true, health => 200 });
	give_up_after('gpu', '1h');
	is(ask('gpu', 1), 1, 'it is used again');
	is(logged(qr/$endpoint is used again/), 1, 'and that it is over');
	is(ask('gpu', 20), 20, 'all are scored');
	is(logged(qr/$endpoint/), 2, 'nothing for each request');
};

subtest 'connections that break' => sub {
	my $from = -s $node->logfile;

	$sim->control({ fail => [ { mode => 'close' } ], health => 503 });
	give_up_after('gpu', '300ms');
	is(ask('gpu', 30), 0, 'nothing is scored');
	is(logged(qr/$endpoint fails and is not used for now/), 2, 'is told once');
	like(slurp_file($node->logfile, $from), qr/DETAIL: +The last failure: \w+ .*\.\n/, "with curl's words");
	$sim->control({ fail_clear => $true, health => 200 });
	give_up_after('gpu', '1h');
	is(ask('gpu', 1), 1, 'it is used again');
	is(logged(qr/$endpoint is used again/), 2, 'and that it is back');
};

subtest 'an endpoint that is misconfigured' => sub {
	my $before = logged(qr/$endpoint/);

	$sim->control({ fail => [ { mode => 'status', status => 401, message => 'wrong key secret-1234 for confidential 7' } ] });
	is(ask('gpu', 30), 0, 'nothing is scored');
	is(logged(qr/$endpoint is misconfigured/), 1, 'is told once');
	like(slurp_file($node->logfile), qr/is misconfigured\n.*DETAIL: +With user mapping \d+: HTTP status 401\.\n.*HINT: .*retrostar\.check\('gpu'\)/, 'with the cause');
	$sim->control({ fail_clear => $true });
	is(ask('gpu', 30), 30, 'all are scored');
	is(logged(qr/$endpoint is not misconfigured any more/), 1, 'and that it is over');
	is(logged(qr/$endpoint/), $before + 2, 'nothing else');

	# One that dislikes a document now and then
	$sim->control({ fail => [ { mode => 'forbidden', match => '3' } ] });
	ask('gpu', 40);
	cmp_ok(logged(qr/$endpoint/), '<=', $before + 4, 'comes and goes without so many words');
	$sim->control({ fail_clear => $true });
};

wait_idle($node);
my $log = slurp_file($node->logfile);
unlike($log, qr/confidential/, 'no text of a document');
unlike($log, qr/secret-1234/, 'no key');
unlike($log, qr/TRAP|PANIC|was terminated|"retrostar worker" \(PID \d+\) exited|leaked/, 'nothing crashed');

done_testing();
