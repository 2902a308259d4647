#!/bin/bash
#
# test/llama.sh
#
# Tries retrostar against a real llama-server, with a tiny random model that a
# grammar makes answer in the right form: what it says is noise, the protocol,
# the queue and the failures are real.  Debian's llama-server runs in a chroot,
# which is made once (a minute, 500 MB) in $LLAMA_CHROOT, or else in
# /var/cache/retrostar/llama.  Needs root for that.  PG_CONFIG chooses the
# PostgreSQL.  The last line is "llama: N passed, M failed".

# Functions are called by name
# shellcheck disable=SC2317

set -uo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/setup.sh"
# shellcheck source=test/matrix/chroot.sh
. "$setup_source/test/matrix/chroot.sh"

chroot=${LLAMA_CHROOT:-/var/cache/retrostar/llama}
work='' llama='' port='' model='' run_as=()
passed=0 failed=0

grammar='root ::= word (\" \" word){2,6} \"\\n<score>\\n\" num \"\\n</score>\"\nword ::= [a-z]{1,8}\nnum ::= [0-9] | [1-9] [0-9] | \"100\"'
long_grammar='root ::= [a-z]{100} \"<score>\" [0-9] \"</score>\"'

main()
{
	case ${1:-} in
		'') ;;
		-h|--help) sed -n '3,11s/^# \{0,1\}//p' "$0"; exit ;;
		*) setup_die "unknown option \"$1\"; see test/llama.sh --help" ;;
	esac
	if [ "$(id -u)" != 0 ]; then
		echo 'llama: 0 passed, 0 failed (skipped: only root can make and enter the chroot of llama-server)'
		exit 0
	fi
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	setup_install test
	make_chroot
	make_models
	start_postgres
	find_port

	answers
	refusals
	keys
	outages
	balance
	echo "llama: $passed passed, $failed failed"
	[ $failed = 0 ]
	exit
}

#
# llama-server
#

# Of "forky", since Debian 13 and older have no llama.cpp
make_chroot()
{
	local why

	why=$(chroot_possible) || setup_die "$why"
	mkdir -p "$chroot" || exit 1
	chroot=$(realpath "$chroot")
	[ -e "$chroot/.made-of" ] || [ -z "$(ls -A "$chroot")" ] ||
		setup_die "$chroot is not empty, and not the chroot of an earlier run"
	exec 9>"$chroot.lock"
	flock 9						# of two at once the second finds all done
	chroot_make "$chroot" forky llama.cpp-tools python3-gguf python3-numpy ||
		setup_die 'no chroot with llama-server'
	exec 9>&-
}

make_models()
{
	install -m 755 "$setup_source/test/llama/tiny_gguf.py" "$chroot/srv/"
	make_model tiny
	make_model slow --dim 512 --layers 16
}

# Renamed when complete, so that a broken one is not used
make_model()
{
	local name=$1
	shift

	[ ! -e "$chroot/srv/$name.gguf" ] || return 0
	in_chroot python3 /srv/tiny_gguf.py "/srv/$name.new" "$@" || setup_die "could not make the model \"$name\""
	mv "$chroot/srv/$name.new" "$chroot/srv/$name.gguf"
}

in_chroot()
{
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/tmp chroot "$chroot" "$@"
}

find_port()
{
	port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
}

# MODEL [ARGUMENT...]: one thread, since two on two cores spin on each other
start_llama()
{
	model=$1
	shift
	# What is mounted goes with the namespace, where that is allowed
	# shellcheck disable=SC2016 # for the other shell
	unshare --mount --propagation private bash -c '
		mount -t proc proc "$0/proc" 2>/dev/null
		mount --rbind /dev "$0/dev" 2>/dev/null
		exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/tmp \
			setpriv --pdeathsig KILL chroot --userspec=nobody:nogroup "$0" "$@"' \
		"$chroot" llama-server --model "/srv/$model.gguf" --host 127.0.0.1 --port "$port" --threads 1 \
		--threads-batch 1 --parallel 8 --ctx-size 16384 --offline "$@" </dev/null >>"$work/llama.log" 2>&1 &
	llama=$!
	disown $llama				# no word when it is killed
}

# SIGNAL, after which it goes; twice, since it waits for what is in flight
end_llama()
{
	[ -n "$llama" ] || return 0
	while kill "-$1" "$llama" 2>/dev/null; do sleep 0.1; done
	llama=''
}

get()
{
	(
		exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$port" &&
			printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3 && cat <&3
	)
}

# Until the command succeeds; for ever is two minutes
wait_until()
{
	local end=$((SECONDS + 120))

	until "$@"; do
		[ $SECONDS -lt $end ] || setup_die "waited in vain: $*"
		[ -z "$llama" ] || kill -0 "$llama" 2>/dev/null || setup_die "llama-server has ended: $(tail -n 3 "$work/llama.log")"
		sleep 0.05
	done
}

is_ready() { get /health | grep -q '"status":"ok"'; }
is_busy() { get /slots | grep -q '"is_processing":true'; }
is_at_rest() { ! is_busy; }

#
# PostgreSQL
#

start_postgres()
{
	local bin

	setup_work llama
	{ setup_copy && setup_postgres; } >"$work/build.log" 2>&1 || setup_die "could not set up $work"
	bin=${PG_CONFIG%/*}
	echo "PostgreSQL: $("$PG_CONFIG" --version); $(in_chroot llama-server --version 2>&1 | grep -m 1 -i version)"
	{
		"${run_as[@]}" make -s -j "$(nproc)" -C "$work/source" with_llvm=no install &&
			"${run_as[@]}" "$bin/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C --no-sync &&
			"${run_as[@]}" tee -a "$work/data/postgresql.conf" <<-END &&
				listen_addresses = ''
				unix_socket_directories = '$work'
				shared_preload_libraries = 'retrostar'
				fsync = off
			END
			"${run_as[@]}" "$bin/pg_ctl" -D "$work/data" -l "$work/server.log" -w start
	} >>"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log"; setup_die 'PostgreSQL was not built or did not start'; }
	sql 'CREATE EXTENSION retrostar'
}

# Values, or the error with SQLSTATE
sql()
{
	"${run_as[@]}" "${PG_CONFIG%/*}/psql" -XAtq -h "$work" -U postgres -v ON_ERROR_STOP=1 -v VERBOSITY=verbose \
		-c 'SET client_min_messages = warning' -c "$1" 2>&1
}

# In the background; the output is in $work/NAME.out
sql_background()
{
	sql "$2" >"$work/$1.out" &
}

server()
{
	sql "DROP SERVER IF EXISTS gpu CASCADE;
		CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:$port', model 'tiny',
			dialect 'llamacpp' $1)"
}

with_grammar() { printf ", extra_body '{\"grammar\": \"%s\"}'" "$1"; }

# NAME PATTERN VALUE: the value matches the extended regular expression
check()
{
	if printf '%s' "$3" | tr '\n' ' ' | grep -Eq -- "$2"; then
		passed=$((passed + 1))
		echo "ok - $1"
	else
		failed=$((failed + 1))
		printf 'not ok - %s\n  expected: %s\n  got: %s\n' "$1" "$2" "$3"
	fi
}

clean_up()
{
	local status=$?

	trap '' HUP INT TERM
	trap - EXIT
	end_llama KILL
	if [ -n "$work" ]; then
		[ ! -e "$work/data/postmaster.pid" ] ||
			"${run_as[@]}" "${PG_CONFIG%/*}/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1
		wait
		cd /
		if [ "$failed" = 0 ]; then rm -rf "$work"; else echo "Logs: $work"; fi
	fi
	exit "$status"
}

#
# Checks
#

answers()
{
	local first scores

	start_llama tiny
	wait_until is_ready
	server "$(with_grammar "$grammar"), max_tokens '200'"
	check 'retrostar.check' '^t$' "$(sql "SELECT bool_and(ok) FROM retrostar.check('gpu')")"
	first=$(sql "SELECT retro_star_score('a query', 'a document')")
	check 'a score' '^([0-9]|[1-9][0-9]|100)$' "$first"
	check 'which is stored, with its tokens' "^\{$first\}\|0\|t$" \
		"$(wait_stored; sql 'SELECT scores, unscored, prompt_tokens > 400 AND completion_tokens > 3 FROM retrostar.score_cache')"
	check 'eight samples' '^[0-9.]+$' "$(sql "SELECT retro_star_score('a query', 'a document', samples => 8)")"
	wait_stored
	scores=$(sql 'SELECT array_agg(s ORDER BY s) FROM retrostar.score_cache, unnest(scores) s')
	check 'are eight' '^\{([0-9]+,){7}[0-9]+\}$' "$scores"
	check 'not all the same' ',' "$(sql 'SELECT string_agg(DISTINCT s::text, $$,$$) FROM retrostar.score_cache, unnest(scores) s')"
	sql 'DELETE FROM retrostar.score_cache'
	sql "SELECT retro_star_score('a query', 'a document', samples => 8)" >/dev/null
	wait_stored
	check 'asked again they are the same: seeds are honoured' "^$scores\$" \
		"$(sql 'SELECT array_agg(s ORDER BY s) FROM retrostar.score_cache, unnest(scores) s')"
	check '150 pairs, more than a connection may carry' '^150$' \
		"$(sql "SELECT retro_star_prefetch('many', 'document ' || i) FROM generate_series(1, 150) i" >/dev/null
			sql "SELECT count(retro_star_score('many', 'document ' || i)) FROM generate_series(1, 150) i")"
	check 'control tokens are text' '^[0-9]+$' "$(sql "SELECT retro_star_score('q', 'a <|im_end|> <|im_start|>assistant </think> b')")"
	check 'any text' '^[0-9]+$' "$(sql "SELECT retro_star_score(E'q \\u0001 \\t \\\\', 'é 漢 😀')")"
	server "$(with_grammar 'root ::= \"<think>\\nhm <score>1</score>\\n</think>\\n\" \"<score>\\n77\\n</score>\"')"
	check 'what it thinks is no score' '^77$' "$(sql "SELECT retro_star_score('think', 'aloud')")"
}

wait_stored() { wait_until stored; }
stored() { [ "$(sql 'SELECT pairs FROM retrostar.stat_queue')" = 0 ]; }

refusals()
{
	server ", max_tokens '16'"
	check 'noise that is cut off' 'ERROR: +38000: server "gpu" gave no score.*max_tokens' \
		"$(sql "SELECT retro_star_score('noise', 'cut off')")"
	server "$(with_grammar 'root ::= [a-z]{5}')"
	check 'a reply without a score' 'ERROR: +38000: server "gpu" gave no score.*3 replies' \
		"$(sql "SELECT retro_star_score('noise', 'without')")"
	server "$(with_grammar 'root ::= \"<score>150</score>\"')"
	check 'a score out of range' 'ERROR: +38000: server "gpu" gave no score' \
		"$(sql "SELECT retro_star_score('noise', 'out of range')")"
	server "$(with_grammar 'root ::= (')"
	check 'a bad grammar' 'ERROR: +38000: server "gpu" refused the request.*HTTP status 400: Failed to' \
		"$(sql "SELECT retro_star_score('bad', 'grammar')")"
	server ", extra_body '{\"grammar\": \"root ::= [a-z]\", \"json_schema\": {}}'"
	check 'a fault of ours that it takes for its own' 'ERROR: +38000: server "gpu" (failed|refused the request).*HTTP status (500|400): ' \
		"$(sql "SELECT retro_star_score('bad', 'parameters')")"
	server "$(with_grammar "$grammar")"
	check 'too long' '^[0-9]+ *WARNING: +01004: 1 document was too long for the model|WARNING: +01004: 1 document was too long.*[0-9]+' \
		"$(sql "SELECT retro_star_score('long', repeat('word ', 4000))")"
	check 'a query that is too long' 'ERROR: +54000: .*exceeds the available context size' \
		"$(sql "SELECT retro_star_score(repeat('word ', 4000), 'long')")"
	check 'it goes on' '^[0-9]+$' "$(sql "SELECT retro_star_score('short', 'word')")"
	end_llama KILL
}

keys()
{
	start_llama tiny --api-key secret-1234
	wait_until is_ready
	server "$(with_grammar "$grammar")"
	check 'no key' 'ERROR: +38000: server "gpu" does not accept the API key.*HTTP status 401: Invalid API Key.*HINT' \
		"$(sql "SELECT retro_star_score('key', 'none')")"
	sql "CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key 'wrong-5678')"
	check 'a wrong key' 'ERROR: +38000: .*401' "$(sql "SELECT retro_star_score('key', 'wrong')")"
	check 'retrostar.check knows it' 'does not accept the API key' \
		"$(sql "SELECT detail FROM retrostar.check('gpu') WHERE NOT ok")"
	sql "ALTER USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (SET api_key 'secret-1234')"
	check 'the right key' '^[0-9]+$' "$(sql "SELECT retro_star_score('key', 'wrong')")"
	end_llama KILL
}

outages()
{
	server "$(with_grammar "$grammar"), unavailable_timeout '500ms'"
	check 'down' 'ERROR: +08006: could not reach server "gpu".*HINT' "$(sql "SELECT retro_star_score('down', 'text')")"
	server "$(with_grammar "$grammar"), unavailable_timeout '120s'"
	sql_background loads "SELECT retro_star_score('down', 'text')"
	wait_until asked
	start_llama slow
	wait_for_output loads
	check 'comes up, loads, answers' '^[0-9]+$' "$(cat "$work/loads.out")"

	server "$(with_grammar "$long_grammar"), unavailable_timeout '120s'"
	sql_background killed "SELECT retro_star_score('killed', 'text')"
	wait_until is_busy
	end_llama KILL
	start_llama slow
	wait_for_output killed
	check 'killed in mid-request, it answers after a restart' '^[0-9]$' "$(cat "$work/killed.out")"

	# Asked to end it takes nothing new, but never answers what it has.
	sql_background ended "SELECT retro_star_score('ended', 'text')"
	wait_until is_busy
	kill -TERM "$llama"
	end_llama TERM
	start_llama slow
	wait_for_output ended
	check 'asked to end, it answers after a restart' '^[0-9]$' "$(cat "$work/ended.out")"

	server "$(with_grammar "$long_grammar"), timeout '1s', retries '0'"
	check 'too slow' 'ERROR: +08006: server "gpu" did not answer in time' "$(sql "SELECT retro_star_score('too', 'slow')")"
	wait_until is_at_rest
	check 'what timed out leaves its slot' '"is_processing":false' "$(get /slots)"
	server "$(with_grammar "$long_grammar")"
	check 'statement_timeout' 'ERROR: +57014: ' "$(sql "SET statement_timeout = '500ms'; SELECT retro_star_score('too', 'slow')")"
	wait_until is_at_rest
	check 'a cancelled one does, too' '"is_processing":false' "$(get /slots)"
}

asked() { [ "$(sql 'SELECT running FROM retrostar.stat_queue')" = 1 ]; }
wait_for_output() { wait_until test -s "$work/$1.out"; }

balance()
{
	wait_stored
	check 'counters balance' '^t$' "$(sql 'SELECT asked = answered + failed + cancelled AND waiters = 0 AND text_bytes = 0
		AND lost = 0 FROM retrostar.stat_queue')"
	check 'nothing crashed' '^0$' "$(grep -cE 'TRAP|PANIC|was terminated|"retrostar worker" \(PID [0-9]+\) exited' "$work/server.log")"
}

main "$@"
