# vfioneer: a unified kernel image as `kernel-install add` with layout=uki makes it, by the same plugin and its settings.
# Arguments: entry token, release, kernel, initramfs, output.
set -e
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
export KERNEL_INSTALL_LAYOUT=uki KERNEL_INSTALL_STAGING_AREA="$stage" KERNEL_INSTALL_ENTRY_TOKEN="$1"
KERNEL_INSTALL_MACHINE_ID=$(cat /etc/machine-id)
export KERNEL_INSTALL_MACHINE_ID
/usr/lib/kernel/install.d/60-ukify.install add "$2" "$stage" "$3" "$4"
cp "$stage/uki.efi" "$5"
