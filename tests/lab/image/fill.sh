#!/bin/sh
# fill.sh WORK ROOT GENERATOR LAYOUT AT BOOT_AT [esp]: unpacks the tar ROOT to WORK/root, makes it the host of that layout
# and writes its file systems into WORK/disk.img at these sectors (for lvm into WORK/lvm.img).
set -eu
work=$1 tar=$2 generator=$3 layout=$4 at=$5 boot_at=$6 esp=${7:-}
root=$work/root
id=6c616220-686f-4573-a464-69736b00000
mkdir "$root"
tar -C "$root" -xf "$tar" --numeric-owner
[ "$layout" = xfs ] && boot=xfs || boot=ext4
case $layout in
lvm) source=/dev/mapper/lab-root type=ext4 options=errors=remount-ro ;;
btrfs) source=UUID=${id}1 type=btrfs options=subvol=@rootfs ;;
*) source=UUID=${id}1 type=ext4 options=errors=remount-ro ;;
esac
{
    echo "$source / $type $options 0 1"
    [ -z "$boot_at" ] || echo "UUID=${id}2 /boot $boot defaults 0 2"
    [ -z "$esp" ] || echo 'UUID=4C61-6273 /boot/efi vfat umask=0077 0 1'
} >"$root/etc/fstab"
[ -z "$esp" ] || mkdir -p "$root/boot/efi"
# An emulator takes minutes to compress an image as the distribution does, and dracut looks into hundreds of modules, which Debian 13
# compresses: its own are left as they are where initramfs-tools makes the image.
case $generator in
dracut*)
    release=$(ls "$root/lib/modules")
    find "$root/lib/modules" -name '*.ko.xz' -exec xz -d {} +
    depmod -b "$root" "$release"
    ;;
esac
case $generator in
tools) echo COMPRESSLEVEL=1 >>"$root/etc/initramfs-tools/conf.d/lab" ;;
dracut) echo 'compress="zstd -1 -q"' >"$root/etc/dracut.conf.d/lab.conf" ;;
dracut-any) echo 'compress="zstd -1 -q"' >>"$root/etc/dracut.conf.d/lab.conf" ;;
esac
# GRUB replays no log: what XFS has in it must be in its place when the machine that installs the loader ends.
[ "$boot" != xfs ] || sed -i 's|^sync$|umount /boot/efi /boot; &|' "$root/usr/local/sbin/lab-loader"
echo 6c6162206d616368696e652069640001 >"$root/etc/machine-id"
# Not a first boot any more: no databases to be rebuilt.
touch "$root/etc/.updated" "$root/var/.updated"
# What systemd-boot's installer asks the running system for.
. "$(dirname "$0")/root/words.sh"
[ "$layout" != btrfs ] || words="rootflags=subvol=@rootfs $words"
[ ! -x "$root/usr/bin/kernel-install" ] || [ -e "$root/etc/default/grub" ] ||
    echo "root=$source ro $words" >"$root/etc/kernel/cmdline"
if [ -n "$boot_at" ]; then
    mkdir "$work/boot"
    cp -a "$root/boot/." "$work/boot"
    if [ "$boot" = xfs ]; then
        # Its files: kernel, initramfs and their like.
        printf '/\n0 0\nd--755 0 0\n' >"$work/files"
        find "$work/boot" -maxdepth 1 -type f -printf '%f ---644 0 0 %p\n' >>"$work/files"
        find "$work/boot" -mindepth 1 -maxdepth 1 -type d -printf '%f d--755 0 0\n$\n' >>"$work/files"
        echo '$' >>"$work/files"
        truncate -s 512M "$work/fs"
        mkfs.xfs -q -L boot -m uuid=${id}2 -p "$work/files" "$work/fs"
        dd if="$work/fs" of="$work/disk.img" bs=1M seek=$((boot_at / 2048)) conv=notrunc,sparse status=none
        rm "$work/fs"
    else
        mke2fs -q -t ext4 -L boot -U ${id}2 -E offset=$((boot_at * 512)) -d "$work/boot" "$work/disk.img" 524288k
    fi
    rm -r "$root/boot"/*
fi
case $layout in
btrfs)
    truncate -s 2560M "$work/fs"
    mkfs.btrfs -q -L lab -U ${id}1 --rootdir "$root" "$work/fs"
    dd if="$work/fs" of="$work/disk.img" bs=1M seek=$((at / 2048)) conv=notrunc,sparse status=none
    rm "$work/fs"
    ;;
lvm)
    truncate -s 2G "$work/lvm.img"
    mke2fs -q -t ext4 -L lab -U ${id}1 -d "$root" "$work/lvm.img"
    ;;
*) mke2fs -q -t ext4 -L lab -U ${id}1 -E offset=$((at * 512)) -d "$root" "$work/disk.img" 2621440k ;;
esac
if [ -n "$boot_at" ]; then cp -a "$work/boot/." "$root/boot"; fi
