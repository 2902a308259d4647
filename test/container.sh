#!/bin/bash
#
# test/container.sh [--cache DIR]
#
# Runs each instruction of container/Dockerfile in chroots in the place of its
# images, starts what it makes and scores, as compose.yaml with the profile
# "simulator" would; container/compose.yaml is read, and both are linted where
# hadolint is in the path.  Needs root, on Debian or with a Debian mirror in apt's
# configuration.  Outside CI.  The last line is "N passed, N failed".

# Functions are called by name, by the plan
# shellcheck disable=SC2317

set -uo pipefail
test=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=test/setup.sh
. "$test/setup.sh"
# shellcheck source=test/matrix/chroot.sh
. "$test/matrix/chroot.sh"

cache=/var/tmp/retrostar-packages
work=''
simulator_command=() postgres_command=()
passed=0 failed=0

main()
{
	local why line

	if [ "${1:-}" = --cache ]; then
		cache=$(realpath -m "${2:?--cache takes a directory}")
	elif [ $# != 0 ]; then
		sed -n '3,11s/^# \{0,1\}//p' "$0"
		exit
	fi
	why=$(chroot_possible) || setup_die "${why:-chroots are not possible}"
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/run.XXXXXX") || exit 1
	chmod 755 "$work"
	(run_as=(env) && setup_copy && chmod -R a+rX "$work/source") || setup_die 'could not copy the sources'
	if command -v hadolint >/dev/null; then check 'hadolint' hadolint "$work/source/container/Dockerfile"; fi
	check 'compose.yaml' compose
	# in the place of postgres:17-trixie and of debian:trixie-slim
	if ! chroot_make "$cache/trixie-postgres" trixie postgresql-17 || ! chroot_make "$cache/trixie-bare" trixie; then
		check 'chroots of trixie' false
		finish
	fi
	python3 "$test/container/plan.py" "$work/source/container/Dockerfile" >"$work/plan" || finish
	while IFS= read -r line <&4; do
		eval "$line" || finish
	done 4<"$work/plan"
	check 'a score' score
	finish
}

finish()
{
	printf '%d passed, %d failed\n' $passed $failed
	[ $failed = 0 ] && [ $passed -gt 0 ]
	exit
}

clean_up()
{
	local status=$? try=0

	trap '' HUP INT TERM
	trap - EXIT
	wait
	cd /
	until [ -z "$work" ] || rm -rf --one-file-system "$work" 2>/dev/null || [ $((try += 1)) = 10 ]; do sleep 1; done
	exit "$status"
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

# What the file names is there; services that share a network have no ports of their own
compose()
{
	(cd "$work/source/container" && python3 - compose.yaml Dockerfile <<-'END'
		import os, sys, yaml
		compose = yaml.safe_load(open(sys.argv[1]))
		stages = [line.split()[-1] for line in open(sys.argv[2]) if line.startswith("FROM ")]
		services = compose["services"]
		assert set(services) >= {"db", "simulator", "sglang", "vllm"}, services
		for name, service in services.items():
		    assert ("build" in service) != ("image" in service), name
		    if "build" in service:
		        build = service["build"]
		        assert os.path.isfile(os.path.join(build["context"], build["dockerfile"])), name
		        assert build["target"] in stages, name
		    else:
		        assert ":" in service["image"] and not service["image"].endswith(":latest"), name
		    if name != "db":
		        assert service["network_mode"] == "service:db" and "ports" not in service, name
		        assert service["profiles"] == [name], name
		    for volume in service.get("volumes", []):
		        assert volume.split(":")[0] in compose["volumes"], volume
		for port in services["db"]["ports"]:
		    assert port.startswith("127.0.0.1:"), port
	END
	)
}

#
# The instructions; see container/plan.py
#

image_stage()
{
	local base

	case $2 in
		postgres:17-trixie) base=trixie-postgres ;;
		debian:trixie-slim) base=trixie-bare ;;
		*) check "FROM $2: a chroot in its place" false; return ;;
	esac
	cp -a "$cache/$base" "$work/$1"
}

image_run()
{
	check "$1: RUN ${3:0:60} ..." chroot_run --network "$work/$1" sh -ec "cd $2; $3"
}

image_copy()
{
	mkdir -p "$work/$1$3"
	cp -r "$work/source/$2/." "$work/$1$3/"
}

image_copy_from()
{
	if [ -d "$work/$2$3" ]; then
		cp -r "$work/$2$3/." "$work/$1$4"
	else
		cp "$work/$2$3" "$work/$1$4"
	fi
}

image_command()
{
	case $1 in
		simulator) simulator_command=("${@:2}") ;;
		postgres) postgres_command=("${@:2}") ;;
	esac
}

# Both in one network, as with compose.yaml.  The image's entry point makes the
# cluster, runs what lies in its folder, and then the command.
score()
{
	# shellcheck disable=SC2016 # for the shell in the chroot
	chroot_run --bind "$work/simulator" /mnt "$work/postgres" bash -ec '
		bin=/usr/lib/postgresql/17/bin
		words=$1
		shift
		# as the images have it: what is copied there lies in /usr/local
		PATH=/usr/local/sbin:/usr/local/bin:$PATH
		chroot --userspec=65534 /mnt "${@:1:$words}" &
		simulator=$!
		shift "$words"
		data=/var/lib/postgresql/container
		runuser -u postgres -- $bin/initdb -D $data -A trust >/dev/null
		runuser -u postgres -- env PATH="$bin:$PATH" "$@" -D $data -c unix_socket_directories=/tmp &
		server=$!
		trap "kill $simulator $server; wait" EXIT
		export PGHOST=/tmp POSTGRES_USER=postgres POSTGRES_DB=postgres
		until $bin/pg_isready -q; do kill -0 $server; sleep 0.1; done
		runuser -u postgres -- bash /docker-entrypoint-initdb.d/retrostar.sh
		until [ "$(runuser -u postgres -- psql -Atc "SELECT bool_and(ok) FROM retrostar.check()")" = t ]; do
			kill -0 $simulator
			sleep 0.1
		done
		runuser -u postgres -- psql -Atc "SELECT retro_star_score('\''blue sky'\'', '\''the sky is blue'\'') BETWEEN 0 AND 100" | grep -x t' \
		score "${#simulator_command[@]}" "${simulator_command[@]}" "${postgres_command[@]}"
}

main "$@"
