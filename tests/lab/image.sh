#!/bin/sh
# image.sh SUITE: prints the path of a disk image of that Debian release that boots by SeaBIOS, GRUB, Linux and systemd.
# Images are kept by the hash of everything that they are made from; what is there already is not built again.
set -eu
exec </dev/null
suite=$1
here=$(cd "$(dirname "$0")" && pwd)
cache=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfioneer-lab}
key=$(cd "$here" && cat image.sh image/* | sha256sum | cut -c1-16)
image=$cache/$suite-$key.img
mkdir -p "$cache"
exec 9>"$cache/$suite.lock" && flock 9
[ ! -e "$image" ] || { touch "$image"; echo "$image"; exit 0; }
# Under the lock: what interrupted runs left, and what nobody used for a month.
rm -rf "$cache/$suite".??????
find "$cache" -name "$suite-*.img" -mtime +30 -delete
PATH=$PATH:/usr/sbin:/sbin
started=$(date +%s)
work=$(mktemp -d "$cache/$suite.XXXXXX")
trap 'rm -rf "$work"' EXIT && trap 'exit 1' HUP INT TERM
say() { echo "image $suite: $1 ($(($(date +%s) - started)) s)" >&2; }
quietly() { "$@" >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; say "failed: $1"; exit 1; }; }
packages=linux-image-amd64,initramfs-tools,grub-pc,pciutils,kmod,udev,systemd-sysv,iproute2,procps
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n '/^\(deb\|URIs:\)[ [].*/s!.* \(https\?://[^ ]*/debian/\?\)\( .*\)\?$!\1!p' | head -n 1)
proxy=$(apt-config shell p Acquire::http::Proxy 2>/dev/null | sed "s/^p='\(.*\)'$/\1/")
say "packages from ${mirror:=http://deb.debian.org/debian}"
quietly mmdebstrap --variant=minbase --include="$packages" --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook="sh '$here/image/essential.sh' \"\$1\"" \
    --customize-hook="copy-in '$here/image/lab.service' /etc/systemd/system" \
    --customize-hook="copy-in '$here/image/lab-run' '$here/image/lab-grub' /usr/local/sbin" \
    --customize-hook="sh '$here/image/customize.sh' \"\$1\"" "$suite" "$work/root.tar" "$mirror"
say 'file system'
truncate -s 2G "$work/disk.img"
echo '2048,,L,*' | quietly sfdisk -q "$work/disk.img"
mkdir "$work/root"
[ "$(id -u)" = 0 ] && as= || as=fakeroot
# shellcheck disable=SC2016
quietly ${as:+fakeroot} sh -c 'tar -C "$1/root" -xf "$1/root.tar" --numeric-owner &&
    mke2fs -q -t ext4 -L lab -U 6c616220-686f-4573-a464-69736b000001 -E offset=1048576 -d "$1/root" "$1/disk.img" 2096128k' sh "$work"
say 'boot loader'
quietly timeout 300 qemu-system-x86_64 -accel tcg -M q35 -cpu max -m 1G -display none -serial stdio -no-reboot \
    -kernel "$work"/root/boot/vmlinuz-* -initrd "$work"/root/boot/initrd.img-* \
    -append 'root=/dev/vda1 rw console=ttyS0 panic=-1 init=/usr/local/sbin/lab-grub' \
    -drive "file=$work/disk.img,format=raw,if=virtio"
grep -q 'lab-grub: done' "$work/log" || { tail -n 30 "$work/log" >&2; say 'failed: no boot loader'; exit 1; }
mv "$work/disk.img" "$image"
echo "$image"
