#!/bin/bash
#
# test/citus.sh
#
# For whoever has a Citus of his own (it is in no registry of packages): "With
# Citus" of doc/operations.md with a coordinator and two workers, on Unix sockets,
# and a simulated model server.  Where calls run, what is not propagated, what to
# write in the place of UPDATE and MERGE, a cache table that was distributed, and
# how long statements over distributed and columnar tables take beside one over a
# plain table.  PG_CONFIG chooses the PostgreSQL; where it has no Citus, the
# script says so and does nothing.  Outside CI.  The last line is "N passed, N
# failed".

# Functions are called by name
# shellcheck disable=SC2317

set -uo pipefail
test=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$test/setup.sh"
# shellcheck source=test/bench/server.sh
. "$test/bench/server.sh"

main()
{
	local status=0

	if [ $# != 0 ]; then
		sed -n '3,14s/^# \{0,1\}//p' "$0"
		exit
	fi
	setup_find_postgres || setup_die 'there is no PostgreSQL'
	if [ ! -e "$("$PG_CONFIG" --sharedir)/extension/citus.control" ]; then
		echo "skipped: $("$PG_CONFIG" --version) has no Citus ($PG_CONFIG)"
		exit 0
	fi
	server_build citus
	trap 'stop_nodes; clean_up' EXIT
	for node in 1 2 3; do
		start_node "$node" || setup_die "node $node does not start"
	done
	find_python
	"${run_as[@]}" "$python" "$work/source/test/citus.py" "$work" "$work/source/test/simulator/simulator" || status=$?
	exit "$status"
}

# The first is the coordinator
start_node()
{
	local data=$work/node$1

	logged initdb initdb -D "$data" -U citus --auth=trust --encoding=UTF8 --no-locale
	"${run_as[@]}" tee -a "$data/postgresql.conf" >/dev/null <<-END
		shared_preload_libraries = 'citus, retrostar'
		port = $((5431 + $1))
		listen_addresses = ''
		unix_socket_directories = '$work'
		max_connections = 200
		max_prepared_transactions = 50
		fsync = off
		jit = off
		wal_level = logical
		citus.node_conninfo = 'sslmode=disable'
		citus.enable_statistics_collection = off
		retrostar.max_requests = 4096
		retrostar.worker_idle_timeout = 1h
	END
	logged start pg_ctl -w -D "$data" -l "$data.log" start
}

# The caller's status is kept for clean_up
stop_nodes()
{
	local status=$? node

	for node in 1 2 3; do
		[ ! -e "$work/node$node/postmaster.pid" ] ||
			"${run_as[@]}" "${PG_CONFIG%/*}/pg_ctl" -D "$work/node$node" -m immediate stop >/dev/null 2>&1
	done
	return "$status"
}

main "$@"
