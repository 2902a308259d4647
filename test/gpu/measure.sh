#!/bin/bash
#
# measure.sh vllm|sglang|simulator large|small|pair CASE...
# measure.sh table | end
#
# On the GPU machine, from the folder that pack.sh's loads were unpacked into:
# starts PostgreSQL and the engine unless they run already, measures, prints a
# table, and leaves them running.  README.md says what each case is.  "large" and
# "small" are the model's shape, "pair" two engines of the small one on one GPU;
# small and pair can be there together.
#
#   start             starts the engine and does not wait for it
#   warm              256 pairs that nobody counts
#   turns:LIMIT:PAIRS[:ROUNDS]    the direct client, and ORDER BY with that limit
#   found:LIMIT:PAIRS[:ROUNDS]    the direct client with LIMIT, and ORDER BY that
#                     finds its limit by itself
#   cold[:DOCUMENTS[:ROUNDS]]     a small set after a pause, all at once directly
#   cancel:LIMIT      a statement is cancelled
#   drain, kill       "pair" only: SIGTERM, SIGKILL for one of two under load
#
# "table" prints all that was measured so far, "end" ends what runs.  Figures go
# to figures.jsonl, in $OUT too if that is set.  Exits with 1 when a figure misses
# its target.  "simulator" is for trying these scripts where there is no GPU.

set -euo pipefail
kit=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
root=$(dirname "$kit")
export GPU_ROOT=$root GPU_DATA=$root/run
programs=$(echo "$root"/postgres/usr/lib/postgresql/*/bin)
export GPU_PSQL=$programs/psql GPU_LIBRARIES=$root/postgres/libraries
run_as=(env "LD_LIBRARY_PATH=$GPU_LIBRARIES")
# PostgreSQL refuses root
[ "$(id -u)" != 0 ] || run_as=(setpriv --reuid=nobody --regid=nogroup --clear-groups "${run_as[@]}")

main()
{
	case ${1:-} in
		vllm|sglang|simulator)
			[ $# -ge 3 ] || usage
			postgres_start
			exec python3 "$kit/measure.py" "$@" ;;
		table) exec python3 "$kit/table.py" "$GPU_DATA/figures.jsonl" ;;
		end)
			python3 "$kit/engine.py" end
			postgres -m fast stop ;;
		restart-postgres) postgres -m fast restart ;;
		*) usage ;;
	esac
}

usage()
{
	sed -n '3,24s/^# \{0,1\}//p' "$0"
	exit 2
}

postgres()
{
	"${run_as[@]}" "$programs/pg_ctl" -D "$GPU_DATA/postgres" -l "$GPU_DATA/log/postgres.log" -w -s "$@" </dev/null >/dev/null
}

postgres_start()
{
	local owned=("$GPU_DATA/postgres" "$GPU_DATA/socket" "$GPU_DATA/log")

	if [ -e "$GPU_DATA/postgres/postmaster.pid" ] && postgres status; then return; fi
	rm -rf "$GPU_DATA/postgres"
	mkdir -p "${owned[@]}"
	[ "$(id -u)" != 0 ] || chown nobody:nogroup "${owned[@]}"
	"${run_as[@]}" "$programs/initdb" -D "$GPU_DATA/postgres" -U postgres -A trust -E UTF8 --locale=C --no-sync >/dev/null
	"${run_as[@]}" tee -a "$GPU_DATA/postgres/postgresql.conf" >/dev/null <<-END
		listen_addresses = ''
		unix_socket_directories = '$GPU_DATA/socket'
		shared_preload_libraries = 'retrostar'
		shared_buffers = '1GB'
		fsync = off
		jit = off
	END
	postgres start
	python3 "$kit/database.py"
}

main "$@"
