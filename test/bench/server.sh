# test/bench/server.sh: a server of its own for run.sh, soak.sh and bright.sh, and
# the Python program that loads it.  Sourced, after setup.sh.

# clean_up is called by its name
# shellcheck shell=bash disable=SC2317

work='' run_as=() python=''
children=()						# processes that clean_up ends

# The caller's clean-up: whatever ends it, nothing is left
clean_up()
{
	local status=$?

	trap '' HUP INT TERM
	trap - EXIT
	cd /
	[ ${#children[@]} = 0 ] || { kill "${children[@]}"; wait "${children[@]}"; } 2>/dev/null
	if [ -n "$work" ]; then
		if [ -e "$work/data/postmaster.pid" ]; then
			"${run_as[@]}" "${PG_CONFIG%/*}/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1
		fi
		rm -rf "$work"
	fi
	exit "$status"
}

# NAME: builds retrostar and the simulator in $work, with a PostgreSQL that has it
server_build()
{
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	setup_install demo
	setup_work "$1"
	{ setup_copy && setup_postgres; } || setup_die "could not set up $work"
	logged build make -j "$(nproc)" with_llvm=no install
	logged build-simulator make -j "$(nproc)" -C test/simulator
}

# NAME: starts a server with a user and a database of this name; more settings
# come from standard input
server_start()
{
	local settings

	settings=$(cat)
	logged initdb initdb -D "$work/data" -U "$1" --auth=trust --encoding=UTF8 --no-locale
	"${run_as[@]}" tee -a "$work/data/postgresql.conf" >/dev/null <<-END
		shared_preload_libraries = 'retrostar'
		listen_addresses = ''
		unix_socket_directories = '$work'
		jit = off
		retrostar.worker_idle_timeout = 1h
		$settings
	END
	logged start pg_ctl -w -D "$work/data" -l "$work/server.log" start
	logged createdb createdb -h "$work" -U "$1" "$1"
}

# PROGRAM ARGUMENT...: of this directory, until it ends or we do; its status
server_load()
{
	local status=0

	find_python
	"${run_as[@]}" "$python" "$work/source/test/bench/$1" --socket "$work" --work "$work" "${@:2}" &
	children=($!)
	wait $! || status=$?
	children=()
	return $status
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
