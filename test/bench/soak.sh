#!/bin/bash
#
# test/bench/soak.sh [--minutes N] [--seed N] [--sessions N]
#
# Runs a random mix of statements against three simulators that fail, cancels
# and kills some of it, and looks at the end whether every counter balances and
# everything is where it began.  Prints what it did and each check; exits with 1
# when one fails.
#
#   --minutes N    how long (2)
#   --seed N       of all choices (1); their order in time is the machine's
#   --sessions N   at once (12)
#
# PG_CONFIG chooses the PostgreSQL, best one that is built with assertions.

set -uo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$here/../setup.sh"
# shellcheck source=test/bench/server.sh
. "$here/server.sh"

main()
{
	local status=0

	case ${1:-} in -h|--help) sed -n '3,15s/^# \{0,1\}//p' "$0"; exit ;; esac
	server_build soak
	server_start soak <<-END
		retrostar.max_requests = 1024
		retrostar.shared_memory = 8MB
	END
	server_load soak.py "$@" || status=$?
	# nobody is killed so that it would be a crash
	if grep -E 'PANIC|TRAP|was terminated|exited with exit code [1-9]|leaked' "$work/server.log" >&2; then
		echo 'not ok: the server log has a crash' >&2
		status=1
	fi
	exit "$status"
}

main "$@"
