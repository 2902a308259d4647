# What the tests of a shared cache have in common: a hub and nodes that name it.
package RetroNodes;

use strict;
use warnings;

use Exporter 'import';
use RetroTest;

our @EXPORT = qw(name_hub shared chats_for);

# The foreign server "hub" in a database of a node, and a mapping for its
# superuser; then "server", if it is there, shares that cache.  Without
# postgres_fdw any wrapper will do: it is the options that count.
sub name_hub
{
	my ($node, $db, $hub, %params) = @_;
	my ($host, $port) = ($hub->host, $hub->port);

	if (has_extension('postgres_fdw')) { $node->safe_psql($db, 'CREATE EXTENSION IF NOT EXISTS postgres_fdw'); }
	else { $node->safe_psql($db, 'CREATE FOREIGN DATA WRAPPER postgres_fdw'); }
	my $dbname = $params{dbname} // 'postgres';
	$node->safe_psql($db, "CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname '$dbname')");
	$node->safe_psql($db, 'CREATE USER MAPPING FOR CURRENT_USER SERVER hub');
	return;
}

# One column of retrostar.stat_shared
sub shared
{
	my ($node, $column, $db) = @_;
	return $node->safe_psql($db // 'postgres', "SELECT $column FROM retrostar.stat_shared WHERE server = 'gpu'");
}

# Scores of these documents, in one line; with an array constructor no call is made twice
sub chats_for
{
	my ($query, $from, $to) = @_;
	return "SELECT string_agg(retro_star_score('$query', 'document ' || i)::text, ' ' ORDER BY i) FROM generate_series($from, $to) i";
}

1;
