#!/bin/bash
#
# test/bench/soak.sh [--minutes N] [--seed N] [--sessions N]
#
# Runs a random mix of statements against three simulators that fail, cancels
# and kills some of it, and looks at the end whether every counter balances and
# everything is where it began.  Prints what it did and each check; exits with 1
# when one fails.
#
#   --minutes N    how long (2)
#   --seed N       of all choices (1); their order in time is the machine's
#   --sessions N   at once (12)
#
# PG_CONFIG chooses the PostgreSQL, best one that is built with assertions.

# clean_up is called by its name
# shellcheck disable=SC2317

set -uo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../setup.sh"

work='' run_as=() python='' child=''

main()
{
	local status=0

	case ${1:-} in -h|--help) sed -n '3,15s/^# \{0,1\}//p' "$0"; exit ;; esac
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	setup_install demo
	setup_work soak
	find_python
	{ setup_copy && setup_postgres; } || setup_die "could not set up $work"
	logged build make -j "$(nproc)" with_llvm=no install
	logged build-simulator make -j "$(nproc)" -C test/simulator
	start_server
	"${run_as[@]}" "$python" "$work/source/test/bench/soak.py" --socket "$work" --work "$work" "$@" &
	child=$!
	wait $child || status=$?
	child=''
	# nobody is killed so that it would be a crash
	if grep -E 'PANIC|TRAP|was terminated|exited with exit code [1-9]|leaked' "$work/server.log" >&2; then
		echo 'not ok: the server log has a crash' >&2
		status=1
	fi
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

start_server()
{
	logged initdb initdb -D "$work/data" -U soak --auth=trust --encoding=UTF8 --no-locale
	"${run_as[@]}" tee -a "$work/data/postgresql.conf" >/dev/null <<-END
		shared_preload_libraries = 'retrostar'
		listen_addresses = ''
		unix_socket_directories = '$work'
		jit = off
		retrostar.worker_idle_timeout = 1h
		retrostar.max_requests = 1024
		retrostar.shared_memory = 8MB
	END
	logged start pg_ctl -w -D "$work/data" -l "$work/server.log" start
	logged createdb createdb -h "$work" -U soak soak
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
