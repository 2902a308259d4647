#!/bin/bash
#
# test/packages.sh [OPTION]...
#
# Builds the Debian packages and the PGXN distribution in clean chroots, and
# installs them as an administrator does, in bare ones.  Needs root, on Debian or
# with a Debian mirror in apt's configuration.  Outside CI.
#
#   --only SUITE   bookworm (PostgreSQL 15), trixie (17) or sid (18); may be
#                  repeated
#   --cache DIR    where the chroots are (default /var/tmp/retrostar-packages)
#   --keep DIR     the packages and the distribution are left there
#
# For each suite: built from a source package, lintian without errors and
# warnings; on a bare system one apt-get install, three commands, a score; what
# autopkgtest would run; an update from the package of version 0.1.0 under a
# running cluster, with 10,000 scores that must not be asked for again; and pgxn
# install of the zip.  The sources of 0.1.0 are those of the last commit that has
# its install script as its newest one: without the history that step fails.  The
# last line is "N passed, N failed".

# Functions are called by name
# shellcheck disable=SC2317

set -uo pipefail
test=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$test/setup.sh"
# shellcheck source=test/matrix/chroot.sh
. "$test/matrix/chroot.sh"

suites=() cache=/var/tmp/retrostar-packages keep=''
work='' simulator='' url=''
passed=0 failed=0
frozen=0.1.0
version=$(sed -n 's/^default_version = .\(.*\).$/\1/p' "$setup_source/retrostar.control")

main()
{
	local why suite

	options "$@"
	why=$(chroot_possible) || setup_die "${why:-chroots are not possible}"
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/run.XXXXXX") || exit 1
	chmod 755 "$work"
	(run_as=(env) && setup_copy && chmod -R a+rX "$work/source") || setup_die 'could not copy the sources'
	start_simulator
	check "the sources of version $frozen" frozen_sources
	for suite in "${suites[@]}"; do
		echo "== $suite"
		one_suite "$suite"
	done
	printf '%d passed, %d failed\n' $passed $failed
	[ $failed = 0 ]
	exit
}

options()
{
	while [ $# -gt 0 ]; do
		case $1 in
			--only)
				[[ "${2:-}" =~ ^(bookworm|trixie|sid)$ ]] || setup_die '--only takes one of: bookworm trixie sid'
				suites+=("$2")
				shift 2 ;;
			--cache) cache=$(realpath -m "${2:?--cache takes a directory}"); shift 2 ;;
			--keep) keep=$(realpath -m "${2:?--keep takes a directory}"); shift 2 ;;
			-h|--help) sed -n '3,22s/^# \{0,1\}//p' "$0"; exit ;;
			*) setup_die "unknown option \"$1\"; see test/packages.sh --help" ;;
		esac
	done
	[ ${#suites[@]} != 0 ] || suites=(bookworm trixie sid)
}

clean_up()
{
	local status=$? try=0

	trap '' HUP INT TERM
	trap - EXIT
	[ -z "$simulator" ] || kill "$simulator" 2>/dev/null
	wait
	cd /
	until [ -z "$work" ] || rm -rf --one-file-system "$work" 2>/dev/null || [ $((try += 1)) = 10 ]; do sleep 1; done
	exit "$status"
}

# The model server, on this machine's loopback
start_simulator()
{
	local port=''

	setup_install demo
	make -s -C "$work/source/test/simulator" >"$work/simulator.log" 2>&1 || setup_die 'the simulator was not built'
	"$work/source/test/simulator/simulator" --port 0 --port-file "$work/port" --model retro-star \
		--die-with-parent </dev/null >"$work/simulator.log" 2>&1 &
	simulator=$!
	until read -r port _ 2>/dev/null <"$work/port"; do
		kill -0 $simulator 2>/dev/null || setup_die 'the simulator did not start'
		sleep 0.05
	done
	url=http://127.0.0.1:$port
}

# TITLE COMMAND...: what it says is shown when it fails
check()
{
	local title=$1 log=$work/check.log began=$SECONDS

	shift
	if "$@" >"$log" 2>&1; then
		passed=$((passed + 1))
		printf 'ok      %s (%d s)\n' "$title" $((SECONDS - began))
	else
		failed=$((failed + 1))
		printf 'FAILED  %s\n' "$title"
		tail -n 40 "$log" | chroot_masked | sed 's/^/        /'
		return 1
	fi
}

one_suite()
{
	local suite=$1 major build=$cache/$1-build

	case $suite in
		bookworm) major=15 ;;
		trixie) major=17 ;;
		sid) major=18 ;;
	esac
	if ! chroot_make "$build" "$suite" build-essential debhelper fakeroot lintian postgresql-all \
		libcurl4-openssl-dev libjson-c-dev || ! chroot_make "$cache/$suite-bare" "$suite"; then
		check "chroots of $suite" false
		return
	fi
	mkdir -m 1777 "$work/$suite" "$work/$suite/frozen"
	check 'a source package and a binary package' build_package "$suite" "$version" "$work/source" "$work/$suite" || return
	check 'lintian: neither errors nor warnings' lint "$suite"
	check "the package of PostgreSQL $major is for this version" test -e "$(package_file "$suite" "$major")"
	bare "$suite" first
	check 'apt-get install' install_package "$suite" "$major" first
	check 'three commands and a score' three_commands "$suite" first
	check 'what autopkgtest runs' autopkgtest "$suite" first
	bare "$suite" old
	check "a package of version $frozen" build_package "$suite" "$frozen" "$work/frozen" "$work/$suite/frozen" &&
		check 'an update from it under a running cluster' update "$suite" "$major" old
	bare "$suite" zip
	check 'the zip for PGXN' make_zip "$suite"
	check 'pgxn install' pgxn_install "$suite" "$major" zip
	if [ -n "$keep" ]; then
		mkdir -p "$keep/$suite"
		cp "$work/$suite"/*.deb "$work/$suite"/*.dsc "$work/$suite"/*.zip "$keep/$suite/" 2>/dev/null
	fi
}

# Into $work/frozen, as its packager would have them: with debian/, of which it
# had none, and a Makefile that builds outside of its sources, which its own did
# not
frozen_sources()
{
	local commit='' script=sql/retrostar--$frozen.sql

	while read -r commit; do
		if git -C "$setup_source" show "$commit:retrostar.control" 2>/dev/null | grep -qx "default_version = '$frozen'" &&
			git -C "$setup_source" show "$commit:$script" 2>/dev/null | cmp -s - "$setup_source/$script"; then
			break
		fi
		commit=''
	done < <(git -C "$setup_source" log --format=%h -- .)
	[ -n "$commit" ] || { echo "no commit of this checkout has it"; return 1; }
	mkdir "$work/frozen" && git -C "$setup_source" archive "$commit" | tar -C "$work/frozen" -xf - || return
	cp -r "$work/source/debian" "$work/source/Makefile" "$work/frozen/"
	sed -n "/^retrostar ($frozen-1)/,\$p" "$work/source/debian/changelog" >"$work/frozen/debian/changelog"
	[ -s "$work/frozen/debian/changelog" ]
}

# SUITE VERSION SOURCES FOLDER: as a user without privileges and without a network
build_package()
{
	local folder=$4 version=$2

	rm -rf "$folder/retrostar-$version"
	cp -r "$3" "$folder/retrostar-$version"
	rm -rf "$folder/retrostar-$version/debian/control" "$folder/retrostar-$version"/test/simulator/{simulator,*.o}
	tar -C "$folder" --exclude "retrostar-$version/debian" -cJf "$folder/retrostar_$version.orig.tar.xz" "retrostar-$version"
	chmod -R a+rwX "$folder"
	chroot_run --user nobody --bind "$folder" /tmp "$cache/$1-build" bash -c "
		set -e
		cd /tmp/retrostar-$version
		cp debian/control.in debian/control
		pg_buildext updatecontrol
		dpkg-buildpackage --no-sign"
}

# SUITE: it closes no bug of Debian's, for it is not uploaded there
lint()
{
	chroot_run --user nobody --bind "$work/$1" /tmp "$cache/$1-build" bash -c \
		'lintian --fail-on error,warning --info --suppress-tags initial-upload-closes-no-bugs /tmp/retrostar_*.changes'
}

# SUITE MAJOR
package_file()
{
	echo "$work/$1/postgresql-$2-retrostar_$version-"?_*.deb
}

# SUITE NAME: a copy of a bare chroot, in which postgresql creates its cluster
bare()
{
	cp -a "$cache/$1-bare" "$work/$1-$2"
	rm -f "$work/$1-$2/etc/postgresql-common/createcluster.conf"
}

# SUITE NAME COMMAND...
in_bare()
{
	chroot_run --network "$work/$1-$2" "${@:3}"
}

# SUITE MAJOR NAME
install_package()
{
	cp "$(package_file "$1" "$2")" "$work/$1-$3/root/"
	in_bare "$1" "$3" bash -ec "
		apt-get update
		apt-get install -y /root/postgresql-$2-retrostar_*.deb"
}

# No service manager runs there: pg_ctlcluster is what it would call
# shellcheck disable=SC2016 # for the shell in the chroot
cluster_commands='
	cluster() { set -- "$1" $(pg_lsclusters -h | awk "{ print \$1, \$2; exit }"); pg_ctlcluster $2 $3 $1; }
	sql() { runuser -u postgres -- psql -X -At -v ON_ERROR_STOP=1 -c "$1"; }
	expect() { [ "$1" = "$2" ] || { echo "expected $2, got $1"; exit 1; }; }
	trap "cluster stop" EXIT'

# SUITE NAME
three_commands()
{
	in_bare "$1" "$2" bash -ec "$cluster_commands
		cluster start
		sql \"ALTER SYSTEM SET shared_preload_libraries = 'retrostar'\"
		cluster restart
		sql 'CREATE EXTENSION retrostar'
		sql \"CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url '$url', model 'retro-star')\"
		expect \"\$(sql 'SELECT bool_and(ok) FROM retrostar.check()')\" t
		expect \"\$(sql \"SELECT retro_star_score('blue sky', 'the sky is blue') BETWEEN 0 AND 100\")\" t"
}

# SUITE NAME
autopkgtest()
{
	local depends

	depends=$(sed -n '/^Depends:/,/^Restrictions:/s/^ \([a-z0-9-]*\),$/\1/p' "$work/source/debian/tests/control" | tr '\n' ' ')
	rm -rf "$work/$1-$2/root/source"
	cp -r "$work/source" "$work/$1-$2/root/source"
	in_bare "$1" "$2" bash -ec "
		apt-get install -y $depends
		cd /root/source
		debian/tests/score"
}

# SUITE MAJOR NAME: the file is replaced while the old library is loaded and at
# work; until the restart that one goes on, and after it the SQL is updated
update()
{
	cp "$(package_file "$1" "$2")" "$work/$1/frozen/postgresql-$2-retrostar_$frozen"-?_*.deb "$work/$1-$3/root/"
	in_bare "$1" "$3" bash -ec "
		apt-get update
		apt-get install -y /root/postgresql-$2-retrostar_$frozen-*.deb
		$cluster_commands
		cluster start
		sql \"ALTER SYSTEM SET shared_preload_libraries = 'retrostar'\"
		cluster restart
		sql 'CREATE EXTENSION retrostar'
		sql \"CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url '$url', model 'retro-star')\"
		expect \"\$(sql \"SELECT extversion FROM pg_extension WHERE extname = 'retrostar'\")\" $frozen

		scores=\"SELECT count(*), md5(string_agg(score::text, ' ' ORDER BY i))
			FROM (SELECT i, retro_star_score('cached', i::text) AS score FROM generate_series(1, 10000) AS i) AS s\"
		known=\$(sql \"\$scores\")
		expect \"\${known%%|*}\" 10000
		runuser -u postgres -- psql -X -At -v ON_ERROR_STOP=1 -c \"SELECT count(retro_star_score('load', i::text)) FROM generate_series(1, 20000) AS i\" >/root/load 2>&1 &
		load=\$!
		until [ \"\$(sql 'SELECT samples_sent > 10000 FROM retrostar.stat_queue')\" = t ]; do sleep 0.1; done
		sql 'SELECT retrostar.pause()'
		dpkg -i /root/postgresql-$2-retrostar_$version-*.deb
		kill -0 \$load
		sql 'SELECT retrostar.resume()'
		expect \"\$(sql \"SELECT retro_star_score('meanwhile', 'd') BETWEEN 0 AND 100\")\" t
		said=\$(sql 'ALTER EXTENSION retrostar UPDATE' 2>&1) && { echo 'it was updated before the restart'; exit 1; }
		grep 'the library of retrostar that is loaded is older than version $version' <<<\"\$said\"
		wait \$load || { cat /root/load; exit 1; }
		expect \"\$(cat /root/load)\" 20000
		until [ \"\$(sql 'SELECT unstored = 0 FROM retrostar.stat_cache')\" = t ]; do sleep 0.1; done

		cluster restart
		said=\$(sql \"SELECT retro_star_score('cached', '1')\" 2>&1) && { echo 'it scores before the update'; exit 1; }
		grep 'Run: ALTER EXTENSION retrostar UPDATE' <<<\"\$said\"
		sql 'ALTER EXTENSION retrostar UPDATE'
		expect \"\$(sql 'SELECT * FROM retrostar.version()')\" '$version|$version'
		requests() { exec 3<>/dev/tcp/127.0.0.1/${url##*:}; printf 'GET /sim/stats HTTP/1.0\r\n\r\n' >&3; sed -n 's/.*\"chat\": *\([0-9]*\).*/\1/p' <&3; exec 3<&-; }
		before=\$(requests)
		[ \"\$before\" -ge 30001 ] || { echo \"requests: \$before\"; exit 1; }
		expect \"\$(sql \"\$scores\")\" \"\$known\"
		expect \"\$(requests)\" \"\$before\"
		expect \"\$(sql \"SELECT retro_star_score('afterwards', 'd') BETWEEN 0 AND 100\")\" t"
}

# SUITE: from the last commit
make_zip()
{
	local zip=$work/$1/retrostar-$version.zip

	make -s -C "$setup_source" dist DIST="$work/$1" && python3 "$test/packages/meta.py" "$zip"
}

# SUITE MAJOR NAME: as root, with what the page of PGXN's client asks for
pgxn_install()
{
	cp "$work/$1/retrostar-$version.zip" "$work/$1-$3/root/"
	in_bare "$1" "$3" bash -ec "$cluster_commands
		apt-get update
		apt-get install -y pgxnclient unzip build-essential postgresql-$2 postgresql-server-dev-$2 libcurl4-openssl-dev libjson-c-dev
		pgxn install --yes --pg_config /usr/lib/postgresql/$2/bin/pg_config /root/retrostar-$version.zip"
	three_commands "$1" "$3"
}

main "$@"
