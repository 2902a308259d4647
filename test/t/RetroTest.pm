# What the TAP tests share: a node with retrostar, and the simulator.
#
# Every node has its own directory and Unix socket, every simulator a port of
# its own; both end with the test.  Nothing sleeps: tests wait for conditions,
# as long as a slow machine may need.  A program that hangs ends all the same,
# and says where.
package RetroTest;

use strict;
use warnings;

use Carp ();
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroSession ();
use Test::More;
use Time::HiRes ();

# Seconds: of a wait, and of a program
use constant { WAIT => 180, PROGRAM => 900 };

our @EXPORT = qw(new_node start_simulator create_server queue wait_idle wait_until wait_accepts
  sqlstate ask_background finish_background has_extension);

my $simulator = $ENV{RETROSTAR_SIMULATOR}
  // abs_path(dirname(__FILE__) . '/../simulator') . '/simulator';

# exit, since an eval would go on after die
$SIG{ALRM} = sub {
	diag(Carp::longmess('this program has run for ' . PROGRAM . ' s'));
	exit 1;
};
alarm(PROGRAM);

# pg_ctl waits a minute only
$ENV{PGCTLTIMEOUT} //= WAIT;

# A started node with the extension in database postgres.  Nothing runs in the
# background there that takes locks and snapshots or changes plans.  %params:
# conf => lines for postgresql.conf, encoding => of the cluster, initdb => [more
# options], extension => 0.
sub new_node
{
	my ($name, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $encoding = $params{encoding} // 'UTF8';

	$node->init(extra => [ '--no-locale', '--encoding', $encoding, @{ $params{initdb} // [] } ],
		allows_streaming => $params{allows_streaming} // 0);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'retrostar'\n")
	  unless defined $params{preload} && !$params{preload};
	$node->append_conf('postgresql.conf', "autovacuum = off\n");
	$node->append_conf('postgresql.conf', $params{conf}) if defined $params{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION retrostar')
	  unless defined $params{extension} && !$params{extension};
	return $node;
}

# Starts a simulator with these options; returns an object with url and the
# methods of RetroTest::Simulator below.  With "--control-port 0" these work
# also when the service is deaf, speaks TLS or listens on a Unix socket.
sub start_simulator
{
	my (@options) = @_;
	my $dir = tempdir(CLEANUP => 1);
	my $port_file = "$dir/port";
	my $log = "$PostgreSQL::Test::Utils::log_path/simulator_" . $$ . '_' . int(rand(1e9)) . '.log';
	my $harness = IPC::Run::start(
		[ $simulator, '--port', '0', '--port-file', $port_file, '--die-with-parent', @options ],
		'<', \undef, '>', $log, '2>&1');
	my $self = bless { harness => $harness, port_file => $port_file, dir => $dir,
		http => HTTP::Tiny->new(timeout => WAIT) }, 'RetroTest::Simulator';

	wait_until('the simulator listens', sub { -s $port_file });
	my ($service, $control) = split(/\n/, slurp_file($port_file));
	my %given = @options % 2 == 0 ? @options : ();
	$self->{port} = $service;
	$self->{url} = $given{'--unix'} ? "unix:$given{'--unix'}" :
	  ($given{'--tls-cert'} ? 'https' : 'http') . "://127.0.0.1:$service";
	$self->{control} = 'http://127.0.0.1:' . ($control || $service);
	return $self;
}

# CREATE SERVER for a simulator (or a URL); %options become server options.
sub create_server
{
	my ($node, $db, $name, $target, %options) = @_;
	my $url = ref $target ? $target->{url} : $target;
	my %all = (url => $url, model => 'm', %options);
	my $list = join(', ', map { (my $v = $all{$_}) =~ s/'/''/g; "$_ '$v'" } sort keys %all);

	$node->safe_psql($db, "CREATE SERVER $name FOREIGN DATA WRAPPER retrostar OPTIONS ($list)");
	return;
}

# One column of retrostar.stat_queue
sub queue
{
	my ($node, $column, $db) = @_;
	return $node->safe_psql($db // 'postgres', "SELECT $column FROM retrostar.stat_queue");
}

# Waits until nothing is in work and everything that can be is stored
sub wait_idle
{
	my ($node, $db) = @_;
	$node->poll_query_until($db // 'postgres',
		'SELECT pairs = 0 AND waiters = 0 FROM retrostar.stat_queue')
	  or die 'the queue does not become empty';
	return;
}

# Waits for a condition; a test that waits in vain dies after a long while.
sub wait_until
{
	my ($what, $condition) = @_;
	my $end = time + WAIT;

	until ($condition->())
	{
		die "waited in vain until $what" if time > $end;
		Time::HiRes::usleep(10_000);
	}
	return;
}

# Waits until the server takes sessions again.  psql gets nothing to read: it
# may be gone before it is written to.
sub wait_accepts
{
	my ($node) = @_;
	wait_until('the server takes sessions',
		sub { scalar(finish_background(ask_background($node, 'postgres', 'SELECT 1'))) eq '1' });
	return;
}

# SQLSTATE of a statement, '00000' when it works
sub sqlstate
{
	my ($node, $db, $sql, %params) = @_;
	my ($ret, $stdout, $stderr) = $node->psql($db, $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose' ], %params);

	return '00000' if $ret == 0;
	return $stderr =~ /(?:ERROR|FATAL): +([0-9A-Z]{5}):/ ? $1 : "no SQLSTATE in: $stderr";
}

# Is this extension installed beside this PostgreSQL?
sub has_extension
{
	my ($name) = @_;
	chomp(my $dir = `pg_config --sharedir`);
	return -e "$dir/extension/$name.control";
}

# Runs SQL in a session of its own, in the background.
sub ask_background
{
	my ($node, $db, $sql) = @_;
	my $out = '';
	my $err = '';
	my $harness = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr($db), '-c', $sql ],
		'<', \undef, '>', \$out, '2>', \$err);

	return { harness => $harness, out => \$out, err => \$err };
}

# Its output, trimmed, and what went to standard error
sub finish_background
{
	my ($background) = @_;
	my $harness = $background->{harness};

	wait_until('a statement in the background ends', sub { RetroSession::read_some($harness); return !$harness->pumpable });
	$harness->finish;
	(my $out = ${ $background->{out} }) =~ s/\s+\z//;
	return wantarray ? ($out, ${ $background->{err} }) : $out;
}

package RetroTest::Simulator;

use Test::More;

sub _call
{
	my ($self, $method, $path, $body) = @_;
	my $answer = $self->{http}->request($method, "$self->{control}$path",
		defined $body ? { content => $body } : {});

	return $answer;
}

sub _json
{
	my ($self, $path) = @_;
	return JSON::PP::decode_json($self->_call('GET', $path)->{content});
}

# Changes settings or failures: see test/simulator/README.md
sub control
{
	my ($self, $settings) = @_;
	my $answer = $self->_call('POST', '/sim/control', JSON::PP::encode_json($settings));

	die "simulator: $answer->{status} $answer->{content}" unless $answer->{success};
	return;
}

sub stats { my ($self) = @_; return $self->_json('/sim/stats'); }
sub log
{
	my ($self, $n, $match) = @_;
	return $self->_json('/sim/log?n=' . ($n // 1000) . (defined $match ? "&match=$match" : ''));
}

sub reset_stats { my ($self) = @_; $self->_call('POST', '/sim/stats/reset'); return; }
sub reset { my ($self) = @_; $self->_call('POST', '/sim/reset'); return; }
sub release { my ($self, $n) = @_; $self->_call('POST', '/sim/release' . (defined $n ? "?n=$n" : '')); return; }

# Waits until a counter ("running", "chat", ...) reaches a number
sub wait_for
{
	my ($self, $counter, $n) = @_;
	my $answer;

	RetroTest::wait_until("the simulator has $counter >= $n", sub {
		$answer = $self->_call('GET', "/sim/wait?$counter=$n&timeout_ms=10000");
		die "simulator: $answer->{status} $answer->{content}" if $answer->{status} == 400;
		return $answer->{success};
	});
	return;
}

sub stop
{
	my ($self) = @_;
	return unless $self->{harness};
	$self->{harness}->signal('TERM');
	$self->{harness}->finish;
	$self->{harness} = undef;
	return;
}

sub DESTROY { my ($self) = @_; local $?; eval { $self->stop }; return; }

1;
