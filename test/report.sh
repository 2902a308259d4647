#!/bin/bash
#
# test/report.sh [--cache DIR] [FOLDER]
#
# Makes a page of retrostar.report() from a private PostgreSQL with the simulator,
# opens it in headless Chromium, in light and in dark, on a wide and on a narrow
# screen, and looks whether it is drawn and complains of nothing.  With FOLDER the
# page and its pictures are left there, such as the one of doc/operations.md.  The
# browser comes from Debian, in a chroot in DIR (default
# /var/tmp/retrostar-packages).  Needs root, on Debian or with a Debian mirror in
# apt's configuration.  Outside CI.  The last line is "N passed, N failed".

# Functions are called by name
# shellcheck disable=SC2317

set -uo pipefail
test=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$test/setup.sh"
# shellcheck source=test/bench/server.sh
. "$test/bench/server.sh"
# shellcheck source=test/matrix/chroot.sh
. "$test/matrix/chroot.sh"

cache=/var/tmp/retrostar-packages folder=''
passed=0 failed=0

main()
{
	local why scheme width

	options "$@"
	why=$(chroot_possible) || setup_die "${why:-chroots are not possible}"
	mkdir -p "$cache"
	chroot_make "$cache/trixie-browser" trixie chromium-headless-shell fonts-dejavu-core ||
		setup_die 'there is no chroot with a browser'
	server_build report
	server_start report </dev/null
	check 'a page' page
	check 'it is well-formed' python3 -c 'import sys, xml.dom.minidom as dom; dom.parse(sys.argv[1])' "$work/page/report.html"
	for scheme in light dark; do
		for width in 1000 400; do
			check "$scheme, $width pixels wide" picture $scheme $width
		done
	done
	check 'dark is darker' darker
	check 'what the browser makes of it' elements
	[ -z "$folder" ] || cp "$work"/page/report.html "$work"/page/*.png "$folder/"
	printf '%d passed, %d failed\n' $passed $failed
	[ $failed = 0 ]
	exit
}

options()
{
	while [ $# -gt 0 ]; do
		case $1 in
			--cache) cache=$(realpath -m "${2:?--cache takes a directory}"); shift 2 ;;
			-h|--help) sed -n '3,12s/^# \{0,1\}//p' "$0"; exit ;;
			-*) setup_die "unknown option \"$1\"; see test/report.sh --help" ;;
			*) folder=$(realpath "$1"); shift ;;
		esac
	done
}

# TITLE COMMAND...: what it says is shown when it fails
check()
{
	local title=$1 log=$work/check.log

	shift
	if "$@" >"$log" 2>&1; then
		passed=$((passed + 1))
		printf 'ok      %s\n' "$title"
	else
		failed=$((failed + 1))
		printf 'FAILED  %s\n' "$title"
		tail -n 40 "$log" | chroot_masked | sed 's/^/        /'
		return 1
	fi
}

psql()
{
	"${run_as[@]}" "${PG_CONFIG%/*}/psql" -XAtq -v ON_ERROR_STOP=1 -h "$work" -U report report "$@"
}

# What a user would do; usage of the days before is made up
page()
{
	local port=''

	mkdir -m 1777 "$work/page"
	"${run_as[@]}" "$work/source/test/simulator/simulator" --port 0 --port-file "$work/port" --model retro-star --delay-ms 120 --jitter 60 \
		--die-with-parent </dev/null &
	children=($!)
	until read -r port _ 2>/dev/null <"$work/port"; do kill -0 "${children[0]}" || return; sleep 0.05; done
	sed "s|URL|http://127.0.0.1:$port|" "$test/report/data.sql" >"$work/data.sql"
	psql -f "$work/data.sql" || return
	until [ "$(psql -c 'SELECT pairs = 0 FROM retrostar.stat_queue')" = t ]; do sleep 0.1; done
	psql -c "SELECT retrostar.report('Why is the sky blue?', ARRAY(SELECT body FROM doc))" >"$work/page/report.html"
}

# SCHEME WIDTH: not blank, and nothing is refused or missing
picture()
{
	local name=report-$1-$2.png said=$work/said.log

	browser "--blink-settings=preferredColorScheme=$([ "$1" = dark ] && echo 0 || echo 1)" \
		"--window-size=$2,2900" --screenshot="/mnt/$name" >"$said" 2>&1 || { cat "$said"; return 1; }
	if grep -iE 'refused|error:|CONSOLE' "$said" | grep -vE 'dbus|/org/freedesktop|gpu|Vulkan|inotify'; then return 1; fi
	[ "$(stat -c %s "$work/page/$name")" -gt 20000 ]
}

# [OPTION]...: the page in the browser, without a network; there is no sandbox
# in the namespaces that it is in already
browser()
{
	chroot_run --user nobody --bind "$work/page" /mnt "$cache/trixie-browser" env HOME=/tmp timeout 120 \
		chromium-headless-shell --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr --user-data-dir=/tmp/browser \
		"$@" file:///mnt/report.html
}

# The mean of all points, by the pictures alone
darker()
{
	python3 "$test/report/brightness.py" "$work/page/report-light-1000.png" "$work/page/report-dark-1000.png"
}

# Its own parser finds what ours found: nothing was closed early, nothing is a script
elements()
{
	local dom

	dom=$(browser --dump-dom 2>/dev/null) || return
	[ "$(grep -o '<svg ' <<<"$dom" | wc -l)" = "$(grep -o '<svg ' "$work/page/report.html" | wc -l)" ] &&
		[ "$(grep -o '</tr>' <<<"$dom" | wc -l)" = "$(grep -o '</tr>' "$work/page/report.html" | wc -l)" ] &&
		! grep -qiE '<(script|img|iframe|link|object)\b' <<<"$dom"
}

main "$@"
