#!/bin/bash
#
# test/matrix/upgrade.sh OLD_PG_CONFIG NEW_PG_CONFIG
#
# Does pg_upgrade carry retrostar from one major version of PostgreSQL to a
# later one?  Builds it for both, in copies, fills a cluster of the old version
# with scores, upgrades it, and looks what is there.  Both installations need
# their server and header files; they are not changed.  The last line is
# "upgrade: N passed, M failed".

# clean_up is called by its name; private() changes "work" in a subshell
# shellcheck disable=SC2317,SC2030,SC2031

set -uo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../setup.sh"

work='' bin='' run_as=() simulator='' passed=0 failed=0

main()
{
	local old new

	[ $# = 2 ] || { sed -n '3,11s/^# \{0,1\}//p' "$0"; exit 2; }
	old=$(realpath "$1") new=$(realpath "$2")
	setup_usable "$old" || setup_die "$1: not a PostgreSQL 15 or later with server and header files"
	setup_usable "$new" || setup_die "$2: not a PostgreSQL 15 or later with server and header files"
	trap clean_up EXIT
	trap 'exit 130' HUP INT TERM

	setup_work upgrade
	setup_copy || setup_die "could not copy the sources to $work"
	quietly simulator make -s -C "$work/source/test/simulator"
	old=$(private old "$old") || exit 1
	new=$(private new "$new") || exit 1
	start_simulator
	fill_old "$old"
	upgrade "$old" "$new"
	look_at_new "$new"
	echo "upgrade: $passed passed, $failed failed"
	[ $failed = 0 ]
}

# NAME PG_CONFIG: retrostar in a private copy of that installation; prints the
# directory of its programs.  In a subshell, with a work directory of its own.
private()
(
	work=$work/$1 PG_CONFIG=$2
	"${run_as[@]}" mkdir "$work"
	setup_postgres
	"${run_as[@]}" cp -r "${work%/*}/source" "$work/source"
	quietly "build-$1" make -s -C "$work/source" with_llvm=no COPT=-Werror PG_CONFIG="$PG_CONFIG" install
	echo "${PG_CONFIG%/*}"
)

# LOG COMMAND...: what it says is shown only when it fails
quietly()
{
	local log=$work/$1.log
	shift

	"${run_as[@]}" "$@" >"$log" 2>&1 </dev/null && return
	tail -n 40 "$log" >&2
	setup_die "\"$*\" failed"
}

start_simulator()
{
	local try=0

	"${run_as[@]}" "$work/source/test/simulator/simulator" --port-file "$work/port" --die-with-parent \
		>"$work/simulator.log" 2>&1 &
	simulator=$!
	until [ -s "$work/port" ]; do
		[ $((try += 1)) -lt 1800 ] || setup_die "the simulator does not start"
		sleep 0.1
	done
}

# BINDIR DATA
init()
{
	local options=(-A trust -U postgres --no-locale --encoding=UTF8 -N)

	# the default differs between versions
	[[ "$("$1/initdb" --help)" != *--no-data-checksums* ]] || options+=(--no-data-checksums)
	quietly "initdb-${2##*/}" "$1/initdb" -D "$2" "${options[@]}"
	"${run_as[@]}" tee -a "$2/postgresql.conf" >/dev/null <<-END
		shared_preload_libraries = 'retrostar'
		listen_addresses = ''
		unix_socket_directories = '$work'
		fsync = off
	END
}

fill_old()
{
	init "$1" "$work/data-old"
	quietly start-old "$1/pg_ctl" -D "$work/data-old" -l "$work/server-old.log" -w start
	bin=$1 sql "
		CREATE EXTENSION retrostar;
		CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar
			OPTIONS (url 'http://127.0.0.1:$(head -n 1 "$work/port")', model 'm');
		INSERT INTO retrostar.task VALUES ('support', 'question', 'section', 'It answers the question.');
		CREATE TABLE doc (id int PRIMARY KEY, body text);
		INSERT INTO doc SELECT i, 'body ' || i FROM generate_series(1, 50) i;
		CREATE MATERIALIZED VIEW kept AS
			SELECT id, retro_star_score('why', body, task => 'support', samples => 2) AS score FROM doc WITH NO DATA;" >/dev/null
	bin=$1 sql "CALL retrostar.refresh('kept')" >/dev/null
	bin=$1 sql "DO \$\$ BEGIN WHILE (SELECT pairs > 0 FROM retrostar.stat_queue) LOOP PERFORM pg_sleep(0.01); END LOOP; END \$\$" >/dev/null
	bin=$1 sql "$facts" >"$work/facts-old"
	quietly stop-old "$1/pg_ctl" -D "$work/data-old" -w stop
}

# What must be the same before and after
facts="
	SELECT count(*), md5(string_agg(c::text, ' ' ORDER BY key)) FROM retrostar.score_cache c;
	SELECT * FROM retrostar.task ORDER BY name;
	SELECT matview, status, sent FROM retrostar.refresh_log;
	SELECT * FROM kept ORDER BY id;
	SELECT srvname, o FROM pg_foreign_server, unnest(srvoptions) o ORDER BY o;
	SELECT retrostar.cache_key('why', body, task => 'support') FROM doc ORDER BY id;
	SELECT extversion FROM pg_extension WHERE extname = 'retrostar'"

upgrade()
{
	init "$2" "$work/data-new"
	(cd "$work" && quietly pg_upgrade "$2/pg_upgrade" -b "$1" -B "$2" -d "$work/data-old" -D "$work/data-new" \
		-s "$work" -U postgres) || exit 1
	ok 'pg_upgrade' 1 1
}

look_at_new()
{
	local chat

	quietly start-new "$1/pg_ctl" -D "$work/data-new" -l "$work/server-new.log" -w start
	bin=$1 sql "$facts" >"$work/facts-new"
	ok 'cache, tasks, log, views, servers and keys are the same' '' "$(diff "$work/facts-old" "$work/facts-new")"
	chat=$(requests)
	ok 'scores come from the cache' "$(sed -n '/|/p' "$work/facts-old" | grep -cE '^[0-9]+\|[0-9.]+$')" \
		"$(bin=$1 sql "SELECT count(retro_star_score('why', body, task => 'support', samples => 2)) FROM doc")"
	ok 'and cost nothing' "$chat" "$(requests)"
	bin=$1 sql "INSERT INTO doc VALUES (51, 'new')" >/dev/null
	bin=$1 sql "CALL retrostar.refresh('kept')" >/dev/null
	ok 'a new document costs its two samples' $((chat + 2)) "$(requests)"
	ok 'and is in the view' 51 "$(bin=$1 sql 'SELECT count(score) FROM kept')"
	ok 'the extension can be dropped and created' 't' \
		"$(bin=$1 sql "SET client_min_messages = warning; DROP EXTENSION retrostar CASCADE; CREATE EXTENSION retrostar; SELECT retro_star_prompt('q', 'd') <> ''")"
}

# From the simulator, which speaks HTTP/1.0 as well
requests()
{
	exec 9<>"/dev/tcp/127.0.0.1/$(head -n 1 "$work/port")"
	printf 'GET /sim/stats HTTP/1.0\r\n\r\n' >&9
	tr ',' '\n' <&9 | sed -n 's/.*"chat": *\([0-9]*\).*/\1/p'
	exec 9>&-
}

sql()
{
	"${run_as[@]}" "$bin/psql" -XAtq -v ON_ERROR_STOP=1 -h "$work" -U postgres -d postgres -c "$1" ||
		setup_die "a statement failed"
}

# WHAT EXPECTED GOT
ok()
{
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'not ok - %s\nexpected: %s\ngot: %s\n' "$1" "$2" "$3"
	fi
}

clean_up()
{
	local status=$? data pid

	trap '' HUP INT TERM
	trap - EXIT
	cd /
	if [ -n "$work" ]; then
		for data in old new; do
			pid=$(head -n 1 "$work/data-$data/postmaster.pid" 2>/dev/null) || continue
			# one that was killed has left its file
			kill -QUIT "$pid" 2>/dev/null || continue
			while [ -e "$work/data-$data/postmaster.pid" ]; do sleep 0.1; done
		done
		[ -z "$simulator" ] || kill "$simulator" 2>/dev/null
		wait
		rm -rf "$work"
	fi
	exit "$status"
}

main "$@"
