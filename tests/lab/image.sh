#!/bin/sh
# image.sh SUITE LOADER GENERATOR LAYOUT: prints the path of a disk image of that Debian release that boots by itself.
#   LOADER     grub-bios, grub-uefi, sdboot or uki, as in root.sh
#   GENERATOR  tools (initramfs-tools), dracut (hostonly) or dracut-any (hostonly=no)
#   LAYOUT     plain (ext4), boot (/boot on a partition of its own), lvm (ext4 on a logical volume), btrfs (a subvolume) or
#              xfs (/boot on a partition of its own, with XFS)
# The variables of a UEFI firmware lie beside it, as .vars. Images are kept by the hash of everything that they are made
# from; what is there already is not built again.
set -eu
suite=$1 loader=$2 generator=$3 layout=$4
here=$(cd "$(dirname "$0")" && pwd)
what="image $suite $loader $generator $layout" name=$suite-$loader-$generator-$layout kind=img
keyed='image.sh root.sh image'
. "$here/image/cache.sh"
case $layout in lvm) extra=lvm2 ;; btrfs) extra=btrfs-progs ;; xfs) extra=xfsprogs ;; *) extra=none ;; esac
root=$(sh "$here/root.sh" "$suite" "$loader" "${generator%-any}" "$extra" 9>&-)
# A partition table: for UEFI an ESP first, then /boot where it has its own, then the rest.
next=2048 table='' number=1
add() { table="$table$next,$1,$2
" next=$((next + $1)) number=$((number + 1)); }
esp='' boot=''
case $loader in grub-bios) label=dos other=L ;; *) label=gpt other=L esp=$number; add 524288 U ;; esac
case $layout in boot | xfs) boot=$number boot_at=$next && add 1048576 $other ;; esac
at=$next size=5242880
add $size "$other"
truncate -s $(((next + 2048) * 512)) "$work/disk.img"
printf 'label: %s\n%s' $label "$table" | quietly sfdisk -q "$work/disk.img"
[ "$(id -u)" = 0 ] && as= || as=fakeroot
quietly $as sh "$here/image/fill.sh" "$work" "$root" "$generator" "$layout" "$at" "${boot_at:-}" ${esp:+esp}
say 'boot loader'
. "$here/image/root/words.sh"
set -- -accel tcg -M q35 -cpu max -m 2G -display none -serial stdio -no-reboot -nodefaults
drive="file=$work/disk.img,format=raw,if=none,id=root,cache=unsafe"
if [ -n "$esp" ]; then
    cp /usr/share/OVMF/OVMF_VARS_4M.fd "$work/vars"
    set -- "$@" -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
        -drive if=pflash,format=raw,file="$work/vars"
fi
# On a logical volume it is put from inside: the file system is a disk of its own first.
device=/dev/vda$((number - 1))
[ "$layout" != lvm ] || set -- "$@" -drive "file=$work/lvm.img,format=raw,if=none,id=lvm,cache=unsafe" \
    -device virtio-blk-pci,drive=lvm,addr=04.0
[ "$layout" != lvm ] || device=/dev/vdb
quietly timeout 900 qemu-system-x86_64 "$@" -drive "$drive" -device virtio-blk-pci,drive=root,addr=03.0 \
    -kernel "$work"/root/boot/vmlinuz-* -initrd "$work"/root/boot/initrd.img-* \
    -append "root=$device rw $words panic=-1 rd.shell=0 rd.emergency=poweroff init=/usr/local/sbin/lab-install lab=$loader,$layout,$((number - 1))"
grep -q 'lab-install: done' "$work/log" || { tail -n 60 "$work/log" >&2; say 'failed: no boot loader'; exit 1; }
[ -z "$esp" ] || mv "$work/vars" "${made%.img}.vars"
mv "$work/disk.img" "$made"
say 'made'
echo "$made"
