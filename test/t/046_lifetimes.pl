# How long things last that nobody sees: memory of statements and sets, what the
# worker could not read, and a name that is looked up for ever.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $shim = "$dir/lookup.so";
my $gate = "$dir/gate";

# A name whose lookup ends when somebody opens the FIFO
append_to_file("$dir/lookup.c", <<'EOS');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	int (*next) (const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	if (name != NULL && strcmp(name, "slow.invalid") == 0)
	{
		close(open(getenv("RETROSTAR_TEST_GATE"), O_RDONLY));
		return EAI_NONAME;
	}
	return next(name, service, hints, found);
}
EOS
my $has_shim = IPC::Run::run([ 'cc', '-shared', '-fPIC', '-o', $shim, "$dir/lookup.c", '-ldl' ], '<', \undef, '>&', \my $said);
system('mkfifo', $gate) == 0 or die "mkfifo: $!";

my $node;
{
	local $ENV{LD_PRELOAD} = $shim if $has_shim;
	local $ENV{RETROSTAR_TEST_GATE} = $gate;
	$node = new_node('lifetimes', conf => "retrostar.worker_idle_timeout = '1h'\n");
}
my $sim = start_simulator('--delay-ms', '0', '--log', '0');

create_server($node, 'postgres', 'gpu', $sim);
$node->safe_psql('postgres', <<'EOS');
ALTER DATABASE postgres SET retrostar.server = 'gpu';
CREATE TABLE done (i integer);
CREATE FUNCTION used(context text) RETURNS bigint VOLATILE LANGUAGE sql AS
	$$SELECT coalesce(sum(total_bytes), 0)::bigint FROM pg_backend_memory_contexts WHERE name = context$$;
EOS

# Each command in a block makes the calls behind it look up their task again.
$node->safe_psql('postgres', q(SELECT retro_star_score('memory', 'document', task => 'biology')));
my ($ret, $out, $err) = $node->psql('postgres', <<'EOS');
DO $$
DECLARE early bigint;
BEGIN
	FOR i IN 1 .. 2000 LOOP
		INSERT INTO done VALUES (i);
		IF retro_star_score('memory', 'document', task => 'biology') IS NULL THEN RAISE 'no score'; END IF;
		IF i = 100 THEN early := used('retrostar statement'); END IF;
	END LOOP;
	RAISE NOTICE 'grown: %', used('retrostar statement') - early;
END $$
EOS
like($err, qr/grown: 0$/m, 'a long block needs no more memory than a short one');

# The set of all groups gets documents after each of the others has ended.
my $groups = $node->safe_psql('postgres', <<'EOS');
SET enable_hashagg = off;
SELECT max(used) / 1024 / 1024 < 16, count(best) FROM (
	SELECT used('ExprContext'), retro_star_rerank_agg('memory', i, 'document ' || i, 1) AS best
	FROM generate_series(1, 6000) i GROUP BY ROLLUP (i / 20)) x
EOS
is($groups, 't|302', 'a set that goes on while others end keeps one state');

# What takes the place of a table has no rows of its own.
$node->safe_psql('postgres', q(CREATE DATABASE viewed));
$node->safe_psql('viewed', q(CREATE EXTENSION retrostar; CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
	ALTER EXTENSION retrostar DROP TABLE retrostar.task;
	ALTER TABLE retrostar.task RENAME TO task_rows; CREATE VIEW retrostar.task AS TABLE retrostar.task_rows));
is(sqlstate($node, 'viewed', q(SELECT retro_star_prompt('query', 'document', task => 'biology'))), '42809', 'a view instead of the tasks');
$node->safe_psql('viewed', q(ALTER EXTENSION retrostar DROP TABLE retrostar.score_cache;
	ALTER TABLE retrostar.score_cache RENAME TO cache_rows; CREATE VIEW retrostar.score_cache AS TABLE retrostar.cache_rows));
is(sqlstate($node, 'viewed', q(SELECT retro_star_score('query', 'document'))), '42809', 'or of the cache');
# a table whose index has another name, because the old one still has it
$node->safe_psql('viewed', q(DROP VIEW retrostar.score_cache; CREATE TABLE retrostar.score_cache (LIKE retrostar.cache_rows INCLUDING ALL);
	ALTER VIEW retrostar.task RENAME TO task_view; ALTER TABLE retrostar.task_rows RENAME TO task;
	INSERT INTO retrostar.cache_rows SELECT retrostar.cache_key('query', 'document'), 1, '{1}', 0, 'm', 1, 1, now(), now();
	INSERT INTO retrostar.score_cache SELECT retrostar.cache_key('query', 'another'), 1, '{2}', 0, 'm', 1, 1, now(), now()));
is(sqlstate($node, 'viewed', q(SET retrostar.on_miss = skip; SELECT 1 / (retro_star_score('query', 'document') - 2))), '42P01', "nor are another's rows read");

# A server that cannot be read now can be later.
create_server($node, 'postgres', 'locked', $sim);
my $session = RetroSession->new($node, 'postgres');
$session->query(q(BEGIN; SELECT retrostar.cache_key('a', 'b', server => 'locked'); LOCK TABLE pg_foreign_server IN ACCESS EXCLUSIVE MODE));
is($session->outcome(q(SELECT retro_star_score('query', 'locked', server => 'locked'))), 'HV00N', 'the catalog is locked');
$session->query('ROLLBACK');
wait_until('it is read again', sub { sqlstate($node, 'postgres',
	q(SELECT retro_star_score('query', 'locked', server => 'locked'))) eq '00000' });
pass('it is read again');
$session->quit;

# One whose name is looked up for ever does not hold up the others.
SKIP:
{
	skip "there is no compiler: $said", 2 if !$has_shim;
	create_server($node, 'postgres', 'slow', 'http://slow.invalid:1', connect_timeout => '200ms', unavailable_timeout => '1s');
	is(sqlstate($node, 'postgres', q(SELECT retro_star_score('query', 'slow', server => 'slow'))), '08006', 'a lookup that does not end');
	is(sqlstate($node, 'postgres', q(SET statement_timeout = '60s'; SELECT retro_star_score('query', 'quick'))), '00000', 'holds up nobody else');
}

$node->stop;
done_testing();
