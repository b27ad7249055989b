#!/bin/sh
# Installs what `make test` needs on Debian or Ubuntu. Says nothing and does nothing when all is there.
# Without root and without password-free sudo it names the missing packages in one line and fails.
set -eu

# Package and the file that proves it is there.
wanted='
build-essential      /usr/bin/cc
qemu-system-x86      /usr/bin/qemu-system-x86_64
ipxe-qemu            /usr/lib/ipxe/qemu/efi-e1000e.rom
seabios              /usr/share/seabios/vgabios-cirrus.bin
mmdebstrap           /usr/bin/mmdebstrap
debian-archive-keyring /usr/share/keyrings/debian-archive-keyring.gpg
fdisk                /sbin/sfdisk
e2fsprogs            /sbin/debugfs
btrfs-progs          /sbin/mkfs.btrfs
xfsprogs             /sbin/mkfs.xfs
ovmf                 /usr/share/OVMF/OVMF_CODE_4M.fd
libvirt-clients      /usr/bin/virt-xml-validate
libxml2-utils        /usr/bin/xmllint
kmod                 /sbin/depmod
pciutils             /usr/bin/lspci
cpio                 /usr/bin/cpio
bzip2                /usr/bin/bzip2
lz4                  /usr/bin/lz4
xz-utils             /usr/bin/lzma
zstd                 /usr/bin/zstd
dash                 /usr/bin/dash
busybox-static       /bin/busybox
klibc-utils          /usr/lib/klibc/bin/sh
shellcheck           /usr/bin/shellcheck
python3              /usr/bin/python3
'
[ "$(id -u)" = 0 ] || wanted="$wanted
fakeroot             /usr/bin/fakeroot
uidmap               /usr/bin/newuidmap
"
missing=$(printf '%s\n' "$wanted" | while read -r package file; do
    [ -z "$package" ] || [ -e "$file" ] || printf '%s ' "$package"
done)
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: this needs Debian or Ubuntu, or the equivalents of: $missing" >&2
    exit 1
elif [ "$(id -u)" = 0 ]; then
    as=
elif sudo -n true 2>/dev/null; then
    as='sudo -n'
else
    echo "setup: please install: apt-get install $missing" >&2
    exit 1
fi
started=$(date +%s)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "setup: installing $missing" >&2
# shellcheck disable=SC2086 # both are lists of words
if ! { $as apt-get update -q && $as env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $missing; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "setup: could not install $missing" >&2
    exit 1
fi
echo "setup: done in $(($(date +%s) - started)) s" >&2
