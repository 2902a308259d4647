# How it is sent: TLS, Unix sockets, no proxies, connections that are used
# again, and few descriptors.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroFaults qw(descriptors);
use RetroTest;
use Test::More;

my $true = JSON::PP::true;
my $false = JSON::PP::false;
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $documents = 0;
my $node;

sub new_document
{
	return 'document ' . ++$documents;
}

# Score, or the error
sub ask
{
	my ($server, $doc) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', "SELECT retro_star_score('query', '$doc', server => '$server')",
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	return $ret == 0 ? $out : $err;
}

# Scores documents in so many sessions at once
sub start_asking
{
	my ($server, $sessions, $each, $query) = @_;
	my @sessions;

	$query //= 'query';

	for my $i (1 .. $sessions)
	{
		my $sql = join(' ', map { "SELECT retro_star_score('$query', '" . new_document() . "', server => '$server');" } 1 .. $each);
		push @sessions, ask_background($node, 'postgres', $sql);
	}
	return @sessions;
}

# The number of scores that came of it
sub scores_of
{
	return scalar(() = join("\n", map { scalar finish_background($_) } @_) =~ /^\d+$/mg);
}

sub ask_many { return scores_of(start_asking(@_)); }

# Every request came once: none was sent again behind our back
sub is_sent_once
{
	my ($sim, $n, $name) = @_;
	my $log = $sim->log(100_000);
	my $stats = $sim->stats;
	my %ids = map { $_->{headers}{'x-request-id'} => 1 } @$log;

	is($stats->{chat}, $n, "$name: as many requests as documents");
	is(keys %ids, $n, 'each with an id of its own');
	is($stats->{duplicates}, 0, 'none twice')
	  or diag(explain($stats, [ map { my %it = %$_; delete @it{qw(body headers)}; \%it } grep { $_->{outcome} ne 'sent' } @$log ]),
		$node->safe_psql('postgres', 'SELECT * FROM retrostar.stat_server', extra_params => ['-x']));
	return;
}

# Proxies in the environment are not for us: this one leads nowhere.  The
# simulator is started first, since the test itself would use it.
my $sim = start_simulator('--control-port', '0', '--log', '100000');
{
	local @ENV{qw(http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY)} = ('http://127.0.0.1:9') x 6;

	$node = new_node('transport', conf => "retrostar.worker_idle_timeout = '600s'\n");
}
create_server($node, 'postgres', 'plain', $sim);
like(ask('plain', new_document()), qr/^\d+$/, 'no proxy is used');

#
# Connections
#
is(ask_many('plain', 1, 50), 50, 'one after another');
is_sent_once($sim, 51, 'on kept connections');
cmp_ok($sim->stats->{reused}, '>=', 40, 'which are used again');
cmp_ok($sim->stats->{connections_total}, '<=', 11, 'instead of new ones');

# Where connections end after a millisecond, a new one may not live until its
# request is there: so many attempts are allowed that one of them is in time.
$node->safe_psql('postgres', q(ALTER SERVER plain OPTIONS (ADD retries '100')));
for my $setting ([ 'close_after', 3, 40 ], [ 'close_after', 1, 140 ], [ 'idle_close_ms', 1, 8 ])
{
	my ($name, $value, $connections) = @$setting;

	$sim->reset;
	$sim->control({ $name => $value, hold => $true });
	my @sessions = start_asking('plain', 8, 20);
	$sim->wait_for('running', 8);
	$sim->control({ hold => $false });
	is(scores_of(@sessions), 160, "a server with $name = $value: all are scored");
	is_sent_once($sim, 160, 'on connections that it closes');
	cmp_ok($sim->stats->{connections_total}, '>=', $connections, 'one after another');
}
$sim->reset;
$node->safe_psql('postgres', q(ALTER SERVER plain OPTIONS (DROP retries)));

# A connection that breaks is not tried again unseen: the next attempt has an id
# of its own, or the server might refuse it as one that it works on.
for my $failure ('close', 'reset', 'close,delay=1')
{
	my $doc = new_document();

	$sim->reset;
	like(ask('plain', new_document()), qr/^\d+$/, 'a connection is open');
	like(ask('plain', "$doc [[sim:$failure,times=2]]"), qr/^\d+$/, "it breaks ($failure)");
	is(keys %{ { map { $_->{headers}{'x-request-id'} => 1 } @{ $sim->log } } }, 4, 'three attempts, three ids');
	is($sim->stats->{chat}, 4, 'and no more');
}

# Servers close connections that are idle for 5 s.  We do not use them any more
# some time before that, which another simulator tells us the passing of.  Who
# has no processor at that moment may be late, but not again and again.
$sim->reset;
my $clock = start_simulator('--idle-close-ms', '4500', '--control-port', '0');
create_server($node, 'postgres', 'clock', $clock);
ask('plain', new_document());
wait_until('a connection is closed by us, before the server does that', sub {
	$clock->reset_stats;
	ask('clock', new_document());
	# those of its control port do not count
	wait_until('it is closed', sub { $clock->stats->{connections} == 0 });
	return $clock->stats->{idle_closed} == 0;
});
pass('a connection is closed by us, before the server does that');
ask('plain', new_document());
my @log = @{ $sim->log };
is(scalar(@log), 2, 'two requests');
isnt($log[0]{connection}, $log[1]{connection}, 'not on a connection that was idle for long');

# What is in flight when a connection closes is not lost.
$sim->reset;
$sim->control({ hold => $true });
my $waiting = ask_background($node, 'postgres', q(SELECT retro_star_score('query', 'waits', server => 'plain')));
$sim->wait_for('running', 1);
$sim->control({ idle_close_ms => 1 });
is(ask_many('clock', 1, 5), 5, 'other servers answer meanwhile');
$sim->control({ hold => $false });
like(scalar finish_background($waiting), qr/^\d+$/, 'a long request is not idle');
$sim->reset;

#
# Unix sockets
#
my $unix = start_simulator('--unix', "$dir/sim.sock", '--control-port', '0');
create_server($node, 'postgres', 'unix', $unix);
is(ask_many('unix', 2, 20), 40, 'Unix socket');
is_sent_once($unix, 40, 'Unix socket');
cmp_ok($unix->stats->{reused}, '>=', 30, 'used again');
is($unix->log->[0]{peer}, 'unix', 'it is one');
is($unix->log->[0]{headers}{host}, 'localhost', 'and its host is this one');
$unix->stop;
create_server($node, 'postgres', 'no_socket', $unix, unavailable_timeout => '300ms');
like(ask('no_socket', new_document()), qr/08006: .*could not reach server "no_socket"/, 'no such socket');

# Whoever does not let us in is not reached, and has had no request that could
# be too slow: here the queue of connections is full, and nobody takes any.
my $deaf = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "listen: $!";
my @queued = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $deaf->sockport, Blocking => 0) } 1 .. 8;
create_server($node, 'postgres', 'deaf', 'http://127.0.0.1:' . $deaf->sockport, connect_timeout => '200ms', unavailable_timeout => '300ms',
	timeout => '1h', retries => 0);
like(ask('deaf', new_document()), qr/08006: .*could not reach server "deaf"/, 'no connection in time');
is($node->safe_psql('postgres', q(SELECT unreachable > 0, timed_out FROM retrostar.stat_server WHERE server = 'deaf')), 't|0',
	'which is counted as such');
close $_ for @queued, $deaf;

#
# TLS
#
SKIP:
{
	skip 'there is no program openssl', 1 if !eval { IPC::Run::run([ 'openssl', 'version' ], '>', \my $version, '2>', '/dev/null') };

	make_authority('ca');
	make_authority('other_ca');
	make_certificate('good', 'ca', 'IP:127.0.0.1', '20200101000000Z', '21000101000000Z');
	make_certificate('elsewhere', 'ca', 'DNS:elsewhere.invalid', '20200101000000Z', '21000101000000Z');
	make_certificate('expired', 'ca', 'IP:127.0.0.1', '20200101000000Z', '20200201000000Z');

	my $tls = tls_simulator('good');
	create_server($node, 'postgres', 'tls', $tls, ca_file => "$dir/ca.pem", connect_timeout => '180s');
	is(ask_many('tls', 4, 5), 20, 'a certificate that is good');
	is_sent_once($tls, 20, 'TLS');
	cmp_ok($tls->stats->{reused}, '>=', 10, 'used again');

	# With another authority, or none, these connections are not used.
	# That nobody waits for: unavailable_timeout is long.
	my $elsewhere = tls_simulator('elsewhere');
	my $expired = tls_simulator('expired');
	refused('wrong_ca', $tls, qr/certificate/i, ca_file => "$dir/other_ca.pem");
	# On a machine that has no certificates of its own at all it is the file
	refused('no_ca', $tls, qr/certificate/i);
	refused('wrong_host', $elsewhere, qr/subject name|certificate/i, ca_file => "$dir/ca.pem");
	refused('expired', $expired, qr/certificate has expired|certificate/i, ca_file => "$dir/ca.pem");
	my $said = ask('expired', new_document());
	like($said, qr/ERROR: +HV00N: could not verify the certificate of server "expired"/, 'the words');
	like($said, qr/HINT: .*dates.*"ca_file"/, 'the hint');
	like(ask('expired', new_document()), qr/HV00N/, 'each statement is told') for 1 .. 3;
	refused('no_tls', $sim->{url} =~ s/http/https/r, qr/SSL|TLS/i, ca_file => "$dir/ca.pem", sqlstate => '08006',
		unavailable_timeout => '300ms');
	refused('missing_ca', $tls, qr/nosuch\.pem/, ca_file => "$dir/nosuch.pem", sqlstate => 'HV00N');
	like(ask('tls', new_document()), qr/^\d+$/, 'the good one still works');
	is($sim->stats->{chat}, 0, 'without TLS nothing is sent either');

	# It heals by ALTER SERVER, and by another certificate.
	$node->safe_psql('postgres', "ALTER SERVER wrong_ca OPTIONS (SET ca_file '$dir/ca.pem')");
	like(ask('wrong_ca', new_document()), qr/^\d+$/, 'the right CA heals it');
	$node->safe_psql('postgres', "ALTER SERVER wrong_ca OPTIONS (SET ca_file '$dir/other_ca.pem')");
	like(ask('wrong_ca', new_document()), qr/HV00N/, 'the wrong one is noticed');
	my $port = $expired->{port};
	$expired->stop;
	$expired = tls_simulator('good', '--port', $port);
	like(ask('expired', new_document()), qr/^\d+$/, 'a certificate that was renewed');

	# Beside one that is good, nobody notices; and it is taken when it is good, too.
	create_server($node, 'postgres', 'one_of_two', "$elsewhere->{url},$tls->{url}", ca_file => "$dir/ca.pem",
		max_in_flight => 4, connect_timeout => '180s');
	is(ask_many('one_of_two', 4, 5), 20, 'another endpoint serves');
	is($elsewhere->stats->{chat}, 0, 'alone');
	$port = $elsewhere->{port};
	$elsewhere->stop;
	$elsewhere = tls_simulator('good', '--port', $port);
	# pairs of one query prefer one endpoint, and which one that is depends on its port
	my $round = 0;
	wait_until('the other is tried again', sub { ask_many('one_of_two', 8, 5, 'query ' . ++$round) == 40 && $elsewhere->stats->{chat} > 0 });
	pass('and the other one later');

	# A server that was down and comes up like that is not "down" any more.
	create_server($node, 'postgres', 'comes_up', $elsewhere, ca_file => "$dir/ca.pem", connect_timeout => '180s',
		unavailable_timeout => '1h');
	$elsewhere->stop;
	my @down = map { ask_background($node, 'postgres', "SELECT retro_star_score('query', '$_ comes up', server => 'comes_up')") } 1 .. 5;
	wait_until('all wait', sub { queue($node, 'waiters') == 5 });
	$elsewhere = tls_simulator('expired', '--port', $port);
	like((finish_background($_))[1], qr/HV00N/, 'when it comes up, all are told') for @down;

	# check says the same
	like($node->safe_psql('postgres', q(SELECT detail FROM retrostar.check('wrong_ca') WHERE NOT ok)), qr/certificate/i,
		'retrostar.check');
	is($node->safe_psql('postgres', q(SELECT bool_and(ok) FROM retrostar.check('tls'))), 't', 'and of the good one');
}

sub openssl
{
	my $log = '';

	IPC::Run::run([ 'openssl', @_ ], '<', \undef, '>&', \$log) or die "openssl @_: $log";
	return;
}

sub make_authority
{
	my ($name) = @_;

	openssl(qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj), "/CN=$name",
		'-keyout', "$dir/$name.key", '-out', "$dir/$name.pem");
	return;
}

# "openssl x509" cannot date a certificate back in all versions, "openssl ca" can
sub make_certificate
{
	my ($name, $authority, $alternative, $from, $until) = @_;

	append_to_file("$dir/$name.ext", "subjectAltName=$alternative\n");
	openssl(qw(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj), "/CN=$name",
		'-keyout', "$dir/$name.key", '-out', "$dir/$name.csr");
	append_to_file("$dir/$name.index", '');
	append_to_file("$dir/$name.cnf", "[ca]\ndefault_ca=own\n[own]\ndatabase=$dir/$name.index\n"
		  . "new_certs_dir=$dir\nrand_serial=yes\npolicy=any\ndefault_md=sha256\n[any]\ncommonName=supplied\n");
	openssl(qw(ca -batch -notext -config), "$dir/$name.cnf", '-in', "$dir/$name.csr", '-cert', "$dir/$authority.pem",
		'-keyfile', "$dir/$authority.key", '-extfile', "$dir/$name.ext", '-startdate', $from, '-enddate', $until,
		'-out', "$dir/$name.pem");
	return;
}

sub tls_simulator
{
	my ($name, @options) = @_;

	return start_simulator('--model', 'm', '--tls-cert', "$dir/$name.pem", '--tls-key', "$dir/$name.key",
		'--control-port', '0', @options);
}

# Not talked to, with words that say why
sub refused
{
	my ($name, $target, $why, %options) = @_;
	my $sqlstate = delete $options{sqlstate} // 'HV00N';
	my $before = ref $target ? $target->stats->{chat} : 0;

	create_server($node, 'postgres', $name, $target, connect_timeout => '180s', unavailable_timeout => '1h', %options);
	my $error = ask($name, new_document());
	like($error, qr/$sqlstate: .*server "$name"/, "$name: refused");
	like($error, qr/DETAIL: .*$why/, 'with the reason');
	is($target->stats->{chat}, $before, 'nothing is sent') if ref $target;
	return;
}

# A new worker, which may have so many descriptors
sub restart_worker
{
	my ($descriptors) = @_;
	my $pid = (split(/\n/, slurp_file($node->data_dir . '/postmaster.pid')))[0];

	$node->safe_psql('postgres', q(ALTER SYSTEM SET retrostar.worker_idle_timeout = '100ms'));
	$node->reload;
	wait_until('the worker has gone', sub { queue($node, 'worker_pid IS NULL') eq 't' });
	IPC::Run::run([ 'prlimit', '--pid', $pid, "--nofile=$descriptors:$descriptors" ]) or die 'prlimit failed';
	$node->safe_psql('postgres', q(ALTER SYSTEM SET retrostar.worker_idle_timeout = '600s'));
	$node->reload;
	return;
}

#
# Few descriptors: connections that are idle at one endpoint leave room for
# others; fewer in flight, and all goes well.
#
SKIP:
{
	skip 'there is no program prlimit', 1 if !IPC::Run::run([ 'prlimit', '--version' ], '>', \my $version, '2>', '/dev/null');

	# 64 besides those that are kept for relations and the rest
	restart_worker(1000 + 128 + 64);
	my $most = 0;
	my @all;
	for my $n (1 .. 4)
	{
		my $one = start_simulator('--hold', '--control-port', '0');

		create_server($node, 'postgres', "one$n", $one, max_in_flight => 60);
		$node->safe_psql('postgres', qq(SELECT retro_star_prefetch('query', '$n of many ' || i, server => 'one$n') FROM generate_series(1, 60) i));
		$one->wait_for('running', 60);
		my $sockets = descriptors(queue($node, 'worker_pid'));
		$most = $sockets if $sockets > $most;
		$one->control({ hold => $false });
		wait_idle($node);
		push @all, $one;
	}
	cmp_ok($most, '>=', 60, 'many connections at once');
	cmp_ok($most, '<=', 64 + 16, 'but not to all endpoints');

	my $many = start_simulator('--hold', '--control-port', '0');

	restart_worker(160);
	create_server($node, 'postgres', 'many', $many, max_in_flight => 200);
	$node->safe_psql('postgres', q(SELECT retro_star_prefetch('query', 'many ' || i, server => 'many') FROM generate_series(1, 100) i));
	$many->wait_for('running', 16);
	$many->control({ hold => $false });
	wait_idle($node);
	is($many->stats->{completed}, 100, 'all are answered');
	is($many->stats->{peak_running}, 16, 'with few in flight');
	cmp_ok($many->stats->{peak_connections}, '<=', 2 * 16, 'and few connections');
	is($node->safe_psql('postgres', q(SELECT count(retro_star_score('query', 'many ' || i, server => 'many')) FROM generate_series(1, 100) i)),
		100, 'and known');
	unlike(slurp_file($node->logfile), qr/Too many open files/, 'no descriptor was missing');
}

wait_idle($node);
is($node->safe_psql('postgres', q(SELECT asked = answered + failed + cancelled AND pairs = 0
	AND waiters = 0 AND text_bytes = 0 AND lost = 0 FROM retrostar.stat_queue)), 't', 'counters balance');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|was terminated|"retrostar worker" \(PID \d+\) exited|leaked/, 'nothing crashed');

done_testing();
