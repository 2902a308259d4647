# test/matrix/chroot.sh: Debian chroots, made once and used again.  Sourced, after
# setup.sh.
#
# What is mounted and what runs in a chroot lives in namespaces of its own.  So
# nothing has to be unmounted, and to kill the one process outside, a child of
# this shell, ends everything inside.
#
# chroot_until, a value of SECONDS, bounds each command; 0: no bound.

# Functions are called by name, and one is the text of another shell
# shellcheck shell=bash disable=SC2317

chroot_until=0
chroot_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Makes sure that chroots can be made and entered; else prints why not
chroot_possible()
{
	local packages=() log

	[ "$(id -u)" = 0 ] || { echo 'chroots need root'; return 1; }
	command -v apt-get >/dev/null || { echo 'the Debian mirror is looked for in the configuration of apt, and there is no apt'; return 1; }
	log=$(mktemp) || return
	command -v debootstrap >/dev/null || packages+=(debootstrap)
	command -v ip >/dev/null || packages+=(iproute2)
	[ -e $chroot_keyring ] || packages+=(debian-archive-keyring)
	if [ ${#packages[@]} != 0 ] && ! (setup_as_root "${packages[@]}") >"$log" 2>&1; then
		echo "could not install ${packages[*]}:" "$(chroot_masked <"$log" | tail -n 1)"
	elif ! chroot_unshare --net true >"$log" 2>&1; then
		echo "this machine allows no namespaces:" "$(tail -n 1 "$log")"
	elif [ -z "$(chroot_mirror)" ]; then
		echo 'the configuration of apt has no mirror of Debian'
	else
		rm -f "$log"
		return 0
	fi
	rm -f "$log"
	return 1
}

# The first mirror of Debian itself, not of security updates or of others'
# packages.  Whose a mirror is, apt knows from the lists that it has read.
chroot_mirror()
{
	local mirror

	mirror=$(chroot_mirrors)
	if [ -z "$mirror" ]; then
		apt-get -o DPkg::Lock::Timeout=300 update >/dev/null 2>&1
		mirror=$(chroot_mirrors)
	fi
	echo "$mirror"
}

chroot_mirrors()
{
	# shellcheck disable=SC2016 # the words are for apt-get
	apt-get indextargets --format '$(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n 's/^Debian main \(http.*\)/\1/p' | sed -n 1p
}

# No host names in what people copy into reports
chroot_masked()
{
	sed 's|//[^/ ]*|//MIRROR|g'
}

#
# Making
#

# DIR SUITE PACKAGE...: a chroot with these packages, which is made anew when it
# is not whole.  It must not be in use.  The suite "experimental" is sid, with
# PostgreSQL from experimental: that suite is not whole by itself.
chroot_make()
{
	local dir=$1 suite=$2 mirror

	mirror=$(chroot_mirror)
	if ! chroot_whole "$dir" "${*:2}"; then
		# one that could not be looked at to the end is not damaged
		if chroot_late; then return 1; fi
		rm -rf --one-file-system "$dir"
		echo "Making a chroot of Debian $suite in $dir ..."
		chroot_again chroot_debootstrap "$dir.partial" "$suite" "$mirror" &&
			chroot_configure "$dir.partial" "$suite" "$mirror" &&
			chroot_apt "$dir.partial" "${@:3}" &&
			echo "${*:2}" >"$dir.partial/.made-of" &&
			mv -T "$dir.partial" "$dir"
	else
		# it may have moved
		chroot_configure "$dir" "$suite" "$mirror"
	fi
}

# DIR WORDS: made of these words, completely, and no file of a package has gone
# or changed since
chroot_whole()
{
	local damage

	[ "$(cat "$1/.made-of" 2>/dev/null)" = "$2" ] || return
	# configuration files ("c") are ours to change
	damage=$(chroot_run "$1" bash -c 'dpkg --audit; dpkg --verify | grep -v " c /"; true' 2>&1) ||
		damage="no command runs in it: $damage"
	[ -z "$damage" ] || echo "The chroot $1 is damaged: ${damage:0:200}"
	[ -z "$damage" ]
}

# DIR SUITE MIRROR
chroot_debootstrap()
{
	local suite=${2/#experimental/sid} script include=()

	# an older debootstrap has no script for a newer suite
	script=/usr/share/debootstrap/scripts/$suite
	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	[[ "$3" != https:* ]] || include=(--include=ca-certificates)
	rm -rf --one-file-system "$1"
	mkdir -p "${1%/*}"
	chroot_logged chroot_unshare debootstrap --variant=minbase --keyring=$chroot_keyring \
		"${include[@]}" "$suite" "$1" "$3" "$script"
}

# DIR SUITE MIRROR: apt as this machine has it, and no service starts
chroot_configure()
{
	local dir=$1

	echo "deb $3 ${2/#experimental/sid} main" >"$dir/etc/apt/sources.list"
	if [ "$2" = experimental ]; then
		echo "deb $3 experimental main" >>"$dir/etc/apt/sources.list"
		# libpq5 and libpq-dev come from that source, too
		printf 'Package: src:postgresql-19\nPin: release a=experimental\nPin-Priority: 990\n' \
			>"$dir/etc/apt/preferences.d/postgresql"
	fi
	{
		# proxies, and whether a mirror may be old
		apt-config dump | grep -iE '^Acquire::(Check-Valid-Until|Check-Date|(http|https)::Proxy[^ ]*) '
		echo 'Acquire::Languages "none";'
		echo 'Acquire::Retries "3";'
		echo 'APT::Install-Recommends "false";'
	} >"$dir/etc/apt/apt.conf.d/99chroot"
	# nothing here has to survive a crash of the machine
	echo force-unsafe-io >"$dir/etc/dpkg/dpkg.cfg.d/unsafe-io"
	printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
	chmod 755 "$dir/usr/sbin/policy-rc.d"
	mkdir -p "$dir/etc/postgresql-common"
	echo 'create_main_cluster = false' >"$dir/etc/postgresql-common/createcluster.conf"
}

# DIR PACKAGE...
chroot_apt()
{
	chroot_again chroot_logged chroot_run --network "$1" apt-get -o APT::Update::Error-Mode=any update &&
		chroot_again chroot_logged chroot_run --network "$1" apt-get install -y "${@:2}" &&
		chroot_logged chroot_run "$1" apt-get clean
}

# COMMAND...: three times at most, for a mirror may have a bad moment
chroot_again()
{
	local failures=0

	until "$@"; do
		if [ $((failures += 1)) = 3 ] || chroot_late; then return 1; fi
		sleep 5
	done
}

# COMMAND...: what it says is shown only when it fails
chroot_logged()
{
	local log status=0

	log=$(mktemp) || return
	"$@" >"$log" 2>&1 || status=$?
	if [ $status != 0 ]; then
		tail -n 20 "$log" | chroot_masked
		echo "\"${*:2}\" failed (status $status)" | chroot_masked
	fi
	rm -f "$log"
	return $status
}

#
# Running
#

# [--net] COMMAND...: in namespaces of its own, the network's only with --net,
# within the time that is left
chroot_unshare()
{
	local namespaces=(--mount --propagation private --pid --ipc --fork --kill-child) bound=() left

	if [ "$1" = --net ]; then
		namespaces+=(--net)
		shift
	fi
	if [ "$chroot_until" != 0 ]; then
		left=$((chroot_until - SECONDS))
		[ $left -gt 0 ] || return 137
		# TERM becomes KILL after a second, since unshare does not heed it
		bound=(timeout --foreground -k 1 -s KILL "$left")
	fi
	"${bound[@]}" unshare "${namespaces[@]}" "$@" </dev/null
}

# Is the time over?
chroot_late()
{
	[ "$chroot_until" != 0 ] && [ "$SECONDS" -ge "$chroot_until" ]
}

# [OPTION...] DIR COMMAND...: runs it in the chroot, and returns what it does.
#   --network          with this machine's network; else with a loopback of its own
#   --user USER        of the chroot; else root
#   --bind FROM TO     the directory FROM of this machine is seen as TO
#   --readonly FROM TO the same, and cannot be changed
chroot_run()
{
	local net=(--net) user=root binds=()

	while :; do
		case $1 in
			--network) net=(); shift ;;
			--user) user=$2; shift 2 ;;
			--bind) binds+=("$2" "$3" rw); shift 3 ;;
			--readonly) binds+=("$2" "$3" ro); shift 3 ;;
			*) break ;;
		esac
	done
	chroot_unshare "${net[@]}" bash -c "$(declare -f chroot_inside); chroot_inside \"\$@\"" chroot_run \
		"${#net[@]}" "$user" "$1" "${#binds[@]}" "${binds[@]}" "${@:2}"
}

# OWN-NETWORK USER DIR N BINDS... COMMAND...: process 1 of the namespaces, so
# that it collects what the command leaves behind
chroot_inside()
{
	local own_network=$1 user=$2 dir=$3 left=$4
	shift 4

	set -e
	[ "$own_network" = 0 ] || ip link set lo up
	mount -t proc proc "$dir/proc"
	mount --rbind /dev "$dir/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$dir/dev/shm"
	for (( ; left > 0; left -= 3)); do
		mkdir -p "$dir$2"
		mount --bind "$1" "$dir$2"
		[ "$3" = rw ] || mount -o remount,bind,ro "$dir$2"
		shift 3
	done
	cp /etc/resolv.conf /etc/hosts "$dir/etc/"
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/tmp DEBIAN_FRONTEND=noninteractive \
		http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" \
		chroot --userspec="$user" "$dir" "$@" &
	wait $!
}
