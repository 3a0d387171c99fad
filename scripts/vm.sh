# SPDX-License-Identifier: MIT
# vm.sh - what scripts/oracle and scripts/rdma have in common: a virtual machine with Debian's
# kernel and an initramfs. Sourced; $root is the directory that the initramfs is made of.

# Kernels are looked for in / and in the directories of HMMU_KERNELS, where Debian's packages
# were unpacked (dpkg-deb -x PACKAGE DIR, depmod -b DIR VERSION): nothing has to be installed.
vm_roots="/ ${HMMU_KERNELS:-}"

# vm_place VERSION: the directory that it is in
vm_place() {
	local dir
	for dir in $vm_roots; do
		[ -r "$dir/boot/vmlinuz-$1" ] && [ -d "$dir/lib/modules/$1/kernel" ] || continue
		echo "${dir%/}"
		return 0
	done
	return 1
}
# vm_headers VERSION: can modules be built for it?
vm_headers() { [ -e "$(vm_place "$1")/lib/modules/$1/build/Makefile" ]; }
# vm_kernels [headers]: the versions of Debian's kernels here (those that have their headers
# here), of each series the newest, the oldest series first
vm_kernels() {
	local dir version series before=
	for dir in $vm_roots; do ls "$dir"/boot/vmlinuz-* 2>/dev/null; done |
		sed 's,.*/vmlinuz-,,' | sort -V -r -u | while read -r version; do
		vm_place "$version" >/dev/null || continue
		[ "${1:-}" != headers ] || vm_headers "$version" || continue
		series=$(printf %s "$version" | cut -d. -f1,2)
		[ "$series" = "$before" ] || echo "$version"
		before=$series
	done | tac
}
# vm_kernel [headers]: the first of them; fails if there is none
vm_kernel() { vm_kernels "$@" | grep -m 1 .; }
# vm_missing PROGRAM:PACKAGE... : the packages of those that are not here, and of a busybox
# that needs no library
vm_missing() {
	local program
	for program in qemu-system-x86_64:qemu-system-x86 cpio:cpio "$@"; do
		command -v "${program%:*}" >/dev/null || printf ' %s' "${program#*:}"
	done
	command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1 ||
		printf ' busybox-static'
}
# vm_add FILE IN-ROOT: a program or a library, and what it is linked with
vm_add() {
	local lib
	mkdir -p "$root/$(dirname "$2")"
	strip -g -o "$root/$2" "$1" 2>/dev/null || cp "$1" "$root/$2"
	for lib in $(ldd "$1" 2>/dev/null | grep -oE '(/[^ ]+)' | sort -u); do
		[ -e "$root/lib/$(basename "$lib")" ] || strip -g -o "$root/lib/$(basename "$lib")" "$lib" \
			2>/dev/null || cp -L "$lib" "$root/lib/"
	done
}
# vm_begin INIT: the root, with busybox and the first process
vm_begin() {
	mkdir -p "$root/bin" "$root/lib"
	ln -sfn lib "$root/lib64"
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$1" "$root/init" && chmod +x "$root/init"
}
# vm_modules VERSION MODULE... : these and what they need, by number, since they are loaded in
# this order
vm_modules() {
	local version=$1 n=10 file
	shift
	mkdir -p "$root/modules"
	modprobe -d "$(vm_place "$version")/" -S "$version" --show-depends -a "$@" |
		sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
		n=$((n + 1))
		case $file in
		*.xz) xz -dc "$file" >"$root/modules/$n-$(basename "$file" .xz)" ;;
		*) cp "$file" "$root/modules/$n-$(basename "$file")" ;;
		esac
	done
}
# vm_pack FILE: the initramfs
vm_pack() { (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$1"; }
# vm_boot VERSION INITRAMFS SECONDS ACCELERATOR [OPTION...] : its console. $vm_append: more words
# for the kernel.
vm_boot() {
	local version=$1 initramfs=$2 seconds=$3 accel=$4 processor=max
	shift 4
	[ "$accel" = kvm ] && processor=host
	timeout "$seconds" qemu-system-x86_64 -accel "$accel" -cpu "$processor" -smp 2 -m 1024 \
		-display none -no-reboot -nic none \
		-kernel "$(vm_place "$version")/boot/vmlinuz-$version" -initrd "$initramfs" \
		-append "console=ttyS0 quiet panic=-1 mitigations=off ${vm_append:-}" \
		-serial stdio -monitor none "$@" </dev/null 2>&1
}
