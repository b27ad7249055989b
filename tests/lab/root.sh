#!/bin/sh
# root.sh SUITE LOADER GENERATOR EXTRA: prints the path of a tar of a Debian root with these packages.
#   LOADER     grub-bios, grub-uefi, sdboot (systemd-boot with kernel-install) or uki (the same with ukify)
#   GENERATOR  tools (initramfs-tools) or dracut
#   EXTRA      a package more, or none
set -eu
suite=$1 loader=$2 generator=$3 extra=$4
here=$(cd "$(dirname "$0")" && pwd)
what="root $suite $loader $generator $extra" name=root-$suite-$loader-$generator-$extra kind=tar
keyed='root.sh image/cache.sh image/mirror.sh image/root'
. "$here/image/cache.sh"
packages=linux-image-amd64,pciutils,kmod,udev,systemd-sysv,iproute2,procps,zstd
case $loader in
grub-bios) packages=$packages,grub-pc ;;
grub-uefi) packages=$packages,grub-efi-amd64,efibootmgr,dosfstools ;;
sdboot) packages=$packages,systemd-boot,efibootmgr,dosfstools ;;
uki) packages=$packages,systemd-boot,systemd-boot-efi,systemd-ukify,efibootmgr,dosfstools ;;
esac
[ "$generator" = tools ] && packages=$packages,initramfs-tools || packages=$packages,dracut
[ "$extra" = none ] || packages=$packages,$extra
. "$here/image/mirror.sh"
say "packages from $mirror"
quietly mmdebstrap --variant=minbase --include="$packages" --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook="sh '$here/image/root/essential.sh' \"\$1\" $generator" \
    --customize-hook="copy-in '$here/image/root/lab.service' /etc/systemd/system" \
    --customize-hook="copy-in '$here/image/root/lab-run' '$here/image/root/lab-install' '$here/image/root/lab-loader' /usr/local/sbin" \
    --customize-hook="sh '$here/image/root/customize.sh' \"\$1\" $generator" "$suite" "$work/root.tar" "$mirror"
mv "$work/root.tar" "$made"
say 'made'
echo "$made"
