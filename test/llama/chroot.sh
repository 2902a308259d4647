#!/bin/bash
#
# test/llama/chroot.sh DIR
#
# Makes a Debian chroot in DIR with llama-server and what makes a tiny model for
# it; does nothing when it is there.  Debian 13 and older have no llama.cpp, so
# it is of "forky", from the mirror that this machine's apt uses.  Needs root,
# half a minute and 400 MB.  Not for the repository: its apt files name hosts.

set -euo pipefail

suite=forky
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
part='' namespace=()

main()
{
	[ $# = 1 ] || { sed -n '3,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
	dir=$(realpath -m "$1")
	part=$dir.partial
	[ ! -e "$dir/usr/bin/llama-server" ] || exit 0
	[ "$(id -u)" = 0 ] || die 'needs root'
	command -v debootstrap >/dev/null || die 'debootstrap is missing'
	[ -e $keyring ] || die 'the package debian-archive-keyring is missing'

	mkdir -p "${dir%/*}"
	exec 9>"$dir.lock"
	flock 9						# of two at once the second finds all done
	[ ! -e "$dir/usr/bin/llama-server" ] || exit 0
	make_base
	add_packages
	rm -rf --one-file-system "$dir"
	mv -T "$part" "$dir"
}

die()
{
	printf '%s: %s\n' "${0##*/}" "$1" >&2
	exit 1
}

# Debian's own, not the security updates or what others offer
# shellcheck disable=SC2016 # the words are for apt-get
find_mirror()
{
	apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n 's/^Debian \(http.*\)/\1/p' | head -n 1
}

make_base()
{
	local mirror script=/usr/share/debootstrap/scripts/$suite

	mirror=$(find_mirror)
	[ -n "$mirror" ] || die "this machine's apt has no mirror of Debian; try apt-get update"
	# An older debootstrap has no script for a newer suite
	[ -e $script ] || script=/usr/share/debootstrap/scripts/sid
	# What it mounts goes with its namespace, where that is allowed
	namespace=(unshare --mount --propagation private)
	"${namespace[@]}" mount -t tmpfs none /mnt 2>/dev/null || namespace=()
	rm -rf --one-file-system "$part"
	logged ${namespace[@]+"${namespace[@]}"} debootstrap --variant=minbase --keyring=$keyring \
		$suite "$part" "$mirror" "$script"
	# The mirror may be a snapshot, whose dates have passed
	cat >"$part/etc/apt/apt.conf.d/99chroot" <<-'END'
		Acquire::Check-Valid-Until "false";
		Acquire::Check-Date "false";
		Acquire::Languages "none";
		APT::Install-Recommends "false";
	END
	echo force-unsafe-io >"$part/etc/dpkg/dpkg.cfg.d/unsafe-io"
	printf '#!/bin/sh\nexit 101\n' >"$part/usr/sbin/policy-rc.d"	# start no service
	chmod 755 "$part/usr/sbin/policy-rc.d"
	cp /etc/resolv.conf /etc/hosts "$part/etc/"
}

add_packages()
{
	local in=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive)

	logged "${in[@]}" chroot "$part" apt-get update
	logged "${in[@]}" chroot "$part" apt-get install -y llama.cpp-tools python3-gguf python3-numpy
	rm -f "$part"/var/cache/apt/archives/*.deb
}

logged()
{
	"$@" >"$dir.log" 2>&1 && return
	tail -n 10 "$dir.log" | sed 's|//[^/ ]*|//MIRROR|g' >&2
	die "\"${1##*/}\" failed; see $dir.log"
}

main "$@"
