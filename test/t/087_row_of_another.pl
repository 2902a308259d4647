# Answers to pairs of which the table has no row are inserted; a row that
# somebody else has written meanwhile is added to, as one that was there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('row_of_another', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $sim = start_simulator('--fixed', 73);

create_server($node, 'postgres', 'gpu', $sim);

# A lock that stores must wait for, and look-ups need not
my $other = RetroSession->new($node, 'postgres');
my $session = RetroSession->new($node, 'postgres');

sub key { return "retrostar.cache_key('row', '$_[0]')"; }
sub score { return $session->query("SELECT retro_star_score('row', '$_[0]')"); }
sub stored { return $node->safe_psql('postgres', "SELECT scores, unscored, prompt_tokens FROM retrostar.score_cache WHERE key = " . key($_[0])); }

sub insert
{
	my ($doc, $version) = @_;
	$other->query("INSERT INTO retrostar.score_cache (key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated) "
			. 'VALUES (' . key($doc) . ", $version, '{11}', 2, 'm', 1000000, 0, now(), now())");
	return;
}

subtest 'one of many' => sub {
	$other->query('BEGIN; LOCK TABLE retrostar.score_cache IN SHARE MODE');
	is(score($_), 73, "document $_ is new") for 1 .. 5;
	insert(3, 1);
	$other->query('COMMIT');
	wait_idle($node);
	like(stored($_), qr/^\{73\}\|0\|/, "document $_ is stored") for 1, 2, 4, 5;
	like(stored(3), qr/^\{11,73\}\|2\|100\d{4}$/, 'what there was is kept, and the new one behind it');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM retrostar.score_cache'), 5, 'nothing else');
	is($node->safe_psql('postgres', 'SELECT sum(pairs), sum(samples) FROM retrostar.usage'), '5|5', 'each is counted once');
};

subtest 'one of a later version' => sub {
	$other->query('BEGIN; LOCK TABLE retrostar.score_cache IN SHARE MODE');
	is(score($_), 73, "document $_ is new") for 6 .. 8;
	insert(7, 32000);
	$other->query('COMMIT');
	for my $doc (6, 8)
	{
		$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM retrostar.score_cache WHERE key = " . key($doc)) or die 'it was not stored';
		like(stored($doc), qr/^\{73\}\|0\|/, "document $doc is stored");
	}
	like(stored(7), qr/^\{11\}\|2\|1000000$/, 'it stays as it is');
};

subtest 'afterwards' => sub {
	is(score(9), 73, 'another one');
	$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM retrostar.score_cache WHERE key = ' . key(9)) or die 'it was not stored';
	my $log = slurp_file($node->logfile);
	unlike($log, qr/could not store|duplicate key/, 'nothing is said of it');
};

done_testing();
