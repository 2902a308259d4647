#!/bin/bash
#
# test/bench/scale.sh [--rows N] [--known N] [--rounds N]
#
# What a large cache costs, in a private PostgreSQL that goes with the script:
# look-ups in one of N rows (10 million) beside one of 10,000, in turns; its size
# on disk; retrostar.cache_prune() of half of it beside a reader; REFRESH of
# --known scores (a million) beside the join that a user would write.  Rows are
# made by COPY, nothing is scored: a server that nobody listens at shows that.
# 10 million rows take ten minutes and 8 GB.  Exits with 1 when a ratio misses its
# target.  PG_CONFIG chooses the PostgreSQL.

set -uo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$here/../setup.sh"
# shellcheck source=test/bench/server.sh
. "$here/server.sh"

arguments=()
while [ $# -gt 0 ]; do
	case $1 in
		--rows|--known|--rounds)
			[[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || setup_die "$1 takes a number"
			arguments+=("$1" "$2")
			shift 2 ;;
		-h|--help) sed -n '3,12s/^# \{0,1\}//p' "$0"; exit ;;
		*) setup_die "unknown option \"$1\"; see test/bench/scale.sh --help" ;;
	esac
done
setup_say 'Building ...'
server_build scale
# look-ups are compared warm: all rows of the large one fit, and all documents
server_start scale <<-END
	shared_buffers = 5GB
	max_wal_size = 8GB
	wal_level = minimal
	max_wal_senders = 0
	autovacuum = off
END
server_load scale.py ${arguments[@]+"${arguments[@]}"}
