#!/bin/bash
#
# test/run.sh [--only PART]... [--test NAME]...
#
# Runs all tests, from nothing: installs what is missing, builds retrostar and
# the simulator without warnings in a copy of the sources, and tests them
# against a private copy of the PostgreSQL installation.  All parts run, also
# after a failure.  The last line is "N passed, N failed"; the exit status is
# not 0 when something failed.
#
#   --only PART   source, unit, simulator, regress, isolation or tap; may be
#                 repeated
#   --test NAME   one test, such as 001_score (test/t), prompt (sql), snapshots
#                 (test/specs) or passes_test (test/unit); may be repeated.  Of
#                 its part nothing else is run, of others what --only says
#
# PG_CONFIG chooses the PostgreSQL, for example one built with assertions.
# On failure the logs are kept, and their place is printed.  A part that does
# not end is ended after an hour.

# Functions are called by name
# shellcheck disable=SC2317

set -uo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/setup.sh"

parts=(source unit simulator regress isolation tap)
chosen=() tests=()
work='' group='' running='' run_as=()
total_passed=0 total_failed=0
passed=0 failed=0
broken=()

main()
{
	options "$@"
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	setup_install test
	setup_work test
	logs=$work/logs
	"${run_as[@]}" mkdir "$logs"
	echo "PostgreSQL: $("$PG_CONFIG" --version) ($PG_CONFIG)"
	{ setup_copy && setup_postgres; } || setup_die "could not set up $work"
	build
	for part in ${chosen[@]+"${chosen[@]}"}; do
		run_part "$part"
	done
	report
}

options()
{
	while [ $# -gt 0 ]; do
		case $1 in
			--only)
				[[ " ${parts[*]} " == *" ${2:-} "* ]] || setup_die "--only takes one of: ${parts[*]}"
				chosen+=("$2")
				shift 2 ;;
			--test)
				choose_test "${2:-}"
				shift 2 ;;
			-h|--help) sed -n '3,20s/^# \{0,1\}//p' "$0"; exit ;;
			*) setup_die "unknown option \"$1\"; see test/run.sh --help" ;;
		esac
	done
	[ ${#chosen[@]} -gt 0 ] || chosen=("${parts[@]}")
}

# A test's name says where it is, and so which part it belongs to
# shellcheck disable=SC2154 # setup_source is setup.sh's
choose_test()
{
	local part='' name=${1##*/}

	name=${name%.*}
	[ ! -e "$setup_source/test/t/$name.pl" ] || part=tap
	[ ! -e "$setup_source/sql/$name.sql" ] || part=regress
	[ ! -e "$setup_source/test/specs/$name.spec" ] || part=isolation
	[ ! -e "$setup_source/test/unit/$name.c" ] || part=unit
	[ -n "$part" ] ||
		setup_die "there is no test \"$1\" in test/t, sql, test/specs or test/unit"
	tests+=("$part:$name")
	[[ " ${chosen[*]} " == *" $part "* ]] || chosen+=("$part")
}

# PART [PREFIX [SUFFIX]]: its chosen tests, in words
tests_of()
{
	local test words=()

	for test in ${tests[@]+"${tests[@]}"}; do
		[ "${test%%:*}" != "$1" ] || words+=("${2:-}${test#*:}${3:-}")
	done
	echo "${words[*]-}"
}

#
# Commands
#

# LOG COMMAND...: runs it in the copy of the sources, in a process group of its
# own, which a signal to this script ends, and for an hour at most
run()
{
	local log=$logs/$1.log status=0
	running=$1
	shift

	set -m
	(cd "$work/source" && exec timeout -k 60 3600 "${run_as[@]}" "$@") </dev/null >"$log" 2>&1 &
	group=$!
	set +m
	wait $group || status=$?
	[ $status != 124 ] || echo 'Ended: it ran for an hour.' >>"$log"
	group='' running=''
	return $status
}

# The parts that need what does not build are not run; "build" is one failure
build()
{
	local jobs
	jobs=$(nproc)

	if wanted regress isolation tap &&
		! run build-retrostar make -s -j "$jobs" with_llvm=no COPT=-Werror install; then
		build_failed retrostar regress isolation tap
	fi
	if wanted simulator tap &&
		! run build-simulator make -s -j "$jobs" -C test/simulator CFLAGS='-O2 -g -Wall -Wextra -Werror'; then
		build_failed simulator simulator tap
	fi
}

# Is one of these parts chosen?
wanted()
{
	local part

	for part; do
		[[ " ${chosen[*]} " != *" $part "* ]] || return 0
	done
	return 1
}

# WHAT PART...
build_failed()
{
	local part kept=()

	echo "The build of $1 failed; not run: ${*:2}"
	broken+=("build-$1")
	total_failed=$((total_failed + 1))
	for part in "${chosen[@]}"; do
		[[ " ${*:2} " == *" $part "* ]] || kept+=("$part")
	done
	chosen=(${kept[@]+"${kept[@]}"})
}

clean_up()
{
	local status=$? file

	trap '' HUP INT TERM
	trap - EXIT
	cd /
	[ -z "$group" ] || kill -TERM -- "-$group" 2>/dev/null
	wait
	# perhaps its time was up: where was it?
	if [ "$status" = 143 ] && [ -n "$running" ]; then
		printf 'Ended in %s:\n' "$running"
		tail -n 20 "$logs/$running.log"
		keep_outputs "$running"
		touch "$work/keep"
		printf 'Logs: %s\n' "$logs"
	fi
	if [ -n "$work" ]; then
		# servers that a test program left behind
		while IFS= read -r file; do
			"${run_as[@]}" "${PG_CONFIG%/*}/pg_ctl" -D "${file%/*}" -m immediate stop >/dev/null 2>&1
		done < <(find "$work/source" -name postmaster.pid 2>/dev/null)
		if [ -e "$work/keep" ]; then rm -rf "$work/source" "$work/postgres"; else rm -rf "$work"; fi
	fi
	exit "$status"
}

#
# Parts.  Each sets passed, failed and status.
#

run_part()
{
	local start=$SECONDS status=0
	passed=0 failed=0

	"part_$1"
	if [ $((passed + failed)) = 0 ]; then
		echo "The part \"$1\" ran no test." | tee -a "$logs/$1.log"
		failed=1
	fi
	# a command may fail otherwise than by a failed test
	if [ $status != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
	printf '%-10s %4d passed, %d failed  (%d s)\n' "$1" "$passed" "$failed" $((SECONDS - start))
	if [ "$failed" != 0 ]; then
		broken+=("$1")
		keep_outputs "$1"
	fi
	total_passed=$((total_passed + passed))
	total_failed=$((total_failed + failed))
}

part_source()
{
	run source test/check_source.sh || status=$?
	count_lines source
}

part_unit()
{
	local names
	names=$(tests_of unit)
	run unit make -k -C test/unit check ${names:+TESTS="$names"} || status=$?
	count_lines unit
}

part_simulator()
{
	run simulator make -C test/simulator check || status=$?
	count_lines simulator
}

part_regress()
{
	local names
	names=$(tests_of regress)
	run regress make installcheck ISOLATION= TAP_TESTS= ${names:+REGRESS="$names"} || status=$?
	count_regress regress
}

part_isolation()
{
	local names
	names=$(tests_of isolation)
	run isolation make installcheck REGRESS= TAP_TESTS= ${names:+ISOLATION="$names"} || status=$?
	count_regress isolation
}

part_tap()
{
	local names
	names=$(tests_of tap test/t/ .pl)
	run tap make installcheck REGRESS= ISOLATION= ${names:+PROVE_TESTS="$names"} || status=$?
	count_prove
}

# "NAME: N passed, M failed"
count_lines()
{
	read -r passed failed < <(awk '
		/^[A-Za-z0-9_-]+: [0-9]+ passed, [0-9]+ failed$/ { passed += $2; failed += $4 }
		END { print passed + 0, failed + 0 }' "$logs/$1.log")
}

# pg_regress: lines of each test, before version 16 and since
count_regress()
{
	read -r passed failed < <(awk '
		/^(ok|not ok) +[0-9]+ +[-+] / { $1 == "ok" ? passed++ : failed++ }
		/^(test| {4,})[a-z0-9_ ]+\.\.\. +(ok|FAILED)/ { / \.\.\. +ok/ ? passed++ : failed++ }
		END { print passed + 0, failed + 0 }' "$logs/$1.log")
}

# prove: "Files=2, Tests=57, ..." and, for each bad file,
# "t/001.pl (Wstat: 256 Tests: 10 Failed: 1)"; one that died without a failed
# test counts as one
count_prove()
{
	read -r passed failed < <(awk '
		/^Files=[0-9]+, Tests=[0-9]+/ { sub(/^.*Tests=/, ""); tests = $0 + 0 }
		/\(Wstat: .* Tests: [0-9]+ Failed: [0-9]+\)/ {
			n = $0; sub(/^.*Failed: /, "", n); n += 0
			bad += n; failed += n > 0 ? n : !/Wstat: 0 /
		}
		END { print tests - bad, failed + 0 }' "$logs/tap.log")
}

keep_outputs()
{
	local path

	"${run_as[@]}" mkdir -p "$logs/$1"
	case $1 in
		regress) set -- "$1" regression.diffs results tmp_check/log ;;
		isolation) set -- "$1" test/regression.diffs test/output_iso tmp_check_iso/log ;;
		tap) set -- "$1" tmp_check/log ;;
	esac
	for path in "${@:2}"; do
		[ ! -e "$work/source/$path" ] ||
			"${run_as[@]}" cp -r "$work/source/$path" "$logs/$1/"
	done
}

#
# The end
#

report()
{
	local name diffs

	for name in ${broken[@]+"${broken[@]}"}; do
		printf '\n--- %s ---\n' "$name"
		tail -n 60 "$logs/$name.log"
		while IFS= read -r diffs; do
			printf '\n'
			head -n 200 "$diffs"
		done < <(find "$logs/$name" -name regression.diffs 2>/dev/null)
	done
	if [ $total_failed != 0 ]; then
		touch "$work/keep"
		printf '\nLogs: %s\n' "$logs"
	fi
	printf '\n%d passed, %d failed\n' $total_passed $total_failed
	[ $total_failed = 0 ]
	exit
}

main "$@"
