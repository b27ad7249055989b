#!/bin/sh
# hypervisor.sh SUITE: prints the path of a disk image with libvirt, QEMU, firmware and LXC of that Debian release: a swift host that
# has this disk runs its script in it. The initramfs and the kernel that it boots lie beside it, as .cpio and .vmlinuz. In the disk are
# that kernel, for VMs (/boot/vmlinuz), and KVM's modules, which the initramfs lacks (modprobe -d /opt).
set -eu
suite=$1
here=$(cd "$(dirname "$0")" && pwd)
what="hypervisor $suite" name=hypervisor-$suite kind=img
keyed='hypervisor.sh swift.sh guest/swift/init root.sh image/cache.sh image/mirror.sh image/root'
. "$here/image/cache.sh"
swift=$(sh "$here/swift.sh" "$suite" 9>&-)
kernel=$(sh "$here/root.sh" "$suite" grub-bios tools none 9>&-)
. "$here/image/mirror.sh"
say "packages from $mirror"
# One daemon for all of libvirt, which asks nobody, confines nobody and needs no other services.
quietly mmdebstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --include=libvirt-daemon,libvirt-daemon-driver-qemu,libvirt-clients,qemu-system-x86,seabios,ipxe-qemu,ovmf,kmod,pciutils,procps,lxc \
    ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='printf "%s\n" "auth_unix_rw = \"none\"" >"$1/etc/libvirt/libvirtd.conf"' \
    --customize-hook='printf "%s\n" "user = \"root\"" "group = \"root\"" "security_driver = \"none\"" "stdio_handler = \"file\"" \
        "dynamic_ownership = 0" "remember_owner = 0" "cgroup_controllers = []" "namespaces = []" >"$1/etc/libvirt/qemu.conf"' \
    "$suite" "$work/root.tar" "$mirror"
mkdir -p "$work/kernel" "$work/root/boot"
quietly tar -xf "$kernel" -C "$work/kernel" --wildcards './usr/lib/modules'
[ -e "$work/kernel/lib" ] || ln -s usr/lib "$work/kernel/lib"
release=$(ls "$work/kernel/usr/lib/modules")
for module in kvm_amd kvm_intel; do
    modprobe -d "$work/kernel" -S "$release" --show-depends "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r file; do
    at=$work/root/opt/lib/modules/$release/${file##*/"$release"/}
    mkdir -p "${at%/*}"
    cp "$file" "$at"
done
cp "$work/kernel/usr/lib/modules/$release"/modules.builtin* "$work/kernel/usr/lib/modules/$release/modules.order" \
    "$work/root/opt/lib/modules/$release"
quietly depmod -b "$work/root/opt" "$release"
cp "${swift%.cpio}.vmlinuz" "$work/root/boot/vmlinuz"
[ "$(id -u)" = 0 ] && as= || as=fakeroot
# shellcheck disable=SC2016
quietly $as sh -c 'tar -C "$1/root" -xf "$1/root.tar" --numeric-owner && rm -f "$1/root/var/cache/apt"/*.bin &&
    mke2fs -q -t ext4 -O ^has_journal -d "$1/root" "$1/disk.img" 1500M' sh "$work"
cp "$swift" "${made%.img}.cpio"
cp "${swift%.cpio}.vmlinuz" "${made%.img}.vmlinuz"
mv "$work/disk.img" "$made"
say 'made'
echo "$made"
