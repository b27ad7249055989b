#!/bin/sh
# Every file of this host, one "KIND MODE OWNER PATH VALUE" per line, fields separated by tabs. The value is a sum of the
# content where a host is set up, and time and size below /usr, which is large; of a link, its target.
# Left out: what changes by itself (some of it once a day), and what is generated (compared in other ways, or by booting it).
cd / || exit 1
set -- -path './proc' -o -path './sys' -o -path './dev' -o -path './run' -o -path './tmp' -o -path './lab' \
    -o -path './var/log' -o -path './var/backups' -o -path './var/tmp' -o -path './var/cache' -o -path './var/lib/systemd' -o -path './var/lib/vfioneer' \
    -o -path './usr/local/bin/vfioneer' -o -path './lost+found' -o -path './boot/lost+found' \
    -o -path './boot/efi/loader/random-seed' -o -name 'initrd.img-*' -o -path './boot/efi/*/initrd*' \
    -o -path './boot/efi/EFI/Linux/*.efi' -o -path './boot/grub/grubenv' -o -path './var/lib/initramfs-tools/*' \
    -o -name 'modules.*.bin' -o -name '__pycache__'
find . \( "$@" \) -prune -o -type l -printf 'link\t%m\t%U:%G\t%P\t%l\n' -o -type d -printf 'dir\t%m\t%U:%G\t%P\t\n' \
    -o -path './usr/*' -type f -printf 'file\t%m\t%U:%G\t%P\t%T@ %s\n'
# One process for many files: an emulated processor is slow.
find . \( "$@" -o -path './usr' \) -prune -o -type f -printf 'file\t%m\t%U:%G\t%P\n' | sort >/tmp/tree.files
cut -f4 /tmp/tree.files | tr '\n' '\0' | xargs -0 sha256sum | cut -d' ' -f1 | paste /tmp/tree.files -
