#!/bin/bash
#
# test/newcomer.sh [--docs FILE]
#
# The first day of somebody who has read README alone: goes through what one
# does then, and does wrong, and shows for each mistake what is said.  Fails
# when one ends in silence, in a NULL without a word, in words that do not
# name the cause, in more requests than allowed, or too late: for a wrong port
# a clear word within 5 s, for a server that dies in the middle of a statement
# within 10 s.  Then it plants misconfigurations, and shows for each of them
# the message and what retrostar.check() says: with these and doc/ the cause
# has to be found.
#
#   --docs FILE   documents, as lines of id, title and text with tabs between
#                 them, under a heading; without it some are made up
#
# Builds in a directory of its own, as demo.sh does, with a private PostgreSQL
# and the simulator, and cleans up.  PG_CONFIG chooses the PostgreSQL.

set -uo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/setup.sh"

documents='' work='' run_as=() simulators=() passed=0 failed=0
answer='' took=0 port='' wrong_port_took='' dead_took=''

main()
{
	while [ $# -gt 0 ]; do
		case $1 in
			--docs) documents=$(realpath "${2:-}") || setup_die "--docs needs a file"; shift 2 ;;
			-h|--help) sed -n '3,20s/^# \{0,1\}//p' "$0"; exit ;;
			*) setup_die "unknown option \"$1\"; see test/newcomer.sh --help" ;;
		esac
	done
	trap clean_up EXIT
	trap 'exit 130' INT TERM HUP
	build
	without_preload
	restart "shared_preload_libraries = 'retrostar'"
	start_simulator first --model m --max-running 64 --delay-ms 50
	first_day
	planted
	echo
	echo "A wrong port was told of after $wrong_port_took ms (at most 5000), a server that died after $dead_took ms (at most 10000)"
	echo "$passed passed, $failed failed"
	[ $failed = 0 ]
}

#
# Start and end
#

build()
{
	setup_install demo
	setup_work newcomer
	setup_say "Building, in $work ..."
	setup_copy
	setup_postgres
	bin=${PG_CONFIG%/*}
	{ "${run_as[@]}" make -s -j "$(nproc)" -C "$work/source" with_llvm=no install &&
		"${run_as[@]}" make -s -j "$(nproc)" -C "$work/source/test/simulator" &&
		"${run_as[@]}" "$bin/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C --no-sync; } \
		>"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log"; setup_die "the build failed"; }
	"${run_as[@]}" tee -a "$work/data/postgresql.conf" >/dev/null <<-END
		listen_addresses = ''
		unix_socket_directories = '$work'
		fsync = off
	END
	"${run_as[@]}" "$bin/pg_ctl" -D "$work/data" -l "$work/server.log" -w start >/dev/null ||
		setup_die "PostgreSQL did not start"
	sql 'CREATE DATABASE app' postgres >/dev/null
}

# SETTING...: lines for postgresql.conf
restart()
{
	printf '%s\n' "$@" | "${run_as[@]}" tee -a "$work/data/postgresql.conf" >/dev/null
	"${run_as[@]}" "$bin/pg_ctl" -D "$work/data" -l "$work/server.log" -w -m fast restart >/dev/null ||
		setup_die "PostgreSQL did not start"
}

# NAME OPTION...: sets port
start_simulator()
{
	local file=$work/$1.port
	shift

	rm -f "$file"
	"${run_as[@]}" "$work/source/test/simulator/simulator" --port 0 --port-file "$file" --die-with-parent "$@" \
		</dev/null >>"$work/simulator.log" 2>&1 &
	simulators+=($!)
	until read -r port _ 2>/dev/null <"$file"; do
		kill -0 $! 2>/dev/null || setup_die "the simulator did not start"
		sleep 0.05
	done
}

clean_up()
{
	local status=$? pid

	trap '' HUP INT TERM
	trap - EXIT
	[ -z "$work" ] || [ ! -e "$work/data/postmaster.pid" ] ||
		"${run_as[@]}" "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1
	for pid in ${simulators[@]+"${simulators[@]}"}; do kill -KILL "$pid" 2>/dev/null; done
	wait 2>/dev/null
	cd /
	[ -z "$work" ] || rm -rf "$work"
	exit $status
}

#
# Words
#

# SQL [DATABASE [USER]]: prints all that psql says
sql()
{
	"${run_as[@]}" "$bin/psql" -X -h "$work" -U "${3:-postgres}" -d "${2:-app}" -A -t -q -v ON_ERROR_STOP=1 <<<"$1" 2>&1 |
		sed 's/^psql:<stdin>:[0-9]*: //'
}

# Milliseconds
now()
{
	echo $(($(date +%s%N) / 1000000))
}

# Requests of samples that the first simulator has got
requests()
{
	exec 3<>"/dev/tcp/127.0.0.1/$(cut -d ' ' -f 1 "$work/first.port")"
	printf 'GET /sim/stats HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n' >&3
	tr ',' '\n' <&3 | sed -nE 's/.*"chat": ?([0-9]+).*/\1/p'
	exec 3>&-
}

verdict()
{
	if [ "$1" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "  FAILED: $2"
	fi
}

# TITLE SQL PATTERN [MS [USER]]: what is said must fit the pattern (of grep -E,
# over all lines), within so many milliseconds
step()
{
	local started

	started=$(now)
	answer=$(sql "$2" app "${5:-postgres}")
	took=$(($(now) - started))
	show "$1" "$2"
	tr '\n' ' ' <<<"$answer" | grep -qE "$3"
	verdict $? "nothing says /$3/"
	[ -z "${4:-}" ] || { [ $took -le "$4" ]; verdict $? "it took $took ms, more than $4"; }
}

# TITLE SQL, and the answer
show()
{
	echo
	echo "* $1"
	printf '%s\n' "$2" | sed 's/^/    > /'
	cut -c 1-300 <<<"$answer" | head -n 12 | sed 's/^/    /'
	echo "    ($took ms)"
}

# TITLE COUNT SQL: sends so many requests at most, and says so
limited()
{
	local before

	before=$(requests)
	step "$1" "$3" 'ERROR: .*request_limit.*HINT: .*Run it again'
	[ $(($(requests) - before)) -le "$2" ]
	verdict $? "$(($(requests) - before)) requests instead of $2"
}

#
# The first day, in the order in which things are met
#

without_preload()
{
	step 'The library is not preloaded' 'CREATE EXTENSION retrostar;' 'WARNING: .*shared_preload_libraries.*HINT: .*restart'
	step '... and a score is wanted' "CREATE SERVER early FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
		SELECT retro_star_score('q', 'd');" 'ERROR: .*shared_preload_libraries.*HINT'
	step '... and check() is asked' 'SELECT * FROM retrostar.check();' 'worker\|f\|retrostar is not in shared_preload_libraries'
	sql 'DROP SERVER early' >/dev/null
}

load_documents()
{
	local rows

	sql 'CREATE TABLE doc (id text PRIMARY KEY, title text, body text)' >/dev/null
	if [ -n "$documents" ]; then
		rows=$(tail -n +2 "$documents" | head -n 400 | sed 's/\\/\\\\/g')
		{ echo 'COPY doc FROM STDIN;'; echo "$rows"; echo '\.'; } |
			"${run_as[@]}" "$bin/psql" -X -h "$work" -U postgres -d app -q -v ON_ERROR_STOP=1 || setup_die "the documents cannot be loaded"
	else
		sql "INSERT INTO doc SELECT 'D-' || i, 'Document ' || i, 'An attacker may read or modify data number ' || i || ', which is sent without encryption.'
			FROM generate_series(1, 400) i" >/dev/null
	fi
	sql 'ANALYZE doc' >/dev/null
}

first_day()
{
	local before

	load_documents
	step 'No server yet' "SELECT retro_star_score('q', 'd');" 'ERROR: .*no server.*HINT: .*CREATE SERVER'
	step 'A URL with the path of the API' "CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:$port/v1/chat/completions', model 'm');" 'ERROR: .*DETAIL'
	step 'A mistyped option' "CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:$port', model 'm', max_token '9');" 'ERROR: .*max_token.*HINT: .*Perhaps you meant.*max_tokens'
	step 'A server' "CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:$port', model 'm');
		SELECT endpoint, ok, detail FROM retrostar.check();" 'worker\|t\|.*http.*\|t\|it serves "m"'
	step 'The first score' "SELECT retro_star_score('Is data sent in plaintext?', 'It is not encrypted in transit.');" '^[0-9]+ $'
	step 'Ranking' "SELECT count(score) FROM (SELECT retro_star_score('plaintext', body) AS score FROM doc ORDER BY score DESC NULLS LAST LIMIT 10) r;" '^10 $'

	# 8. Why this score?
	before=$(requests)
	step 'Why this score?  Right after it, and without having asked for replies to be kept' "SELECT score, left(reasoning, 70), cached FROM retro_star_explain('Is data sent in plaintext?', 'It is not encrypted in transit.');" '^[0-9]+\|[^|]+\|t $'
	[ "$(requests)" = "$before" ]
	verdict $? 'another sample was asked for'

	# 1. IMMUTABLE
	sql "CREATE FUNCTION imm(q text, d text) RETURNS double precision LANGUAGE sql IMMUTABLE AS 'SELECT public.retro_star_score(q, d)'" >/dev/null
	step 'An IMMUTABLE wrapper' "SELECT imm('q', 'new text');" 'ERROR: .*function imm\(text,text\).*DETAIL: .*IMMUTABLE.*HINT: .*STABLE'
	step '... in PL/pgSQL' "DO \$\$DECLARE x float8; BEGIN x := imm('q', 'another'); END\$\$;" 'ERROR: .*imm.*HINT: .*STABLE'
	step '... in a condition' "SELECT count(*) FROM doc WHERE imm('q', 'a third') >= 0;" 'ERROR: .*imm.*HINT: .*STABLE'
	step '... kept in a prepared statement' "PREPARE p AS SELECT imm('q', 'a fourth'); EXECUTE p;" 'ERROR: .*imm.*HINT: .*STABLE'
	step '... of an empty document' "SELECT imm('q', '');" 'ERROR: .*(empty|IMMUTABLE)'

	# 2. request_limit
	limited 'request_limit, in a loop' 5 "SET retrostar.request_limit = 5;
		DO \$\$BEGIN FOR i IN 1..12 LOOP PERFORM retro_star_score('evade ' || i, body) FROM doc LIMIT 4; END LOOP; END\$\$;"
	sql "CREATE FUNCTION secdef(q text, d text) RETURNS double precision LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS 'SELECT retro_star_score(q, d)'" >/dev/null
	limited '... in a function that is not part of the plan' 5 "SET retrostar.request_limit = 5; SELECT count(secdef('evade', body)) FROM (SELECT body FROM doc LIMIT 12) d;"
	limited '... in a plain statement' 5 "SET retrostar.request_limit = 5; SELECT count(retro_star_score('plain', body)) FROM doc;"

	unreachable
	which_document

	# 6. Serial wrappers
	step 'EXPLAIN of calls that are made one after another' "EXPLAIN (COSTS OFF) SELECT secdef('serial', body) FROM doc;" 'NOTICE: .*one after another.*DETAIL: .*secdef\(text,text\).*SECURITY DEFINER.*HINT'
	step '... and when it runs' "SELECT count(secdef('serial', body)) FROM (SELECT body FROM doc LIMIT 24) d;" 'NOTICE: .*one after another.*24'

	# 10. Size before, total during
	step 'What will it cost?' "SET retrostar.on_miss = 'skip'; SELECT count(*) - count(retro_star_score('costs', body)) AS unknown FROM doc;" '^[1-9][0-9]* $'
	during

	smaller
}

# 3. Who does not answer
unreachable()
{
	local psql_pid log file=$work/said started

	log=$(stat -c %s "$work/server.log")
	step 'A wrong port' "CREATE SERVER wrong_port FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
		SELECT retro_star_score('q', 'd', server => 'wrong_port');" 'NOTICE: .*no endpoint of server "wrong_port" answers.*ERROR: .*could not reach server "wrong_port".*HINT: .*url' 5000
	wrong_port_took=$took
	step '... the view agrees' "SELECT state, last_error FROM retrostar.stat_server WHERE server = 'wrong_port';" '^(down|trying)\|.*127.0.0.1'
	tail -c +$((log + 1)) "$work/server.log" | grep -q 'of server "wrong_port" fails and is not used'
	verdict $? 'the log says nothing'

	start_simulator second --model m --delay-ms 100
	sql "CREATE SERVER dies FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:$port', model 'm', max_in_flight '4')" >/dev/null
	sql "SELECT retro_star_score('q', 'd', server => 'dies')" >/dev/null
	log=$(stat -c %s "$work/server.log")
	"${run_as[@]}" "$bin/psql" -X -h "$work" -U postgres -d app -A -t -q \
		-c "SELECT count(retro_star_score('dies', body, server => 'dies')) FROM doc" >"$file" 2>&1 &
	psql_pid=$!
	until [ "$(sql "SELECT answered >= 8 FROM retrostar.stat_server WHERE server = 'dies'")" = t ] || ! kill -0 $psql_pid; do sleep 0.1; done
	kill -KILL "${simulators[-1]}"
	started=$(now)
	until grep -q 'HINT' "$file" || [ $(($(now) - started)) -gt 60000 ]; do sleep 0.05; done
	took=$(($(now) - started))
	answer=$(cat "$file")
	show 'The server dies in the middle of a statement' "SELECT count(retro_star_score('dies', body, server => 'dies')) FROM doc"
	grep -q 'NOTICE: .*no endpoint of server "dies" answers' "$file"
	verdict $? 'the session is told nothing'
	[ $took -le 10000 ]
	verdict $? "it took $took ms, more than 10000"
	dead_took=$took
	step '... the view agrees' "SELECT state, last_error FROM retrostar.stat_server WHERE server = 'dies';" '^(down|trying)\|.*'
	tail -c +$((log + 1)) "$work/server.log" | grep -q 'of server "dies" fails and is not used'
	verdict $? 'the log says nothing'
	sql "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%''dies''%' AND pid <> pg_backend_pid()" >/dev/null
	wait $psql_pid
	grep -q 'canceling statement' "$file"
	verdict $? 'it cannot be cancelled'

	step 'The queue is paused, and there is a deadline' "SELECT retrostar.pause(); SET retrostar.deadline = '1s';
		SELECT retro_star_score('q', 'while paused', server => 'gpu');" 'ERROR: .*deadline.*DETAIL: .*paused'
	sql 'SELECT retrostar.resume()' >/dev/null
	sql 'DROP SERVER wrong_port; DROP SERVER dies' >/dev/null
}

# 4. Which document?
which_document()
{
	sql "INSERT INTO doc VALUES ('empty', 'nothing', '')" >/dev/null
	step 'An empty document in a set' "SELECT * FROM retro_star_rerank('q', ARRAY(SELECT id FROM doc ORDER BY id), ARRAY(SELECT body FROM doc ORDER BY id));" 'ERROR: .*empty.*"?empty"?.*HINT'
	step '... one that the server refuses' "SELECT retro_star_score('q', 'This one [[sim:status=400]]');" 'ERROR: .*DETAIL: .*document begins with "This one'
	step '... NULL in the place of an error' "SET retrostar.on_error = 'null'; SELECT count(*) - count(retro_star_score('plain', body)) FROM doc;" 'WARNING: .*1 pair could not be scored.*DETAIL: .*empty'
	sql "CREATE MATERIALIZED VIEW ranked AS SELECT id, retro_star_score('plain', body) AS score FROM doc WITH NO DATA" >/dev/null
	step '... in a refresh' "CALL retrostar.refresh('ranked');" 'ERROR: .*empty.*DETAIL: .*cache_key'
	step '... that is to go on' "CALL retrostar.refresh('ranked', on_error => 'null'); SELECT status, failed FROM retrostar.refresh_log ORDER BY run DESC LIMIT 1;" 'WARNING: .*could not be scored.*done\|1'
	step '... and the row is found' "SELECT id FROM doc WHERE retrostar.cache_key('plain', body) = ANY ((SELECT failed_keys FROM retrostar.refresh_log ORDER BY run DESC LIMIT 1)::bytea[]);" '^empty $'
	sql "DROP MATERIALIZED VIEW ranked; DELETE FROM doc WHERE id = 'empty'" >/dev/null
}

during()
{
	local pid

	sql "ALTER SERVER gpu OPTIONS (ADD max_in_flight '2')" >/dev/null
	"${run_as[@]}" "$bin/psql" -X -h "$work" -U postgres -d app -A -t -q \
		-c "SELECT count(retro_star_score('how long', body)) FROM doc" >"$work/said" 2>&1 &
	pid=$!
	until [ "$(sql 'SELECT count(*) FROM retrostar.stat_progress WHERE done > 3')" = 1 ] || ! kill -0 $pid; do sleep 0.05; done
	step 'How far is it, and until when?' 'SELECT wanted, done, rows_estimated, end_estimated > now() FROM retrostar.stat_progress;' '^[0-9]+\|[0-9]+\|[0-9]+\|t $'
	sql 'ALTER SERVER gpu OPTIONS (DROP max_in_flight)' >/dev/null
	wait $pid
}

# 9. The smaller ones
smaller()
{
	step 'Names that are nearly right' "SELECT retro_star_score('q', 'd', server => 'gpuu');" 'ERROR: .*gpuu.*HINT: .*Perhaps you meant.*gpu'
	step 'A server in the place of the task' "SELECT retro_star_score('q', 'd', 'gpu');" "ERROR: .*task \"gpu\" does not exist.*HINT: .*server => 'gpu'"
	step 'Blanks' "SELECT retro_star_score('q', '   ');" 'ERROR: .*document is empty'
	step 'A JSON document' "SELECT retro_star_score('q', '{\"a\": 1}'::json);" 'ERROR: .*retro_star_score\(unknown, json\) does not exist.*HINT: .*casts'
	step 'samples of a set' "SELECT * FROM retro_star_rerank('q', '{1}'::int[], '{d}', samples => 3);" 'ERROR: .*does not exist.*HINT'
	step 'The result of the aggregate' "SELECT r.* FROM (SELECT retrostar.ranked(retro_star_rerank_agg('plain', id, body)) AS best FROM (SELECT * FROM doc LIMIT 3) d) q, unnest(q.best) r;" '^(.*\|[0-9.]+\|[1-3] ){3}$'
	sql "CREATE ROLE reader LOGIN; CREATE VIEW scored AS SELECT id, retro_star_score('plain', body) FROM doc; GRANT SELECT ON scored TO reader" >/dev/null
	step 'The reader of a view, without USAGE on the server' 'SELECT * FROM scored;' 'ERROR: .*permission denied.*HINT: .*GRANT USAGE ON FOREIGN SERVER gpu TO reader' '' reader
	sql "CREATE SERVER another FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm')" >/dev/null
	step 'A second server' "SELECT retro_star_score('q', 'd');" 'ERROR: .*more than one server.*DETAIL: .*another.*gpu.*HINT: .*retrostar.server'
	sql 'DROP SERVER another' >/dev/null
	step 'Columns of the views' "SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
		WHERE relnamespace = 'retrostar'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL;" '^0 $'
}

#
# Planted misconfigurations
#

# TITLE OPTIONS MESSAGE CHECK [SETTINGS]: with a server of these options, what a
# score says and what check() says must fit
plant()
{
	sql "DROP SERVER IF EXISTS s CASCADE; CREATE SERVER s FOREIGN DATA WRAPPER retrostar OPTIONS ($2)" >/dev/null
	step "Planted: $1" "${5:-}SELECT retro_star_score('planted', 'A document for: $1', server => 's');" "$3"
	step '... and check()' "SELECT ok, detail FROM retrostar.check('s') WHERE endpoint <> 'worker';" "$4"
}

planted()
{
	local first keyed named

	first=http://127.0.0.1:$(cut -d ' ' -f 1 "$work/first.port")
	start_simulator keyed --model m --api-key secret
	keyed=http://127.0.0.1:$port
	start_simulator vllm --model m --dialect vllm
	named=http://127.0.0.1:$port
	start_simulator slow --model m --delay-ms 4000
	echo
	echo "Planted misconfigurations"
	plant 'the port is wrong' "url 'http://127.0.0.1:9', model 'm'" 'ERROR: .*could not reach.*HINT: .*option "url"' '^f\|.*127.0.0.1.*9'
	plant 'the host is wrong' "url 'http://no-such-host.invalid:30000', model 'm'" 'ERROR: .*could not reach.*no-such-host.*HINT: .*option "url"' '^f\|.*no-such-host'
	plant 'the path is wrong' "url '$first/gateway', model 'm'" 'ERROR: .*404: POST http.*/gateway/v1/chat/completions.*HINT: .*option "url"' '^f\|.*404: POST http.*/gateway/v1/chat/completions.*path in the option "url"'
	plant 'the model is wrong' "url '$named', model 'no-such-model', dialect 'vllm'" 'ERROR: .*does not serve the model.*HINT: .*option "model"' '^f\|.*does not serve the model: it serves "m"'
	plant 'the key is missing' "url '$keyed', model 'm'" 'ERROR: .*does not accept the API key.*no key was sent.*HINT: .*user mapping' '^f\|.*does not accept the API key.*no key was sent'
	plant 'the dialect is wrong' "url '$named', model 'm', dialect 'llamacpp'" 'NOTICE: .*option "dialect".*does not fit.*DETAIL: .*"vllm" fits vLLM.*HINT: .*ALTER SERVER s OPTIONS' '^\|.*the option dialect is "llamacpp", "vllm" fits.*ALTER SERVER s OPTIONS'
	plant 'no room for the answer' "url '$first', model 'm', max_tokens '16'" 'ERROR: .*gave no score.*DETAIL: .*max_tokens.*HINT: .*max_tokens' '^t\|'
	plant 'the timeout is too short' "url 'http://127.0.0.1:$port', model 'm', timeout '1s', retries '0'" 'ERROR: .*did not answer in time.*HINT: .*option "timeout"' '.'
	plant 'https where there is none' "url 'https://127.0.0.1:$(cut -d ' ' -f 1 "$work/first.port")', model 'm'" 'ERROR: .*(TLS|SSL|https).*HINT: .*http' '^f\|.*(TLS|SSL|https)'
	plant 'something else listens there' "url 'http://127.0.0.1:$(cut -d ' ' -f 1 "$work/first.port")/sim', model 'm'" 'ERROR: .*(not understood|404|refused)' '^f\|'
	plant 'the limit is reached' "url '$first', model 'm'" 'ERROR: .*request_limit.*HINT: .*does not help.*"retrostar.request_limit"' '^t\|' 'SET retrostar.request_limit = 0; '
	plant 'the key file is not there' "url '$first', model 'm'" '^[0-9]+ $' '^t\|'
	sql "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (api_key_file '/etc/retrostar/not-there.key')" >/dev/null
	step '... with a mapping' "SELECT retro_star_score('planted', 'with a key file', server => 's');" 'ERROR: .*could not use the API key file.*could not open API key file "/etc/retrostar/not-there.key"'
	step '... and check()' "SELECT ok, detail FROM retrostar.check('s') WHERE endpoint <> 'worker';" '^f\|.*could not open API key file'
	step 'Planted: no USAGE' "SELECT retro_star_score('q', 'd', server => 's');" 'ERROR: .*permission denied.*s' '' reader
	step '... and check()' "SELECT * FROM retrostar.check('s');" 'ERROR: .*permission denied.*s' '' reader
	sql 'DROP SERVER s CASCADE; CREATE DATABASE bare' >/dev/null
	answer=$(sql "SELECT retro_star_score('q', 'd')" bare)
	show 'Planted: a database without the extension' "SELECT retro_star_score('q', 'd')"
	grep -q 'function retro_star_score.* does not exist' <<<"$answer" &&
		grep -q '^## "function retro_star_score(...) does not exist"' "$work/source/doc/troubleshooting.md"
	verdict $? 'nothing is said'
	small_memory
}

small_memory()
{
	restart "retrostar.shared_memory = '4MB'"
	step 'Planted: shared_memory is too small for a document' "SELECT retro_star_score('q', repeat('word ', 600000));" 'ERROR: .*too large for retrostar.*shared memory.*HINT: .*retrostar.shared_memory.*restart PostgreSQL'
	restart 'max_worker_processes = 1' "retrostar.shared_memory = '64MB'"
	step 'Planted: no place for a worker' "SELECT retro_star_score('q', 'nobody works');" 'ERROR: .*background worker.*HINT: .*max_worker_processes.*restart PostgreSQL'
	step '... and check()' 'SELECT endpoint, ok, detail FROM retrostar.check();' 'worker\|f\|.*max_worker_processes'
}

main "$@"
