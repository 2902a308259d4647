#!/bin/bash
#
# test/bench/metrics.sh [--seconds N] FILE
#
# Draws what the dashboard of doc/monitoring shows, as SVG, of a minute (or N
# seconds) in which people rank 80 documents every few seconds beside a batch of
# thousands, which begins after a sixth of it.  Runs in a private PostgreSQL with
# the simulator, which both go with the script.  PG_CONFIG chooses the PostgreSQL.

set -uo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$here/../setup.sh"
# shellcheck source=test/bench/server.sh
. "$here/server.sh"

seconds=60 file=''
while [ $# -gt 0 ]; do
	case $1 in
		--seconds) seconds=${2:-}; shift 2 || setup_die 'how many seconds?' ;;
		--help) sed -n '3,/^$/s/^# \{0,1\}//p' "$0"; exit ;;
		-*) setup_die "unknown option \"$1\"; see test/bench/metrics.sh --help" ;;
		*) file=$(realpath "$1"); shift ;;
	esac
done
[ -n "$file" ] || setup_die 'which file?'
setup_say 'Building ...'
server_build metrics
server_start metrics </dev/null
setup_say "Running for $seconds s ..."
server_load metrics.py --seconds "$seconds" >"$work/metrics.svg" || setup_die 'it failed'
cp "$work/metrics.svg" "$file"
