#!/bin/bash
#
# test/bench/run.sh [--quick] [--plain] [--json FILE] [--rounds N] [--only PART]...
#
# Measures retrostar against what it is held to, and exits with 1 when a
# figure misses its target: installs what is missing, builds retrostar in a copy
# of the sources, and runs it in a private copy of the PostgreSQL installation,
# against the simulator on this machine.  README.md says what each row means.
#
#   --quick       fewer pairs, one round: two to three minutes instead of six to nine
#   --plain       ORDER BY retro_star_score() alone, which prefetches by itself
#   --json FILE   all figures, of each round
#   --rounds N    of each measurement; the best counts
#   --only PART   rate, cpu, instant, cached, sessions, sets, shapes, refresh,
#                 priority, cancel, endpoints or overhead; may be repeated
#
# PG_CONFIG chooses the PostgreSQL; one that is built with assertions is slow.

set -uo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$here/../setup.sh"
# shellcheck source=test/bench/server.sh
. "$here/server.sh"

main()
{
	local arguments=() json='' status=0

	while [ $# -gt 0 ]; do
		case $1 in
			--json) json=$(realpath -m "${2:?--json needs a file}"); shift 2 ;;
			-h|--help) sed -n '3,19s/^# \{0,1\}//p' "$0"; exit ;;
			*) arguments+=("$1"); shift ;;
		esac
	done
	server_build bench
	logged build-bench make -B -C test/bench floor
	server_start bench <<-END
		shared_buffers = 512MB
		max_wal_size = 4GB
		max_parallel_workers_per_gather = 0
	END
	server_load bench.py --json "$work/figures.json" ${arguments[@]+"${arguments[@]}"} || status=$?
	grep -E 'WARNING|ERROR|FATAL|PANIC|terminated' "$work/server.log" >&2
	if [ -n "$json" ] && [ -e "$work/figures.json" ]; then cp "$work/figures.json" "$json"; fi
	exit "$status"
}

main "$@"
