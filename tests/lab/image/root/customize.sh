#!/bin/sh
# customize.sh ROOT GENERATOR: after the packages are installed, what makes this root a lab host.
set -eu
root=$1
. "$(dirname "$0")/words.sh"
echo labhost >"$root/etc/hostname"
chmod 755 "$root"/usr/local/sbin/lab-*
chroot "$root" systemctl enable -q lab.service
# Nobody logs in, and every boot of the copy is its first.
for unit in getty-static getty@tty1 serial-getty@ttyS0 grub-common e2scrub_reap systemd-journal-flush; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
if [ -e "$root/etc/default/grub" ]; then
    sed -i -e 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=0/' -e "s/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX=\"$words\"/" \
        "$root/etc/default/grub"
fi
if [ "$2" = tools ]; then
    printf '%s\n' virtio_pci virtio_blk ahci sd_mod nvme ext4 btrfs dm_mod >>"$root/etc/initramfs-tools/modules"
    chroot "$root" update-initramfs -u -k all
    # From here on the host makes its images like an installed one, from what it runs on.
    echo MODULES=dep >"$root/etc/initramfs-tools/conf.d/lab"
    sed -i -e '/^virtio_pci$/,$d' "$root/etc/initramfs-tools/modules"
fi
