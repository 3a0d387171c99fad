#!/bin/bash
# SPDX-License-Identifier: MIT
# debian.sh - build the Debian packages of the tracked tree, install them in a minimal Debian 12,
# use them there, remove them. Minutes; as root, in a mount namespace of its own, from the
# mirror that this machine's apt has. 77: not here, and why.
set -u
cd "$(dirname "$0")/../.." || exit 1

skip() {
	echo "$*"
	exit 77
}
fail() {
	echo "$*"
	exit 1
}
[ "$(id -u)" = 0 ] || skip 'debootstrap needs root'
for c in debootstrap dpkg-buildpackage dh lintian git; do
	command -v "$c" >/dev/null || skip "$c is not installed"
done
git ls-files --error-unmatch debian/control >/dev/null 2>&1 || skip 'not in a git tree'
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
	awk '$2 == "bookworm" { print $1; exit }')
[ -n "$mirror" ] || skip "apt's sources name no mirror of Debian 12 (bookworm)"
if [ -z "${HMMU_OWN_MOUNTS:-}" ]; then
	unshare --mount --propagation private true 2>/dev/null || skip 'no mount namespace may be made'
	HMMU_OWN_MOUNTS=1 exec unshare --mount --propagation private "$0"
fi

dir=$(mktemp -d)
root=$dir/root
trap 'umount -q -l -R "$root/proc"; umount -q -l -R "$root/sys"
	rm -rf --one-file-system "$dir"' EXIT
quietly() { # COMMAND... : its output only if it fails
	"$@" >"$dir/out" 2>&1 || { tail -n 60 "$dir/out"; fail "failed: $*"; }
}
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
	DEBIAN_FRONTEND=noninteractive HOME=/root "$@"; }
apt() { quietly inside apt-get -y --no-install-recommends "$@"; }
installed() { inside dpkg-query -W -f '${binary:Package} ${db:Status-Abbrev}\n' | sort; }
# All files but what apt and dpkg keep for themselves, and the backups of adduser, which a
# package that ours depend on calls.
files() {
	(cd "$root" && find . -xdev \( -path ./debs -o -path ./proc -o -path ./dev -o -path ./sys \
		-o -path ./tmp -o -path ./root -o -path ./var/cache -o -path ./var/lib/apt \
		-o -path ./var/lib/dpkg -o -path ./var/log -o -path ./run -o -path './etc/*-' \) -prune -o -print | sort)
}

echo 'build'
mkdir "$dir/hmmu" && git ls-files -z | xargs -0 cp --parents -t "$dir/hmmu"
(cd "$dir/hmmu" && DEB_BUILD_PROFILES=nocheck DEB_BUILD_OPTIONS="nocheck parallel=$(nproc)" \
	quietly dpkg-buildpackage -us -uc -b) || exit 1
echo 'lintian'
lintian --allow-root --fail-on error "$dir"/hmmu_*.changes || fail 'lintian'

echo 'a minimal Debian 12'
quietly debootstrap --variant=minbase bookworm "$root" "$mirror"
mount -t proc proc "$root/proc" && mount --rbind /sys "$root/sys" || fail 'mount'
mkdir "$root/debs" && cp "$dir"/*.deb "$root/debs" && rm -f "$root"/debs/*-dbgsym_*
apt install gcc libc6-dev pkgconf
before=$(installed) files_before=$(files)

echo 'install'
deb() { local p; for p; do (cd "$root" && ls debs/"$p"_*.deb | sed 's,^,/,'); done; }
apt install $(deb libhmmu0 libhmmu-dev hmmu)
installed | grep -E '^lib(ucx|ucs|fabric|ibverbs)' && fail 'adapters are optional'
inside hmmu --version || fail 'hmmu --version'
quietly inside hmmu doctor
quietly inside hmmu watch -- true
[ -e "$root/usr/share/man/man1/hmmu.1.gz" ] || fail 'no man page'
cp tests/install/outside.c tests/install/adapter.c "$root/tmp"
for how in '' '-static explicit'; do
	read -r static argument <<<"$how"
	# shellcheck disable=SC2016
	quietly inside sh -c 'gcc $0 -std=gnu11 -Wall -Werror /tmp/outside.c -o /tmp/outside \
		$(pkg-config ${0:+--static} --cflags --libs hmmu)' "${static:-}"
	inside /tmp/outside ${argument:+"$argument"} || { [ $? = 77 ] && echo 'hooks do not work here'; } ||
		fail "a program, $how"
done

echo 'adapters'
apt install $(cd "$root" && ls -d debs/*.deb | sed 's,^,/,')
for a in uring:open ucx:start libfabric:close verbs:open; do
	prefix=${a%%:*}
	# shellcheck disable=SC2016
	quietly inside sh -c 'gcc -std=gnu11 "-DHEADER=<hmmu/$0.h>" "-DFUNCTION=$1" /tmp/adapter.c \
		-o /tmp/adapter -Wl,--no-as-needed $(pkg-config --cflags --libs "hmmu-$0") && /tmp/adapter' \
		"$prefix" "hmmu_${prefix/libfabric/fi}_${a#*:}"
done

echo 'remove'
apt purge --auto-remove $(installed | sed -n 's/^\([a-z]*hmmu[^ :]*\)[: ].*/\1/p')
diff <(echo "$before") <(installed) || fail 'packages are left'
diff <(echo "$files_before") <(files) || fail 'files are left'
