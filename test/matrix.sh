#!/bin/bash
#
# test/matrix.sh [OPTION]...
#
# Runs all tests (test/run.sh) with other PostgreSQLs, in Debian chroots: 17
# (Debian 13) and 18 (forky), with pg_cron and pgvector, and 15 built with
# assertions from Debian's source package, with pg_upgrade from there to 17.
# Chroots are made once, in a few minutes and 4 GB, and used again.  Needs root,
# on Debian or with a Debian mirror in apt's configuration.  With --only 19 also
# the newest 19 of Debian experimental, over sid, with pg_upgrade from 18 and
# more random statements than elsewhere; without, there is no time for it.
#
#   --only WHICH      17, 18, 19 or assert; may be repeated
#   --native          also this machine's own PostgreSQL, before the others
#   --cache DIR       where the chroots are (RETROSTAR_MATRIX_CACHE, or else
#                     /var/tmp/retrostar-matrix)
#   --minutes N       ends what is not done by then, and counts it as failed
#                     (default 43)
#   --allow-missing   where chroots cannot be had, what needs them is skipped,
#                     not failed
#
# Prints a line for each PostgreSQL as it ends; the last line is "N passed,
# N failed", and the exit status is not 0 when something failed.  Logs of
# failures are kept until the next run, in DIR/failed.

# Functions are called by name; chroot_until is set for each job's subshell
# shellcheck disable=SC2317,SC2030,SC2031

set -uo pipefail
test=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$test/setup.sh"
# shellcheck source=test/matrix/chroot.sh
. "$test/matrix/chroot.sh"

chosen=()
native='' allow_missing='' minutes=43
cache=${RETROSTAR_MATRIX_CACHE:-/var/tmp/retrostar-matrix}
run=''							# files of this run
declare -A names=() started=()	# jobs that run, by process
total_passed=0 total_failed=0

assert_prefix=/opt/postgresql-15-assert

main()
{
	local job why

	options "$@"
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM

	if why=$(chroot_possible); then why=''; else why=${why:-'chroots are not possible'}; fi
	make_place "$why"
	for job in "${chosen[@]}"; do
		if [ "$job" != native ] && [ -n "$why" ]; then
			missing "$job" "$why"
		else
			while [ ${#names[@]} -ge "$(at_once)" ]; do finish_one; done
			start "$job"
		fi
	done
	while [ ${#names[@]} -gt 0 ]; do finish_one; done
	printf '%d passed, %d failed\n' $total_passed $total_failed
	[ $total_failed = 0 ]
	exit
}

options()
{
	while [ $# -gt 0 ]; do
		case $1 in
			--only)
				[[ "${2:-}" =~ ^(17|18|19|assert)$ ]] || setup_die '--only takes one of: 17 18 19 assert'
				[[ " ${chosen[*]} " == *" $2 "* ]] || chosen+=("$2")
				shift 2 ;;
			--native) native=native; shift ;;
			--cache) cache=${2:?--cache takes a directory}; shift 2 ;;
			--minutes)
				[[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || setup_die '--minutes takes a number'
				minutes=$2
				shift 2 ;;
			--allow-missing) allow_missing=1; shift ;;
			-h|--help) sed -n '3,24s/^# \{0,1\}//p' "$0"; exit ;;
			*) setup_die "unknown option \"$1\"; see test/matrix.sh --help" ;;
		esac
	done
	[ ${#chosen[@]} != 0 ] || chosen=(17 18 assert)
	[ -z "$native" ] || chosen=(native "${chosen[@]}")
}

# WHY: sets "run".  All jobs test the sources as they are now.
make_place()
{
	if [ -n "$1" ]; then
		run=$(mktemp -d) || exit 1
	else
		mkdir -p "$cache" || exit 1
		cache=$(realpath "$cache")
		# whatever is found there is taken for ours, and may be removed
		[ -e "$cache/lock" ] || [ -z "$(ls -A "$cache")" ] ||
			setup_die "$cache is not empty, and not the cache of an earlier run"
		exec 9>"$cache/lock"
		if ! flock -n 9; then
			setup_say "Another run uses $cache; waiting for its end ..."
			flock -w $((minutes * 60 - SECONDS)) 9 || setup_die "$cache is still in use"
		fi
		rm -rf --one-file-system "$cache/run" "$cache/failed"
		mkdir "$cache/run" || exit 1
		run=$cache/run
	fi
	(run_as=(env) work=$run && setup_copy && chmod -R a+rX "$run") || setup_die "could not copy the sources to $run"
}

# The tests wait more than they work
at_once()
{
	if [ "$(nproc)" -ge 2 ] && [ "$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)" -ge 3000000 ]; then
		echo 2
	else
		echo 1
	fi
}

# JOB WHY
missing()
{
	if [ -n "$allow_missing" ]; then
		printf '%-7s skipped: %s\n' "$1" "$2"
	else
		printf '%-7s %4d passed, %d failed: not run: %s\n' "$1" 0 1 "$2"
		total_failed=$((total_failed + 1))
	fi
}

#
# Jobs run in process groups of their own, which clean_up ends
#

start()
{
	mkdir -m 1777 "$run/$1" && chmod 1777 "$run/$1" || exit 1
	set -m
	(
		exec 9>&-
		# what it has started gets the signal, too; nothing more is started
		trap 'chroot_until=-1' HUP INT TERM
		chroot_until=$((minutes * 60 - 30))
		"job_$1"
		status=$?
		if chroot_late; then echo "Ended: its time was up."; fi
		exit "$status"
	) >"$run/$1.log" 2>&1 </dev/null &
	set +m
	names[$!]=$1
	started[$!]=$SECONDS
}

finish_one()
{
	local pid='' status=0 job log passed failed

	# "wait -n" may not see one that ended before it was called
	until [ -n "$pid" ]; do
		sleep 1
		for job in "${!names[@]}"; do kill -0 "$job" 2>/dev/null || pid=$job; done
	done
	wait "$pid" || status=$?
	job=${names[$pid]} log=$run/$job.log
	unset "names[$pid]"
	read -r passed failed < <(awk '
		/^(upgrade: )?[0-9]+ passed, [0-9]+ failed$/ { sub(/^upgrade: /, ""); passed += $1; failed += $3 }
		END { print passed + 0, failed + 0 }' "$log")
	if [ "$failed" = 0 ] && { [ $status != 0 ] || [ "$passed" = 0 ]; }; then failed=1; fi
	printf '%-7s %4d passed, %d failed  (%d s)  %s\n' "$job" "$passed" "$failed" $((SECONDS - started[$pid])) \
		"$(sed -n 's/^PostgreSQL: PostgreSQL \(.*\) (.*)$/\1/p' "$log" | head -n 1)"
	if [ "$failed" != 0 ]; then
		tail -n 400 "$log" | sed 's/^/    /'
		keep_logs "$job"
	fi
	total_passed=$((total_passed + passed))
	total_failed=$((total_failed + failed))
}

# Of a suite that was killed its whole work directory is there
keep_logs()
{
	local file to=$cache/failed/$1

	[ "$run" = "$cache/run" ] || return 0
	mkdir -p "$to"
	cp "$run/$1.log" "$to/"
	for file in "$run/$1"/retrostar-*/logs "$run/$1"/retrostar-*/source/tmp_check*/log; do
		[ ! -e "$file" ] || cp -r "$file" "$to/"
	done
	printf '    Kept: %s\n' "$to"
}

clean_up()
{
	local status=$? pid try=0

	trap '' HUP INT TERM
	trap - EXIT
	for pid in "${!names[@]}"; do kill -TERM -- "-$pid" 2>/dev/null; done
	wait
	if [ -n "$run" ]; then
		cd /
		# what was killed a moment ago may still write
		until rm -rf --one-file-system "$run" 2>/dev/null || [ $((try += 1)) = 10 ]; do sleep 1; done
	fi
	exit "$status"
}

job_native()
{
	local left=$((chroot_until - SECONDS))

	[ "$left" -gt 0 ] && timeout --foreground -k 30 "$left" "$run/source/test/run.sh"
}

job_17()
{
	prepare trixie 17 && suite trixie 17 /usr/lib/postgresql/17/bin/pg_config
}

job_18()
{
	prepare forky 18 && suite forky 18 /usr/lib/postgresql/18/bin/pg_config
}

job_19()
{
	local pg_config=/usr/lib/postgresql/19/bin/pg_config status=0

	prepare experimental 19 postgresql-18 postgresql-server-dev-18 || return
	suite experimental 19 "$pg_config" RETROSTAR_FUZZ=2000 || status=$?
	in_chroot experimental 19 /src/test/matrix/upgrade.sh /usr/lib/postgresql/18/bin/pg_config "$pg_config" || status=$?
	return "$status"
}

job_assert()
{
	local pg_config=$assert_prefix/bin/pg_config status=0

	prepare trixie 17 && build_assert || return
	suite trixie assert "$pg_config" || status=$?
	in_chroot trixie assert /src/test/matrix/upgrade.sh "$pg_config" /usr/lib/postgresql/17/bin/pg_config || status=$?
	return "$status"
}

#
# What a job does
#

# SUITE VERSION [PACKAGE]...: once in a run; two jobs may want the same chroot
prepare()
{
	local packages=("postgresql-$2" "postgresql-server-dev-$2" "${@:3}")

	# where they may be missing, setup.sh installs what there is
	[ "$1" = experimental ] || packages+=("postgresql-$2-cron" "postgresql-$2-pgvector")
	# for PostgreSQL 15
	[ "$1" != trixie ] || packages+=(build-essential bison flex libreadline-dev zlib1g-dev libssl-dev liblz4-dev)
	exec 8>"$run/$1.lock"
	flock 8 || return
	if [ ! -e "$run/$1.ready" ]; then
		chroot_make "$cache/$1" "$1" "${packages[@]}" &&
			chroot_logged chroot_run --network --readonly "$run/source" /src "$cache/$1" \
				env PG_CONFIG="/usr/lib/postgresql/$2/bin/pg_config" /src/test/setup.sh test &&
			touch "$run/$1.ready"
	fi
	exec 8>&-
	[ -e "$run/$1.ready" ]
}

# SUITE JOB PG_CONFIG [VARIABLE=VALUE]...
suite()
{
	in_chroot "$1" "$2" env PG_CONFIG="$3" "${@:4}" /src/test/run.sh
}

# SUITE JOB COMMAND...: as a user without privileges, with a /tmp of the job's
# own, so that nothing stays in the chroot
in_chroot()
{
	chroot_run --user postgres --readonly "$run/source" /src --bind "$run/$2" /tmp "$cache/$1" "${@:3}"
}

# PostgreSQL 15 with assertions, in the chroot of Debian 13, where 17 is, too
build_assert()
{
	local dir=$cache/trixie

	[ ! -e "$dir$assert_prefix/complete" ] || return 0
	echo "Building PostgreSQL 15 with assertions ..."
	rm -rf "${dir:?}$assert_prefix"
	chroot_logged chroot_run --network --bind "$run/assert" /tmp "$dir" bash -c \
		"$(declare -f compile_assert); compile_assert \"\$@\"" build_assert "$(chroot_mirror)" "$assert_prefix" &&
		rm -rf "$run/assert/build"
}

# MIRROR PREFIX: runs in the chroot
compile_assert()
{
	local mirror=$1 prefix=$2 options try

	set -euo pipefail
	mkdir -p /tmp/build/lists/partial /tmp/build/cache/archives/partial /tmp/build/source
	chmod -R a+rwX /tmp/build
	cd /tmp/build
	echo "deb-src $mirror bookworm main" >sources.list
	options=(-o Dir::Etc::SourceList=/tmp/build/sources.list -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists=/tmp/build/lists -o Dir::Cache=/tmp/build/cache)
	for try in 1 2 3; do
		if apt-get "${options[@]}" -o APT::Update::Error-Mode=any update &&
			apt-get "${options[@]}" source --download-only postgresql-15; then break; fi
		[ "$try" != 3 ]
		sleep 5
	done
	tar -xf postgresql-15_*.orig.tar.* -C source --strip-components=1
	cd source
	./configure -q --prefix="$prefix" --enable-cassert --enable-tap-tests --with-openssl --with-lz4 CFLAGS=-O1
	make -s -j"$(nproc)" all
	make -s install
	touch "$prefix/complete"
}

main "$@"
