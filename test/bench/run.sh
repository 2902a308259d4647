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
#   --only PART   rate, cpu, instant, cached, sessions, sets, shapes, refresh or
#                 overhead; may be repeated
#
# PG_CONFIG chooses the PostgreSQL; one that is built with assertions is slow.

# clean_up is called by its name
# shellcheck disable=SC2317

set -uo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../setup.sh"

work='' run_as=() python='' child=''

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
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	setup_install demo
	setup_work bench
	find_python
	{ setup_copy && setup_postgres; } || setup_die "could not set up $work"
	build
	start_server
	"${run_as[@]}" "$python" "$work/source/test/bench/bench.py" --socket "$work" --work "$work" \
		--json "$work/figures.json" ${arguments[@]+"${arguments[@]}"} &
	child=$!
	wait $child || status=$?
	child=''
	grep -E 'WARNING|ERROR|FATAL|PANIC|terminated' "$work/server.log" >&2
	if [ -n "$json" ] && [ -e "$work/figures.json" ]; then cp "$work/figures.json" "$json"; fi
	exit "$status"
}

# One that the server's user can run, too
find_python()
{
	for python in python3 /usr/bin/python3; do
		"${run_as[@]}" "$python" -c 'import json, socket' 2>/dev/null && return
	done
	setup_die "python3 is missing (Debian: apt-get install python3)"
}

# LOG COMMAND...
logged()
{
	local log=$work/$1.log
	shift

	(cd "$work/source" && exec "${run_as[@]}" "$@") </dev/null >"$log" 2>&1 && return
	tail -n 40 "$log" >&2
	setup_die "\"$*\" failed"
}

build()
{
	local jobs
	jobs=$(nproc)

	logged build make -j "$jobs" with_llvm=no install
	logged build-simulator make -j "$jobs" -C test/simulator
	logged build-bench make -B -C test/bench floor
}

start_server()
{
	logged initdb initdb -D "$work/data" -U bench --auth=trust --encoding=UTF8 --no-locale
	"${run_as[@]}" tee -a "$work/data/postgresql.conf" >/dev/null <<-END
		shared_preload_libraries = 'retrostar'
		listen_addresses = ''
		unix_socket_directories = '$work'
		shared_buffers = 512MB
		max_wal_size = 4GB
		jit = off
		max_parallel_workers_per_gather = 0
		retrostar.worker_idle_timeout = 1h
	END
	logged start pg_ctl -w -D "$work/data" -l "$work/server.log" start
	logged createdb createdb -h "$work" -U bench bench
}

clean_up()
{
	local status=$?

	trap '' HUP INT TERM
	trap - EXIT
	cd /
	[ -z "$child" ] || { kill "$child" 2>/dev/null; wait "$child" 2>/dev/null; }
	if [ -n "$work" ]; then
		if [ -e "$work/data/postmaster.pid" ]; then
			"${run_as[@]}" "${PG_CONFIG%/*}/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1
		fi
		rm -rf "$work"
	fi
	exit "$status"
}

main "$@"
