#!/bin/sh
# After the packages are installed: what makes this root a lab host.
set -eu
root=$1
printf 'UUID=6c616220-686f-4573-a464-69736b000001 / ext4 errors=remount-ro 0 1\n' >"$root/etc/fstab"
echo labhost >"$root/etc/hostname"
printf '%s\n' virtio_pci virtio_blk ahci sd_mod nvme ext4 >>"$root/etc/initramfs-tools/modules"
sed -i -e 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=0/' -e 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="console=ttyS0"/' \
    "$root/etc/default/grub"
chmod 755 "$root/usr/local/sbin/lab-run" "$root/usr/local/sbin/lab-grub"
chroot "$root" systemctl enable -q lab.service
# Nobody logs in, and every boot of the copy is its first.
for unit in getty-static getty@tty1 serial-getty@ttyS0 grub-common e2scrub_reap systemd-journal-flush; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
chroot "$root" update-initramfs -u -k all
# From here on the host makes its images like an installed one, from what it runs on.
echo MODULES=dep >"$root/etc/initramfs-tools/conf.d/lab"
