#!/bin/sh
# essential.sh ROOT GENERATOR: before the kernel is installed. With initramfs-tools the image that the kernel's package
# makes is thrown away, so make it empty; dracut's is kept, and must boot any of the lab's disks.
set -eu
if [ "$2" = tools ]; then
    mkdir -p "$1/etc/initramfs-tools/conf.d"
    echo MODULES=list >"$1/etc/initramfs-tools/conf.d/lab"
else
    mkdir -p "$1/etc/dracut.conf.d"
    printf '%s\n' 'hostonly=no' 'drivers="virtio_pci virtio_blk ext4 btrfs dm_mod"' >"$1/etc/dracut.conf.d/lab.conf"
fi
