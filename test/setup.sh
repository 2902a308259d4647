#!/bin/bash
#
# test/setup.sh [demo|test]
#
# Installs what retrostar needs to be built and tried, on Debian 12 and 13 and
# Ubuntu 24.04, and nothing more; does nothing when everything is there.  On
# other systems it says what is missing.  No PostgreSQL service is created or
# started, and none that is there is touched.
#
# demo.sh and run.sh source this file.  They work in a directory of their own,
# with a copy of the sources and a private copy of the PostgreSQL installation
# (programs are copied, the rest are links), so that nothing is ever installed
# into the system's PostgreSQL, and the checkout is only read.

setup_source=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")

# What the caller's environment says about PostgreSQL is not for our servers
for setup_name in ${!PG*}; do
	[ "$setup_name" = PG_CONFIG ] || unset "$setup_name"
done
export LC_ALL=C.UTF-8
# pg_ctl and pg_regress wait a minute only, too little for a slow machine
export PGCTLTIMEOUT=180

setup_die()
{
	printf '%s: %s\n' "${0##*/}" "$1" >&2
	exit 1
}

setup_say()
{
	printf '%s\n' "$*" >&2
}

#
# Which PostgreSQL
#

# Server, headers and build files belong to this pg_config
setup_usable()
{
	[ -x "$1" ] && [ -x "$("$1" --bindir)/initdb" ] &&
		[ -x "$("$1" --bindir)/postgres" ] && [ -e "$("$1" --pgxs)" ] &&
		[ -e "$("$1" --includedir-server)/postgres.h" ] &&
		[ "$(setup_major "$1")" -ge 15 ]
}

setup_major()
{
	"$1" --version | sed -n 's/^[^0-9]*\([0-9]*\).*/\1/p'
}

# Sets PG_CONFIG: what the caller says, else the newest of the system's packages,
# else the one in the path
setup_find_postgres()
{
	local path found=''

	if [ -n "${PG_CONFIG:-}" ]; then
		path=$(command -v "$PG_CONFIG") || setup_die "PG_CONFIG=$PG_CONFIG: there is no such program"
		setup_usable "$path" ||
			setup_die "PG_CONFIG=$PG_CONFIG: not a PostgreSQL 15 or later with server and header files"
		PG_CONFIG=$(realpath "$path")
		return
	fi
	while IFS= read -r path; do
		if setup_usable "$path"; then found=$path; fi
	done < <(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -V)
	if [ -z "$found" ] && path=$(command -v pg_config) && setup_usable "$path"; then
		found=$path
	fi
	[ -n "$found" ] || return 1
	PG_CONFIG=$(realpath "$found")
}

# The newest server version whose headers are missing; nothing when there is none
setup_bare_server()
{
	local path version newest=''

	while IFS= read -r path; do
		version=${path#/usr/lib/postgresql/}
		version=${version%/bin/postgres}
		if [ -x "$path" ] && [ "$version" -ge 15 ]; then newest=$version; fi
	done < <(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V)
	[ -z "$newest" ] || echo "$newest"
}

#
# Packages
#

setup_has_header()
{
	printf '#include <%s>\n' "$1" | gcc -E -x c - >/dev/null 2>&1
}

# Prints the packages that are missing for "demo" or "test", one a line; the
# line "postgresql" stands for those of the distribution's version
setup_missing()
{
	local bare

	{ command -v gcc && command -v make && setup_has_header stdio.h; } >/dev/null ||
		echo build-essential
	command -v pkg-config >/dev/null || echo pkgconf
	setup_has_header curl/curl.h || echo libcurl4-openssl-dev
	setup_has_header json-c/json.h || echo libjson-c-dev
	setup_has_header microhttpd.h || echo libmicrohttpd-dev
	if ! setup_find_postgres; then
		bare=$(setup_bare_server)
		if [ -n "$bare" ]; then echo "postgresql-server-dev-$bare"; else echo postgresql; fi
	fi
	if [ "$1" = test ]; then
		command -v python3 >/dev/null || echo python3
		command -v prove >/dev/null || echo perl
		perl -MIPC::Run -e 1 2>/dev/null || echo libipc-run-perl
	fi
}

# Makes sure that everything is there, and sets PG_CONFIG
setup_install()
{
	local packages

	packages=$(setup_missing "$1")
	if [ -n "$packages" ]; then
		# shellcheck disable=SC2086 # a list of names
		setup_as_root $packages
		packages=$(setup_missing "$1")
		[ -z "$packages" ] ||
			setup_die "still missing after the installation:" "$(echo "$packages" | tr '\n' ' ')"
	fi
	setup_find_postgres
	if [ "$1" = test ]; then
		packages=$(setup_missing_extensions)
		# shellcheck disable=SC2086 # a list of names
		if [ -n "$packages" ] && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
			setup_as_root $packages
		fi
	fi
}

# What some tests use: Prometheus and an exporter, and of a PostgreSQL from
# packages other extensions; those that apt knows.  Without them the tests are
# skipped.
setup_missing_extensions()
{
	local dir pair name

	# their packages start services that listen everywhere: not where services start
	for name in prometheus-postgres-exporter prometheus; do
		command -v $name >/dev/null || [ ! -e /usr/sbin/policy-rc.d ] || ! apt-cache show $name >/dev/null 2>&1 || echo $name
	done
	case $PG_CONFIG in /usr/lib/postgresql/*/bin/pg_config) ;; *) return 0 ;; esac
	command -v apt-cache >/dev/null || return 0
	dir=$("$PG_CONFIG" --sharedir)/extension
	for pair in pg_cron:cron vector:pgvector pgaudit:pgaudit timescaledb:timescaledb; do
		name=postgresql-$(setup_major "$PG_CONFIG")-${pair#*:}
		[ -e "$dir/${pair%:*}.control" ] || ! apt-cache show "$name" >/dev/null 2>&1 || echo "$name"
	done
}

setup_as_root()
{
	local name names=''

	for name; do
		[ "$name" != postgresql ] || name='postgresql-NN postgresql-server-dev-NN'
		names+=" $name"
	done
	command -v apt-get >/dev/null ||
		setup_die "missing, and there is no apt-get to install it.  These are Debian's names:$names"
	if [ "$(id -u)" = 0 ]; then
		setup_apt "$@"
	elif ! command -v sudo >/dev/null; then
		setup_die "missing:$names
You are not root and there is no sudo.  Have somebody who is root run: $setup_source/test/setup.sh test"
	elif [ -t 0 ]; then
		sudo bash "$setup_source/test/setup.sh" --apt "$@"
	else
		sudo -n bash "$setup_source/test/setup.sh" --apt "$@" ||
			setup_die "could not install what is missing:$names"
	fi
}

# As root.  In a subshell: its trap takes back what was put there for the time
# of the installation.
setup_apt()
(
	export DEBIAN_FRONTEND=noninteractive
	log=$(mktemp) || exit 1
	undo=("$log")
	trap 'rm -f "${undo[@]}"; [ -z "${undo_dir:-}" ] || rmdir "$undo_dir" 2>/dev/null' EXIT
	trap 'exit 130' INT TERM HUP

	exec 8>/run/retrostar-setup.lock
	flock 8						# of two at once the second finds all done

	# A new PostgreSQL package would create a cluster and start it; and those
	# that are there would be started if they are not running.
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		undo+=(/usr/sbin/policy-rc.d)
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod 755 /usr/sbin/policy-rc.d
	fi
	directory=/etc/postgresql-common/createcluster.d
	mkdir -p /etc/postgresql-common
	if [ ! -d $directory ]; then
		undo_dir=$directory
		mkdir $directory
	fi
	undo+=("$directory/retrostar-setup.conf")
	echo 'create_main_cluster = off' >$directory/retrostar-setup.conf

	setup_say "Reading the lists of packages ..."
	# one that cannot be had may be of no interest here
	setup_tried "$log" apt-get -o APT::Update::Error-Mode=any update ||
		setup_say "Not all of them could be read."
	packages=()
	for name; do
		if [ "$name" != postgresql ]; then
			packages+=("$name")
		else
			version=$(apt-cache depends postgresql | sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
			[ -n "$version" ] || setup_die "apt knows no package \"postgresql\""
			[ "$version" -ge 15 ] || setup_die "the distribution's PostgreSQL is version $version; 15 or later is needed"
			packages+=("postgresql-$version" "postgresql-server-dev-$version")
		fi
	done
	setup_say "Installing ${packages[*]} ..."
	if ! setup_tried "$log" apt-get install -y --no-install-recommends "${packages[@]}"; then
		tail -n 20 "$log" >&2
		setup_die "could not install ${packages[*]}"
	fi
)

# LOG COMMAND...: another apt may be at work; it is waited for (the option does
# that for one of its two locks only).  A mirror may have a bad moment: three
# failures of another kind are one.
setup_tried()
{
	local log=$1 locked=0 failures=0
	shift

	until "$1" -o DPkg::Lock::Timeout=300 "${@:2}" >"$log" 2>&1; do
		if grep -q 'Could not get lock' "$log"; then
			[ $((locked += 1)) -le 60 ] || return
		else
			[ $((failures += 1)) -lt 3 ] || return
		fi
		sleep 5
	done
}

#
# The work directory
#

# Sets run_as, the words that start a command as a user who is not root (a
# PostgreSQL server refuses root), and work, a new directory of his.  The caller
# removes it.
# shellcheck disable=SC2034 # run_as is the caller's
setup_work()
{
	local parent=${TMPDIR:-/tmp} user=''

	run_as=()
	if [ "$(id -u)" = 0 ]; then
		if id postgres >/dev/null 2>&1; then user=postgres; else user=nobody; fi
		run_as=(setpriv --reuid="$user" --regid="$(id -g $user)" --init-groups)
		cd /
	fi
	# Room for the name of a socket, and open to that user
	if [ ${#parent} -gt 40 ] || ! "${run_as[@]}" test -w "$parent" -a -x "$parent"; then
		parent=/tmp
	fi
	work=$(mktemp -d "$parent/retrostar-$1.XXXXXX") || exit 1
	[ -z "$user" ] || chown "$user:$(id -g $user)" "$work"
	export HOME=$work TMPDIR=$work
	unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
	cd "$work" || exit 1
}

# $work/source: the sources alone, without what was built in the checkout
setup_copy()
{
	"${run_as[@]}" mkdir "$work/source" || return
	# status 1: a file changed meanwhile
	{ tar -C "$setup_source" --exclude=./.git --exclude=./.gpu --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
		--exclude='./tmp_check*' --exclude=./log --exclude=results --exclude=output_iso \
		--exclude=build -cf - . || [ $? = 1 ]; } |
		"${run_as[@]}" tar -C "$work/source" --no-same-owner --no-same-permissions -xf - &&
		"${run_as[@]}" chmod -R u+w "$work/source" &&
		"${run_as[@]}" make -s -C "$work/source/test/simulator" clean >/dev/null &&
		"${run_as[@]}" make -s -C "$work/source/test/unit" clean >/dev/null
}

# $work/postgres: a copy of the installation, and PG_CONFIG, which says where
# its parts are now: PostgreSQL finds them from where its programs lie.
setup_postgres()
{
	local root=$work/postgres from=$PG_CONFIG dir

	"${run_as[@]}" bash -e -s "$root" "$from" <<-'END' ||
		root=$1 from=$2
		bindir=$("$from" --bindir)
		mkdir -p "$root$bindir"
		for program in postgres initdb psql createdb dropdb createuser dropuser pgbench vacuumdb \
			reindexdb clusterdb pg_amcheck pg_archivecleanup pg_basebackup pg_checksums \
			pg_combinebackup pg_config pg_controldata pg_createsubscriber pg_ctl pg_dump \
			pg_dumpall pg_isready pg_receivewal pg_recvlogical pg_resetwal pg_restore \
			pg_rewind pg_upgrade pg_verifybackup pg_waldump pg_walsummary; do
			[ ! -x "$bindir/$program" ] || cp "$bindir/$program" "$root$bindir/"
		done
		for option in pkglibdir sharedir; do
			dir=$("$from" --$option)
			mkdir -p "$root${dir%/*}"
			cp -rs "$dir" "$root${dir%/*}/"
		done
		for option in includedir pkgincludedir includedir-server libdir; do
			dir=$("$from" --$option)
			mkdir -p "$root${dir%/*}"
			[ -e "$root$dir" ] || ln -s "$dir" "$root$dir"
		done
		# of an installed retrostar nothing may remain
		rm -rf "$root$("$from" --sharedir)"/extension/retrostar* \
			"$root$("$from" --pkglibdir)"/retrostar.so "$root$("$from" --pkglibdir)"/bitcode/retrostar*
	END
		setup_die "could not copy the PostgreSQL installation to $root"
	PG_CONFIG=$root$("$from" --bindir)/pg_config
	for dir in pkglibdir sharedir includedir-server; do
		[ "$("${run_as[@]}" "$PG_CONFIG" --$dir)" = "$root$("$from" --$dir)" ] ||
			setup_die "the PostgreSQL of $from does not work from another place ($root)"
	done
	export PG_CONFIG
	PATH=${PG_CONFIG%/*}:$PATH
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	set -euo pipefail
	case ${1:-test} in
		--apt) shift; setup_apt "$@" ;;
		demo|test)
			setup_install "${1:-test}"
			echo "Everything is there; PostgreSQL: $("$PG_CONFIG" --version), $PG_CONFIG" ;;
		*) sed -n '3,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
	esac
fi
