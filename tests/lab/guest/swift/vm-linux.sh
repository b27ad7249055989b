# A whole Linux in a VM on KVM has the NIC: with its ids and BARs, its driver, and the MAC that the machine around this host gave it. What
# it fetches over the NIC comes from there.
. /lab/lib.sh
. /lab/vms.sh
guest=/tmp/guest

# What is said of a function here and in the VM.
cat >/tmp/describe.sh <<'DESCRIBE'
# describe FOLDER: a function's ids and BARs, from its folder in sysfs. Where BARs are is each machine's own: only size and kind count.
describe() {
    for name in vendor device subsystem_vendor subsystem_device class revision; do
        echo "$name $(cat "$1/$name")"
    done
    bar=0
    while read -r start end flags && [ "$bar" -lt 6 ]; do
        [ $((end)) = 0 ] || echo "bar $bar size $((end - start + 1)) flags $flags"
        bar=$((bar + 1))
    done <"$1/resource"
}
DESCRIBE
. /tmp/describe.sh
seen="$(describe "$devices/$onboard")
driver $(driver "$onboard")
mac $onboard_mac"
# shellcheck disable=SC2154 # of the cell's cards
[ "$(cat "$devices/$onboard"/net/*/address)" = "$onboard_mac" ] || problem 'this host sees another MAC'
line="line $(cat /proc/sys/kernel/random/uuid)"
echo "$line" >"$out/line"

# The VM's system: busybox and the NIC's modules, from this host's own initramfs.
release=$(uname -r)
mkdir -p "$guest/bin" "$guest/proc" "$guest/sys" "$guest/dev" "$guest/lib/modules/$release"
cp /proc/1/root/bin/busybox "$guest/bin"
modprobe --show-depends e1000e | sed -n 's/^insmod \([^ ]*\).*/\1/p' | while read -r file; do
    mkdir -p "$guest${file%/*}"
    cp "$file" "$guest$file"
done
cp "/lib/modules/$release"/modules.* "$guest/lib/modules/$release"
depmod -b "$guest" "$release" 2>"$out/depmod"
cp /tmp/describe.sh "$guest"
want 0 guest-files vfioneer vm guest "$onboard" --linux -o /tmp/for-guest
cp /tmp/for-guest/check.sh "$guest"
cat >"$guest/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
. /describe.sh
cat /sys/bus/pci/devices/*/modalias | while read -r alias; do
    modprobe -q -- "$alias"
done
for network in /sys/class/net/*; do
    [ -e "$network/device/vendor" ] || continue
    echo 'guest begin'
    describe "$network/device" | sed 's/^/guest /'
    echo "guest driver $(basename "$(readlink "$network/device/driver")")"
    echo "guest mac $(cat "$network/address")"
    ip link set "${network##*/}" up
    ip address add 10.0.2.15/24 dev "${network##*/}"
    tries=10
    until tftp -g -r line -l /line 10.0.2.2 || [ "$tries" = 0 ]; do
        tries=$((tries - 1))
        sleep 1
    done
    echo "guest fetched $(cat /line)"
done
sh /check.sh | sed 's/^/checked /'
echo "checked by check.sh: $(sh /check.sh >/dev/null && echo well)"
echo 'guest end'
poweroff -f
INIT
chmod 755 "$guest/init"
(cd "$guest" && find . | /proc/1/root/bin/busybox cpio -o -H newc) >/tmp/guest.cpio 2>"$out/cpio"

# The VM has no disk: its firmware starts it over the NIC, too.
cp /boot/vmlinuz /tmp/guest.cpio "$out"
cat >"$out/boot.ipxe" <<'IPXE'
#!ipxe
kernel vmlinuz initrd=guest.cpio console=ttyS0,115200
initrd guest.cpio
boot
IPXE

start_kvm
before=$(state "$onboard")
want 0 bind vfioneer bind "$onboard" --yes
run_vm --firmware seabios "$onboard"
wait_until 400 ended "$vm" || problem 'the VM does not end'
end_vm
rm "$out/vmlinuz" "$out/guest.cpio"
tr -d '\r' <"$out/vm-console" | sed -n 's/^.*guest //p' >"$out/guest"
same 'what the VM sees' "begin
$seen
fetched $line" "$(grep -v '^end$' "$out/guest")"
tr -d '\r' <"$out/vm-console" | sed -n 's/^.*checked //p' >"$out/checked"
for text in 'driver: e1000e' 'interrupts: message-signaled (msix)' 'by check.sh: well'; do
    grep -qF "$text" "$out/checked" || problem "check.sh in the VM does not say: $text"
done
grep -q '^end$' "$out/guest" || problem "the VM's init broke off: $(cat "$out/vm-qemu")"
want 0 unbind vfioneer unbind "$onboard" --yes
same 'the NIC afterwards' "$before" "$(state "$onboard")"
