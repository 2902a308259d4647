#!/bin/bash
#
# test/servers.sh [--only SERVER]... [--case CASE]... [--cache DIR] [--llama-cpp-python]
#
# Tries retrostar against the servers, routers and proxies that people put
# between SQL and the GPU, the real programs, and prints what became of each
# case.  Fails when a cell is not what servers/expected says.
#
#   --only SERVER   vllm, llama, llama-cpp-python, sglang-router, smg,
#                   vllm-router, litellm, nginx; may be repeated
#   --case CASE     happy, context, model, key, cancel, term, drain, restart,
#                   slow, overload, timeout; may be repeated
#   --cache DIR     where what is installed stays (8 GB); without it, in a
#                   folder that is removed at the end
#   --llama-cpp-python  build and try it, too (a quarter of an hour)
#
# The engines have a tiny random model and are made to answer in the right
# form.  Before routers stand two simulators, which count what reaches them.
# Of the cases: "term" ends the server (of routers: the router) with SIGTERM
# under load and starts another one, "drain" the same with a vLLM that first
# answers what it has, "restart" kills it (of routers: the workers, for 6 s),
# "slow" asks before it has started, "overload" gives the workers of routers a
# queue of 4, "timeout" makes them slower than nginx waits.  What routers do with
# an outage and an overload is compared with a list of the workers' URLs.
#
# Not part of test/run.sh: it takes an hour on two cores, and 8 GB.  PG_CONFIG
# chooses the PostgreSQL.  Only root can have llama-server (a chroot).  The last
# line is "servers: N as expected, M not".

# Functions are called by name
# shellcheck disable=SC2317

set -uo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/setup.sh"
# shellcheck source=test/matrix/chroot.sh
. "$setup_source/test/matrix/chroot.sh"
# shellcheck source=test/servers/programs.sh
. "$setup_source/test/servers/programs.sh"

all_cases=(happy context model key cancel term drain restart slow overload timeout)
servers=() cases=() cache='' kept=false with_python=false
work='' run_as=() output=''
good=0 bad=0 rows=()

key=sk-right				# LiteLLM wants one that begins so

main()
{
	options "$@"
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	setup_install test
	if ! $kept; then cache=$(mktemp -d /var/tmp/retrostar-servers.XXXXXX) || exit 1; fi
	programs_install
	start_postgres
	for server in "${servers[@]}"; do
		for case in "${cases[@]}"; do
			if applies; then try; fi
		done
		programs_end
	done
	table
	echo "servers: $good as expected, $bad not"
	[ $bad = 0 ]
	exit
}

options()
{
	while [ $# -gt 0 ]; do
		case $1 in
			--only|--case|--cache)
				[ $# -ge 2 ] || setup_die "option $1 needs a value"
				case $1 in
					--only) servers+=("$2") ;;
					--case) cases+=("$2") ;;
					--cache) cache=$(realpath -m "$2") kept=true ;;
				esac
				shift 2 ;;
			--llama-cpp-python) with_python=true; shift ;;
			-h|--help) sed -n '3,28s/^# \{0,1\}//p' "$0"; exit ;;
			*) setup_die "unknown option \"$1\"; see test/servers.sh --help" ;;
		esac
	done
	if [ ${#servers[@]} = 0 ]; then
		servers=(vllm llama sglang-router smg vllm-router litellm nginx)
		! $with_python || servers+=(llama-cpp-python)
	fi
	[ ${#cases[@]} != 0 ] || cases=("${all_cases[@]}")
	for server in "${servers[@]}"; do
		[[ " ${programs[*]} " == *" $server "* ]] || setup_die "there is no server \"$server\"; see --help"
	done
	for case in "${cases[@]}"; do
		[[ " ${all_cases[*]} " == *" $case "* ]] || setup_die "there is no case \"$case\"; see --help"
	done
}

start_postgres()
{
	local bin

	setup_work servers
	{ setup_copy && setup_postgres; } >"$work/build.log" 2>&1 || setup_die "could not set up $work"
	bin=${PG_CONFIG%/*}
	{
		"${run_as[@]}" make -s -j "$(nproc)" -C "$work/source" with_llvm=no install &&
			"${run_as[@]}" make -s -j "$(nproc)" -C "$work/source/test/simulator" &&
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
		-c "SET client_min_messages = warning; SET statement_timeout = '600s'" -c "$1" 2>&1
}

clean_up()
{
	local status=$?

	trap '' HUP INT TERM
	trap - EXIT
	programs_end
	if [ -n "$work" ]; then
		[ ! -e "$work/data/postmaster.pid" ] ||
			"${run_as[@]}" "${PG_CONFIG%/*}/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1
		wait
		cd /
		if [ "$status" = 0 ]; then rm -rf "$work"; else echo "Logs: $work"; fi
	fi
	$kept || [ -z "$cache" ] || rm -rf --one-file-system "$cache"
	exit "$status"
}

#
# A cell of the table
#

# Who can do what the case wants?
applies()
{
	case $case in
		overload) is_router "$server" ;;
		drain) [ "$server" = vllm ] ;;
		timeout) [ "$server" = nginx ] ;;
	esac
}

# Runs a case, and compares its outcome, a few words that do not depend on how
# fast the machine is
try()
{
	local begun=$SECONDS outcome='' detail='' right fault today verdict sent scored

	IFS='|' read -r right fault today <<<"$(expectation)"
	sql 'DELETE FROM retrostar.score_cache; SELECT retrostar.stats_reset()' >/dev/null
	"case_$case"
	read -r sent scored <<<"$(sql "SELECT sum(sent) || ' ' || sum(answered) FROM retrostar.stat_server")"
	detail="${detail:+$detail, }$((SECONDS - begun)) s, sent ${sent:-?}, answered ${scored:-?}$(at_the_workers)"
	if [ "$outcome" = "$right" ] && [ -n "$fault" ]; then
		verdict="$fault IS MENDED: take its mark off"
	elif [[ " or $right or " == *" or $outcome or "* ]]; then
		verdict=ok
	elif [ -n "$fault" ] && [[ " or $today or " == *" or $outcome or "* ]]; then
		verdict="known: $fault"
	else
		verdict="WRONG, expected: ${right:-nothing}"
	fi
	case $verdict in ok|known*) good=$((good + 1)) ;; *) bad=$((bad + 1)) ;; esac
	rows+=("$(printf '%-16s %-8s %-44s %-34s %s' "$server" "$case" "$outcome" "$verdict" "$detail")")
	echo "${rows[-1]}"
}

# RIGHT|FAULT|TODAY, the last two of a cell that is known to be wrong
expectation()
{
	sed -n "s/^$server *| *$case *| *//p" "$setup_source/test/servers/expected" | sed 's/ *| */|/g; s/ *$//'
}

table()
{
	printf '\n%-16s %-8s %-44s %-34s %s\n' server case outcome verdict detail
	printf '%s\n' "${rows[@]}"
}

# What each sample of ours became behind the router
at_the_workers()
{
	if is_router "$server"; then
		echo ", at the workers $(workers_count chat)"
	fi
}

# COMMAND...: once a tenth of a second, for five minutes
wait_until()
{
	local end=$((SECONDS + 300))

	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

#
# Statements
#

# short|long [OPTION...]: a server object for what is being tried, whose answers
# are so
define()
{
	define_at "http://127.0.0.1:$port" "$@"
}

# The same for a router's workers, without it
define_list()
{
	define_at "http://127.0.0.1:${ports[1]},http://127.0.0.1:${ports[2]}" "$@"
}

define_at()
{
	local more='' url=$1 length=$2
	shift 2

	for option in "$(answers "$length")" "$@"; do more+=${option:+, $option}; done
	sql "DROP SERVER IF EXISTS tried CASCADE;
		CREATE SERVER tried FOREIGN DATA WRAPPER retrostar OPTIONS (url '$url', $(program_options)$more);
		CREATE USER MAPPING FOR PUBLIC SERVER tried OPTIONS (api_key '$key')" >/dev/null
}

# NUMBER NAME: so many pairs, in the background, into $work/NAME.out
begin_pairs()
{
	sql "$(pairs "$1" "$2")" >"$work/$2.out" &
	statement=$!
}

pairs()
{
	echo "SELECT 'scored ' || count(retro_star_score('a query of $2', 'document ' || i || ' of $2')) FROM generate_series(1, $1) i"
}

# One word, or the SQLSTATE and the first words of the error in $output
outcome_of()
{
	case $output in
		"scored $1") outcome=scored ;;
		*) outcome=$(sed -n 's/^ERROR: *\([0-9A-Z]\{5\}\): *\(.*\)/\1 \2/p' <<<"$output" | sed 's/server "[^"]*"/server/; 1q')
			outcome=${outcome:-strange: ${output:0:60}}
			detail=$(sed -n 's/^DETAIL: *//p' <<<"$output" | tr '\n' ' ' | cut -c 1-90) ;;
	esac
}

finish_pairs()
{
	wait "$statement"
	output=$(tail -n 5 "$work/$2.out")
	outcome_of "$1"
}

answered()
{
	[ "$(sql "SELECT coalesce(sum(answered), 0) >= $1 FROM retrostar.stat_server")" = t ]
}

in_flight()
{
	[ "$(sql "SELECT coalesce(sum(in_flight), 0) >= $1 FROM retrostar.stat_server")" = t ]
}

waiting_or_over()
{
	! kill -0 "$statement" 2>/dev/null || [ "$(sql 'SELECT waiting + running > 0 FROM retrostar.stat_queue')" = t ]
}

#
# Cases
#

case_happy()
{
	program_up
	define short
	output=$(sql "$(pairs 60 happy)")
	outcome_of 60
}

# Documents from where the answer just has its room to where the prompt alone
# is too long, in steps of 20 tokens
case_context()
{
	local one two each first step words scored=0 n=0 most=0 sent

	program_up
	define short
	one=$(prompt_tokens 100) two=$(prompt_tokens 300)
	each=$(awk "BEGIN { print ($two - $one) / 200 }")
	first=$(awk "BEGIN { print int(100 + ($(context_size) - $(answer_size) - 60 - $one) / $each) }")
	step=$(awk "BEGIN { step = int(20 / $each); print (step < 1 ? 1 : step) }")
	for ((words = first; (words - first) * 20 < ($(answer_size) + 180) * step; words += step)); do
		n=$((n + 1))
		sql 'SELECT retrostar.stats_reset()' >/dev/null
		output=$(sql "SET client_min_messages = error;
			SELECT 'scored ' || count(retro_star_score('a query', $(document "$words")))")
		sent=$(sql 'SELECT sum(sent) FROM retrostar.stat_server')
		[ "${sent:-0}" -le "$most" ] || most=$sent
		if [ "$output" = 'scored 1' ]; then
			scored=$((scored + 1))
		else
			outcome_of 1
		fi
	done
	if [ "$scored" != "$n" ]; then
		outcome="some: $outcome"
	elif [ "$most" -gt 2 ]; then
		outcome='scored, asked more than twice'
	else
		outcome=scored
	fi
	detail="$scored of $n documents, at most $most requests each${detail:+, $detail}"
}

document() { echo "repeat('word ', $1)"; }

prompt_tokens()
{
	local before after

	before=$(sql 'SELECT coalesce(sum(prompt_tokens), 0) FROM retrostar.stat_server')
	sql "SELECT retro_star_score('a query', $(document "$1"))" >/dev/null
	after=$(sql 'SELECT coalesce(sum(prompt_tokens), 0) FROM retrostar.stat_server')
	echo $((after - before))
}

case_model()
{
	program_up
	define short
	sql "ALTER SERVER tried OPTIONS (SET model 'nosuch')" >/dev/null
	output=$(sql "$(pairs 3 model)")
	outcome_of 3
}

case_key()
{
	program_up
	define short
	sql "ALTER USER MAPPING FOR PUBLIC SERVER tried OPTIONS (SET api_key 'sk-wrong')" >/dev/null
	output=$(sql "$(pairs 3 key)")
	outcome_of 3
}

case_cancel()
{
	local end

	program_up slow
	define long "max_in_flight '16'"
	# no end of its own
	if is_router "$server"; then workers_control '{"hold": true}'; fi
	begin_pairs 60 cancel
	wait_until in_flight 4 && wait_until busy
	sql "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT ''scored%'" >/dev/null
	finish_pairs 60 cancel
	outcome=${outcome%% *}
	end=$((SECONDS + 20))
	# llama-server looks after its clients when nobody has asked for a second
	sleep 3
	while busy && [ "$SECONDS" -lt "$end" ]; do sleep 3; done
	if busy; then outcome+=', runs on'; else outcome+=', released'; fi
	detail=''
	programs_end
}

# What is in flight is lost, and comes back long before "timeout", the default
case_term()
{
	local ready

	program_up slow
	define long "unavailable_timeout '300s'"
	begin_pairs "$(load_size)" term
	wait_until answered 5
	program_terminate
	wait_until refuses
	program_up slow
	ready=$SECONDS
	finish_pairs "$(load_size)" term
	late
}

# After the server is ready again, 30 s are enough
late()
{
	if [ "$outcome" = scored ] && [ $((SECONDS - ready)) -gt 30 ]; then outcome+=', late'; fi
	detail="${detail:+$detail, }$((SECONDS - ready)) s after it was ready"
}

# Before it goes it answers what it has, and refuses what is new
case_drain()
{
	local ready

	program_up drain
	define long "unavailable_timeout '300s'"
	begin_pairs 400 drain
	wait_until answered 5
	program_terminate
	wait_until refuses
	program_up drain
	ready=$SECONDS
	finish_pairs 400 drain
	# how long the others take says nothing
	detail="$((SECONDS - ready)) s after it was ready${detail:+, $detail}"
}

case_restart()
{
	local ready

	program_up slow
	if is_router "$server"; then
		compare outage
		return
	fi
	define long "unavailable_timeout '300s'"
	begin_pairs "$(load_size)" restart
	wait_until answered 5
	program_outage
	ready=$SECONDS
	finish_pairs "$(load_size)" restart
	late
}

# outage|overload: what becomes of a statement through a router with all options as
# they come, while that happens to its workers; twice the time of a list of their
# URLs, and 10 s, are enough, and once the minute for which its breaker lets
# nobody through
compare()
{
	local took router there

	define long
	"under_$1" router
	router=$took there=$outcome
	define_list long
	"under_$1" list
	if [ "$outcome" != scored ]; then
		outcome="list of URLs: $outcome"
	elif [ "$there" = scored ] && [ "$router" -gt $((2 * took + 10 + $(breaker_time))) ]; then
		outcome='scored, late'
	else
		outcome=$there
	fi
	detail="$router s, with a list of URLs $took s${detail:+, $detail}"
}

# NAME
under_outage()
{
	took=$SECONDS
	begin_pairs "$(load_size)" "outage $1"
	wait_until answered 5
	program_outage
	finish_pairs "$(load_size)" "outage $1"
	took=$((SECONDS - took))
}

under_overload()
{
	workers_control '{"max_running": 4, "max_queue": 4, "delay_ms": 300}'
	took=$SECONDS
	output=$(sql "$(pairs 300 "overload $1")")
	outcome_of 300
	took=$((SECONDS - took))
	workers_control '{"max_running": 16, "max_queue": -1, "delay_ms": 20}'
}

case_slow()
{
	local ready

	programs_end
	find_ports
	define short "unavailable_timeout '$(if is_router "$server"; then echo 120s; else echo 300s; fi)'"
	begin_pairs 20 slow
	wait_until waiting_or_over
	program_half_up
	program_up
	ready=$SECONDS
	finish_pairs 20 slow
	late
}

case_overload()
{
	program_up
	compare overload
}

# Eight pairs a second; nginx waits five seconds for an answer
case_timeout()
{
	local limit

	program_up
	define short
	workers_control '{"max_running": 2, "delay_ms": 500}'
	output=$(sql "$(pairs 300 timeout)")
	outcome_of 300
	limit=$(sql 'SELECT max(in_flight_limit) FROM retrostar.stat_server')
	[ "$outcome" != scored ] || [ "${limit:-0}" -le 60 ] || outcome+=', limit not lowered'
	detail="limit ${limit:-?} at the end"
	workers_control '{"max_running": 16, "delay_ms": 20}'
}

main "$@"
