# How much memory the worker takes, and what it does when curl has none: a pair
# waits for better times, and does not fail.
#
# A library in front of libcurl says so: a worker's first exchanges cannot be
# begun, and those that do not get a connection end for want of memory.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Temp qw(tempdir);
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $dir = tempdir(CLEANUP => 1);
my $library = "$dir/short.so";
my $code = q(
#define _GNU_SOURCE
#include <dlfcn.h>

typedef struct { int msg; void *easy; union { void *whatever; int result; } data; } Message;

int curl_multi_add_handle(void *multi, void *easy)
{
	static int calls = 0;
	int (*next)(void *, void *) = (int (*)(void *, void *)) dlsym(RTLD_NEXT, "curl_multi_add_handle");

	return ++calls <= 3 ? 3 /* CURLM_OUT_OF_MEMORY */ : next(multi, easy);
}

Message *curl_multi_info_read(void *multi, int *left)
{
	Message *(*next)(void *, int *) = (Message *(*)(void *, int *)) dlsym(RTLD_NEXT, "curl_multi_info_read");
	Message *message = next(multi, left);

	if (message && message->data.result == 7 /* CURLE_COULDNT_CONNECT */)
		message->data.result = 27; /* CURLE_OUT_OF_MEMORY */
	return message;
}
);

append_to_file("$dir/short.c", $code);
plan skip_all => 'there is no compiler'
  if !eval { IPC::Run::run([ $ENV{CC} // 'cc', '-shared', '-fPIC', '-o', $library, "$dir/short.c", '-ldl' ]) };

my $sim = start_simulator();
my $deaf = start_simulator('--control-port', '0');
my $node;
{
	local $ENV{LD_PRELOAD} = $library;

	$node = new_node('memory', conf => "retrostar.worker_idle_timeout = '1h'\n");
}

sub stats
{
	my ($server, $columns) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM retrostar.stat_server WHERE server = '$server'");
}

my $balanced = 'sent = answered + failed + cancelled + in_flight';

# Exchanges that cannot be begun: the question for models, which this dialect asks
# once whatever comes of it, and two attempts
create_server($node, 'postgres', 'first', $sim, dialect => 'llamacpp');
like($node->safe_psql('postgres', q(SELECT retro_star_score('q', 'begin', server => 'first'))), qr/^\d+$/, 'a score');
is(stats('first', "sent, failed, not_sent, answered, $balanced"), '3|2|2|1|t', 'after two attempts that were not sent');
is($sim->stats->{chat}, 1, 'of which the server knows nothing');

# Exchanges that end
$deaf->control({ listen => JSON::PP::false });
create_server($node, 'postgres', 'second', $deaf);
my $session = ask_background($node, 'postgres', q(SELECT retro_star_score('q', 'end', server => 'second')));
wait_until('several attempts are over', sub { stats('second', 'not_sent >= 2') eq 't' });
is(stats('second', "state, failed = not_sent, $balanced"), 'up|t|t', 'which says nothing of the endpoint');
$deaf->control({ listen => JSON::PP::true });
like(finish_background($session), qr/^\d+$/, 'a score');

# That does not go on for ever
my $gone = start_simulator('--control-port', '0');

$gone->control({ listen => JSON::PP::false });
create_server($node, 'postgres', 'third', $gone, unavailable_timeout => '100ms');
my ($ret, $out, $err) = $node->psql('postgres', q(SELECT retro_star_score('q', 'never', server => 'third')),
	extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/ERROR:  08006: could not reach server "third"/, 'unavailable_timeout ends it');

# Each exchange has a copy of its request's body.  They take so much memory, and
# one more, whatever the number of samples.
subtest 'large bodies' => sub {
	my $large = start_simulator('--fixed', '50', '--delay-ms', '1');

	create_server($node, 'postgres', 'large', $large, max_in_flight => 64);
	# a server that is not known yet has fewer at first
	is($node->safe_psql('postgres', q(SELECT retro_star_score('large', 'first', server => 'large'))), 50, 'a score');
	$large->control({ hold => JSON::PP::true });
	my $session = ask_background($node, 'postgres',
		q(SELECT retro_star_score('large', repeat('0123456789abcdef', 500000), server => 'large', samples => 64)));
	$large->wait_for('running', 34);
	$large->control({ hold => JSON::PP::false });
	is(finish_background($session), 50, 'scored');
	is($large->stats->{chat}, 65, 'all samples');
	cmp_ok($large->stats->{peak_running}, '<', 40, 'about 256 MB at once');
};

wait_idle($node);
done_testing();
