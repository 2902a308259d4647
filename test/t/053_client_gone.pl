# The client goes while its session waits for scores: the session ends at once
# and what it asked for is dropped, though PostgreSQL does not look after it.
# The simulator holds its answers, so nothing else would end a statement.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IO::Socket::UNIX;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('gone', conf => q(
listen_addresses = '127.0.0.1'
retrostar.max_requests = 64
));
my $sim = start_simulator('--max-running', '256', '--disconnect-ms', '5');
my $gone = 0;

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 64);
$node->safe_psql('postgres', q(CREATE TABLE doc AS SELECT i AS id, 'document ' || i AS body FROM generate_series(1, 10) i;
	CREATE TABLE scored (body text, score float8);
	CREATE FUNCTION score() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN NEW.score := retro_star_score('copied', NEW.body); RETURN NEW; END $$;
	CREATE TRIGGER score BEFORE INSERT ON scored FOR EACH ROW EXECUTE FUNCTION score();
	CREATE MATERIALIZED VIEW best AS SELECT id, retro_star_score('refreshed', body) AS score FROM doc WITH NO DATA));

sub hold { $sim->wait_for('running', 0); $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }

# The session is there no more, nor what it asked for
sub is_gone
{
	my ($pid, $what) = @_;

	$gone++;
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)
		AND NOT EXISTS (SELECT FROM retrostar.stat_activity) AND NOT EXISTS (SELECT FROM retrostar.stat_progress WHERE pid = $pid)")
	  or die "$what: the session does not end";
	wait_until("the simulator is free ($what)", sub { $sim->stats->{running} == 0 });
	nothing_left($node, $what);
	return;
}

# A connection of our own, of which we choose what it reads and when it ends
sub raw_connection
{
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die "no connection: $!";
	my $user = $ENV{PGUSER} // getpwuid($>);
	my $startup = pack('N', 196608) . join("\0", user => $user, database => 'postgres', '', '');
	my ($type, $body);
	my $pid;

	print $socket pack('N', 4 + length $startup), $startup;
	$socket->flush;
	do
	{
		($type, $body) = raw_message($socket);
		($pid) = unpack('N', $body) if $type eq 'K';
	} until $type eq 'Z';
	return ($socket, $pid);
}

sub raw_message
{
	my ($socket) = @_;
	my $bytes = sub { my ($n) = @_; my $in = ''; read($socket, $in, $n) == $n or die 'the connection ends'; return $in; };
	my ($type, $length) = unpack('a N', $bytes->(5));

	return ($type, $length > 4 ? $bytes->($length - 4) : '');
}

sub raw_send
{
	my ($socket, $type, $body) = @_;
	print $socket $type, pack('N', 4 + length $body), $body;
	$socket->flush;
	return;
}

is($node->safe_psql('postgres', 'SHOW client_connection_check_interval'), 0, 'PostgreSQL does not look');

# What a session may wait for, and how many samples are in flight then
my %statements = (
	'a score' => [ q(SELECT retro_star_score('one', 'score')), 1 ],
	'rows ahead' => [ q(SELECT count(retro_star_score('ahead', body)) FROM doc), 10 ],
	'a set' => [ q(SELECT count(*) FROM retro_star_rerank('set', ARRAY(SELECT id FROM doc), ARRAY(SELECT body FROM doc))), 10 ],
	'groups' => [ q(SELECT id % 2, retro_star_rerank_agg('groups', id, body) FROM doc GROUP BY 1), 10 ],
	'an explanation' => [ q(SELECT * FROM retro_star_explain('explained', 'this')), 1 ],
	'a refresh' => [ q(CALL retrostar.refresh('best')), 10 ],
	'a block that catches errors' => [ q(DO $$ BEGIN PERFORM retro_star_score('caught', 'this');
		EXCEPTION WHEN OTHERS THEN PERFORM retro_star_score('caught', 'that'); END $$), 1 ],
	'room' => [ q(SELECT count(retro_star_score('room', i::text)) FROM generate_series(1, 500) i), 16 ]);

for my $what (sort keys %statements)
{
	my ($sql, $n) = @{ $statements{$what} };
	my $session = RetroSession->new($node, 'postgres');

	hold();
	$session->send($sql);
	$sim->wait_for('running', $n);
	$session->kill_client;
	is_gone($session->{pid}, $what);
	let_go();
}

# What is queued and not sent
my $waiting = RetroSession->new($node, 'postgres');
$sim->reset_stats;
$node->safe_psql('postgres', 'SELECT retrostar.pause()');
$waiting->send(q(SELECT count(retro_star_score('paused', body)) FROM doc));
$node->poll_query_until('postgres', 'SELECT waiting = 10 AND waiters = 10 FROM retrostar.stat_queue') or die 'not queued';
$waiting->kill_client;
is_gone($waiting->{pid}, 'paused');
$node->safe_psql('postgres', 'SELECT retrostar.resume()');
is($sim->stats->{chat}, 0, 'and is never sent');

# It only looks for the end: what else comes from the client waits for its turn
my ($socket, $pid) = raw_connection();
hold();
raw_send($socket, 'Q', "SELECT retro_star_score('more input', 'this')\0");
raw_send($socket, 'Q', "SELECT 'the second'\0");
raw_send($socket, 'Q', "SELECT '" . 'much ' x 20000 . "'\0");
$sim->wait_for('running', 1);
$sim->release(1);
my @values;
for my $n (1 .. 3)
{
	my ($type, $body);

	do
	{
		($type, $body) = raw_message($socket);
		push @values, substr($body, 6, 10) if $type eq 'D';
	} until $type eq 'Z';
}
like(join(', ', @values), qr/^\d+, the second, much much $/, 'further commands are no end');
raw_send($socket, 'Q', "SELECT retro_star_score('more input', 'that')\0");
raw_send($socket, 'Q', "SELECT 'never read'\0");
$sim->wait_for('running', 1);
close $socket;
is_gone($pid, 'with further commands');
let_go();

# In the middle of a COPY
($socket, $pid) = raw_connection();
hold();
raw_send($socket, 'Q', "COPY scored (body) FROM STDIN\0");
my $type;
do { ($type) = raw_message($socket) } until $type eq 'G';
raw_send($socket, 'd', "row $_\n") for 1 .. 3;
$sim->wait_for('running', 1);
$sim->release(1);
$sim->wait_for('held', 1);
raw_send($socket, 'd', "row $_\n" x 100) for 4 .. 9;
pass('a COPY goes on while rows come');
close $socket;
is_gone($pid, 'COPY');
is($node->safe_psql('postgres', 'SELECT count(*) FROM scored'), 0, 'of which nothing remains');
let_go();

# The log says why, as PostgreSQL does
is(() = slurp_file($node->logfile) =~ /^.*FATAL:  connection to client lost$/mg, $gone, 'connection to client lost');

# TLS
SKIP:
{
	my $dir = $node->data_dir;
	my $log;

	skip 'there is no program openssl', 1 if !eval { IPC::Run::run([ 'openssl', 'version' ], '>', \my $version, '2>', '/dev/null') };
	IPC::Run::run([ qw(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost),
			'-keyout', "$dir/server.key", '-out', "$dir/server.crt" ], '<', \undef, '>&', \$log) or die $log;
	chmod 0600, "$dir/server.key";
	$node->append_conf('postgresql.conf', "ssl = on\n");
	$node->restart;
	local $ENV{PGSSLMODE} = 'require';
	local $ENV{PGHOSTADDR} = '127.0.0.1';
	my $session = RetroSession->new($node, 'postgres');
	delete $ENV{PGSSLMODE};
	delete $ENV{PGHOSTADDR};
	is($node->safe_psql('postgres', "SELECT ssl FROM pg_stat_ssl WHERE pid = $session->{pid}"), 't', 'TLS');
	hold();
	$session->send(q(SELECT count(retro_star_score('tls', body)) FROM doc));
	$sim->wait_for('running', 10);
	$session->kill_client;
	is_gone($session->{pid}, 'TLS');
	let_go();
}

no_crash($node);
done_testing();
