#!/bin/bash
#
# test/bench/run.sh [--quick] [--plain] [--rounds N] [--stalled PERCENT]
#                   [--only PART]... [--json FILE] [--plot FILE] [--page FILE]
#
# Measures retrostar against a peer in the same run, and exits with 1 when a
# ratio misses its target: installs what is missing, builds retrostar in a copy
# of the sources, and runs it in a private copy of the PostgreSQL installation,
# against the simulator on this machine.  README.md says what each row means.
#
#   --quick       fewer pairs, three rounds instead of five
#   --plain       ORDER BY retro_star_score() alone, which prefetches by itself
#   --rounds N    of each measurement
#   --stalled PERCENT
#                 judge up to this load, instead of 50 (times of a clock) and 80
#                 (of a CPU)
#   --only PART   rate, cpu, instant, cached, sessions, sets, shapes, refresh,
#                 bulk, cold, memory, many, priority, cancel, endpoints, overhead,
#                 shared or curves; may be repeated
#   --json FILE   all figures, of each round
#   --plot FILE   runs the part "curves" and draws it; no other part, if none is
#                 asked for
#   --page FILE   writes table and drawing into a page, such as doc/performance.md
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
	local arguments=() chosen='' json='' plot='' page='' status=0

	while [ $# -gt 0 ]; do
		case $1 in
			--json) json=$(realpath -m "${2:?--json needs a file}"); shift 2 ;;
			--plot) plot=$(realpath -m "${2:?--plot needs a file}"); shift 2 ;;
			--page) page=$(realpath -e "${2:?--page needs a file}") || exit; shift 2 ;;
			--only) chosen=yes; arguments+=("$1" "${2:?--only needs a part}"); shift 2 ;;
			-h|--help) sed -n '3,25s/^# \{0,1\}//p' "$0"; exit ;;
			*) arguments+=("$1"); shift ;;
		esac
	done
	if [ -n "$plot" ] && { [ -n "$chosen" ] || [ -z "$page" ]; }; then arguments+=(--only curves); fi
	server_build bench
	logged build-bench make -B -C test/bench floor
	server_start bench <<-END
		shared_buffers = 512MB
		max_wal_size = 4GB
		max_parallel_workers_per_gather = 0
	END
	server_load bench.py --json "$work/figures.json" ${arguments[@]+"${arguments[@]}"} || status=$?
	grep -E 'WARNING|ERROR|FATAL|PANIC|terminated' "$work/server.log" >&2
	if [ -e "$work/figures.json" ]; then
		[ -z "$json" ] || cp "$work/figures.json" "$json"
		[ -z "$plot" ] || "$python" -B "$here/curves.py" <"$work/figures.json" >"$plot"
		[ -z "$page" ] || "$python" -B "$here/page.py" "$page" <"$work/figures.json"
	fi
	exit "$status"
}

main "$@"
