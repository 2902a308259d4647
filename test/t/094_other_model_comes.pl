# SGLang answers under any name.  When one with another model comes in the place
# of one that has gone, it gets no pair, in the life of one worker.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Temp qw(tempdir);
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

# The worker stays, however long a step takes
my $node = new_node('other_model', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $socket = tempdir(CLEANUP => 1) . '/sim.sock';

sub start
{
	my ($model) = @_;
	my $sim = start_simulator('--unix', $socket, '--control-port', '0', '--model', $model);

	$sim->control({ any_model => JSON::PP::true });
	return $sim;
}

sub worker
{
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'retrostar worker'");
}

my $sim = start('m');
create_server($node, 'postgres', 'place', $sim, unavailable_timeout => '1h', connect_timeout => '60s');
is($node->safe_psql('postgres', "SELECT retro_star_score('place', 'first', server => 'place') IS NOT NULL"), 't', 'scored');
my $worker = worker();
$sim->stop;

my $asked = ask_background($node, 'postgres', "SET client_min_messages = error;
	SELECT count(retro_star_score('place', i::text, server => 'place')) FROM generate_series(1, 5) i");
wait_until('it is out of use', sub { $node->safe_psql('postgres', 'SELECT state FROM retrostar.stat_server') eq 'down' });
$sim = start('other');
my ($out, $err) = finish_background($asked);
is($out, '', 'no score under the wrong name');
like($err, qr/ERROR:  38000: server "place" does not serve the model/, 'but an error');
is($sim->stats->{chat}, 0, 'nothing was sent there');
is(worker(), $worker, 'it is the same worker');

# And the right one again
$sim->stop;
$sim = start('m');
wait_until('it is scored again', sub { sqlstate($node, 'postgres', "SELECT retro_star_score('place', 'last', server => 'place')") eq '00000' });
is(worker(), $worker, 'still by that worker');

done_testing();
