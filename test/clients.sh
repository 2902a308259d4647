#!/bin/bash
#
# test/clients.sh [--python DIR]
#
# Runs each example of doc/clients.md with the real libraries, of the versions
# that the page names, against a private PostgreSQL and the simulator.  They are
# installed into a virtual environment in a folder of the run's own, or into DIR,
# where they stay.  What needs the extension vector is skipped, with a word, where
# PostgreSQL does not have it.  Outside CI.  The last line is "N passed, N failed".

set -uo pipefail
test=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$test/setup.sh"
# shellcheck source=test/bench/server.sh
. "$test/bench/server.sh"

main()
{
	local environment='' status=0 packages=()

	if [ "${1:-}" = --python ]; then
		environment=$(realpath -m "${2:?--python takes a directory}")
	elif [ $# != 0 ]; then
		sed -n '3,10s/^# \{0,1\}//p' "$0"
		exit
	fi
	server_build clients
	server_start clients </dev/null
	environment=${environment:-$work/python}
	mapfile -t packages < <(python3 "$test/clients.py" --packages "$test/../doc/clients.md")
	{ [ -x "$environment/bin/pip" ] || python3 -m venv "$environment"; } &&
		"$environment/bin/pip" install -q --no-cache-dir --disable-pip-version-check "${packages[@]}" ||
		setup_die 'the libraries could not be installed'
	PGHOST=$work PGUSER=clients PGDATABASE=clients "$environment/bin/python" "$test/clients.py" \
		"$test/../doc/clients.md" "$work/source/test/simulator/simulator" || status=$?
	exit "$status"
}

main "$@"
