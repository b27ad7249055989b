#!/bin/sh
# swift.sh SUITE: prints the path of an initramfs of that Debian release that is the whole system of a lab host: busybox, the
# few modules that its cards need, and guest/swift/init. Nothing in it is compressed, for the emulated processor's sake.
# The kernel lies beside it, as .vmlinuz. Both are kept like the images, and made from the root that those are made from.
set -eu
suite=$1
here=$(cd "$(dirname "$0")" && pwd)
what="swift $suite" name=swift-$suite kind=cpio
keyed='swift.sh guest/swift/init root.sh image/cache.sh image/mirror.sh image/root'
. "$here/image/cache.sh"
# A name that this kernel does not have, or has built in, is left out.
wanted='virtio_pci virtio_blk ext4 overlay 9pnet_virtio 9p vfio_pci vfio_iommu_type1 iommufd pci_stub pci_pf_stub aer_inject
    e1000 e1000e igb igbvf nvme virtio_net xhci_pci usbhid hid_generic usb_storage sd_mod bochs cirrus
    snd_hda_intel snd_hda_codec_generic'
root=$(sh "$here/root.sh" "$suite" grub-bios tools none 9>&-)
mkdir -p "$work/root" "$work/ram"
quietly tar -xf "$root" -C "$work/root" --wildcards './boot/vmlinuz-*' './usr/lib/modules'
[ -e "$work/root/lib" ] || ln -s usr/lib "$work/root/lib"
kernel=$(echo "$work"/root/boot/vmlinuz-*)
release=${kernel##*/vmlinuz-}
modules=lib/modules/$release
for module in $wanted; do
    modprobe -d "$work/root" -S "$release" --show-depends "$module" 2>/dev/null || :
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u >"$work/files"
cd "$work/ram"
mkdir -p bin sbin usr/bin usr/sbin usr/local/bin dev etc lab proc run sys tmp var/lib root "$modules"
while read -r file; do
    at=$modules/${file##*/"$release"/}
    mkdir -p "${at%/*}"
    case $file in *.xz) xz -dc "$file" >"${at%.xz}" ;; *) cp "$file" "$at" ;; esac
done <"$work/files"
cp "$work/root/$modules"/modules.builtin* "$work/root/$modules/modules.order" "$modules"
quietly depmod -b "$work/ram" "$release"
cp /bin/busybox bin/busybox
for applet in $(busybox --list-full); do [ -e "$applet" ] || ln -s /bin/busybox "$applet"; done
install -m 755 "$here/guest/swift/init" init
find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet >"$work/initramfs"
cp "$kernel" "${made%.cpio}.vmlinuz"
mv "$work/initramfs" "$made"
say 'made'
echo "$made"
