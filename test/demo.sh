#!/bin/bash
#
# test/demo.sh [--keep] [--url URL --model MODEL [--dialect DIALECT]]
#
# Shows retrostar at work, in about a minute: installs what is missing,
# builds, starts a PostgreSQL and a simulated model server of its own, loads
# documents, reranks them, and cleans up after itself.
#
#   --keep             leaves all running and says how to connect and to stop
#   --url URL          asks a real model server (SGLang, vLLM, llama.cpp, ...)
#   --model MODEL      the name by which that server knows the model
#   --dialect DIALECT  sglang (default), vllm, llamacpp or openai
#
# An API key for the real server is taken from RETROSTAR_API_KEY.  PG_CONFIG
# chooses the PostgreSQL.  It costs the real server about 180 requests.

set -euo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/setup.sh"

url='' model='' dialect=sglang keep=false simulated=true
work='' child='' simulator='' run_as=()
question='How do I stop the query that a server process is running?'
in_flight=64 key=${RETROSTAR_API_KEY:-}

main()
{
	options "$@"
	colours
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 141' PIPE
	trap 'exit 143' TERM

	setup_install demo
	build
	start_postgres
	if $simulated; then start_simulator; fi
	show
	if $keep; then leave_running; fi
}

options()
{
	while [ $# -gt 0 ]; do
		case $1 in
			--keep) keep=true; shift ;;
			--url|--model|--dialect)
				[ $# -ge 2 ] || setup_die "option $1 needs a value"
				printf -v "${1#--}" %s "$2"
				shift 2 ;;
			-h|--help) sed -n '3,16s/^# \{0,1\}//p' "$0"; exit ;;
			*) setup_die "unknown option \"$1\"; see test/demo.sh --help" ;;
		esac
	done
	if [ -n "$url$model" ]; then
		simulated=false
		if [ -z "$url" ] || [ -z "$model" ]; then setup_die "--url and --model belong together"; fi
	fi
}

# On a terminal only
colours()
{
	bold='' blue='' green='' plain=''
	if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
		bold=$'\e[1m' blue=$'\e[36m' green=$'\e[32m' plain=$'\e[0m'
	fi
}

#
# Start and end
#

# Runs a command that a signal to this script can interrupt
run()
{
	local status=0

	"$@" <&0 &
	child=$!
	wait $child || status=$?
	child=''
	return $status
}

build()
{
	setup_work demo
	setup_say "Building retrostar, in $work ..."
	setup_copy
	setup_postgres
	log=$work/build.log
	{
		run "${run_as[@]}" make -s -j "$(nproc)" -C "$work/source" with_llvm=no install &&
			{ ! $simulated || run "${run_as[@]}" make -s -j "$(nproc)" -C "$work/source/test/simulator"; }
	} >"$log" 2>&1 || failed "The build failed."
}

start_postgres()
{
	local bin=${PG_CONFIG%/*}

	setup_say "Starting a private PostgreSQL $(setup_major "$PG_CONFIG") ..."
	log=$work/postgres.log
	{
		run "${run_as[@]}" "$bin/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C --no-sync &&
			"${run_as[@]}" tee -a "$work/data/postgresql.conf" <<-END &&
				listen_addresses = ''
				unix_socket_directories = '$work'
				shared_preload_libraries = 'retrostar'
				fsync = off
			END
			run "${run_as[@]}" "$bin/pg_ctl" -D "$work/data" -l "$work/server.log" -w start &&
			run "${run_as[@]}" "$bin/createdb" -h "$work" -U postgres demo
	} >"$log" 2>&1 || { cat "$work/server.log" >>"$log" 2>/dev/null; failed "PostgreSQL did not start."; }
	log=$work/server.log
}

start_simulator()
{
	local port='' die_with_parent=(--die-with-parent)

	setup_say "Starting the simulator, which stands in for the GPU model ..."
	model=retro-star-simulated
	if $keep; then die_with_parent=(); fi
	"${run_as[@]}" setsid "$work/source/test/simulator/simulator" --port 0 --port-file "$work/port" \
		--model $model --delay-ms 300 --jitter 50 --max-running $in_flight \
		"${die_with_parent[@]}" </dev/null >"$work/simulator.log" 2>&1 &
	simulator=$!
	until read -r port _ 2>/dev/null <"$work/port"; do
		kill -0 $simulator 2>/dev/null || { log=$work/simulator.log; failed "The simulator did not start."; }
		sleep 0.05
	done
	url=http://127.0.0.1:$port
}

failed()
{
	setup_say "$1  The end of $log:"
	tail -n 25 "$log" >&2 || true
	exit 1
}

# Ends what this script started and removes its directory
clean_up()
{
	local status=$?

	trap '' HUP INT PIPE TERM
	trap - EXIT
	if ! $keep || [ $status != 0 ]; then
		[ -z "$child" ] || kill "$child" 2>/dev/null || true
		if [ -n "$work" ] && [ -e "$work/data/postmaster.pid" ]; then
			"${run_as[@]}" "${PG_CONFIG%/*}/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true
		fi
		[ -z "$simulator" ] || kill "$simulator" 2>/dev/null || true
		wait
		cd /
		[ -z "$work" ] || rm -rf "$work"
	fi
	exit $status
}

leave_running()
{
	local as='' simulator_exe=$work/source/test/simulator/simulator

	if [ ${#run_as[@]} -gt 0 ]; then as="${run_as[*]} "; fi
	{
		echo '#!/bin/sh'
		echo "$as${PG_CONFIG%/*}/pg_ctl -D $work/data -m immediate stop"
		[ -z "$simulator" ] ||
			echo "[ \"\$(readlink /proc/$simulator/exe)\" != $simulator_exe ] || kill $simulator"
		echo "cd / && rm -rf $work"
	} >"$work/stop"
	chmod 755 "$work/stop"
	"${run_as[@]}" "${PG_CONFIG%/*}/createdb" -h "$work" -U postgres start
	cat <<-END

		${bold}All is left running.${plain}
		  connect:  $as${PG_CONFIG%/*}/psql -h $work -U postgres demo
		  stop:     $work/stop

		For "Getting started" of README.md there is an empty database, start, in the place of demo;
		the server in it is CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar
		  OPTIONS (url $(quoted "$url"), model $(quoted "$model"));
	END
}

#
# What is shown
#

say()
{
	printf '\n%s\n' "$*" | fold -s -w 80
}

heading()
{
	step=$((${step:-0} + 1))
	printf '\n%s%d. %s%s\n' "$bold" "$step" "$*" "$plain"
}

# Shows the statements on stdin, runs them, shows what they return, how long
# they took and what they asked of the model.  Arguments are psql's.
sql()
{
	local statements shown before result

	statements=$(cat)
	shown=$statements
	[ -z "$key" ] || shown=${shown//"$(quoted "$key")"/"'...'"}
	printf '\n%s%s%s\n' "$blue" "$(indented <<<"$shown")" "$plain"
	before=$(requests)
	run psql_demo "$@" <<<"\\timing on
$statements" >"$work/output" 2>&1 || statement_failed
	last_ms=$(awk '/^Time: [0-9.]+ ms/ { sum += $2 } END { print sum }' "$work/output")
	result=$(sed '/^Time: /d' "$work/output")
	[ -z "$result" ] || printf '\n%s\n' "$(fold -s -w 110 <<<"$result" | indented)"
	last_sent=$(($(requests) - before))
	printf '\n    %s-> %s%s%s\n' "$green" "$(duration "$last_ms")" "$(asked "$last_sent" "$shown")" "$plain"
}

statement_failed()
{
	sed '/^Time: /d' "$work/output" | indented
	grep -E 'PANIC|FATAL|terminated' "$log" >&2 || true
	setup_die "a statement failed"
}

psql_demo()
{
	"${run_as[@]}" "${PG_CONFIG%/*}/psql" -X -q -v ON_ERROR_STOP=1 -P footer=off -P pager=off \
		-P format=wrapped -P columns=110 \
		-h "$work" -U postgres "$@" demo
}

# Sent since the server started
requests()
{
	psql_demo -At <<-'END'
		SELECT to_regclass('retrostar.stat_queue') IS NOT NULL AS installed \gset
		\if :installed
		SELECT samples_sent FROM retrostar.stat_queue;
		\else
		SELECT 0;
		\endif
	END
}

duration()
{
	awk -v ms="$1" 'BEGIN {
		if (ms < 10) printf "%.1f ms", ms
		else if (ms < 999) printf "%.0f ms", ms
		else printf "%.1f s", ms / 1000
	}'
}

# REQUESTS STATEMENTS
asked()
{
	case $1:$2 in
		0:*retro_star_score*) echo ", no request to the model" ;;
		0:*) ;;
		1:*) echo ", 1 request to the model" ;;
		*) echo ", $1 requests to the model" ;;
	esac
}

# As an SQL literal
quoted()
{
	printf "'%s'" "${1//\'/\'\'}"
}

indented()
{
	sed 's/^\(..*\)/    \1/'
}

show()
{
	local options mapping='' one_ms few serial_ms serial_sent

	options="url $(quoted "$url"), model $(quoted "$model")"

	if $simulated; then
		options+=",
           max_in_flight '$in_flight'"
		say "${bold}The model is simulated.${plain} No GPU is here, so a small HTTP server plays the \
model server: it answers after 0.15 to 0.45 s, at most $in_flight requests at a time, and its score is the \
share of the query's words that it finds in the document. All the rest is real."
	else
		[ "$dialect" = sglang ] || options+=", dialect $(quoted "$dialect")"
		[ -z "$key" ] || mapping="
CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key $(quoted "$key"));"
	fi

	heading "Documents"
	say "What PostgreSQL says about its own functions, operators and settings, with an index for full-text search."
	sql <<-'END'
		CREATE TABLE doc (
		  id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		  title  text NOT NULL,
		  body   text NOT NULL,
		  words  tsvector GENERATED ALWAYS AS (to_tsvector('english', title || ' ' || body)) STORED);

		INSERT INTO doc (title, body)
		  SELECT name, concat_ws(' ', short_desc, extra_desc) FROM pg_settings
		UNION
		  SELECT format('%s(%s)', proname, pg_get_function_arguments(p.oid)), description
		  FROM pg_proc p JOIN pg_description d ON d.classoid = 'pg_proc'::regclass AND d.objoid = p.oid
		UNION
		  SELECT o.oid::regoperator::text, description
		  FROM pg_operator o JOIN pg_description d ON d.classoid = 'pg_operator'::regclass AND d.objoid = o.oid;

		CREATE INDEX ON doc USING gin (words);
		SELECT count(*) AS documents FROM doc;
	END

	heading "Set-up: the extension, and a server object that says where the model is"
	say "Who may use a server is decided by GRANT USAGE; no function takes a URL."
	sql <<-END
		CREATE EXTENSION retrostar;
		CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar
		  OPTIONS ($options);$mapping
		SELECT endpoint, ok, detail FROM retrostar.check();
	END
	[ "$(psql_demo -At <<<'SELECT bool_and(ok) FROM retrostar.check()')" = t ] ||
		setup_die "the model server cannot be used: see \"detail\" above"

	heading "One score: how relevant is a document to a query, from 0 to 100"
	sql <<-END
		SELECT retro_star_score('$question',
		  'pg_cancel_backend(integer): cancel a server process'' current query');
	END
	one_ms=$last_ms

	heading "What the model is asked (the beginning)"
	sql -At <<-END
		SELECT left(retro_star_prompt('$question',
		                              'pg_cancel_backend(integer): ...'), 620) || ' ...';
	END

	heading "Candidates: the 100 best documents of full-text search"
	sql <<-END
		CREATE VIEW candidate AS
		SELECT title, body, row_number() OVER (ORDER BY ts_rank(words, query) DESC, title) AS text_rank
		FROM doc, to_tsquery('english', 'stop | query | server | process | run') AS query
		WHERE words @@ query
		ORDER BY text_rank LIMIT 100;

		SELECT text_rank, left(title, 30) AS title, left(body, 55) AS body
		FROM candidate ORDER BY text_rank LIMIT 7;
	END

	# as many as take some six seconds
	few=$(awk "BEGIN { few = int(6000 / $one_ms); print (few < 2 ? 2 : few > 20 ? 20 : few) }")
	heading "One after another: the model reads the first $few of them"
	say "So any SQL function works that asks a model. It is not what retrostar does, and has to be asked for."
	sql <<-END
		SET retrostar.prefetch = off;
		SELECT count(retro_star_score('$question',
		                              title || ': ' || body)) AS scores
		FROM candidate WHERE text_rank <= $few;
	END
	serial_ms=$last_ms serial_sent=$last_sent

	heading "The rerank: the model reads all the others"
	say "An ordinary ORDER BY. The calls of all rows are made ahead, so that the requests run at the same time."
	sql <<<"$(rerank)"
	say "Measured: $(awk -v n="$serial_sent" -v ms="$serial_ms" -v m="$last_sent" -v all="$last_ms" 'BEGIN {
		printf "%d scores one after another in %.1f s, that is %.1f a second; ", n, ms / 1000, n * 1000 / ms
		printf "%d scores made ahead in %.1f s, that is %.0f a second: %.0f times as fast.", m, all / 1000,
			m * 1000 / all, (m / all) / (n / ms)
	}')"

	heading "The same once more: every score is known, to all sessions"
	sql <<<"$(rerank)"

	heading "A document is edited: only its score is asked for again"
	sql <<-END
		UPDATE doc SET body = body || ': stop what it is running' WHERE title LIKE 'pg_cancel_backend(%';

		$(rerank 3)
	END

	heading "A better order: one sample of each, then 8 of each of the best 10"
	say "A score is the mean of its samples. retro_star_rerank() ranks a set in one call; what is known is not asked again."
	sql <<-END
		SELECT rank, score, samples, left(id, 60) AS title
		FROM retro_star_rerank('$question',
		       (SELECT array_agg(title ORDER BY text_rank) FROM candidate),
		       (SELECT array_agg(title || ': ' || body ORDER BY text_rank) FROM candidate),
		       top_n => 5, passes => '100@1,10@8');
	END

	heading "What was done, for the operator"
	sql <<-'END'
		SELECT asked, answered, failed, joined, samples_sent, samples_scored FROM retrostar.stat_queue;
		SELECT endpoint, ok, detail, latency FROM retrostar.check();
	END
	say "README.md goes on from here."
}

rerank()
{
	cat <<-END
		SELECT retro_star_score('$question',
		                        title || ': ' || body) AS score,
		       text_rank, left(title, 30) AS title, left(body, 55) AS body
		FROM candidate ORDER BY score DESC NULLS LAST, text_rank LIMIT ${1:-7};
	END
}

main "$@"
